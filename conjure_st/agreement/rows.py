"""Rows of a generative model: its own scores, and the controls that say what is not its doing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple, TypeAlias, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch
from tqdm import tqdm

from conjure_st.agreement.row import Read, Unit, unit_of
from conjure_st.cache import TrajectoryCache
from conjure_st.controls import in_context, text_embeddings, untrained
from conjure_st.cross_encoder import ConjureCrossEncoder
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.divergence import Divergence
from conjure_st.engines import scorer_of
from conjure_st.texts import Pair, check_pairs
from conjure_st.textual.language_model import LanguageModel

Generative: TypeAlias = Denoiser | LanguageModel

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


_FOUND: WeakKeyDictionary[Generative, dict[tuple[object, ...], dict[Pair, _Numbers]]] = (
    WeakKeyDictionary()
)
"""By model and setting, what was scored while the model lives.

Rows that differ in their measure alone thus share every evaluation, however little the cache
holds. Two numbers a pair are next to nothing.
"""


class Trajectories:
    """The scores of a model, by what it draws or says.

    Args:
        model: whose divergences, of either kind. What it evaluates is kept in its cache, and the
            numbers of each pair for as long as the denoiser or language model lives: a second row
            of the same model costs nothing.
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
            "method": "continuations" if self.unit == "tokens" else "imagery",
            "measure": measure,
            "model": model.module.saved_name,
            "identity": model.module.generator.identity,
            "process": model.process.to_dict(),
            "max_seq_length": model.module.max_seq_length,
            "prompt": model.prompts.get(model.default_prompt_name or ""),
        }

    @property
    def unit(self) -> Unit:
        """Of `spent` and `nfe`."""
        return unit_of(self.model.module.generator)

    @property
    def spent(self) -> int:
        """The model's evaluations so far, whichever row has asked for them."""
        return self.model.scorer.nfe

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[1, M] float64; see `Row`."""
        module = self.model.module
        module.follow_networks()
        generator = module.generator
        found = _found(
            generator,
            (generator.identity, generator.dtype, generator.process, self.model.scorer.normalise),
            self.model.read(check_pairs(pairs)),
            lambda missing: module.divergences(missing, show_progress_bar=show_progress_bar),
        )
        return _scores([found], self.measure)

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """What this model spends from an empty cache; both measures take the same passes."""
        self.model.module.follow_networks()
        read = self.model.read(check_pairs(pairs))
        return _nfe(self.model.module.generator, read, self.model.scorer.normalise)


class Untrained:
    """A control: the same model with its weights permuted; see `controls.untrained`.

    What it scores is the text encoder's (or tokenizer's) and the architecture's, not what the model
    has learnt. Each seed's network is made when it is needed and dropped after its scores, so that
    there is one copy in memory at a time. The unconditional process is evaluated whatever the
    measure, so that rows of both measures share everything.

    Args:
        generator: a denoiser of a pipeline, or a language model. It is left as it is.
        measure: "normalised", the similarity c; "jeffreys", -J.
        seeds: R of them, of the permutations.
        name: of the row.
        cache: of the controls' trajectories and pairs; a new one in memory by default.
        batch_size: rows of one call of the network; None chooses.
        read: gives what is scored of checked pairs, such as a model's `read`; None is the texts
            themselves, of a language model as much as its context holds.

    Raises:
        TypeError: a denoiser without a pipeline, so without weights to permute.
        ValueError: an unknown measure; no seed, or the same one twice.
    """

    def __init__(
        self,
        generator: Generative,
        measure: Of,
        seeds: Sequence[int],
        name: str,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
        read: Read | None = None,
    ) -> None:
        _check_measure(measure)
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"seeds={list(seeds)} of the untrained control: pass one or more, each once, "
                "such as (0, 1, 2)."
            )
        self.generator = _with_weights(generator, "the untrained control")
        self.measure: Of = measure
        self.seeds = list(seeds)
        self.name = name
        self.cache = TrajectoryCache() if cache is None else cache
        self.batch_size = batch_size
        self.read = read
        self.settings: dict[str, object] = {
            "method": "untrained",
            "measure": measure,
            "seeds": self.seeds,
            "identity": generator.identity,
            "process": generator.process.to_dict(),
        }
        self._spent = 0

    @property
    def unit(self) -> Unit:
        """Of `spent` and `nfe`."""
        return unit_of(self.generator)

    @property
    def spent(self) -> int:
        """Evaluations of this row so far; what another row has paid for is not in it."""
        return self._spent

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[R, M] float64, a line for each seed; see `Row`."""
        generator = self.generator
        read = _as_read(generator, self.read, pairs)
        found = [
            _found(
                generator,
                ("untrained", seed, generator.identity, generator.dtype, generator.process),
                read,
                partial(self._evaluated, seed, show_progress_bar),
            )
            for seed in self.seeds
        ]
        return _scores(found, self.measure)

    def _evaluated(self, seed: int, show_progress_bar: bool, pairs: list[Pair]) -> list[Divergence]:
        control = untrained(self.generator, seed)
        scorer = scorer_of(control, cache=self.cache, batch_size=self.batch_size)
        try:
            return scorer.divergences(pairs, show_progress_bar=show_progress_bar)
        finally:
            self._spent += scorer.nfe

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """What all seeds spend from an empty cache."""
        read = _as_read(self.generator, self.read, pairs)
        return len(self.seeds) * _nfe(self.generator, read, normalise=True)


