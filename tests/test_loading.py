"""From names, folders, files and pipelines to denoisers, and what is said when there is no way."""

import json
import shutil

import diffusers
import pytest
import torch
from conftest import BUILDERS, WORDS, ddim, sd3, stable_diffusion, tokenizer
from safetensors.torch import load_file, save_file
from transformers import ElectraConfig, ElectraModel

from conjure_st.denoisers import load, loading, stack
from conjure_st.denoisers.single_file import pipeline_class
from conjure_st.models.pipeline import SLOTS, PicturebookPipeline
from conjure_st.process import GenerativeProcess

OWN = GenerativeProcess(scheduler=None, steps=3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved tiny Stable Diffusion. Copy it to change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    stable_diffusion().save_pretrained(folder)
    return folder


def prediction(denoiser):
    x, k = denoiser.initial_noise([0, 1]), torch.tensor([0, 2])
    return denoiser.predict(x, k, stack(denoiser.encode(["a red cat", "the dog"])))


@pytest.mark.parametrize("family", BUILDERS)
def test_a_folder_gives_what_the_pipeline_gives(family, tmp_path):
    pipeline = BUILDERS[family]()
    pipeline.save_pretrained(tmp_path)
    from_folder, from_memory = load(tmp_path, OWN, device="cpu"), load(pipeline, OWN)
    assert torch.allclose(prediction(from_folder), prediction(from_memory), atol=1e-4)
    assert from_folder.latent_shape == from_memory.latent_shape


def test_the_vae_is_loaded_for_the_first_picture_only(saved, monkeypatch):
    calls = []
    original = diffusers.AutoencoderKL.from_pretrained.__func__

    def counted(cls, *args, **kwargs):
        calls.append(args)
        return original(cls, *args, **kwargs)

    monkeypatch.setattr(diffusers.AutoencoderKL, "from_pretrained", classmethod(counted))
    denoiser = load(str(saved), OWN)
    prediction(denoiser)
    assert denoiser.pipeline.vae is None
    assert calls == []
    x = denoiser.initial_noise([0])
    [picture] = denoiser.decode(x)
    assert picture.size == (16, 16)
    assert denoiser.decode(x)[0].tobytes() == picture.tobytes()
    assert len(calls) == 1
    ready = stable_diffusion()
    latents = x / ready.vae.config.scaling_factor
    with torch.no_grad():
        decoded = ready.vae.decode(latents).sample
    [expected] = ready.image_processor.postprocess(decoded, output_type="pil")
    assert picture.tobytes() == expected.tobytes()


def test_identity_follows_the_weights(saved, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(saved, copy)
    assert load(copy, OWN).identity == load(saved, OWN).identity
    weights_file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes() + b"drawing does not count")
    (copy / "README.md").write_text("nor does prose")
    (copy / "unet" / "diffusion_pytorch_model.safetensors.license").write_text("nor do terms")
    assert load(copy, OWN).identity == load(saved, OWN).identity
    weights_file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights_file)
    tensors["conv_in.bias"] += 1e-3
    save_file(tensors, weights_file, metadata={"format": "pt"})
    assert load(copy, OWN).identity != load(saved, OWN).identity

    pipeline = stable_diffusion()
    before = load(pipeline, OWN).identity
    assert load(stable_diffusion(), OWN).identity == before
    with torch.no_grad():
        pipeline.text_encoder.get_input_embeddings().weight[4] += 1e-3
    assert load(pipeline, OWN).identity != before
    assert load(BUILDERS["sdxl"](), OWN).identity != before


def test_dtype(saved):
    half = load(saved, OWN, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.process == OWN.replace(dtype="bfloat16")
    assert load(saved, OWN.replace(dtype="bfloat16")).dtype == torch.bfloat16
    assert load(saved, OWN).process.dtype == "float32"
    with pytest.raises(ValueError, match="'int8'"):
        load(saved, OWN, dtype="int8")


def test_the_embedded_pipeline_class_is_known(tmp_path):
    """A pixel model: SD3's transformer, no VAE, sample prediction, our own pipeline class."""

    torch.manual_seed(0)
    width = 16
    encoder = ElectraConfig(
        vocab_size=len(WORDS),
        embedding_size=width,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=24,
        patch_size=12,
        in_channels=3,
        out_channels=3,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=width,
        pooled_projection_dim=SLOTS * width,
        pos_embed_max_size=2,
    )
    pipeline = PicturebookPipeline(
        tokenizer=tokenizer(16),
        text_encoder=ElectraModel(encoder).eval(),
        transformer=transformer.eval(),
        scheduler=ddim(prediction_type="sample"),
    )
    text = "a red cat on the blue car dog"  # as long as the slots that the tokenizer would add
    pipeline.save_pretrained(tmp_path)
    denoiser = load(tmp_path, GenerativeProcess(steps=3))
    assert type(denoiser.pipeline) is PicturebookPipeline
    assert denoiser.latent_shape == (3, 24, 24)
    assert denoiser.schedule.prediction_type == "sample"
    x = denoiser.initial_noise([0])
    output = denoiser.predict(x, torch.tensor([1]), denoiser.encode([text])[0])
    assert output.shape == x.shape
    assert denoiser.decode(x)[0].size == (24, 24)


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"'no-such-model'.*picturebook"):
        load("no-such-model")
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(TypeError, match="not int"):
        load(3)
    with pytest.raises(ValueError, match="computes nothing"):
        load("picturebook", device="meta")
    with pytest.raises(ValueError, match="device='xpu' cannot be used here"):
        load("picturebook", device="xpu")

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(loading.DiffusionPipeline, "download", unreachable)
    with pytest.raises(OSError, match=r"'owner/model'.*token=.*picturebook"):
        load("owner/model")


