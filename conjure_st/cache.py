"""The trajectories that were paid for: found again by model, process, text and sample."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from threading import Lock
from typing import Any, NamedTuple

from conjure_st.denoisers import Denoiser
from conjure_st.trajectory import Trajectory


class TrajectoryKey(NamedTuple):
    """Everything that a trajectory is a function of.

    Attributes:
        model: the denoiser's identity.
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
    def of(cls, denoiser: Denoiser, text: str, sample: int) -> TrajectoryKey:
        """The key of a text's sample under a denoiser and its process."""
        process = denoiser.process.trajectory_fingerprint()
        return cls(denoiser.identity, process, str(denoiser.dtype), text, sample)

    def digest(self) -> str:
        """64 hexadecimal digits, for a file's name."""
        canonical = json.dumps(list(self), ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class TrajectoryCache:
    """Trajectories in memory, the least recently used dropped first.

    Args:
        max_bytes: of tensors held; 2 GiB by default, which is some 3,800 samples of the embedded
            model's ten-step trajectories or 1,600 of Stable Diffusion's.

    Raises:
        ValueError: max_bytes is negative.
    """

    def __init__(self, max_bytes: int = 2 << 30) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes={max_bytes} is negative. Pass 0 to keep nothing.")
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.hits = 0
        self.misses = 0
        self._held: OrderedDict[TrajectoryKey, Trajectory] = OrderedDict()
        self._lock = Lock()

    def get(self, key: TrajectoryKey) -> Trajectory | None:
        """The trajectory, or None where it has to be sampled."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._held.move_to_end(key)
            return found

    def peek(self, key: TrajectoryKey) -> Trajectory | None:
        """As `get`, without counting as a use."""
        return self._held.get(key)

    def put(self, key: TrajectoryKey, trajectory: Trajectory) -> None:
        """Keep a trajectory, in place of an earlier one of that key."""
        with self._lock:
            self._drop(key)
            self._held[key] = trajectory
            self.nbytes += trajectory.nbytes
            while self.nbytes > self.max_bytes:
                self._drop(next(iter(self._held)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self.nbytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def _drop(self, key: TrajectoryKey) -> None:
        dropped = self._held.pop(key, None)
        if dropped is not None:
            self.nbytes -= dropped.nbytes

    def __getstate__(self) -> dict[str, Any]:
        # A worker process starts with an empty cache: sending gigabytes costs more than it saves.
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        TrajectoryCache.__init__(self, state["max_bytes"])
