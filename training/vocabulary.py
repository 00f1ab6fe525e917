"""What the picture book shows: concepts with their pictures and names, colours, settings.

`concepts.tsv` lists the core concepts by hand (an emoji, its kind, the names people give it).
`tail` adds the nameable rest of Unicode's emoji from CLDR's English annotations, so that rarer
words find a picture too, with names from CLDR (Unicode licence). Pictures are in `sprites.py`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

CLDR = Path("/usr/share/unicode/cldr/common/annotations/en.xml")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "orange": (250, 140, 20),
    "yellow": (252, 220, 40),
    "green": (50, 165, 60),
    "blue": (40, 95, 215),
    "purple": (140, 60, 180),
    "pink": (250, 150, 190),
    "brown": (130, 80, 45),
    "black": (35, 35, 40),
    "white": (245, 245, 245),
    "gray": (145, 145, 150),
}

COLOUR_NAMES: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
    "brown": ("brown", "brown", "tan"),
    "black": ("black", "black", "dark"),
    "white": ("white",),
    "gray": ("gray", "grey"),
}

# A setting is (sky, ground, share of the picture that is ground) and the ways to say it.
# fmt: off
SETTINGS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], float, tuple[str, ...]]] = {
    "grass": (
        (150, 205, 245), (95, 175, 70), 0.5,
        ("on the grass", "in the grass", "in a field", "in a green field", "in the park",
         "on a lawn", "in a grassy field", "on a hill", "in a meadow", "in a plain",
         "on a grassy hill", "in the pasture", "under a blue sky", "through the grass",
         "in the yard"),
    ),
    "snow": (
        (190, 205, 225), (240, 246, 252), 0.55,
        ("in the snow", "on the snow", "in snow", "through the snow", "on a snowy field",
         "down a snowy slope", "in winter"),
    ),
    "beach": (
        (110, 190, 240), (235, 210, 150), 0.4,
        ("on the beach", "on a beach", "on the sand", "on the shore", "in the desert",
         "at the beach", "by the ocean"),
    ),
    "sea": (
        (165, 215, 245), (25, 110, 185), 0.65,
        ("in the water", "in the sea", "on the water", "in the ocean", "on the lake",
         "in a pool", "in a river", "through the water", "at the marina", "on a wave"),
    ),
    "sky": (
        (95, 175, 245), (165, 215, 250), 0.4,
        ("in the sky", "in the air", "in mid air", "through the air", "in flight",
         "in a blue sky", "high up"),
    ),
    "night": (
        (15, 20, 60), (35, 40, 75), 0.3,
        ("at night", "in the night", "in the dark", "in space", "under the stars", "in darkness"),
    ),
    "street": (
        (200, 205, 210), (95, 95, 100), 0.45,
        ("on the street", "on the road", "in the street", "in the city", "on a city street",
         "down the road", "in a parking lot", "on the tracks", "on the sidewalk", "in traffic",
         "at the station"),
    ),
    "room": (
        (245, 228, 200), (165, 110, 65), 0.35,
        ("in a room", "in the living room", "in the kitchen", "indoors", "inside",
         "in the house", "on the floor", "at a table", "on a table", "in the bedroom",
         "on a stage", "in an office", "on a desk"),
    ),
    "forest": (
        (70, 125, 65), (80, 65, 40), 0.3,
        ("in the forest", "in the woods", "among the trees", "in the jungle", "in a garden"),
    ),
    "sunset": (
        (250, 130, 70), (110, 50, 90), 0.35,
        ("at sunset", "at sunrise", "in the evening", "at dusk"),
    ),
}
# fmt: on


@dataclass(frozen=True)
class Concept:
    """One thing that can be drawn.

    Attributes:
        emoji: its picture.
        kind: what grammar may do with it ("person", "food", …).
        names: what people call it; the first is its title.
        core: whether it is of the hand-made list.
        common: whether it is one of some hundred that everyday captions are about.
    """

    emoji: str
    kind: str
    names: tuple[str, ...]
    core: bool
    common: bool = False

    @property
    def title(self) -> str:
        return self.names[0]


def digest(concepts: Sequence[Concept]) -> str:
    """Of what there is to show and how it is called: a caption of other concepts is another one."""
    listed = json.dumps([astuple(concept) for concept in concepts])
    return hashlib.sha256(listed.encode()).hexdigest()[:8]


def core() -> list[Concept]:
    """The hand-made list, the commonest things of everyday captions."""
    with Path(__file__).with_name("concepts.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        Concept(
            r["emoji"],
            r["kind"],
            tuple(n.strip() for n in r["names"].split(",")),
            core=True,
            common=r["common"] == "1",
        )
        for r in rows
    ]


def tail(taken: list[Concept], annotations: Path = CLDR) -> list[Concept]:
    """CLDR's other nameable emoji: titles of one or two plain words, no faces, flags or signs.

    Raises:
        FileNotFoundError: CLDR's annotations are not there.
    """
    if not annotations.is_file():
        raise FileNotFoundError(
            f"{annotations} is not there, which names the rarer things. Install it by: "
            "sudo apt-get install unicode-cldr-core"
        )
    unwanted = re.compile(
        r"face|flag|button|symbol|clock|arrow|sign|keycap|heart|square|circle|diamond|"
        r"^man|^woman|^person|^people|^old|hair|skin|cat with|finger|hand|mark|o’|moon|key|"
        r"cat$|comma|period|interior|rial|^flat$|^sharp$|love|baby|pregnant|kiss"
    )
    have = {c.emoji.replace("\ufe0f", "") for c in taken}
    names = {n for c in taken for n in c.names}
    titles = {
        node.attrib["cp"]: node.text or ""
        for node in ElementTree.parse(annotations).getroot().iter("annotation")
        if node.attrib.get("type") == "tts"
    }
    found = []
    for emoji, title in titles.items():
        plain = re.fullmatch(r"[a-z]+( [a-z]+)?", title)
        pictorial = len(emoji) == 1 and ord(emoji) >= 0x2600
        new = emoji not in have and title not in names
        if plain and pictorial and new and not unwanted.search(title):
            found.append(Concept(emoji, "thing", (title,), core=False))
            names.add(title)
    return found
