"""The documents that picturebook-lm is trained on, each a function of a random state alone.

In every document a sentence is followed by text about the same thing, because that is what the
model is asked for: continuations that depend on the meaning of a sentence.

    captions    one scene in several ways, then plain statements about it
    wordnet     one meaning: examples, definition, synonyms, what it is a kind of, in any order
    said again  an example or definition, then paraphrases of it by synonyms
    neighbours  a sentence, then sentences that a sentence encoder finds near it
"""

from __future__ import annotations

from pathlib import Path

import neighbours
import numpy as np
import wordnet
from captions import Captions
from paraphrase import Paraphrases
from safetensors import safe_open
from safetensors.torch import load_file

SHARES = {"captions": 0.3, "wordnet": 0.22, "said again": 0.18, "neighbours": 0.3}
LEAST_WORDS = 24  # a document goes on for longer than a continuation
LIVELY_TOPICS = frozenset((5, 6, 13, 15, 17, 18, 29, 30, 33, 35, 38, 39))  # what pictures show
NEAR = 0.42  # cosine below which a neighbour is none
DROPPED_STOP = 0.2


def _words(parts: list[str]) -> int:
    return sum(len(p.split()) for p in parts)


def _an(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


class Corpus:
    """All documents.

    Args:
        near: the file that `neighbours.py` wrote; None: without documents of neighbours, of which
            none are held out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of other sentences.
    """

    rows: np.ndarray
    cosines: np.ndarray
    led: np.ndarray

    def __init__(self, near: Path | None = None) -> None:
        self.synsets = wordnet.synsets()
        first = wordnet.first_senses()
        self.paraphrases = Paraphrases(self.synsets, first)
        self.captions = Captions()
        self.sentences = neighbours.sentences(self.synsets)
        if near is not None:
            self._read(near)
        common = set(first.values())
        told = {t for s in self.synsets.values() if not s.held_out for t in (s.gloss, *s.examples)}
        self.keys: dict[bool, list[str]] = {}
        self.weights: dict[bool, np.ndarray] = {}
        for held_out in (False, True):
            keys = [k for k, s in self.synsets.items() if s.held_out == held_out]
            if held_out:  # some meanings share a sentence with another
                keys = [
                    k
                    for k in keys
                    if told.isdisjoint((self.synsets[k].gloss, *self.synsets[k].examples))
                ]
            w = np.array([_weight(self.synsets[k], k in common) for k in keys])
            self.keys[held_out], self.weights[held_out] = keys, np.cumsum(w / w.sum())

    def _read(self, near: Path) -> None:
        """Which sentences are neighbours."""
        if not near.exists():
            raise FileNotFoundError(
                f"{near} is not there. Make it: python training/language/neighbours.py --out {near}"
            )
        with safe_open(near, framework="pt") as file:
            found = int(file.metadata()["sentences"])
        if found != len(self.sentences):
            raise ValueError(
                f"{near} is of {found} sentences, not {len(self.sentences)}: make it anew."
            )
        tensors = load_file(near)
        self.rows, self.cosines = tensors["rows"].numpy(), tensors["cosines"].numpy()
        self.led = np.flatnonzero((self.cosines > NEAR).sum(1) >= 4)

    # --- one document as sentences -------------------------------------------------------------

    def document(self, rng: np.random.Generator, source: str = "", held_out: bool = False) -> str:
        """Text of one document, from one of the sources; held out: nothing that training sees.

        Raises KeyError for neighbours held out: there are none.
        """
        if not source:
            names = tuple(SHARES)
            source = names[int(rng.choice(len(names), p=list(SHARES.values())))]
        match source:
            case "captions":
                parts = self.captions.document(rng, held_out)
            case "wordnet":
                parts = self._meanings(rng, self._synset(rng, held_out))
            case "said again":
                parts = self._said_again(rng, held_out)
            case "neighbours" if not held_out:
                parts = self._near(rng)
            case _:
                raise KeyError(source)
        if _words(parts) < LEAST_WORDS:
            parts += [self.paraphrases.say(rng, p) for p in parts]
        return self._text(rng, parts)

    def _synset(self, rng: np.random.Generator, held_out: bool) -> wordnet.Synset:
        keys, weights = self.keys[held_out], self.weights[held_out]
        return self.synsets[keys[int(np.searchsorted(weights, rng.random() * weights[-1]))]]

    def _meanings(self, rng: np.random.Generator, s: wordnet.Synset) -> list[str]:
        """A meaning, and if that is soon told a related one, of the same side of the hold-out."""
        parts = self._meaning(rng, s)
        near = [self.synsets[k] for keys in s.related.values() for k in keys]
        near = [x for x in near if x.held_out == s.held_out]
        if near and _words(parts) < 2 * LEAST_WORDS:
            parts += self._meaning(rng, near[int(rng.integers(len(near)))])[:3]
        return parts

    def _meaning(self, rng: np.random.Generator, s: wordnet.Synset) -> list[str]:
        lemmas = list(s.lemmas[:4])
        rng.shuffle(lemmas)
        name = s.lemmas[0] if rng.random() < 0.6 else lemmas[0]
        gloss = s.gloss
        noun = s.key[0] == "n" and not s.proper
        u = rng.random()
        if noun:
            defined = (
                f"{_an(name)} is {gloss}" if u < 0.5 else
                f"{name}: {gloss}" if u < 0.8 else f"{gloss} is called {_an(name)}"
            )  # fmt: skip
        elif s.key[0] == "v":
            defined = f"to {name} is to {gloss}" if u < 0.6 else f"{gloss}: {name}"
        else:
            defined = f"{name} means {gloss}" if u < 0.6 else f"{gloss}: {name}"
        found = [defined]
        if len(lemmas) > 1:
            found.append(f"{lemmas[0]} is {lemmas[1]}" if rng.random() < 0.5 else ", ".join(lemmas))
        for example in s.examples[:3]:
            found.append(example)
            swapped = _swapped(rng, example, s.lemmas)
            if swapped != example:
                found.append(swapped)
            elif rng.random() < 0.5:
                found.append(self.paraphrases.say(rng, example))
        for kind, keys in s.related.items():
            for key in keys if len(keys) < 3 else rng.choice(keys, 2, replace=False):
                other = self.synsets[str(key)].lemmas[0]
                found.append(_related(kind, name, other, s.key[0]))
        rng.shuffle(found)
        if s.examples and rng.random() < 0.5:
            # an example first, as a prompt is
            found.remove(s.examples[0])
            found.insert(0, s.examples[0])
        elif rng.random() < 0.3:
            found.insert(0, gloss)
        return found[:8]

    def _said_again(self, rng: np.random.Generator, held_out: bool) -> list[str]:
        beside: list[str] = []
        if held_out:
            s = self._synset(rng, held_out)
            options = [*s.examples, s.gloss]
            sentence = options[int(rng.integers(len(options)))]
        else:
            row = int(rng.integers(len(self.sentences)))
            sentence = self.sentences[row]
            beside = [self.sentences[i] for i in self.rows[row][self.cosines[row] > NEAR][:4]]
            rng.shuffle(beside)
        times = int(rng.integers(2, 5))
        parts = [sentence, *(self.paraphrases.say(rng, sentence) for _ in range(times))]
        parts += beside[:2]
        if rng.random() < 0.3:
            parts.insert(1, self.paraphrases.words(rng, sentence))
        return parts

    def _near(self, rng: np.random.Generator) -> list[str]:
        row = int(self.led[int(rng.integers(len(self.led)))])
        rows, cosines = self.rows[row], self.cosines[row].astype(np.float64)
        weight = np.where(cosines > NEAR, np.exp(8 * (cosines - 0.6)), 0)
        k = min(int(rng.integers(4, 8)), int((weight > 0).sum()))
        chosen = rng.choice(rows, k, replace=False, p=weight / weight.sum())
        parts = [self.sentences[row], *(self.sentences[int(i)] for i in chosen)]
        if rng.random() < 0.25:
            parts.insert(1, self.paraphrases.say(rng, parts[0]))
        return parts

    def _text(self, rng: np.random.Generator, parts: list[str]) -> str:
        """Sentences with full stops; now and then the first goes without, as prompts may."""
        said = [p.strip(" .;,") for p in parts]
        said = [p for p in dict.fromkeys(said) if p]
        if rng.random() < DROPPED_STOP:
            said[:2] = [" ".join(said[:2])]
        return ". ".join(said) + "."


def _weight(s: wordnet.Synset, common: bool) -> float:
    """How often a meaning is told: everyday ones most, persons and places of history hardly."""
    if s.proper:
        return 0.03
    taxon = any(" genus" in g or "family" in g for g in (s.gloss, *s.lemmas)) and s.topic in (5, 20)
    weight = 0.15 if taxon else 0.5
    weight *= 3.0 if common else 1.0
    weight *= 1.5 if s.topic in LIVELY_TOPICS else 1.0
    return weight * (1 + 0.7 * min(len(s.examples), 3))


def _swapped(rng: np.random.Generator, example: str, lemmas: list[str]) -> str:
    """The example with its lemma replaced by another of the same meaning."""
    padded = f" {example} "
    for lemma in lemmas:
        others = [x for x in lemmas if x != lemma]
        if others and f" {lemma} " in padded:
            other = others[int(rng.integers(len(others)))]
            return padded.replace(f" {lemma} ", f" {other} ").strip()
    return example


def _related(kind: str, name: str, other: str, part: str) -> str:
    if part == "v":
        return {
            "kinds": f"to {name} is to {other}",
            "members": f"to {other} is to {name}",
            "opposites": f"to {name} is not to {other}",
        }.get(kind, f"to {name} is like to {other}")
    if part != "n":
        return f"{name} is not {other}" if kind == "opposites" else f"{name} is like {other}"
    return {
        "kinds": f"{_an(name)} is {_an(other)}",
        "members": f"{_an(other)} is {_an(name)}",
        "parts": f"{_an(name)} has {_an(other)}",
        "wholes": f"{_an(name)} is part of {_an(other)}",
        "opposites": f"{_an(name)} is not {_an(other)}",
    }.get(kind, f"{name} and {other}")
