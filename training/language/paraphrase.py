"""Say any sentence again in other words: synonyms and wider words of WordNet, fewer words, turned.

Meant for training a small model: what comes after a sentence is about the same things, even where
the sentence is of no grammar of ours. Words are taken in their commonest meaning, so some of what
this says is askew.
"""

from __future__ import annotations

import re

import numpy as np
import wordnet

SMALL = frozenset((
    "a", "about", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been",
    "before", "being", "belong", "belonging", "both", "but", "by", "can", "could", "did", "do",
    "does", "down", "each", "for", "from", "had", "has", "have", "he", "her", "him", "his", "i",
    "if", "in", "into", "is", "it", "its", "just", "like", "may", "me", "might", "more", "most",
    "must", "my", "no", "not", "of", "off", "on", "one", "only", "or", "other", "our", "out",
    "over", "shall", "she", "should", "so", "some", "such", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "three", "to", "two", "up", "us",
    "used", "using", "very", "was", "we", "were", "what", "when", "where", "which", "while",
    "who", "will", "with", "would", "you", "your",
))  # fmt: skip
ARTICLES = {"a": "the", "an": "the", "the": "a"}
SUFFIXES = (("ies", "y"), ("es", ""), ("es", "e"), ("s", ""), ("ing", ""), ("ing", "e"),
            ("ed", ""), ("ed", "e"))  # fmt: skip


class Paraphrases:
    def __init__(self, synsets: dict[str, wordnet.Synset], first: dict[str, str]) -> None:
        self.synsets = synsets
        self.first = first
        self.known: dict[str, tuple[list[str], list[str]]] = {}

    def others(self, word: str) -> tuple[list[str], list[str]]:
        """Synonyms of a word, and wider words, in the same inflection; empty for small words."""
        if word not in self.known:
            self.known[word] = self._others(word)
        return self.known[word]

    def _others(self, word: str) -> tuple[list[str], list[str]]:
        if word in SMALL or not word.isalpha():
            return [], []
        if word in self.first:
            return self._of(self.first[word], word, "")
        for suffix, stem in SUFFIXES:
            front = word.removesuffix(suffix)
            doubled = front[:-1] if front[-2:-1] == front[-1:] else ""
            if word.endswith(suffix) and len(word) > len(suffix) + 2:
                for candidate in (front + stem, doubled):
                    if candidate in self.first and self.first[candidate][0] in "nv":
                        return self._of(self.first[candidate], candidate, suffix)
        return [], []

    def _of(self, key: str, lemma: str, suffix: str) -> tuple[list[str], list[str]]:
        synset = self.synsets[key]
        same = [w for w in synset.lemmas[:4] if w != lemma and re.fullmatch("[a-z]+", w)]
        wider = []
        for kind in synset.related.get("kinds", [])[:1]:
            # above this, words are as wide as "entity"
            if self.synsets[kind].related.get("kinds"):
                wider = [w for w in self.synsets[kind].lemmas[:1] if re.fullmatch("[a-z]+", w)]
        return [inflected(w, suffix) for w in same], [inflected(w, suffix) for w in wider]

    def say(self, rng: np.random.Generator, sentence: str) -> str:
        """The sentence again, with a third or so of its content words replaced."""
        words = sentence.split()
        result = []
        for word in words:
            bare = word.strip(",;.")
            same, wider = self.others(bare)
            options = [*same, *same, *wider]
            if options and rng.random() < 0.5:
                result.append(options[int(rng.integers(len(options)))])
            elif bare in ARTICLES and rng.random() < 0.25:
                result.append(ARTICLES[bare])
            else:
                result.append(word)
        u = rng.random()
        if u < 0.25 and len(result) > 6:
            # a part of it
            length = int(rng.integers(4, len(result)))
            start = int(rng.integers(len(result) - length + 1))
            result = result[start : start + length]
            while len(result) > 3 and result[-1] in SMALL:
                result.pop()
        elif u < 0.4 and len(result) > 5:
            small = [i for i, w in enumerate(result) if w not in SMALL]
            if len(small) > 3:
                result.pop(small[int(rng.integers(len(small)))])
        return re.sub(r"\ba ([aeio])", r"an \1", " ".join(result).strip(" ,;"))

    def words(self, rng: np.random.Generator, sentence: str) -> str:
        """Its content words in some order, some of them as synonyms: "horse, child, ride"."""
        found = [w for w in (x.strip(",;.'") for x in sentence.split()) if w not in SMALL and w]
        rng.shuffle(found)
        said = []
        for word in found[:6]:
            same, wider = self.others(word)
            options = [word, word, *same, *wider]
            said.append(options[int(rng.integers(len(options)))])
        return ", ".join(said)


def inflected(word: str, suffix: str) -> str:
    """The base form with "s", "ing" or "ed" by the usual spelling rules.

    >>> inflected("slice", "ing"), inflected("carry", "ed"), inflected("box", "s")
    ('slicing', 'carried', 'boxes')
    """
    if not suffix:
        return word
    if suffix in ("s", "es", "ies"):
        if word.endswith("y") and word[-2:-1] not in "aeiou":
            return word[:-1] + "ies"
        return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")
    if word.endswith("e"):
        return word[:-1] + suffix
    if suffix == "ed" and word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ied"
    return word + suffix
