"""Which rows stand in a table: those of a model with its controls, those of texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conjure_st.agreement.baselines import Embeddings, TfIdf
from conjure_st.agreement.images import Images
from conjure_st.agreement.row import Row
from conjure_st.agreement.rows import Of, TextEncoder, Trajectories, Untrained
from conjure_st.cross_encoder import ConjureCrossEncoder
from conjure_st.textual.language_model import LanguageModel

OF_MODEL = ("untrained", "text-encoder", "images")
"""Baselines that every model has of its own."""

OF_TEXTS = ("tfidf",)
"""Baselines without a model; any other name is a sentence-transformers model."""


def rows_of_model(
    model: ConjureCrossEncoder,
    name: str,
    baselines: Sequence[str],
    *,
    similarity: str | None = None,
    control_seeds: int = 3,
    images: int = 8,
    image_features: str | None = None,
) -> list[Row]:
    """A model's scores, and those of its baselines that are of the model.

    Args:
        model: a diffusion model or a language model, under its process.
        name: what the rows' names begin with; "" for the only model of a table.
        baselines: of `OF_MODEL`; others are left out.
        similarity: "normalised" or "jeffreys" alone; None is both, which cost no more than one.
        control_seeds: permutations of the untrained control.
        images: pictures a text of "images".
        image_features: a vision model of transformers, by name or folder; None is the pictures
            themselves, small.

    Raises:
        TypeError: "images" of a language model.
        ValueError: "normalised" of a model that does not evaluate the unconditional process.
    """
    before = f"{name}: " if name else ""
    measures: dict[Of, str] = {"normalised": "normalised similarity", "jeffreys": "raw Jeffreys"}
    if not model.scorer.normalise:
        del measures["normalised"]  # it does not evaluate the unconditional process
    kept = {key: value for key, value in measures.items() if similarity in (None, key)}
    if not kept:
        raise ValueError(
            f"The model {name or model.module.saved_name or 'in the table'} was made with "
            f'similarity="jeffreys", and has no {similarity} similarity. Leave it at that, or '
            'make the model with similarity="normalised".'
        )
    generator, cache = model.module.generator, model.scorer.cache
    textual = isinstance(generator, LanguageModel)
    ours = [Trajectories(model, key, before + value) for key, value in kept.items()]
    controls: list[Row] = []
    read = model.read  # so that all rows are of the same texts
    if "untrained" in baselines:
        for key in kept:
            shown = f"{before}untrained {'model' if textual else 'denoiser'}, "
            shown += "raw" if key == "jeffreys" else key
            seeds = range(control_seeds)
            controls.append(Untrained(generator, key, seeds, shown, cache=cache, read=read))
    if "images" in baselines:
        shown = f"{before}Gaussians of {images} images"
        row = Images(generator, images, image_features, shown, cache=cache, read=read)
        row.settings["features"] = row.features.identity  # loads a vision model: fails at once
        controls.append(row)
    if "text-encoder" in baselines:
        what = "hidden states'" if textual else "text encoder's"
        controls.append(TextEncoder(generator, f"{before}its {what} cosine", read=read))
    for control in controls:
        control.settings |= {key: ours[0].settings[key] for key in ("max_seq_length", "prompt")}
    return [*ours, *controls]


def rows_of_texts(baselines: Sequence[str], device: str | None = None) -> list[Row]:
    """Baselines that compare texts without a generative model.

    Args:
        baselines: "tfidf", and sentence-transformers models by name or folder; those of `OF_MODEL`
            are left out.
        device: of the sentence-transformers models.
    """
    models = [name for name in baselines if name not in OF_MODEL + OF_TEXTS]
    short = [Path(name).name for name in models]
    return [TfIdf() for name in baselines if name == "tfidf"] + [
        Embeddings(name, last if short.count(last) == 1 else name, device=device)
        for name, last in zip(models, short, strict=True)
    ]
