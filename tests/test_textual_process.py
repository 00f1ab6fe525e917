"""The settings of textual processes: every field counts, bad ones are refused in words."""

import dataclasses
import math

import pytest

from conjure_st.generator import process_of
from conjure_st.process import GenerativeProcess
from conjure_st.textual.process import DISTANCES, PAPER_TEMPLATE, TextualProcess

OTHER = {
    "continuations": 5,
    "tokens": 7,
    "temperature": 0.7,
    "prompt_template": "{} means: ",
    "distance": "hellinger",
    "distance_temperature": 0.5,
    "seed": 1,
    "dtype": "bfloat16",
}
FIELDS = [field.name for field in dataclasses.fields(TextualProcess)]
AFTER_A_TRAJECTORY = {"continuations", "distance", "distance_temperature"}


def test_every_field_has_another_value_here():
    assert set(OTHER) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_changes_the_fingerprint(name):
    plain, changed = TextualProcess(), TextualProcess().replace(**{name: OTHER[name]})
    assert changed.fingerprint() != plain.fingerprint()
    same = changed.trajectory_fingerprint() == plain.trajectory_fingerprint()
    assert same == (name in AFTER_A_TRAJECTORY)


def test_fingerprint_is_stable_between_runs_and_number_types():
    # A literal on purpose: this digest is in caches and result files out there. If it has to
    # change, FORMAT_VERSION changes too.
    expected = "cc93e19c4fede4035f0eb463db853fa06c82edabc63880253e76b767bd4fec27"
    assert TextualProcess().fingerprint() == expected
    assert TextualProcess(temperature=1, distance_temperature=1).fingerprint() == expected


def test_dict_round_trip_and_either_kind_is_told_from_the_other():
    process = TextualProcess(**OTHER)
    assert TextualProcess.from_dict(process.to_dict()) == process
    assert process_of(process.to_dict()) == process
    assert process_of(GenerativeProcess(steps=3).to_dict()) == GenerativeProcess(steps=3)
    with pytest.raises(ValueError, match="format 'textual 1' and GenerativeProcess"):
        GenerativeProcess.from_dict(process.to_dict())
    with pytest.raises(ValueError, match="no field 'steps'"):
        TextualProcess.from_dict({"steps": 3})


def test_presets():
    paper = TextualProcess.preset("paper")
    assert (paper.continuations, paper.tokens, paper.temperature) == (20, 20, 1.0)
    assert (paper.distance, paper.prompt_template) == ("l1", "{}")
    assert paper.samples == 20
    prompted = TextualProcess.preset("prompted", seed=3)
    assert (prompted.prompt_template, prompted.seed) == (PAPER_TEMPLATE, 3)
    fast = TextualProcess.preset("fast")
    assert fast.continuations * fast.tokens < 20 * 20
    with pytest.raises(ValueError, match=r"no preset 'slow'.*'paper'"):
        TextualProcess.preset("slow")


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("continuations", 0, ValueError, "continuations=0: there must be at least one"),
        ("tokens", -1, ValueError, "tokens=-1"),
        ("tokens", 2.5, TypeError, "tokens must be a whole number, not 2.5"),
        ("temperature", 0, ValueError, "temperature=0.0 is not positive"),
        ("temperature", math.nan, ValueError, "temperature=nan is not a finite number"),
        ("temperature", "hot", TypeError, "temperature must be a number, not 'hot'"),
        ("distance_temperature", -1, ValueError, "distance_temperature=-1.0 is not positive"),
        ("distance", "l3", ValueError, "distance='l3' is unknown.*'l1'"),
        ("prompt_template", "no place", ValueError, "exactly one {}"),
        ("prompt_template", None, TypeError, "must be a string, not None"),
        ("dtype", "int8", ValueError, "dtype='int8' is unknown"),
        ("seed", True, TypeError, "seed must be a whole number"),
    ],
)
def test_bad_values_are_refused_in_words(field, value, error, message):
    with pytest.raises(error, match=message):
        TextualProcess(**{field: value})


def test_a_template_may_hold_other_braces_and_so_may_a_text():
    process = TextualProcess(prompt_template="{{}} {x}")
    assert process.apply_template("{}") == "{{}} {x}"
    assert len(DISTANCES) == 7
