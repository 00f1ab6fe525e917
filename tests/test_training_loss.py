"""How the embedded model learns: the loss, its auxiliary heads, and going on from a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, SD3Transformer2DModel
from torch import Tensor
from transformers import ElectraConfig, ElectraModel

from conjure_st.denoisers.loading import EMBEDDED
from conjure_st.models.pipeline import SLOTS, PicturebookPipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import checkpoints
import train
import words
from grammar import COLOUR_LIST
from layout import SIZE, UNIT
from net import TEXT_WIDTH, WIDTH, Contents, Halfway, Names, pipeline, slots
from scenes import PATCHES, SIDES

CONCEPTS, N = 5, 6


class Small:
    """A pipeline's parts, with four narrow blocks."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.text_encoder = ElectraModel(
            ElectraConfig(
                vocab_size=40, embedding_size=16, hidden_size=TEXT_WIDTH, num_hidden_layers=1,
                num_attention_heads=2, intermediate_size=32, hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0, type_vocab_size=1, pad_token_id=0,
            )
        )  # fmt: skip
        self.transformer = SD3Transformer2DModel(
            sample_size=SIZE, patch_size=UNIT, in_channels=3, out_channels=3, num_layers=5,
            attention_head_dim=WIDTH // 2, num_attention_heads=2, joint_attention_dim=TEXT_WIDTH,
            caption_projection_dim=WIDTH, pooled_projection_dim=SLOTS * TEXT_WIDTH,
            pos_embed_max_size=SIZE // UNIT,
        )  # fmt: skip
        self.scheduler = DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
        )
        self.heads, self.halfway = Contents(CONCEPTS), Halfway(CONCEPTS)

    @property
    def modules(self) -> list[torch.nn.Module]:
        return [self.text_encoder, self.transformer, self.heads, self.halfway]

    def loss(self, batch: tuple[Tensor, ...], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        noise = torch.Generator().manual_seed(step)
        return train.loss(self, self.heads, self.halfway, batch, noise)  # type: ignore[arg-type]


@pytest.fixture
def small() -> Small:
    return Small()


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, ...]:
    """Six texts, the last of them dropped."""
    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (N, SLOTS + 4), generator=chance)
    contents = torch.stack(
        [
            torch.randint(0, most + 1, (N, PATCHES), generator=chance)
            for most in (CONCEPTS, len(COLOUR_LIST), len(SIDES))
        ],
        1,
    )
    contents[:, 0, 0] = 1  # something is there
    named = torch.arange(N - 1)
    pictures = torch.rand(N, 3, SIZE, SIZE, generator=chance) * 2 - 1
    background = torch.zeros(N, dtype=torch.int64)
    return ids, torch.ones_like(ids), named, pictures, contents, background


def step(model: Small, optimisers: list[torch.optim.Optimizer], batch: tuple[Tensor, ...],
         number: int) -> float:  # fmt: skip
    value, _ = model.loss(batch, number)
    value.backward()
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return value.item()


def test_a_head_that_knows_is_right_and_pays_nothing(batch: tuple[Tensor, ...]) -> None:
    contents = batch[4]
    names = Names(3 * 16, CONCEPTS)
    vectors = torch.cat(
        [torch.nn.functional.one_hot(c, 16).float() for c in contents.unbind(1)], -1
    )
    with torch.no_grad():
        for i, layer in enumerate((names.concept, names.colour, names.side)):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[:, 16 * i : 16 * i + layer.out_features] = 50 * torch.eye(
                layer.out_features
            )
        loss, right = names(vectors, contents)
        assert loss.item() == pytest.approx(0, abs=1e-6) and right.item() == pytest.approx(1)
        names.concept.weight.neg_()
        loss, right = names(vectors, contents)
    assert loss.item() > 10 and right.item() == 0


def test_every_part_learns_from_the_loss(small: Small, batch: tuple[Tensor, ...]) -> None:
    value, parts = small.loss(batch, 0)
    assert set(parts) == {"mse", "aux", "named", "halfway", "bound"}
    expected = train.AUXILIARY * parts["aux"] + train.HALFWAY * parts["halfway"]
    assert value.item() > expected
    value.backward()
    for module in small.modules:
        graded = [p for p in module.parameters() if p.grad is not None and p.grad.abs().max() > 0]
        assert len(graded) > 0.5 * len(list(module.parameters()))
    # what names patches half-way watches one call and then lets go
    block = small.transformer.transformer_blocks[Halfway.BLOCK]
    assert not block._forward_hooks


