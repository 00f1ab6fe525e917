"""TextModule: a diffusion model inside a sentence-transformers model, whatever it does with texts.

What every such module needs: loading the denoiser, reading texts up to the encoder's limit,
following `.to()`, and a saved folder that holds a name or the weights.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from sentence_transformers.base.modules import InputModule
from torch import nn

from conjure_st.denoisers import Denoiser, load
from conjure_st.process import GenerativeProcess

PIPELINE_FOLDER = "pipeline"
"""Where a saved module keeps a model that has no name on the hub."""


class TextModule(InputModule):
    """The first and only module of a sentence-transformers model of ours.

    A subclass adds `preprocess` and `forward`, and its own settings to `get_config_dict`; they
    arrive as arguments of its constructor when a folder is loaded.

    Args:
        model: what `conjure_st.denoisers.load` takes, or a denoiser.
        process: settings; a dict of them is what a saved folder has.
        loading: further arguments of `conjure_st.denoisers.load`; a denoiser is loaded already.

    Attributes:
        denoiser: the model under its process.
        saved_name: what the model is called on the hub; None for a folder, a file or a pipeline.
        revision, variant: of the model on the hub.

    Raises:
        ValueError: a denoiser was given together with another process, and whatever loading raises.
    """

    save_in_root = True

    def __init__(
        self,
        model: Any = "picturebook",
        process: GenerativeProcess | dict[str, Any] | None = None,
        **loading: Any,
    ) -> None:
        super().__init__()
        if isinstance(process, dict):
            process = GenerativeProcess.from_dict(process)
        if isinstance(model, Denoiser):
            if process is not None and process != model.process:
                raise ValueError(
                    "A denoiser has a process of its own, and another one was passed. Make the "
                    "denoiser with that process."
                )
            self.denoiser = model
        else:
            self.denoiser = load(model, process, **loading)
        # A folder or a file has no name that means the same elsewhere.
        named = isinstance(model, str) and not Path(model).expanduser().exists()
        self.saved_name: str | None = model if named else None
        self.revision: str | None = loading.get("revision")
        if self.saved_name is not None and "@" in self.denoiser.identity:
            # The commit that the hub resolved the name to, so that a pointer stays what it was.
            self.revision = self.denoiser.identity.rpartition("@")[2].partition("+")[0]
        self.variant: str | None = loading.get("variant")
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
        return getattr(self.denoiser, "pipeline", None)

    @property
    def tokenizer(self) -> Any:  # type: ignore[override]  # the pipeline's, not to be exchanged
        """The text encoder's tokenizer (the first, if there are several)."""
        return getattr(self.pipeline, "tokenizer", None)

    @property
    def token_limit(self) -> int | None:
        """Tokens that the text encoder reads, its special ones included; None is no limit."""
        return getattr(self.denoiser, "token_limit", None)

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
        count: Callable[[str], int] = self.denoiser.token_count  # type: ignore[attr-defined]
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

    def follow_networks(self) -> None:
        """Tell the denoiser where `.to()` has moved its networks, and in which precision."""
        denoiser: Any = self.denoiser
        network = getattr(denoiser, "network", None)
        if network is not None and network.dtype != denoiser.dtype:
            denoiser.dtype = network.dtype
            dtype = str(network.dtype).removeprefix("torch.")
            denoiser.process = denoiser.process.replace(dtype=dtype)
        if network is not None:
            denoiser.device = torch.device(denoiser.pipeline._execution_device)

    # Saving and loading ---------------------------------------------------------------------

    def get_config_dict(self) -> dict[str, Any]:
        """What config.json says: the model's name (None: in the folder beside), the process."""
        self.follow_networks()
        return {
            "model": self.saved_name,
            "revision": self.revision,
            "variant": self.variant,
            "max_seq_length": self._shorter,
            "process": self.denoiser.process.to_dict(),
        }

    def save(
        self, output_path: str, *args: Any, safe_serialization: bool = True, **kw: Any
    ) -> None:
        """A pointer to a named model; the weights themselves of any other.

        Raises:
            ValueError: the model is neither named nor a pipeline.
        """
        folder = Path(output_path)
        if self.saved_name is None:
            if self.pipeline is None:
                raise ValueError(
                    f"A {type(self.denoiser).__name__} has no weights to save. Save a model "
                    "that was made from a name, a folder or a diffusers pipeline."
                )
            self.pipeline.save_pretrained(folder / PIPELINE_FOLDER, safe_serialization=True)
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
            model_kwargs: may give "dtype", "variant" and "device", as for any other model.
            processor_kwargs: "model_max_length", which is how max_length= arrives.

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
                "save_pretrained wrote, or a diffusion model."
            )
        model: Any = config.pop("model")
        if model is None:
            folder = str(Path(subfolder) / PIPELINE_FOLDER) if subfolder else PIPELINE_FOLDER
            model = cls.load_dir_path(model_name_or_path, **{**place, "subfolder": folder})  # type: ignore[arg-type]
            model = Path(model)
        wanted = {
            name: value
            for name, value in (model_kwargs or {}).items()
            if name in ("dtype", "variant", "device")
        }
        shorter = (processor_kwargs or {}).get(
            "model_max_length", config.pop("max_seq_length", None)
        )
        options = {"token": token, "local_files_only": local_files_only, **config, **wanted}
        if isinstance(model, Path):
            options.pop("variant")  # the folder holds the weights under their plain names
        elif trust_remote_code:
            # Given to let this class be imported; it covers the model's own code as well.
            options["trust_remote_code"] = True
        made = cls(model, **options)
        made.max_seq_length = shorter
        return made


def saved_model_type(model: Any) -> str | None:
    """Which kind of model a local folder of sentence-transformers holds.

    Returns:
        Such as "CrossEncoder"; None if it is no such folder (but a name, or diffusers' own).
    """
    if not isinstance(model, (str, Path)) or not (Path(model) / "modules.json").is_file():
        return None
    config = Path(model) / "config_sentence_transformers.json"
    # sentence-transformers takes a folder that does not say for this one.
    kind = "SentenceTransformer"
    return str(json.loads(config.read_text()).get("model_type", kind)) if config.is_file() else kind
