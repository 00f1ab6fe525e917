"""The settings object: every field counts, bad ones are refused in words, dicts round-trip."""

import dataclasses
import math

import pytest

from conjure_st.process import GenerativeProcess

OTHER = {
    "scheduler": None,
    "eta": 0.5,
    "steps": 11,
    "samples": 6,
    "guidance_scale": 1.5,
    "seed": 1,
    "weighting": "score",
    "height": 64,
    "width": 64,
    "dtype": "float16",
    "prompt_template": "a photo of {}",
    "negative_prompt": "blurry",
    "timestep_spacing": "trailing",
    "compared_steps": (1, 2),
}
FIELDS = [field.name for field in dataclasses.fields(GenerativeProcess)]


def test_every_field_has_another_value_here():
    assert set(OTHER) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_changes_the_fingerprint(name):
    changed = GenerativeProcess().replace(**{name: OTHER[name]})
    assert changed.fingerprint() != GenerativeProcess().fingerprint()
    same_trajectories = (
        changed.trajectory_fingerprint() == GenerativeProcess().trajectory_fingerprint()
    )
    assert same_trajectories == (name in ("weighting", "samples", "compared_steps"))


def test_fingerprint_is_stable_between_runs_and_number_types():
    # A literal on purpose: this digest is in caches and result files out there. If it has to
    # change, FORMAT_VERSION changes too.
    expected = "82638009d0b137b5c16eebbd43f6ce63583f735c29a1edf31563a142c6b1ffa3"
    assert GenerativeProcess().fingerprint() == expected
    assert GenerativeProcess(guidance_scale=1, eta=1).fingerprint() == expected


def test_dict_round_trip():
    process = GenerativeProcess(**OTHER)
    assert GenerativeProcess.from_dict(process.to_dict()) == process
    assert GenerativeProcess.from_dict({"steps": 3}) == GenerativeProcess(steps=3)


def test_presets():
    paper = GenerativeProcess.preset("paper")
    assert (paper.steps, paper.samples, paper.weighting) == (10, 5, "uniform")
    assert (paper.guidance_scale, paper.eta) == (1.0, 1.0)
    fast = GenerativeProcess.preset("fast", seed=3)
    assert fast.steps * fast.samples < paper.steps * paper.samples
    assert fast.seed == 3 and fast.compared_steps == (1, 4)
    # They are steps of five.
    assert GenerativeProcess.preset("fast", steps=3).compared_steps is None
    assert GenerativeProcess.preset("fast", steps=5) == GenerativeProcess.preset("fast")
    assert GenerativeProcess.preset("fast", weighting="girsanov").compared_steps is None
    assert GenerativeProcess.preset("fast", steps=3, compared_steps=[2]).compared_steps == (2,)


def test_compared_steps_are_in_order_and_each_once():
    process = GenerativeProcess(compared_steps=[4, 1, 4])
    assert process.compared_steps == (1, 4)
    assert process == GenerativeProcess(compared_steps=(1, 4))


def test_template_keeps_braces_of_the_text():
    process = GenerativeProcess(prompt_template="{a} {}")
    assert process.apply_template("{0} {}") == "{a} {0} {}"


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"steps": 0}, ValueError, "steps=0"),
        ({"samples": 0}, ValueError, "samples=0"),
        ({"steps": 2.5}, TypeError, "2.5"),
        ({"steps": True}, TypeError, "whole number"),
        ({"height": -8}, ValueError, "height=-8"),
        ({"eta": -0.1}, ValueError, "eta=-0.1"),
        ({"eta": math.nan}, ValueError, "eta=nan"),
        ({"guidance_scale": math.inf}, ValueError, "guidance_scale=inf"),
        ({"guidance_scale": 0}, ValueError, "guidance_scale=0.0"),
        ({"guidance_scale": "3"}, TypeError, "'3'"),
        ({"weighting": "girsanow"}, ValueError, "'girsanov'"),
        ({"dtype": "int8"}, ValueError, "'bfloat16'"),
        ({"timestep_spacing": "even"}, ValueError, "'trailing'"),
        ({"prompt_template": "a photo"}, ValueError, "'a photo'"),
        ({"prompt_template": None}, TypeError, "None"),
        ({"scheduler": "DDIM scheduler"}, ValueError, "class name"),
        ({"compared_steps": 3}, TypeError, "several whole numbers, not 3"),
        ({"compared_steps": ()}, ValueError, "one step or more"),
        ({"compared_steps": (-1, 2)}, ValueError, "0 being the first"),
        ({"compared_steps": (2, -1)}, ValueError, "0 being the first"),
        ({"compared_steps": (1.5,)}, TypeError, "1.5"),
        ({"compared_steps": (1,), "weighting": "girsanov"}, ValueError, "whole paths"),
    ],
)
def test_bad_settings_are_refused_in_words(settings, error, says):
    with pytest.raises(error) as refusal:
        GenerativeProcess(**settings)
    assert says in str(refusal.value)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'paper', 'fast'"):
        GenerativeProcess.preset("quick")
    with pytest.raises(ValueError, match=r"'step'.*'steps'"):
        GenerativeProcess.from_dict({"step": 3})
    with pytest.raises(ValueError, match="format 99"):
        GenerativeProcess.from_dict({"format": 99})