def test_the_loss_is_of_noised_pictures_each_under_its_own_text(
    small: Small, batch: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[dict[str, Any], Tensor]] = []
    denoise, name = small.transformer.forward, small.halfway.names.forward
    named: list[tuple[Tensor, Tensor]] = []

    def denoised(**given: Any) -> tuple[Tensor]:
        (found,) = denoise(**given)
        calls.append((given, found))
        return (found,)

    def naming(tokens: Tensor, contents: Tensor) -> tuple[Tensor, Tensor]:
        named.append((tokens, contents))
        return name(tokens, contents)

    halfway: list[Tensor] = []
    block = small.transformer.transformer_blocks[Halfway.BLOCK]
    block.register_forward_hook(lambda _block, _given, out: halfway.append(out[1]))
    monkeypatch.setattr(small.transformer, "forward", denoised)
    monkeypatch.setattr(small.halfway.names, "forward", naming)
    value, parts = small.loss(batch, 0)
    [(given, found)], x0 = calls, batch[3].repeat(train.REPEATS, 1, 1, 1)

    # x_t = √ᾱ x_0 + √(1-ᾱ) ε of the timestep that the denoiser is told
    alpha = small.scheduler.alphas_cumprod[given["timestep"]].view(-1, 1, 1, 1)
    epsilon = (given["hidden_states"] - alpha.sqrt() * x0) / (1 - alpha).sqrt()
    assert abs(epsilon.mean()) < 0.02 and abs(epsilon.std() - 1) < 0.02
    assert abs(torch.corrcoef(torch.stack([epsilon.flatten(), x0.flatten()]))[0, 1]) < 0.02
    weight = (1 / (1 - alpha)).clamp(max=train.MAX_WEIGHT)
    denoising = (weight * (found - x0) ** 2).mean()
    expected = denoising + train.AUXILIARY * parts["aux"] + train.HALFWAY * parts["halfway"]
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["mse"].item() == pytest.approx(((found - x0) ** 2).mean().item(), rel=1e-5)

    # every noise level of a picture is under that picture's text
    noise = torch.Generator().manual_seed(0)
    seen, *_ = train.reading(small, small.heads, batch, noise)  # type: ignore[arg-type]
    texts = given["encoder_hidden_states"].unflatten(0, (train.REPEATS, N))
    assert all(torch.allclose(of_level, seen, atol=1e-6) for of_level in texts)
    assert torch.equal(given["pooled_projections"], given["encoder_hidden_states"].flatten(1))

    # and every picture's patches have that scene's names, but for the dropped text's
    [(tokens, contents)], [patches] = named, halfway
    levels = patches.unflatten(0, (train.REPEATS, N))[:, : N - 1].flatten(0, 1)
    assert torch.equal(tokens, levels)
    assert torch.equal(contents, torch.cat([batch[4][: N - 1]] * train.REPEATS))


def test_noise_levels_are_spread_over_a_batch(small: Small, batch: tuple[Tensor, ...]) -> None:
    levels: list[Tensor] = []
    small.transformer.register_forward_pre_hook(
        lambda _, __, given: levels.append(given["timestep"]), with_kwargs=True
    )
    for i in range(200):
        small.loss(batch, i)
    steps = small.scheduler.config.num_train_timesteps
    u = (torch.stack(levels).double() / steps) ** (1 / train.TOWARDS_NOISE)
    # a scene's first level is in the lower half, and its second in the upper
    low, high = u.unflatten(1, (train.REPEATS, N)).unbind(1)
    assert low.max() < 0.51 and high.min() > 0.49
    # and of a batch's levels there is one in every part of its length
    parts = (u * train.REPEATS * N + 0.01).long().clamp(max=train.REPEATS * N - 1)
    assert (parts.sort(1).values == torch.arange(train.REPEATS * N)).double().mean() > 0.98
    assert 0.55 < torch.stack(levels).double().median() / steps < 0.59


def test_dropped_texts_teach_no_names(small: Small, batch: tuple[Tensor, ...]) -> None:
    other = list(batch)
    other[4] = batch[4].clone()
    other[4][N - 1, 0] = 3
    _, parts = small.loss(batch, 0)
    _, again = small.loss(tuple(other), 0)
    assert parts == again
    other[4][0, 0] = 3
    _, again = small.loss(tuple(other), 0)
    assert parts["aux"] != again["aux"] and parts["halfway"] != again["halfway"]


def test_text_alone_asks_no_denoiser_and_no_picture(
    small: Small, batch: tuple[Tensor, ...]
) -> None:
    ids, mask, named, _, contents, backgrounds = batch
    without = (ids, mask, named, torch.empty(0, 3, SIZE, SIZE), contents, backgrounds)
    noise = torch.Generator().manual_seed(0)
    seen, value, parts = train.reading(small, small.heads, without, noise)  # type: ignore[arg-type]
    assert seen.shape == (N, SLOTS, TEXT_WIDTH) and set(parts) == {"aux", "named"}
    value.backward()
    for module, learns in zip(small.modules, (True, False, True, False), strict=True):
        assert any(p.grad is not None for p in module.parameters()) is learns
    # and the whole loss holds the same
    assert small.loss(batch, 0)[1]["aux"] == parts["aux"]