def test_a_model_of_the_hub_is_named_with_its_commit(saved, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--owner--model" / "snapshots" / "abc123"
    shutil.copytree(saved, snapshot)
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(snapshot)

    monkeypatch.setattr(loading.DiffusionPipeline, "download", download)
    denoiser = load("owner/model", OWN, revision="main", token="secret")
    assert denoiser.identity == "owner/model@abc123"
    assert (asked["name"], asked["revision"], asked["token"]) == ("owner/model", "main", "secret")
    assert asked["use_safetensors"] is True
    assert "vae" in asked  # named, so not downloaded


@pytest.mark.parametrize("name", ["model.ckpt", "pytorch_model.bin"])
def test_pickles_are_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"pickled.*safetensors"):
        load(tmp_path / name)


def test_a_folder_of_pickles_is_refused(saved, tmp_path):
    copy = tmp_path / "pickled"
    shutil.copytree(saved, copy)
    weights_file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights_file), weights_file.with_suffix(".bin"))
    weights_file.unlink()
    with pytest.raises(ValueError, match="could not be loaded"):
        load(copy)


def test_damaged_files_are_named(saved, tmp_path):
    copy = tmp_path / "cut"
    shutil.copytree(saved, copy)
    weights_file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut short"):
        load(copy)
    with pytest.raises(ValueError, match="damaged or cut short"):
        load(weights_file)


def test_unknown_classes_are_named_with_the_known_ones(saved, tmp_path):
    copy = tmp_path / "unknown"
    shutil.copytree(saved, copy)
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "_class_name": "NewPipeline"}))
    with pytest.raises(ValueError, match=r"'NewPipeline'.*trust_remote_code"):
        load(copy)
    pipeline = diffusers.DDIMPipeline(
        unet=diffusers.UNet2DModel(
            sample_size=8,
            block_out_channels=(8,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            norm_num_groups=4,
        ),
        scheduler=ddim(),
    )
    with pytest.raises(ValueError, match=r"UNet2DModel.*SD3Transformer2DModel.*ADAPTERS"):
        load(pipeline)


def test_inpainting_models_are_refused():
    with pytest.raises(ValueError, match="in_channels=9"):
        load(stable_diffusion(in_channels=9, out_channels=4))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cond_stage_model.transformer.x", "StableDiffusionPipeline"),
        ("conditioner.embedders.1.model.x", "StableDiffusionXLPipeline"),
        ("model.diffusion_model.joint_blocks.0.context_block.x", "StableDiffusion3Pipeline"),
    ],
)
def test_a_single_files_family_follows_from_its_tensors(name, expected, tmp_path):
    path = tmp_path / "misleading-sd3-xl-name.safetensors"
    tensors = {name: torch.zeros(1), "model.diffusion_model.time_embed": torch.zeros(1)}
    save_file(tensors, path)
    assert pipeline_class(path).__name__ == expected


def test_a_lora_is_not_a_pipeline(tmp_path):
    save_file({"unet.lora.down.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="LoRA"):
        load(tmp_path / "lora.safetensors")


def test_without_its_vae_a_pipeline_says_so():
    pipeline = stable_diffusion()
    pipeline.vae = None
    denoiser = load(pipeline, OWN)
    with pytest.raises(ValueError, match="has no VAE"):
        denoiser.decode(denoiser.initial_noise([0]))


def test_dynamic_shifting_follows_the_picture_size():
    def timesteps(**size):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        return load(sd3(scheduler), OWN.replace(**size)).schedule.timesteps

    small, large = timesteps(height=16, width=16), timesteps(height=16, width=32)
    assert small[0] == large[0] == 1000
    assert (small[1:] < large[1:]).all()


def test_what_a_ready_pipeline_drops_out_is_switched_off():
    pipeline = stable_diffusion()
    pipeline.text_encoder.train()
    pipeline.unet.train()
    load(pipeline, OWN)
    assert not pipeline.text_encoder.training and not pipeline.unet.training
