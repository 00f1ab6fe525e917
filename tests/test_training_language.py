"""What the embedded language model reads: nothing that is held out of training is told there."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

# last: other files of the same names are the picture model's
sys.path.append(str(Path(__file__).parents[1] / "training" / "language"))

import captions
import corpus
import wordnet
from wordnet import Synset

KEYS = [f"n{i:08d}" for i in range(1000)]
HELD = [k for k in KEYS if zlib.crc32(k.encode()) % 100 == 0]
FREE = [k for k in KEYS if k not in HELD]
SECRET = ("a spiny animal of the dark", "the hedgehog slept in the hidden garden")
SHARED = "what is told on both sides"
KNOWN = (
    Synset(HELD[0], 5, ["hedgehog"], SECRET[0], [SECRET[1]], {"kinds": [FREE[0]]}),
    Synset(HELD[1], 5, ["twin"], SHARED, []),
    Synset(FREE[0], 5, ["animal"], "a thing that lives", [], {"members": [HELD[0], FREE[1]]}),
    Synset(FREE[1], 5, ["other twin"], SHARED, []),
)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> corpus.Corpus:
    """The documents of four meanings, two of them held out, and of the everyday things."""
    monkeypatch.setattr(captions, "tail", lambda taken: [])
    monkeypatch.setattr(corpus.wordnet, "synsets", lambda: {s.key: s for s in KNOWN})
    monkeypatch.setattr(corpus.wordnet, "first_senses", lambda: {"animal": FREE[0]})
    made = corpus.Corpus()
    # as a file of neighbours would say it, if none had any
    made.rows = np.zeros((len(made.sentences), 16), dtype=np.int64)
    made.cosines = np.zeros((len(made.sentences), 16))
    return made


@pytest.mark.parametrize("source", ["wordnet", "said again"])
def test_what_is_held_out_is_told_on_its_own_side_alone(
    written: corpus.Corpus, source: str
) -> None:
    rng = np.random.default_rng(0)
    training = [written.document(rng, source) for _ in range(300)]
    held_out = [written.document(rng, source, held_out=True) for _ in range(300)]
    assert not any(sentence in text for text in training for sentence in SECRET)
    assert all(any(sentence in text for text in held_out) for sentence in SECRET)
    # a sentence that training tells is no test of anything
    assert any(SHARED in text for text in training)
    assert not any(SHARED in text for text in held_out)


def test_scenes_are_held_out_too(written: corpus.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes: list[captions.Scene] = []
    say = captions.Captions.say

    def saying(self: captions.Captions, rng: np.random.Generator, scene: captions.Scene) -> str:
        scenes.append(scene)
        return say(self, rng, scene)

    monkeypatch.setattr(captions.Captions, "say", saying)
    rng = np.random.default_rng(0)
    for held_out, documents in ((False, 300), (True, 20)):
        scenes.clear()
        for _ in range(documents):
            written.document(rng, "captions", held_out)
        assert len(scenes) >= 4 * documents
        assert all(scene.held_out is held_out for scene in scenes)


def test_a_missing_wordnet_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    for read in (wordnet.synsets, wordnet.first_senses):
        with pytest.raises(FileNotFoundError, match="apt-get install wordnet-base"):
            read(tmp_path)
