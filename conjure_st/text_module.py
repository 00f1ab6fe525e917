"""TextModule: a generative model inside a sentence-transformers model, whatever it does with texts.

What every such module needs: loading the model, reading texts up to its limit, following `.to()`,
and a saved folder that holds a name or the weights.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn

from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.identity import pipeline_identity
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.generator import Process, process_of
from conjure_st.loading import EMBEDDED, load_generator
from conjure_st.model_kwargs import loading_options
from conjure_st.paths import expanded
from conjure_st.placement import keep_wide, precision_of
from conjure_st.settings import whole_number
from conjure_st.texts import beginning
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import language_identity
from conjure_st.textual.process import TextualProcess
from conjure_st.turns import turn_of
from conjure_st.written import Written

PIPELINE_FOLDER, LANGUAGE_MODEL_FOLDER = "pipeline", "language_model"
"""Where a saved module keeps a model that has no name on the hub."""


class TextModule(InputModule):
    """The first and only module of a sentence-transformers model of ours.

    A subclass adds `preprocess` and `forward`, and its own settings to `get_config_dict`; they
    arrive as arguments of its constructor when a folder is loaded.

    Args:
        model: what `conjure_st.denoisers.load` or `load_language_model` takes; or a denoiser or a
            LanguageModel.
        process: settings; a dict of them is what a saved folder has.
        loading: further arguments of these; a denoiser is loaded already.

    Attributes:
        generator: the model under its process: a denoiser or a LanguageModel.
        saved_name: what the model is called on the hub; None for a folder, a file or a pipeline.
        revision, variant: of the model on the hub.
        turn: of the thread that asks the model or reads texts; the others wait for theirs.

    Raises:
        ValueError: a model under its process was given together with another process, and whatever
            loading raises.
    """

    save_in_root = True

    def __init__(
        self,
        model: Any = "picturebook",
        process: Process | dict[str, Any] | None = None,
        **loading: Any,
    ) -> None:
        super().__init__()
        if isinstance(process, dict):
            process = process_of(process)
        self.generator: Denoiser | LanguageModel
        if isinstance(model, (Denoiser, LanguageModel)):
            if process is not None and process != model.process:
                kind = "language model" if isinstance(model, LanguageModel) else "denoiser"
                raise ValueError(
                    f"A {kind} has a process of its own, and another one was passed. Make the "
                    f"{kind} with that process."
                )
            asked = precision_of(loading.get("dtype"))
            if asked is not None and asked != model.process.dtype:
                raise ValueError(
                    f"dtype={asked!r} is of loading, and this model is loaded already, as "
                    f"{model.process.dtype}. Load it so, or move it with .to()."
                )
            self.generator = model
        else:
            self.generator = load_generator(model, process, **loading)
        # A folder or a file has no name that means the same elsewhere.
        named = isinstance(model, str) and (model in EMBEDDED or not expanded(model).exists())
        self.saved_name: str | None = model if named else None
        self.revision: str | None = loading.get("revision")
        if self.saved_name is not None and "@" in self.generator.identity:
            # The commit that the hub resolved the name to, so that a pointer stays what it was.
            self.revision = self.generator.identity.rpartition("@")[2].partition("+")[0]
        self.variant: str | None = loading.get("variant")
        # Registered, so that .to(), .parameters() and shared memory find the networks.
        components = getattr(self.pipeline, "components", {})
        if isinstance(self.generator, LanguageModel):
            components = {"language_model": self.generator.model}
        self.networks = nn.ModuleDict(
            {
                name: part
                for name, part in components.items()
                if isinstance(part, nn.Module) and name != "vae"
            }
        )
        self.turn = turn_of(self.pipeline or getattr(self.generator, "model", self.generator))
        self._written = Written()
        self._shorter: int | None = None
        self._warned_of_length = False

    # Texts ----------------------------------------------------------------------------------

    @property
    def denoiser(self) -> Denoiser:
        """The diffusion model under its process.

        Raises:
            TypeError: it is a language model, which has none.
        """
        if isinstance(self.generator, LanguageModel):
            raise TypeError(
                "A language model has no denoiser: it draws nothing. Use `generator`, or a "
                "text-to-image model."
            )
        return self.generator

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline; None for a language model, or a denoiser that has none."""
        return getattr(self.generator, "pipeline", None)

    @property
    def tokenizer(self) -> Any:  # type: ignore[override]  # the model's, not to be exchanged
        """The language model's or the text encoder's (the first, if there are several)."""
        return getattr(self.pipeline or self.generator, "tokenizer", None)

    @property
    def token_limit(self) -> int | None:
        """Tokens of a text that are read, its special ones included; None is no limit."""
        return getattr(self.generator, "token_limit", None)

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of a text that are read. Setting it cannot exceed the model's own limit."""
        return self._shorter or self.token_limit

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        if value is not None:
            value = whole_number("max_seq_length", value)
            if value < 1:
                raise ValueError(f"max_seq_length={value}: at least one token must be read.")
        limit = self.token_limit
        if value is not None and (limit is not None or isinstance(self.generator, LanguageModel)):
            generator: Any = self.generator
            textual = isinstance(generator, LanguageModel)
            around = generator.around if textual else generator.token_count("")
            if value <= around:
                raise ValueError(
                    f"max_seq_length={value} leaves no room for a text: special tokens and the "
                    f"prompt template are {around} by themselves. Pass {around + 1} at least."
                )
        longer = limit is not None and value is not None and value >= limit
        endless = limit is None and not isinstance(self.generator, LanguageModel)
        self._shorter = None if longer or endless else value

    def read(self, text: str) -> str:
        """The part of a text that is scored; warns, once, if the model's limit cuts it off."""
        most = self.max_seq_length
        if most is None:
            return text
        generator: Any = self.generator
        tokens = generator.token_count(text)
        if tokens <= most:
            return text
        if self._shorter is None and not self._warned_of_length:
            self._warned_of_length = True
            reader = "" if isinstance(generator, LanguageModel) else "'s text encoder"
            warnings.warn(
                f"A text has {tokens} tokens and this model{reader} reads {most}: the rest of it "
                f"does not count ({text[:40]!r}…). Further ones are not reported.",
                stacklevel=2,
            )
        if isinstance(generator, LanguageModel):
            return generator.cut(text, most)
        if self._shorter is None:
            return text  # the text encoder's tokenizer cuts it
        return beginning(text, most, generator.token_count(""), generator.token_count)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `.to()` and its like go through."""
        super()._apply(fn, recurse)
        keep_wide(self.networks.values())
        self.follow_networks()
        return self

    def follow_networks(self) -> None:
        """Tell the model where its networks are, in which precision, and if they are others now."""
        generator: Any = self.generator
        if self.networks.training:  # as `.train()` leaves them: what drops out is not repeatable
            self.networks.eval()
        with self._written.since_last(self.networks) as others:
            if isinstance(generator, (PipelineDenoiser, LanguageModel)):
                generator.follow()
            if others:
                generator.identity = (
                    language_identity(generator.model, generator.tokenizer)
                    if isinstance(generator, LanguageModel)
                    else pipeline_identity(generator.pipeline)
                )
                self.saved_name = None

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        with self._written.since_last(self.networks):
            pass  # a copy's weights are those of its name, and the next look tells others

    # Saving and loading ---------------------------------------------------------------------

    def get_config_dict(self) -> dict[str, Any]:
        """What config.json says: the model's name (None: in the folder beside), the process."""
        self.follow_networks()
        return {
            "model": self.saved_name,
            "revision": self.revision,
            "variant": self.variant,
            "max_seq_length": self._shorter,
            "process": self.generator.process.to_dict(),
        }

    def save(
        self, output_path: str, *args: Any, safe_serialization: bool = True, **kw: Any
    ) -> None:
        """A pointer to a named model; the weights themselves of any other.

        Raises:
            ValueError: the model is neither named nor something with weights.
        """
        folder = Path(output_path)
        self.follow_networks()  # weights that were changed have no name any more
        if self.saved_name is None and isinstance(self.generator, LanguageModel):
            for part in (self.generator.model, self.generator.tokenizer):
                part.save_pretrained(folder / LANGUAGE_MODEL_FOLDER)
        elif self.saved_name is None:
            if not isinstance(self.generator, PipelineDenoiser):
                raise ValueError(
                    f"A {type(self.generator).__name__} has no weights to save. Save a model "
                    "that was made from a name, a folder or a diffusers pipeline."
                )
            self.generator.save(folder / PIPELINE_FOLDER)
        (folder / self.config_file_name).write_text(
            json.dumps(self.get_config_dict(), indent=2) + "\n"
        )

    @classmethod
    def load(  # type: ignore[override]
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """From a folder that `save` wrote, or the hub's copy of one.

        Args:
            model_name_or_path: the folder.
            model_kwargs: dtype, device and variant; see `loading_options`.
            processor_kwargs: "model_max_length", which is how max_length= arrives.

        Raises:
            ValueError, FileNotFoundError: the folder has no usable config.json, or no weights.
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
                "save_pretrained wrote, or a generative model."
            )
        model: Any = config.pop("model")
        if model is None:
            textual = isinstance(process_of(config["process"]), TextualProcess)
            part = LANGUAGE_MODEL_FOLDER if textual else PIPELINE_FOLDER
            place["subfolder"] = str(Path(subfolder, part))
            found = cls.load_dir_path(model_name_or_path, **place)  # type: ignore[arg-type]
            if found is None:
                raise FileNotFoundError(
                    f"{model_name_or_path} has no folder {part}, which holds the weights of a "
                    "saved model. Copy all that save_pretrained wrote, folders as well as files."
                )
            model = Path(found)
        shorter = (processor_kwargs or {}).get(
            "model_max_length", config.pop("max_seq_length", None)
        )
        options: dict[str, Any] = {"token": token, "local_files_only": local_files_only, **config}
        options |= loading_options(model_kwargs)
        if isinstance(model, Path):
            options.pop("variant")  # the folder holds the weights under their plain names
        if trust_remote_code:
            # Given to let this class be imported; it covers the model's own code as well.
            options["trust_remote_code"] = True
        made = cls(model, **options)
        made.max_seq_length = shorter
        return made