def test_a_pipeline_takes_the_words_of_another() -> None:
    given = PicturebookPipeline.from_pretrained(EMBEDDED["picturebook"])
    begun = pipeline(3, given)
    ours, theirs = (p.text_encoder.embeddings for p in (begun, given))
    assert torch.equal(ours.word_embeddings.weight, theirs.word_embeddings.weight)
    assert not ours.word_embeddings.weight.requires_grad
    assert not torch.equal(ours.position_embeddings.weight, theirs.position_embeddings.weight)
    assert begun.tokenizer("a dog").input_ids == given.tokenizer("a dog").input_ids
    assert words.digest(begun.tokenizer) == words.digest(given.tokenizer)
    # the same networks as of the same seed, and with nothing drawn yet
    again = pipeline(3, given).transformer.state_dict()
    assert all(torch.equal(v, again[k]) for k, v in begun.transformer.state_dict().items())
    assert begun.transformer.proj_out.weight.abs().max() == 0


def test_noise_on_words_is_asked_for(small: Small, batch: tuple[Tensor, ...]) -> None:
    ids, mask = batch[:2]
    still = slots(small.text_encoder, ids, mask)
    assert torch.equal(still, slots(small.text_encoder, ids, mask))
    assert still.shape == (N, SLOTS, TEXT_WIDTH)
    one, two = (
        slots(small.text_encoder, ids, mask, torch.Generator().manual_seed(s)) for s in (0, 0)
    )
    assert torch.equal(one, two) and not torch.allclose(one, still, atol=1e-3)


def test_muon_steps_matrices_inside_blocks_and_adam_all_else(small: Small) -> None:
    small.text_encoder.embeddings.word_embeddings.weight.requires_grad_(False)
    muon, adam = (
        {id(p) for group in optimiser.param_groups for p in group["params"]}
        for optimiser in train.optimisers(small.modules, 1e-3)
    )
    trained = [p for module in small.modules for p in module.parameters() if p.requires_grad]
    assert not muon & adam and muon | adam == {id(p) for p in trained}
    encoder, block = small.text_encoder, small.transformer.transformer_blocks[0]
    inside = [encoder.encoder.layer[0].output.dense, block.attn.to_q, block.ff.net[2]]
    assert {id(layer.weight) for layer in inside} <= muon
    outside: list[Tensor] = [layer.bias for layer in inside]
    outside += [encoder.embeddings.position_embeddings.weight, block.norm1.linear.weight]
    outside += [small.transformer.proj_out.weight, small.heads.read.weight]
    assert {id(p) for p in outside} <= adam


Learned = tuple[dict[str, torch.nn.Parameter], dict[str, Tensor], Tensor]


def learned(model: Small) -> Learned:
    """What is trained, by name; an average of it, as it might be; the table, which is not."""
    table = model.text_encoder.embeddings.word_embeddings.weight.requires_grad_(False)
    parameters = {
        f"{i}.{name}": p
        for i, module in enumerate(model.modules)
        for name, p in module.named_parameters()
        if p.requires_grad
    }
    return parameters, {k: p.detach() + 1 for k, p in parameters.items()}, table


@pytest.mark.parametrize("text_alone", [False, True])
def test_a_resumed_run_is_the_run(
    small: Small, batch: tuple[Tensor, ...], tmp_path: Path, text_alone: bool
) -> None:
    parameters, average, table = learned(small)
    optimisers = train.optimisers(small.modules, 1e-3)
    if text_alone:  # the denoiser's parameters have no state of the optimisers yet
        small.transformer.requires_grad_(False)
        small.halfway.requires_grad_(False)
    first = [step(small, optimisers, batch, i) for i in range(3)]
    small.transformer.requires_grad_(True)
    small.halfway.requires_grad_(True)
    tensors = checkpoints.state_of(parameters, average, table, optimisers)
    checkpoints.save(tmp_path, tensors, {"seed": 0}, step=3, minutes=1.5)
    on = [step(small, optimisers, batch, i) for i in range(3, 6)]
    assert on[-1] < first[0]

    other = Small()
    so_far = checkpoints.kept(tmp_path, {"seed": 0})
    assert so_far is not None
    kept, *far = so_far
    assert far == [3, 1.5]
    anew, its_average, its_table = learned(other)
    for tensor in (*its_average.values(), its_table):  # as another machine distils it, say
        tensor.zero_()
    fresh = train.optimisers(other.modules, 1e-3)
    checkpoints.restore(kept, anew, its_average, its_table, fresh)
    assert torch.equal(its_table, table) and table.abs().max() > 0
    assert its_average.keys() == average.keys()
    assert all(torch.equal(its_average[k], v) for k, v in average.items())
    assert [step(other, fresh, batch, i) for i in range(3, 6)] == pytest.approx(on, rel=1e-5)
