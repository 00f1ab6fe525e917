"""ConjureCrossEncoder: a sentence-transformers CrossEncoder whose scores come from imagery.

`ConjureModule` is its one module: pairs of texts in, one logit a pair out. With the normalised
similarity c the logit is log((1+c)/(1-c)), so that the sigmoid that every user of a CrossEncoder
expects gives (1+c)/2 in [0, 1]; with the raw Jeffreys divergence it is -J.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import InputModule
from sentence_transformers.cross_encoder.model_card import CrossEncoderModelCardData
from torch import nn

from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers import Denoiser, load
from conjure_st.divergence import Divergence
from conjure_st.process import GenerativeProcess
from conjure_st.scorer import Cost, Measure, TrajectoryScorer
from conjure_st.texts import Pair, check_pairs, check_text

Similarity = Literal["normalised", "jeffreys"]

LARGEST_LOGIT = 20.0
"""sigmoid(20) is 1 in float32, and nothing is infinite."""
PIPELINE_FOLDER = "pipeline"
"""Where a saved module keeps a model that has no name on the hub."""


class ConjureModule(InputModule):
    """Pairs of texts to logits, for use inside a sentence-transformers CrossEncoder.

    Args:
        model: what `conjure_st.denoisers.load` takes, or a denoiser.
        process: settings; a dict of them is what a saved folder has.
        similarity: "normalised" (c) or "jeffreys" (-J, the paper's raw score).
        cache: of trajectories; a new one in memory by default.
        evaluation_batch_size: rows of one denoiser call; None chooses by device.
        loading: further arguments of `conjure_st.denoisers.load`.

    Raises:
        ValueError: an unknown similarity, and whatever loading raises.
    """

    save_in_root = True

    def __init__(
        self,
        model: Any = "picturebook",
        process: GenerativeProcess | dict[str, Any] | None = None,
        similarity: Similarity = "normalised",
        *,
        cache: TrajectoryCache | None = None,
        evaluation_batch_size: int | None = None,
        **loading: Any,
    ) -> None:
        super().__init__()
        if similarity not in get_args(Similarity):
            raise ValueError(
                f"similarity={similarity!r} is unknown. Pass one of {get_args(Similarity)}."
            )
        if isinstance(process, dict):
            process = GenerativeProcess.from_dict(process)
        denoiser = model if isinstance(model, Denoiser) else load(model, process, **loading)
        self.name = model if isinstance(model, str) else None
        self.revision: str | None = loading.get("revision")
        self.variant: str | None = loading.get("variant")
        self.similarity: Similarity = similarity
        self.scorer = TrajectoryScorer(
            denoiser,
            cache=cache,
            batch_size=evaluation_batch_size,
            normalise=similarity == "normalised",
        )
        # Registered, so that .to(), .parameters() and shared memory find the networks.
        self.networks = nn.ModuleDict(
            {
                name: part
                for name, part in getattr(self.pipeline, "components", {}).items()
                if isinstance(part, nn.Module) and name != "vae"
            }
        )
        self._shorter: int | None = None
        self._warned_of_length = False

    # Texts ----------------------------------------------------------------------------------

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline; None for a denoiser that has none."""
        return getattr(self.scorer.denoiser, "pipeline", None)

    @property
    def tokenizer(self) -> Any:
        """The text encoder's tokenizer (the first, if there are several)."""
        return getattr(self.pipeline, "tokenizer", None)

    @property
    def token_limit(self) -> int | None:
        """Tokens that the text encoder reads, its special ones included; None is no limit."""
        return getattr(self.scorer.denoiser, "token_limit", None)

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of a text that are read. Setting it cannot exceed the text encoder's limit."""
        return self._shorter or self.token_limit

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        if value is not None and value < 1:
            raise ValueError(f"max_seq_length={value}: at least one token must be read.")
        limit = self.token_limit
        self._shorter = None if value is None or limit is None or value >= limit else value

    def read(self, text: str) -> str:
        """The part of a text that is scored; warns, once, if the encoder's limit cuts it off."""
        limit = self.token_limit
        if limit is None:
            return text
        count: Callable[[str], int] = self.scorer.denoiser.token_count  # type: ignore[attr-defined]
        tokens = count(text)
        if self._shorter is not None and tokens > self._shorter:
            words = text.split()
            while len(words) > 1 and count(" ".join(words)) > self._shorter:
                words.pop()
            return " ".join(words)
        if tokens > limit and not self._warned_of_length:
            self._warned_of_length = True
            warnings.warn(
                f"A text has {tokens} tokens and this model's text encoder reads {limit}: the "
                f"rest of it does not count ({text[:40]!r}…). Further ones are not reported.",
                stacklevel=2,
            )
        return text

    def pairs(self, inputs: Any, prompt: str | None = None) -> list[Pair]:
        """Inputs as checked pairs of what is read; a prompt goes before the first text."""
        return [
            (self.read(f"{prompt or ''}{first}"), self.read(second))
            for first, second in check_pairs(inputs)
        ]

    # sentence-transformers ------------------------------------------------------------------

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The features of a batch: its pairs."""
        return {"pairs": self.pairs(inputs, prompt)}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds "scores", [B, 1] float32 on the model's device: one logit a pair."""
        found = self.divergences(features["pairs"])
        if self.similarity == "jeffreys":
            logits = torch.tensor([-d.jeffreys for d in found], dtype=torch.float32)
        else:
            c = torch.tensor([d.similarity for d in found], dtype=torch.float64)
            logits = (torch.log1p(c) - torch.log1p(-c)).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        features["scores"] = logits.float().to(self.scorer.denoiser.device).unsqueeze(1)
        return features

    def divergences(
        self, pairs: Sequence[Pair], show_progress_bar: bool = False
    ) -> list[Divergence]:
        """Of checked pairs."""
        self.follow_networks()
        return self.scorer.divergences(pairs, show_progress_bar=show_progress_bar)

    def follow_networks(self) -> None:
        """Tell the denoiser where `.to()` has moved its networks, and in which precision."""
        denoiser: Any = self.scorer.denoiser
        network = getattr(denoiser, "network", None)
        if network is not None:
            denoiser.device, denoiser.dtype = network.device, network.dtype

    # Saving and loading ---------------------------------------------------------------------

    def get_config_dict(self) -> dict[str, Any]:
        """What config.json says: the model's name (None: in the folder beside), the process."""
        return {
            "model": self.name,
            "revision": self.revision,
            "variant": self.variant,
            "similarity": self.similarity,
            "process": self.scorer.denoiser.process.to_dict(),
        }

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kw: Any) -> None:
        """A pointer to a named model; the weights themselves of any other.

        Raises:
            ValueError: the model is neither named nor a pipeline.
        """
        folder = Path(output_path)
        config = self.get_config_dict()
        if self.name is None or Path(self.name).exists():
            if self.pipeline is None:
                raise ValueError(
                    f"A {type(self.scorer.denoiser).__name__} has no weights to save. Save a model "
                    "that was made from a name, a folder or a diffusers pipeline."
                )
            config["model"] = None
            self.pipeline.save_pretrained(folder / PIPELINE_FOLDER, safe_serialization=True)
        (folder / self.config_file_name).write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def load(  # type: ignore[override]
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> ConjureModule:
        """From a folder that `save` wrote, or the hub's copy of one.

        Args:
            model_name_or_path: the folder.
            model_kwargs: may give "dtype", "variant" and "device", as for any other model.

        Raises:
            ValueError: the folder has no usable config.json.
        """
        place = {
            "subfolder": subfolder,
            "token": token,
            "cache_folder": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        config = cls.load_config(model_name_or_path, **place)  # type: ignore[arg-type]
        if "process" not in config:
            raise ValueError(
                f"{model_name_or_path} has no config.json of conjure-st. Pass a folder that "
                "save_pretrained wrote, or a diffusers model to ConjureCrossEncoder."
            )
        model: Any = config.pop("model")
        if model is None:
            folder = str(Path(subfolder) / PIPELINE_FOLDER) if subfolder else PIPELINE_FOLDER
            model = cls.load_dir_path(model_name_or_path, **{**place, "subfolder": folder})  # type: ignore[arg-type]
            model = Path(model)
        wanted = {k: v for k, v in (model_kwargs or {}).items() if k in ("dtype", "variant", "device")}
        options = {"token": token, "local_files_only": local_files_only, **config, **wanted}
        if isinstance(options.get("variant"), str) and isinstance(model, Path):
            options.pop("variant")  # the folder holds the weights under their plain names
        return cls(model, **options)


class ConjureCrossEncoder(CrossEncoder):
    """Similarity of two texts by what they make a text-to-image diffusion model imagine.

    Args:
        model_name_or_path: "picturebook" (the embedded model, offline), a diffusers model on the
            hub, its folder or single .safetensors file, a diffusers pipeline, a denoiser, or a
            folder that `save_pretrained` wrote.
        process: settings of the generative process; defaults to `GenerativeProcess()`.
        similarity: "normalised": scores in [0, 1], (1+c)/2. "jeffreys": -J, the paper's score.
        device: "cpu", "cuda", …; None chooses.
        dtype: of the network, such as "float16"; None is the process's, or float32.
        variant: of the weight files, such as "fp16".
        revision: of a model on the hub.
        token: of the hub.
        local_files_only: never ask the hub.
        trust_remote_code: let a model on the hub bring its own pipeline code.
        cache: of trajectories, which may be shared between models; in memory by default.
        evaluation_batch_size: rows of one denoiser call; None chooses by device. Scores do not
            depend on it. (`predict`'s own batch_size counts pairs.)
        max_length: tokens of a text that are read, up to the text encoder's own limit.
        prompts: texts to put before a pair's first text, by name; see CrossEncoder. To put both
            texts into a sentence, use the process's prompt_template.
        default_prompt_name: which of them is used unasked.
        activation_fn: on the logits. None is the sigmoid for "normalised", nothing for "jeffreys".
        model_card_data: see CrossEncoder.

    Raises:
        ValueError, TypeError, OSError: as `conjure_st.denoisers.load`.
    """

    # A saved folder names this class; it is ours and installed, so it needs no trust.
    _module_classes: ClassVar[dict[str, type]] = {
        f"{ConjureModule.__module__}.{ConjureModule.__name__}": ConjureModule
    }

    def __init__(
        self,
        model_name_or_path: Any = "picturebook",
        *,
        process: GenerativeProcess | None = None,
        similarity: Similarity = "normalised",
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        variant: str | None = None,
        revision: str | None = None,
        token: bool | str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        cache: TrajectoryCache | None = None,
        evaluation_batch_size: int | None = None,
        max_length: int | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        activation_fn: Callable[..., Any] | None = None,
        model_card_data: CrossEncoderModelCardData | None = None,
    ) -> None:
        common: dict[str, Any] = {
            "device": device,
            "prompts": prompts,
            "default_prompt_name": default_prompt_name,
            "trust_remote_code": trust_remote_code,
            "local_files_only": local_files_only,
            "model_card_data": model_card_data,
        }
        if _is_saved(model_name_or_path):
            super().__init__(
                str(model_name_or_path),
                activation_fn=activation_fn,
                token=token,
                model_kwargs={"dtype": dtype} if dtype else None,
                **common,
            )
            scorer = self.module.scorer
            scorer.batch_size = evaluation_batch_size
            scorer.cache = scorer.cache if cache is None else cache
        else:
            module = ConjureModule(
                model_name_or_path,
                process,
                similarity,
                cache=cache,
                evaluation_batch_size=evaluation_batch_size,
                **({} if isinstance(model_name_or_path, Denoiser) else {
                    "device": device,
                    "dtype": dtype,
                    "variant": variant,
                    "revision": revision,
                    "token": token,
                    "local_files_only": local_files_only,
                    "trust_remote_code": trust_remote_code,
                }),
            )  # fmt: skip
            if activation_fn is None and similarity == "jeffreys":
                activation_fn = nn.Identity()
            super().__init__(
                modules=[module],
                activation_fn=activation_fn,
                **{**common, "device": device or str(module.scorer.denoiser.device)},
            )
        if max_length is not None:
            self.module.max_seq_length = max_length

    @property
    def module(self) -> ConjureModule:
        """The one module: scorer, denoiser, process."""
        first = self[0]
        assert isinstance(first, ConjureModule)
        return first

    @property
    def scorer(self) -> TrajectoryScorer:
        """The engine, with its cache and its count of denoiser evaluations."""
        return self.module.scorer

    @property
    def process(self) -> GenerativeProcess:
        """The settings under which texts are compared."""
        return self.scorer.denoiser.process

    def cost(self, pairs: Sequence[Any]) -> Cost:
        """What scoring these pairs would cost now; see `TrajectoryScorer.cost`."""
        return self.scorer.cost(self.module.pairs(pairs))

    def divergence(
        self, pairs: Sequence[Any], *, show_progress_bar: bool = False
    ) -> list[Divergence]:
        """Everything about each pair: Jeffreys, both KLs, similarity, errors, steps and samples.

        Args:
            pairs: M pairs of texts, or one pair.
            show_progress_bar: count denoiser evaluations.

        Returns:
            M of them. Under similarity="jeffreys" the c of each is NaN, as the unconditional
            process is not evaluated.

        Raises:
            ValueError: something is no pair of texts, or the model's output is not finite.
        """
        if len(pairs) == 2 and all(isinstance(text, str) for text in pairs):
            pairs = [tuple(pairs)]
        return self.module.divergences(self.module.pairs(pairs), show_progress_bar)

    def distance_matrix(
        self,
        texts: Sequence[str],
        texts2: Sequence[str] | None = None,
        *,
        measure: Measure = "jeffreys",
        show_progress_bar: bool = False,
    ) -> np.ndarray:
        """Divergences of N texts from one another, or from M others; [N, M] float64.

        Args and errors: as `TrajectoryScorer.distance_matrix`.
        """
        module = self.module
        module.follow_networks()
        return module.scorer.distance_matrix(
            [module.read(check_text(text)) for text in texts],
            None if texts2 is None else [module.read(check_text(text)) for text in texts2],
            measure=measure,
            show_progress_bar=show_progress_bar,
        )


def _is_saved(model: Any) -> bool:
    """Whether it is a local folder of sentence-transformers, rather than of diffusers."""
    return isinstance(model, (str, Path)) and (Path(model) / "modules.json").is_file()