class TextEncoder:
    """A control: the cosine of the model's own embeddings; see `controls.text_embeddings`.

    Of a diffusion model they are its text encoder's, of a language model its hidden states' means.

    Args:
        generator: a denoiser of a pipeline, or a language model.
        name: of the row.
        read: as of `Untrained`.

    Raises:
        TypeError: a denoiser without a pipeline, so without a text encoder.
    """

    def __init__(self, generator: Generative, name: str, read: Read | None = None) -> None:
        self.generator = _with_weights(generator, "the text encoder's row")
        self.name = name
        self.read = read
        self.settings: dict[str, object] = {
            "method": "hidden states" if self.unit == "tokens" else "text encoder",
            "identity": generator.identity,
            "dtype": str(generator.dtype),
            "prompt_template": generator.process.prompt_template,
        }
        self._spent = 0

    @property
    def unit(self) -> Unit:
        """Of `spent` and `nfe`."""
        return unit_of(self.generator)

    @property
    def spent(self) -> int:
        """0 of a diffusion model, whose denoiser is not asked; else tokens read so far."""
        return self._spent

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[1, M] float64; see `Row`."""
        read = _as_read(self.generator, self.read, pairs)
        texts = sorted({text for pair in read for text in pair})
        unit: dict[str, torch.Tensor] = {}
        with tqdm(total=len(texts), unit=" texts", disable=not show_progress_bar, delay=2) as bar:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                some = texts[start : start + TEXTS_AT_ONCE]
                embedded = text_embeddings(self.generator, some).double()
                unit.update(zip(some, torch.nn.functional.normalize(embedded), strict=True))
                self._spent += self._tokens(some)
                bar.update(len(some))
        return np.array([[1.0 if a == b else float(unit[a] @ unit[b]) for a, b in read]])

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """0 of a diffusion model, whose denoiser is not asked; else tokens of the texts."""
        read = _as_read(self.generator, self.read, pairs)
        return self._tokens({text for pair in read for text in pair})

    def _tokens(self, texts: Iterable[str]) -> int:
        of = self.generator
        return sum(map(of.token_count, texts)) if isinstance(of, LanguageModel) else 0


def _as_read(generator: Generative, read: Read | None, pairs: Sequence[Pair]) -> list[Pair]:
    checked = check_pairs(pairs)
    if read is not None:
        return read(checked)
    return [(in_context(generator, a), in_context(generator, b)) for a, b in checked]


def _found(
    generator: Generative,
    setting: tuple[object, ...],
    pairs: list[Pair],
    evaluate: Callable[[list[Pair]], list[Divergence]],
) -> list[_Numbers]:
    """The numbers of checked pairs, evaluated where no row has asked for them yet."""
    known = _FOUND.setdefault(generator, {}).setdefault(setting, {})
    missing = [pair for pair in dict.fromkeys(pairs) if pair not in known]
    if missing:
        known.update(zip(missing, map(_Numbers.of, evaluate(missing)), strict=True))
    return [known[pair] for pair in pairs]


def _scores(found: Sequence[Sequence[_Numbers]], measure: Of) -> np.ndarray:
    return np.array([[getattr(n, measure) for n in line] for line in found], dtype=np.float64)


def _nfe(generator: Generative, pairs: list[Pair], normalise: bool) -> int:
    return scorer_of(generator, normalise=normalise).cost(pairs).nfe


def _with_weights(generator: Generative, what: str) -> PipelineDenoiser | LanguageModel:
    if not isinstance(generator, (PipelineDenoiser, LanguageModel)):
        raise TypeError(
            f"A {type(generator).__name__} has no diffusers pipeline, which {what} is made from. "
            "Leave that row out, or load the model from a name, a folder or a pipeline."
        )
    return generator


def _check_measure(measure: str) -> None:
    if measure not in get_args(Of):
        raise ValueError(f"measure={measure!r} is unknown. Pass one of {get_args(Of)}.")
