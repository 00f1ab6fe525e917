"""Which models are language models, and what is said of those that are none."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from language_models import BUILDERS, WORDS, double, encoder_decoder, gpt2, masked, tokenizer
from tokenizers import pre_tokenizers
from transformers import (
    AutoModelForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    XLNetConfig,
    XLNetLMHeadModel,
)

from conjure_st import ConjureCrossEncoder, GenerativeProcess, TextualProcess, load_language_model
from conjure_st.denoisers import Denoiser
from conjure_st.loading import is_language_model, load_generator
from conjure_st.text_module import TextModule
from conjure_st.textual.language_model import LanguageModel

FEW = TextualProcess(continuations=3, tokens=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return BUILDERS["gpt2"]().save(tmp_path_factory.mktemp("models") / "gpt2")


def test_a_folder_is_known_by_its_configuration_and_not_by_its_name(folder, tmp_path):
    misnamed = tmp_path / "stable-diffusion"
    shutil.copytree(folder, misnamed)
    found = load_generator(misnamed, FEW)
    assert isinstance(found, LanguageModel)
    assert found.process == FEW.replace(dtype="float32")
    assert isinstance(load_generator("picturebook"), Denoiser)


def test_a_process_of_the_other_kind_is_refused(folder):
    with pytest.raises(ValueError, match="is a language model, and a GenerativeProcess"):
        load_generator(folder, GenerativeProcess())
    with pytest.raises(
        ValueError, match="'picturebook' is no language model, and a TextualProcess"
    ):
        load_generator("picturebook", FEW)


@pytest.mark.parametrize(
    ("name", "process", "expected"),
    [
        ("picturebook", None, False),
        ("picturebook-lm", None, True),
        ("gpt2", None, True),  # ids without an owner are of old language models
        ("Qwen2.5-0.5B", None, True),
        ("owner/name", GenerativeProcess(), False),
        ("owner/name-0.5B", TextualProcess(), True),
        ("model.safetensors", None, False),
        ("/no/such/folder", None, False),
    ],
)
def test_names_that_are_no_folder(name, process, expected):
    assert is_language_model(name, process, {"local_files_only": True}) is expected


@pytest.mark.parametrize(("file", "expected"), [("model_index.json", False), ("config.json", True)])
def test_the_hub_s_files_say_what_a_model_is(file, expected, monkeypatch, tmp_path):
    def download(name, asked, **place):
        assert (name, place["revision"]) == ("owner/model", "v2")
        if place["local_files_only"]:
            raise LocalEntryNotFoundError(asked)
        if asked != file:
            raise EntryNotFoundError(asked)
        return str(tmp_path / asked)

    monkeypatch.setattr("conjure_st.loading.hf_hub_download", download)
    assert is_language_model("owner/model", None, {"revision": "v2"}) is expected


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    asked = []

    def download(name, file, **place):
        asked.append((file, place["local_files_only"]))
        raise LocalEntryNotFoundError(file)

    monkeypatch.setattr("conjure_st.loading.hf_hub_download", download)
    assert is_language_model("owner/model", None, {}) is False
    assert [file for file, local in asked if not local] == ["model_index.json"]


def test_what_cannot_be_had_is_said_with_a_way_out():
    with pytest.raises(OSError, match=r"'gpt2' could not be had[^$]*picturebook-lm"):
        load_language_model("gpt2", local_files_only=True)
    with pytest.raises(FileNotFoundError, match="no folder '/no/such/folder'"):
        load_language_model("/no/such/folder")
    with pytest.raises(TypeError, match="not int"):
        load_language_model(3)
    with pytest.raises(TypeError, match="not of GPT2Config and "):
        load_language_model((GPT2Config(), BUILDERS["gpt2"]().tokenizer))


@pytest.mark.parametrize(
    ("make", "message"),
    [(masked, "masked language model .BertForMaskedLM"), (encoder_decoder, r"encoder-decoder.*T5")],
)
def test_models_that_do_not_continue_texts_are_named_and_refused(make, message, tmp_path):
    folder = make(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        ConjureCrossEncoder(folder)


def test_a_ready_model_is_checked_as_well(tmp_path):
    model = AutoModelForMaskedLM.from_pretrained(masked(tmp_path / "model"))
    with pytest.raises(ValueError, match="BertForMaskedLM is a masked"):
        load_language_model((model, tokenizer()))


def test_a_broken_file_is_a_value_error_that_names_the_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut could not be loaded"):
        load_language_model(tmp_path / "cut")


def test_no_pickle_is_opened(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(BUILDERS["gpt2"]().model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(OSError, match="pickled could not be loaded"):
        load_language_model(tmp_path / "pickled")


def test_device_and_precision(folder):
    assert load_language_model(folder, dtype="bfloat16").process.dtype == "bfloat16"
    assert load_language_model(folder, FEW.replace(dtype="float16")).dtype == torch.float16
    with pytest.raises(ValueError, match="device='cuda'"):
        load_language_model(folder, device="cuda")
    with pytest.raises(ValueError, match="dtype='int8' is unknown"):
        load_language_model(folder, dtype="int8")


def test_identity_is_of_weights_and_tokenizer(folder, tmp_path):
    one, two = BUILDERS["gpt2"](), BUILDERS["gpt2"]()
    names = [load_language_model((d.model, d.tokenizer)).identity for d in (one, two)]
    assert names[0] == names[1]
    with torch.no_grad():
        two.model.transformer.wpe.weight[0] += 1
    other_words = tokenizer([*WORDS[1:], WORDS[0]], bos="</s>", eos="</s>")
    names.append(load_language_model((two.model, two.tokenizer)).identity)
    names.append(load_language_model((one.model, other_words)).identity)
    assert len(set(names)) == 3
    assert load_language_model(folder).identity.startswith("sha256-")
    shutil.copytree(folder, tmp_path / "same")
    (tmp_path / "same" / "README.md").write_text("prose")
    assert load_language_model(tmp_path / "same").identity == load_language_model(folder).identity


# Texts and contexts -----------------------------------------------------------------------------


def test_a_text_beyond_the_context_is_cut_with_one_warning(folder):
    model = ConjureCrossEncoder(folder, process=FEW)
    assert model.module.max_seq_length == 64 - 4
    long, longer = " ".join(["the"] * 70), " ".join(["the"] * 90)
    with pytest.warns(UserWarning, match="A text has 90 tokens and this model reads 60") as said:
        [score, same] = model.predict([(long, "a cat"), (longer, "a cat")])
    assert len(said) == 1
    assert score == same == model.predict(("the " * 60, "a cat"))
    spaced = "the\n\n  cat " * 40
    assert model.module.read(spaced) == ("the\n\n  cat " * 30).rstrip()


def test_one_endless_word_is_cut_within_itself(tmp_path):
    made = BUILDERS["gpt2"]()
    letters = tokenizer(["a", "b", "c"], bos="</s>", eos="</s>", length=64)
    letters.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    model = ConjureCrossEncoder((made.model, letters), process=FEW)
    with pytest.warns(UserWarning, match="A text has 90 tokens and this model reads 60"):
        read = model.module.read("abc" * 30)
    assert read == "abc" * 20
    assert model.module.read("a " + "abc" * 30) == "a " + "abc" * 19 + "a"
    assert 0 < model.predict((read, "a")) < 1


def test_the_template_s_end_survives_the_cut(folder):
    model = ConjureCrossEncoder(folder, process=FEW.replace(prompt_template="{} is a"))
    with pytest.warns(UserWarning, match="tokens"):
        read = model.module.read(" ".join(["cat"] * 100))
    prompt = model.module.generator.prompt(read)
    assert len(prompt) == 60
    assert model.tokenizer.decode(prompt).endswith("cat is a")


def test_max_length_cuts_without_a_word(folder):
    model = ConjureCrossEncoder(folder, process=FEW, max_length=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.predict(("a red cat sleeps", "a dog")) == model.predict(("a red cat", "a dog"))


def test_a_limit_without_room_for_a_text_is_refused(folder):
    process = FEW.replace(prompt_template="the cat sees {} and sleeps")
    with pytest.raises(ValueError, match=r"max_seq_length=5 leaves no room.*are 5 by themselves"):
        ConjureCrossEncoder(folder, process=process, max_length=5)
    model = ConjureCrossEncoder(folder, process=process, max_length=6)
    with pytest.warns(UserWarning, match="empty text is scored as its prompt"):
        score = model.predict(("", "a dog"))
    assert 0 < score < 1


def test_what_overflows_is_no_model_that_looks_ahead():
    made = BUILDERS["gpt2"]()
    with torch.no_grad():
        made.model.lm_head.weight.fill_(torch.nan)
    model = ConjureCrossEncoder((made.model, made.tokenizer), process=FEW)
    with pytest.raises(ValueError, match=r"output for the text .*bfloat16"):
        model.predict(("a cat", "a dog"))


def test_ends_are_of_the_identity():
    made = BUILDERS["gpt2"]()
    names = {load_language_model((made.model, made.tokenizer)).identity}
    made.model.generation_config.eos_token_id = [1, 5]
    names.add(load_language_model((made.model, made.tokenizer)).identity)
    assert len(names) == 2


def test_a_context_without_room_is_refused(folder):
    with pytest.raises(ValueError, match=r"context has 64 tokens.*tokens=64"):
        load_language_model(folder, TextualProcess(tokens=64))


def test_an_empty_text_is_the_beginning_of_any_text_with_one_warning(folder):
    model = ConjureCrossEncoder(folder, process=FEW)
    with pytest.warns(UserWarning, match="empty text is scored as the beginning") as said:
        model.predict([("", "a cat"), (" ", "a dog")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict([("", "a bird")])
    assert len(said) == 1
    assert model.module.generator.prompt("") == [model.tokenizer.bos_token_id]


def test_a_model_without_special_tokens_scores_all_but_empty_texts():
    endless = BUILDERS["endless"]()
    assert endless.tokenizer.eos_token is None and endless.tokenizer.pad_token is None
    model = ConjureCrossEncoder((endless.model, endless.tokenizer), process=FEW)
    [found] = model.divergence([("a cat", "a small dog runs")])
    assert (found.terms != 0).all()  # no continuation ends early
    with pytest.raises(ValueError, match="An empty text has no tokens"):
        model.module.generator.prompt("")


def test_all_ends_that_the_generation_config_names_end_a_continuation():
    words = tokenizer(bos="</s>", eos="</s>")
    made = double(GPT2LMHeadModel, GPT2Config, words, n_embd=16, n_layer=1, n_head=2)
    made.model.generation_config.eos_token_id = [5, 6]
    model = load_language_model((made.model, made.tokenizer))
    assert model.eos_ids == {5, 6, words.eos_token_id}


# In a sentence-transformers model ---------------------------------------------------------------


def test_a_language_model_has_no_denoiser(folder):
    module = ConjureCrossEncoder(folder, process=FEW).module
    assert isinstance(module, TextModule)
    with pytest.raises(TypeError, match="A language model has no denoiser"):
        _ = module.denoiser


def test_moving_the_network_is_followed(folder):
    model = ConjureCrossEncoder(folder, process=FEW)
    before = model.predict(("a cat", "a dog"))
    model.bfloat16()
    after = model.predict(("a cat", "a dog"))
    assert model.process.dtype == "bfloat16"
    assert after == pytest.approx(before, abs=0.2) and after != before
    model.float()  # the weights are rounded, and not those that were loaded
    again = model.predict(("a cat", "a dog"))
    assert again == pytest.approx(before, abs=0.2) and again != before
    assert model.module.generator.identity.endswith("+bfloat16")


def test_nothing_drops_out_whatever_the_mode(folder):
    model = ConjureCrossEncoder(folder, process=FEW)
    model.train()
    model.divergence([("a cat", "a dog")])
    assert not model.module.generator.model.training


def test_a_model_under_its_process_takes_no_other(folder):
    made = load_language_model(folder, FEW)
    assert ConjureCrossEncoder(made).process == made.process
    with pytest.raises(ValueError, match="A language model has a process of its own"):
        ConjureCrossEncoder(made, process=TextualProcess())


def test_saved_weights_and_pointers(folder, tmp_path):
    model = ConjureCrossEncoder(folder, process=FEW)
    model.save_pretrained(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "language_model" / "model.safetensors").is_file()
    assert not list((tmp_path / "saved").rglob("*.bin"))
    again = ConjureCrossEncoder(tmp_path / "saved")
    assert again.process == model.process
    pair = ("a red cat", "a dog in the garden")
    assert again.predict(pair) == model.predict(pair)
    pointer = ConjureCrossEncoder("picturebook-lm", process=FEW)
    pointer.save_pretrained(str(tmp_path / "pointer"))
    config = json.loads((tmp_path / "pointer" / "config.json").read_text())
    assert config["model"] == "picturebook-lm" and config["process"]["format"] == "textual 1"
    assert not list((tmp_path / "pointer").rglob("*.safetensors"))


def test_a_model_that_looks_ahead_is_refused_whatever_it_is_called():
    torch.manual_seed(0)
    words = tokenizer(bos="<s>", eos="</s>")
    config = XLNetConfig(vocab_size=len(words), d_model=16, n_layer=1, n_head=2, d_inner=16)
    with pytest.raises(ValueError, match=r"XLNetLMHeadModel.* looks ahead"):
        load_language_model((XLNetLMHeadModel(config), words))


def test_a_folder_without_a_tokenizer_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "mute")
    for file in (tmp_path / "mute").glob("token*"):
        file.unlink()
    with pytest.raises((ValueError, OSError), match="tokenizer"):
        load_language_model(tmp_path / "mute")


def test_what_a_tokenizer_puts_behind_a_text_is_left_out_whatever_it_is_called():
    """BERT's, under a decoder: [CLS] $A [SEP], and neither is a beginning or an end."""
    words = tokenizer(unknown="<cls>", pad="<sep>", frame="<cls> $A <sep>")
    made = gpt2(words)
    model = load_language_model((made.model, made.tokenizer), FEW)
    cls, sep = words.convert_tokens_to_ids(["<cls>", "<sep>"])
    assert sep not in model.eos_ids
    prompt = model.prompt("a cat")
    assert (prompt[0], len(prompt)) == (cls, 3) and sep not in prompt
    assert model.prompt("") == [cls] and model.around == 1


def test_tokens_around_a_text_are_those_that_stay(folder):
    made = BUILDERS["mistral"]()  # a begin token, the text, an end token
    model = load_language_model((made.model, made.tokenizer), FEW)
    assert model.around == 1 and model.token_count("a") == 2
    short = ConjureCrossEncoder(model, max_length=2)
    assert short.module.read("a cat") == "a"
    opt = BUILDERS["opt"]()  # what begins a text is what ends it
    assert load_language_model((opt.model, opt.tokenizer), FEW).around == 1


def test_a_dtype_of_a_model_that_is_loaded_is_refused(folder):
    made = load_language_model(folder, FEW)
    with pytest.raises(ValueError, match=r"dtype='float16' is of loading.*as float32"):
        ConjureCrossEncoder(made, dtype="float16")
    assert ConjureCrossEncoder(made, dtype="float32").process.dtype == "float32"
