"""Rows of a diffusion model: its imagery, and the controls that say what is not the imagery's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache
from conjure_st.controls import text_embeddings, untrained
from conjure_st.cross_encoder import ConjureCrossEncoder
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.divergence import Divergence
from conjure_st.scorer import TrajectoryScorer
from conjure_st.texts import Pair, check_pairs

Of = Literal["normalised", "jeffreys"]
"""Which number of a divergence is the score: c, or -J."""

TEXTS_AT_ONCE = 64
"""Whose conditionings, a quarter of a megabyte each for Stable Diffusion, are held at a time."""


class _Numbers(NamedTuple):
    """What rows want of a divergence."""

    normalised: float
    jeffreys: float

    @classmethod
    def of(cls, found: Divergence) -> _Numbers:
        return cls(found.similarity, 0.0 - found.jeffreys)  # not -J, which is -0.0 for J = 0


_FOUND: WeakKeyDictionary[Denoiser, dict[tuple[object, ...], dict[Pair, _Numbers]]] = (
    WeakKeyDictionary()
)
"""By denoiser and setting, what was scored while the denoiser lives.

Rows that differ in their measure alone thus share every evaluation, however little the cache
holds. Two numbers a pair are next to nothing.
"""


class Imagery:
    """The scores of a model.

    Args:
        model: whose divergences. What it evaluates is kept in its cache, and the numbers of each
            pair for as long as its denoiser lives: a second row of the same model costs nothing.
        measure: "normalised", the similarity c; "jeffreys", -J.
        name: of the row.

    Raises:
        ValueError: an unknown measure, or c of a model that does not evaluate the unconditional
            process.
    """

    def __init__(self, model: ConjureCrossEncoder, measure: Of, name: str) -> None:
        _check_measure(measure)
        if measure == "normalised" and not model.scorer.normalise:
            raise ValueError(
                'This model was made with similarity="jeffreys", which leaves out the '
                'unconditional process that measure="normalised" needs. Make it with '
                'similarity="normalised" (its divergences have J as well), or pass '
                'measure="jeffreys".'
            )
        self.model = model
        self.measure: Of = measure
        self.name = name
        model.module.follow_networks()
        self.settings: dict[str, object] = {
            "method": "imagery",
            "measure": measure,
            "model": model.module.saved_name,
            "identity": model.module.denoiser.identity,
            "process": model.process.to_dict(),
            "max_seq_length": model.module.max_seq_length,
            "prompt": model.prompts.get(model.default_prompt_name or ""),
        }

    @property
    def spent(self) -> int:
        """Denoiser evaluations of the model so far, whichever row has asked for them."""
        return self.model.scorer.nfe

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[1, M] float64; see `Row`."""
        module = self.model.module
        module.follow_networks()
        denoiser = module.denoiser
        found = _found(
            denoiser,
            (denoiser.identity, denoiser.dtype, denoiser.process, self.model.scorer.normalise),
            self.model.read(check_pairs(pairs)),
            lambda missing: module.divergences(missing, show_progress_bar=show_progress_bar),
        )
        return _scores([found], self.measure)

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """What this model spends from an empty cache; both measures take the same passes."""
        self.model.module.follow_networks()
        read = self.model.read(check_pairs(pairs))
        return _nfe(self.model.module.denoiser, read, self.model.scorer.normalise)


