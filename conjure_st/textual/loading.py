"""From a model's name, folder or objects to a language model under its process.

The configuration says what a model is, never its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from conjure_st.denoisers.identity import config_text, folder_identity, weights_digest
from conjure_st.paths import expanded
from conjure_st.placement import check_device, precision_of
from conjure_st.textual.language_model import LanguageModel, constants, put_back
from conjure_st.textual.process import TextualProcess

CAUSAL = "Pass a causal language model, which continues a text, such as gpt2."

EMBEDDED = {"picturebook-lm": Path(__file__).parent.parent / "models" / "picturebook_lm"}
"""Language models that come with this package."""


def load_language_model(
    model: Any = "picturebook-lm",
    process: TextualProcess | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    variant: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """A language model under its process.

    Args:
        model: "picturebook-lm" (the embedded model), a Hugging Face model id, a folder of a
            transformers model and its tokenizer, or a ready pair (model, tokenizer). Weights are
            read from safetensors only; nothing is unpickled.
        process: the settings; defaults to `TextualProcess()`. The model's own `process` has the
            dtype filled in.
        device: "cpu", "cuda", "mps", …; None is CUDA if there is one, else the CPU, and for a
            ready model where it is.
        dtype: of the network, as "float16" or `torch.float16`; overrides the process's. None is
            float32, and for a ready model its own.
        variant: of the weight files, such as "fp16".
        revision: of a model on the hub.
        token: of the hub.
        local_files_only: never ask the hub.
        trust_remote_code: let a model on the hub bring its own code.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no model.
        OSError: the hub does not have the model, or cannot be reached.
        TypeError: `model` is none of the above.
        ValueError: an unknown or absent device, a broken file, a model that is no causal language
            model, or settings that do not fit it.
    """
    process = process or TextualProcess()
    check_device(device)
    precision = precision_of(dtype) or process.dtype
    if isinstance(model, (tuple, list)) and len(model) == 2:
        ready: Any = model[0]
        tokenizer: Any = model[1]
        if not isinstance(ready, PreTrainedModel) or not callable(tokenizer):
            raise TypeError(
                "A ready language model is a pair of a transformers model and its tokenizer, not "
                f"of {type(ready).__name__} and {type(tokenizer).__name__}."
            )
        called = type(ready).__name__
        check_causal(ready.config, called)
        if device is not None or precision is not None:
            place: Any = {"device": device, "dtype": precision and getattr(torch, precision)}
            kept = constants(ready)
            ready.to(**{name: value for name, value in place.items() if value is not None})
            put_back(ready, kept)
        identity = language_identity(ready, tokenizer)
    elif isinstance(model, (str, Path)):
        hub: dict[str, Any] = {
            "revision": revision,
            "token": token,
            "local_files_only": local_files_only,
            "trust_remote_code": trust_remote_code,
        }
        source, config = configuration(model, **hub)
        called, path = source, Path(source)
        with _named(source):
            if not path.is_dir():
                place = {key: hub[key] for key in ("revision", "token", "local_files_only")}
                # A folder of the hub's cache: .../snapshots/<commit>/config.json
                commit = Path(hf_hub_download(source, "config.json", **place)).parent.name
            tokenizer = AutoTokenizer.from_pretrained(source, **hub)
            ready = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=getattr(torch, precision or "float32"),
                variant=variant,
                use_safetensors=True,
                **hub,
            )
        ready.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        suffix = f"+{variant}" if variant else ""
        identity = (folder_identity(path) if path.is_dir() else f"{source}@{commit}") + suffix
    else:
        raise TypeError(
            "A language model is a name, a folder or a pair (model, tokenizer), not "
            f"{type(model).__name__}."
        )
    ready.eval()
    own = str(ready.dtype).removeprefix("torch.")
    made = LanguageModel(ready, tokenizer, process.replace(dtype=own), identity)
    if not tokenizer("a cat").input_ids:
        raise ValueError(
            f"{called} has no tokenizer, or one that knows no words: of a text "
            "nothing is left. Put the tokenizer's files beside the model's."
        )
    if not made.looks_back_only():
        raise ValueError(
            f"{called} ({type(ready).__name__}) looks ahead: what it says after a word depends on "
            f"the words that follow, so it cannot continue a text. {CAUSAL}"
        )
    # else prompts of one length go together, and are read again for each token
    made.keeps_prefix = made.keeps_prefix and made.pads_before()
    return made


def configuration(model: str | Path, **hub: Any) -> tuple[str, PreTrainedConfig]:
    """Folder or name of a causal language model and its configuration; no weights are read.

    Args:
        model: a name or folder; see `load_language_model`.
        hub: its arguments that say which files are meant.

    Raises:
        FileNotFoundError, OSError, ValueError: as `load_language_model`.
    """
    path = EMBEDDED.get(str(model), expanded(model))
    if not path.is_dir() and (path.exists() or str(model).count("/") > 1):
        raise FileNotFoundError(
            f"There is no folder {str(model)!r} of a transformers model. Pass such a folder, "
            "or a model id of the hub."
        )
    source = str(path) if path.is_dir() else str(model)
    with _named(source):
        config = AutoConfig.from_pretrained(source, **hub)
    check_causal(config, source)
    return source, config


@contextmanager
def _named(source: str) -> Iterator[None]:
    """What transformers and the hub say, in sentences that name the model."""
    try:
        yield
    except (SafetensorError, json.JSONDecodeError, RuntimeError) as error:
        raise ValueError(
            f"The language model in {source} could not be loaded: {error} Files may be "
            "missing, or cut short by a broken download; fetch them again."
        ) from error
    except (OSError, HTTPError) as error:
        raise OSError(_unreachable(source, Path(source).is_dir(), error)) from error


def check_causal(config: PreTrainedConfig, name: str) -> None:
    """That a configuration is of a causal language model.

    Raises:
        ValueError: it is an encoder-decoder, a masked model or something else; it is named.
    """
    kind = config.model_type
    architectures = ", ".join(config.architectures or ()) or type(config).__name__
    if config.is_encoder_decoder:
        raise ValueError(
            f"{name} is an encoder-decoder model ({architectures}), which answers a text and does "
            f"not continue it. {CAUSAL}"
        )
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        raise ValueError(
            f"{name} is a masked language model ({architectures}): it looks at both sides of a "
            f"word and cannot continue a text. {CAUSAL}"
        )
    brings_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not brings_code:
        raise ValueError(f"{name} is no causal language model but {architectures}. {CAUSAL}")


def _unreachable(source: str, is_folder: bool, error: Exception) -> str:
    if is_folder:
        return f"The language model in {source} could not be loaded: {error}"
    return (
        f"{source!r} could not be had from the Hugging Face hub: the model does not exist, is not "
        "open to you (pass token=), has no safetensors weights, or the hub cannot be reached and "
        f"nothing is cached. There is no local folder {source!r} either. The embedded models "
        '"picturebook" and "picturebook-lm" need no network.'
    )


def language_identity(model: PreTrainedModel, tokenizer: Any) -> str:
    """Of objects in memory: a digest of weights, configuration and tokenizer, as they are now."""
    digest = hashlib.sha256(weights_digest(model).encode())
    digest.update(config_text(model.config).encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {}
    for what_a_call_leaves_behind in ("truncation", "padding"):
        rules.pop(what_a_call_leaves_behind, None)
    read = tokenizer("a cat").input_ids  # with the special tokens that it puts around
    ends = getattr(model.generation_config, "eos_token_id", None)
    special = [tokenizer.eos_token, tokenizer.bos_token, ends]
    vocabulary = sorted(tokenizer.get_vocab().items())
    digest.update(json.dumps([rules, vocabulary, read, *special], sort_keys=True).encode())
    return f"sha256-{digest.hexdigest()}"
