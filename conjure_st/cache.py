"""What was paid for: found again by model, process, text and sample, in memory and on disk.

Two kinds of things are kept. Trajectories, and what was said of another text along them, are large
and rarely read. Rows are small tensors that many things boil down to: a pair's inner products along
one trajectory, an embedding.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from conjure_st.generator import Generator
from conjure_st.store import Store, default_folder
from conjure_st.trajectory import Crossed, Known, Trajectory

_Kept = TypeVar("_Kept", Trajectory, Crossed)

ROW_BYTES, ROW_OVERHEAD = 1 << 28, 1 << 10
"""Memory for rows, of which each takes some of its own; 200,000 of ten-step products."""


class TrajectoryKey(NamedTuple):
    """Everything that a trajectory is a function of.

    Attributes:
        model: the generative model's identity.
        process: the process's trajectory fingerprint.
        precision: of the network's arithmetic, such as "torch.float32".
        text: as the user gave it; the prompt template is part of the process.
        sample: number of the Monte-Carlo sample.
    """

    model: str
    process: str
    precision: str
    text: str
    sample: int

    @classmethod
    def of(cls, generator: Generator, text: str, sample: int) -> TrajectoryKey:
        """The key of a text's sample under a model and its process."""
        process = generator.process.trajectory_fingerprint()
        return cls(generator.identity, process, str(generator.dtype), text, sample)

    def digest(self, *more: object) -> str:
        """64 hexadecimal digits: of the trajectory, or of a row that depends on `more` besides."""
        canonical = json.dumps([*self, *more], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class CrossedKey(NamedTuple):
    """Everything that the outputs of one text along another's trajectory are a function of.

    Attributes:
        along: of the trajectory.
        under: the text that the model was asked about there.
    """

    along: TrajectoryKey
    under: str

    def digest(self) -> str:
        """64 hexadecimal digits."""
        return self.along.digest("outputs under", self.under)


class TrajectoryCache:
    """Trajectories and rows in memory, the least recently used dropped first, above a folder.

    Args:
        folder: where they outlast the process; any number of processes may share it. None keeps
            them in memory only.
        max_bytes: of trajectories held in memory; 2 GiB by default, which is some 3,800 samples of
            the embedded model's ten-step trajectories or 1,600 of Stable Diffusion's. Rows have
            256 MiB of their own. 0 holds neither.
        max_disk_bytes: of the folder.

    Raises:
        ValueError: a limit is negative.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        max_bytes: int = 2 << 30,
        max_disk_bytes: int = 20 << 30,
    ) -> None:
        for name, limit in (("max_bytes", max_bytes), ("max_disk_bytes", max_disk_bytes)):
            if limit < 0:
                raise ValueError(f"{name}={limit} is negative. Pass 0 to keep nothing.")
        self.store = None if folder is None else Store(folder, max_disk_bytes)
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.hits = 0
        self.misses = 0
        self._held: OrderedDict[TrajectoryKey | CrossedKey, Trajectory | Crossed] = OrderedDict()
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        self._row_bytes = 0
        self._lock = Lock()

    @classmethod
    def at(cls, place: TrajectoryCache | str | Path | None) -> TrajectoryCache:
        """The cache that a user means.

        Args:
            place: a cache, which is taken as it is; a folder; "off", for one in memory only; None
                for the user's cache folder, or what CONJURE_ST_CACHE says (a folder, or "off").
        """
        if isinstance(place, TrajectoryCache):
            return place
        if place is None:
            return cls(default_folder())
        return cls(None if str(place).lower() == "off" else place)

    # Trajectories ---------------------------------------------------------------------------

    def get(self, key: TrajectoryKey) -> Trajectory | None:
        """The trajectory, as far as it is known; None where it has to be sampled."""
        found = self._get(key, Trajectory)
        with self._lock:
            self.hits += found is not None
            self.misses += found is None
        return found

    def put(self, key: TrajectoryKey, trajectory: Trajectory) -> None:
        """Keep a trajectory, in place of an earlier one of that key."""
        self._put(key, trajectory, {name: str(value) for name, value in key._asdict().items()})

    def get_crossed(self, key: CrossedKey) -> Crossed | None:
        """What was said of one text along another's trajectory, where someone has kept it."""
        return self._get(key, Crossed)

    def put_crossed(self, key: CrossedKey, crossed: Crossed) -> None:
        """Keep outputs, in place of earlier ones of that key."""
        about = {name: str(value) for name, value in key.along._asdict().items()}
        self._put(key, crossed, {**about, "under": key.under})

    def known_crossed(self, keys: Sequence[CrossedKey]) -> list[frozenset[int]]:
        """The steps that `get_crossed` would find of each, without reading it."""
        return [Crossed.steps_of(shapes) for shapes in self._shapes(keys)]

    def known(self, keys: Sequence[TrajectoryKey]) -> list[Known]:
        """How much of each trajectory `get` would find, without reading it or counting a use."""
        return [Known.of_shapes(shapes) for shapes in self._shapes(keys)]

    def _get(self, key: TrajectoryKey | CrossedKey, kind: type[_Kept]) -> _Kept | None:
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
        if found is None and self.store is not None:
            tensors = self.store.get(key.digest())
            if tensors is not None:
                found = kind.of_tensors(tensors)
                self._hold(key, found)
        assert found is None or isinstance(found, kind)
        return found

    def _put(
        self, key: TrajectoryKey | CrossedKey, kept: Trajectory | Crossed, about: dict[str, str]
    ) -> None:
        self._hold(key, kept)
        if self.store is not None:
            self.store.put(key.digest(), kept.tensors(), about)

    def _shapes(
        self, keys: Sequence[TrajectoryKey] | Sequence[CrossedKey]
    ) -> list[dict[str, tuple[int, ...]]]:
        """Of the tensors held under each key, by name; none where there is nothing."""
        held = {key: self._held.get(key) for key in keys}
        shapes = {
            key: {name: tuple(tensor.shape) for name, tensor in kept.tensors().items()}
            for key, kept in held.items()
            if kept is not None
        }
        rest = {key.digest(): key for key in keys if key not in shapes}
        if self.store is not None and rest:
            for digest, found in self.store.shapes(list(rest)).items():
                shapes[rest[digest]] = found
        return [shapes.get(key, {}) for key in keys]

    # Rows -----------------------------------------------------------------------------------

    def get_rows(self, digests: Sequence[str]) -> dict[str, Tensor]:
        """The rows that are known, by digest."""
        with self._lock:
            found = {digest: self._rows[digest] for digest in digests if digest in self._rows}
            for digest in found:
                self._rows.move_to_end(digest)
        rest = [digest for digest in digests if digest not in found]
        if self.store is not None and rest:
            read = self.store.get_rows(rest)
            self._hold_rows(read)
            found |= read
        return found

    def put_rows(self, rows: Mapping[str, Tensor], model: str) -> None:
        """Keep rows, in place of earlier ones.

        Args:
            rows: small float32 tensors on the CPU, by digest.
            model: identity of the generative model that they come from.
        """
        self._hold_rows(rows)
        if self.store is not None:
            self.store.put_rows(rows, model)

    # Memory ---------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget everything held in memory; what is on disk stays."""
        with self._lock:
            self._held.clear()
            self._rows.clear()
            self.nbytes = self._row_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def _hold(self, key: TrajectoryKey | CrossedKey, kept: Trajectory | Crossed) -> None:
        with self._lock:
            self._drop(key)
            self._held[key] = kept
            self.nbytes += kept.nbytes
            while self.nbytes > self.max_bytes:
                self._drop(next(iter(self._held)))

    def _drop(self, key: TrajectoryKey | CrossedKey) -> None:
        dropped = self._held.pop(key, None)
        if dropped is not None:
            self.nbytes -= dropped.nbytes

    def _hold_rows(self, rows: Mapping[str, Tensor]) -> None:
        if self.max_bytes == 0:
            return
        with self._lock:
            for digest, row in rows.items():
                self._drop_row(digest)
                self._rows[digest] = row
                self._row_bytes += row.nbytes + ROW_OVERHEAD
            while self._row_bytes > ROW_BYTES:
                self._drop_row(next(iter(self._rows)))

    def _drop_row(self, digest: str) -> None:
        dropped = self._rows.pop(digest, None)
        if dropped is not None:
            self._row_bytes -= dropped.nbytes + ROW_OVERHEAD

    def __getstate__(self) -> dict[str, Any]:
        # A worker process starts with an empty memory: sending gigabytes costs more than it saves.
        return {
            "folder": None if self.store is None else self.store.folder,
            "max_bytes": self.max_bytes,
            "max_disk_bytes": 0 if self.store is None else self.store.max_bytes,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        TrajectoryCache.__init__(self, **state)