class Untrained:
    """A control: the same model with the denoiser's weights permuted; see `controls.untrained`.

    What it scores is the text encoder's and the architecture's, not the imagery's. Each seed's
    network is made when it is needed and dropped after its scores, so that there is one copy in
    memory at a time. The unconditional process is evaluated whatever the measure, so that rows of
    both measures share everything.

    Args:
        denoiser: of a pipeline. It is left as it is.
        measure: "normalised", the similarity c; "jeffreys", -J.
        seeds: R of them, of the permutations.
        name: of the row.
        cache: of the controls' trajectories and pairs; a new one in memory by default.
        batch_size: rows of one denoiser call; None chooses by device.

    Raises:
        TypeError: the denoiser has no pipeline, so no weights to permute.
        ValueError: an unknown measure; no seed, or the same one twice.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        measure: Of,
        seeds: Sequence[int],
        name: str,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
    ) -> None:
        _check_measure(measure)
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"seeds={list(seeds)} of the untrained control: pass one or more, each once, "
                "such as (0, 1, 2)."
            )
        self.denoiser = _of_a_pipeline(denoiser, "the untrained control")
        self.measure: Of = measure
        self.seeds = list(seeds)
        self.name = name
        self.cache = TrajectoryCache() if cache is None else cache
        self.batch_size = batch_size
        self.settings: dict[str, object] = {
            "method": "untrained",
            "measure": measure,
            "seeds": self.seeds,
            "identity": denoiser.identity,
            "process": denoiser.process.to_dict(),
        }
        self._spent = 0

    @property
    def spent(self) -> int:
        """Denoiser evaluations of this row so far; what another row has paid for is not in it."""
        return self._spent

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[R, M] float64, a line for each seed; see `Row`."""
        checked, denoiser = check_pairs(pairs), self.denoiser
        found = [
            _found(
                denoiser,
                ("untrained", seed, denoiser.identity, denoiser.dtype, denoiser.process),
                checked,
                partial(self._evaluated, seed, show_progress_bar),
            )
            for seed in self.seeds
        ]
        return _scores(found, self.measure)

    def _evaluated(self, seed: int, show_progress_bar: bool, pairs: list[Pair]) -> list[Divergence]:
        control = untrained(self.denoiser, seed)
        scorer = TrajectoryScorer(control, cache=self.cache, batch_size=self.batch_size)
        try:
            return scorer.divergences(pairs, show_progress_bar=show_progress_bar)
        finally:
            self._spent += scorer.nfe

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """What all seeds spend from an empty cache."""
        return len(self.seeds) * _nfe(self.denoiser, check_pairs(pairs), normalise=True)


class TextEncoder:
    """A control: the cosine of the diffusion model's own text embeddings, pooled.

    Args:
        denoiser: of a pipeline.
        name: of the row.

    Raises:
        TypeError: the denoiser has no pipeline, so no text encoder.
    """

    def __init__(self, denoiser: Denoiser, name: str) -> None:
        self.denoiser = _of_a_pipeline(denoiser, "the text encoder's row")
        self.name = name
        self.settings: dict[str, object] = {
            "method": "text encoder",
            "identity": denoiser.identity,
            "dtype": str(denoiser.dtype),
            "prompt_template": denoiser.process.prompt_template,
        }

    @property
    def spent(self) -> int:
        """0: no denoiser is asked."""
        return 0

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[1, M] float64; see `Row`."""
        checked = check_pairs(pairs)
        texts = sorted({text for pair in checked for text in pair})
        unit: dict[str, torch.Tensor] = {}
        with tqdm(total=len(texts), unit=" texts", disable=not show_progress_bar, delay=2) as bar:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                some = texts[start : start + TEXTS_AT_ONCE]
                embedded = text_embeddings(self.denoiser, some).double()
                unit.update(zip(some, torch.nn.functional.normalize(embedded), strict=True))
                bar.update(len(some))
        return np.array([[1.0 if a == b else float(unit[a] @ unit[b]) for a, b in checked]])

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """0: no denoiser is asked."""
        check_pairs(pairs)
        return 0


def _found(
    denoiser: Denoiser,
    setting: tuple[object, ...],
    pairs: list[Pair],
    evaluate: Callable[[list[Pair]], list[Divergence]],
) -> list[_Numbers]:
    """The numbers of checked pairs, evaluated where no row has asked for them yet."""
    known = _FOUND.setdefault(denoiser, {}).setdefault(setting, {})
    missing = [pair for pair in dict.fromkeys(pairs) if pair not in known]
    if missing:
        known.update(zip(missing, map(_Numbers.of, evaluate(missing)), strict=True))
    return [known[pair] for pair in pairs]


def _scores(found: Sequence[Sequence[_Numbers]], measure: Of) -> np.ndarray:
    return np.array([[getattr(n, measure) for n in line] for line in found], dtype=np.float64)


def _nfe(denoiser: Denoiser, pairs: list[Pair], normalise: bool) -> int:
    return TrajectoryScorer(denoiser, normalise=normalise).cost(pairs).nfe


def _of_a_pipeline(denoiser: Denoiser, what: str) -> PipelineDenoiser:
    if not isinstance(denoiser, PipelineDenoiser):
        raise TypeError(
            f"A {type(denoiser).__name__} has no diffusers pipeline, which {what} is made from. "
            "Leave that row out, or load the model from a name, a folder or a pipeline."
        )
    return denoiser


def _check_measure(measure: str) -> None:
    if measure not in get_args(Of):
        raise ValueError(f"measure={measure!r} is unknown. Pass one of {get_args(Of)}.")
