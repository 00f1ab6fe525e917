"""What people and animals do in captions (`deeds.tsv`), and the forms of English verbs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Deed:
    """One deed.

    Attributes:
        verbs: base forms of verbs and phrases that say it.
        who: kinds of doers, as in `concepts.tsv`, separated by spaces.
        what: what it is done to: kinds ("food"), or nouns; nouns that mean alike are separated
            by "/", mass nouns start with "=". Empty: to nothing.
        how: phrases that may follow.
    """

    verbs: tuple[str, ...]
    who: str
    what: tuple[str, ...]
    how: tuple[str, ...]


def _deeds() -> tuple[Deed, ...]:
    def parts(cell: str) -> tuple[str, ...]:
        return tuple(cell.split(", ")) if cell else ()

    with Path(__file__).with_name("deeds.tsv").open(encoding="utf-8") as file:
        return tuple(
            Deed(parts(r["verbs"]), r["who"], parts(r["what"]), parts(r["how"]))
            for r in csv.DictReader(file, delimiter="\t")
        )


DEEDS = _deeds()
IRREGULAR = {  # third person, gerund, participle
    "be": ("is", "being", "been"),
    "have": ("has", "having", "had"),
    "do": ("does", "doing", "done"),
    "go": ("goes", "going", "gone"),
    "lie": ("lies", "lying", "lain"),
    "lay": ("lays", "laying", "laid"),
}
PARTICIPLES = {
    "ride": "ridden", "drive": "driven", "eat": "eaten", "bite": "bitten", "drink": "drunk",
    "cut": "cut", "make": "made", "put": "put", "spread": "spread", "hold": "held",
    "wear": "worn", "throw": "thrown", "hit": "hit", "shoot": "shot", "catch": "caught",
    "read": "read", "write": "written", "draw": "drawn", "speak": "spoken", "feed": "fed",
    "give": "given", "fight": "fought", "run": "run", "build": "built", "take": "taken",
    "sell": "sold", "buy": "bought", "sit": "sat", "stand": "stood", "leave": "left",
    "get": "got", "win": "won", "lead": "led",
}  # fmt: skip
DOUBLED = frozenset((
    "sit", "get", "put", "run", "cut", "chop", "hit", "swim", "nap", "hop", "grab", "pet", "stir",
    "sip", "shop", "jog", "win", "grin", "scan", "trip", "hug", "drag", "kidnap",
))  # fmt: skip


def forms(verb: str) -> tuple[str, str, str]:
    """Third person, gerund and past participle of a base form; words after it are kept.

    >>> forms("cut up")
    ('cuts up', 'cutting up', 'cut up')
    >>> forms("carry")
    ('carries', 'carrying', 'carried')
    """
    base, _, rest = verb.partition(" ")
    rest = f" {rest}" if rest else ""
    if base in IRREGULAR:
        third, gerund, participle = IRREGULAR[base]
        return third + rest, gerund + rest, participle + rest
    stem = base + base[-1] if base in DOUBLED else base
    if base.endswith("y") and base[-2] not in "aeiou":
        third, gerund, past = base[:-1] + "ies", base + "ing", base[:-1] + "ied"
    elif base.endswith("e"):
        gerund = base[:-2] + "ying" if base.endswith("ie") else base[:-1] + "ing"
        third, past = base + "s", base + "d"
    else:
        third = base + ("es" if base.endswith(("s", "x", "ch", "sh", "o")) else "s")
        gerund, past = stem + "ing", stem + "ed"
    return third + rest, gerund + rest, PARTICIPLES.get(base, past) + rest
