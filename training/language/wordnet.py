"""Read WordNet 3.0 (Debian's `wordnet-base`): synsets, their glosses, examples and relations."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
POINTERS = {
    "@": "kinds", "@i": "kinds", "~": "members", "%p": "parts", "%m": "parts", "%s": "parts",
    "#p": "wholes", "#m": "wholes", "!": "opposites", "&": "similar", "*": "similar",
    ">": "similar",
}  # fmt: skip


@dataclass
class Synset:
    """One meaning.

    Attributes:
        key: part of speech and offset, as in "n02084071".
        topic: WordNet's file of it, as in 5 for animals.
        lemmas: its words, lower-case, the commonest first.
        gloss: the definition; `examples`: sentences or phrases that use one of the lemmas.
        related: kind of relation -> keys of other synsets.
        proper: whether it is one of a kind (a town, a person).
    """

    key: str
    topic: int
    lemmas: list[str]
    gloss: str
    examples: list[str]
    related: dict[str, list[str]] = field(default_factory=dict)
    proper: bool = False

    @property
    def held_out(self) -> bool:
        """One in a hundred, for validation."""
        return zlib.crc32(self.key.encode()) % 100 == 0


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("`", "'").replace("--", " - ")).strip(" ;:,.")


def _synset(line: str) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    count = int(fields[3], 16)
    words = fields[4 : 4 + 2 * count : 2]
    lemmas = [re.sub(r"\((?:a|p|ip)\)$", "", w).replace("_", " ").lower() for w in words]
    at = 4 + 2 * count
    related: dict[str, list[str]] = defaultdict(list)
    proper = False
    for i in range(int(fields[at])):
        symbol, offset, part, _ = fields[at + 1 + 4 * i : at + 5 + 4 * i]
        proper |= symbol == "@i"
        if symbol in POINTERS:
            related[POINTERS[symbol]].append(part + offset)
    examples = [_plain(e) for e in re.findall(r'"([^"]+)"', gloss)]
    definition = _plain(re.sub(r'"[^"]*"?(?:\s*-[^;"]*)?', "", gloss))
    definition = _plain(re.sub(r"\([^()]*\)", "", definition).replace(" ;", ";")) or definition
    return Synset(
        ("a" if fields[2] == "s" else fields[2]) + fields[0],
        int(fields[1]),
        list(dict.fromkeys(lemmas)),
        re.sub(r"[;\s]+$", "", definition).lower(),
        [e.lower() for e in examples if " " in e],
        dict(related),
        proper,
    )


def _lines(path: Path) -> Iterator[str]:
    """A file's, but for the licence above them."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there, a part of WordNet 3.0. Install it by: "
            "sudo apt-get install wordnet-base"
        )
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if not line.startswith("  "))


def synsets(folder: Path = FOLDER) -> dict[str, Synset]:
    """All synsets by key, in the files' order.

    Raises FileNotFoundError without the Debian package `wordnet-base`.
    """
    found = {}
    for name in PARTS:
        for line in _lines(folder / f"data.{name}"):
            synset = _synset(line)
            found[synset.key] = synset
    return found


def first_senses(folder: Path = FOLDER) -> dict[str, str]:
    """One-word lemma -> the key of its commonest meaning, over all parts of speech."""
    letters = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for line in _lines(folder / "cntlist.rev"):
        sense, _, count = line.split()
        lemma, _, rest = sense.partition("%")
        counts[lemma, letters[rest[0]]] += int(count)
    best: dict[str, tuple[int, str]] = {}
    for name, letter in PARTS.items():
        for line in _lines(folder / f"index.{name}"):
            fields = line.split()
            lemma, offset = fields[0], fields[6 + int(fields[3])]
            count = counts[lemma, letter]
            if lemma.isalpha() and (lemma not in best or count > best[lemma][0]):
                best[lemma] = count, letter + offset
    return {lemma: key for lemma, (_, key) in best.items()}
