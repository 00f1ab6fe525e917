"""The words that captions are made of, beside the names of what they show."""

from __future__ import annotations

# fmt: off
ABOVE = (
    "above", "over", "on top of", "above", "over", "behind", "just above", "right above",
    "hovering over", "floating above", "stacked on",
)
BELOW = (
    "below", "under", "beneath", "underneath", "in front of", "below", "under", "right below",
    "just under", "right underneath",
)
LEFT = (
    "to the left of", "left of", "on the left of", "on the left side of", "just left of",
    "on the left-hand side of",
)
RIGHT = (
    "to the right of", "right of", "on the right of", "on the right side of", "just right of",
    "on the right-hand side of",
)
ON = ("on", "on the back of", "on the edge of", "on", "on top of")
BESIDE = (
    "and", "next to", "beside", "with", "near", "and", "by", "at", "close to", "alongside", "with",
    "and also", "together with", "along with", "as well as", "plus", "looking at", "accompanied by",
)
# where the second is, seen from the first
SEEN = {
    "above": ("above {}", "over {}", "on top of {}", "above {}"),
    "below": ("below {}", "under {}", "beneath {}", "underneath {}"),
    "left": ("to {} left", "on {} left", "on {} left side"),
    "right": ("to {} right", "on {} right", "on {} right side"),
}
HOLDING = (
    "holding", "is holding", "carrying", "using", "holding up", "is carrying", "holds", "has",
    "is using", "with a grip on",
)
RIDING = (
    "riding", "on", "is riding", "rides", "riding on", "sitting on", "driving", "sits on",
    "on the back of", "is sitting on", "standing on", "jumping on",
)
WEARING = ("wearing", "in", "is wearing", "dressed in", "wears")
EATING = ("eating", "is eating", "chewing", "biting", "eats", "having")
COOKING = (
    "preparing", "cutting", "slicing", "cooking", "is cutting", "is slicing", "peeling", "mixing",
)
PLAYING = ("playing", "is playing", "plays", "playing on", "practising", "is practising")
SPORTING = (
    "playing", "playing with", "is playing", "kicking", "throwing", "catching", "hitting",
    "running with", "chasing",
)
ACTS: dict[str, tuple[str, ...]] = {
    "person": (
        "standing", "walking", "running", "sitting", "smiling", "jumping", "talking", "posing",
        "working", "playing", "waiting", "dancing", "sleeping", "cooking", "singing", "laughing",
        "swimming", "climbing", "reading", "looking at the camera", "lying down", "hanging out",
        "making a face",
    ),
    "animal": (
        "standing", "walking", "running", "sitting", "sleeping", "jumping", "playing", "resting",
        "grazing", "laying", "lying", "perched", "eating", "flying", "swimming", "sniffing",
        "drinking", "barking", "lying down", "looking at the camera", "curled up", "peeking out",
    ),
    "vehicle": (
        "parked", "driving", "moving", "stopped", "traveling", "racing", "waiting", "going",
        "pulling into the station", "sitting idle", "being loaded", "taking off",
    ),
}
STANDS = (
    "sitting", "standing", "lying", "laying", "parked", "perched", "placed", "seen", "shown",
)
ADJECTIVES = (
    "beautiful", "nice", "young", "new", "cute", "wooden", "single", "happy", "lone",
    "pretty", "fluffy", "shiny", "funny", "empty", "modern", "full", "passenger", "adult",
    "smiling", "tired", "wild", "elderly", "vintage", "plain", "wet",
)
OPENINGS = (
    "a photo of", "a picture of", "there is", "an image of", "this is", "we see", "there is",
    "a drawing of", "a close up of", "a view of", "the side of", "there are", "you can see",
)
ENDINGS = (
    "together", "alone", "outside", "outdoors", "for the camera", "by itself", "close up",
    "on a sunny day", "on a cloudy day", "in the background", "in the foreground",
    "during the day", "with its mouth open", "at the same time",
)
BIG = ("big", "large", "big", "large", "huge", "giant", "very big")
SMALL = ("small", "little", "small", "tiny", "little", "very small")
BIGGER = ("bigger than", "larger than", "much bigger than", "taller than", "greater than")
SMALLER = ("smaller than", "much smaller than", "shorter than", "tinier than")
NUMBERS: dict[int, tuple[str, ...]] = {
    1: ("one",),
    2: ("two", "two", "a pair of", "2", "a couple of", "both"),
    3: ("three", "three", "3", "several", "a few", ""),  # "dogs"
    4: ("four", "four", "4", "some"),
    5: ("five", "5"),
    6: ("six", "6", "half a dozen"),
    7: ("seven", "7"),
    8: ("eight", "8"),
    9: ("nine", "9", "many", "a group of", "lots of", "a crowd of", "a lot of"),
}
# {0} is what is shown, {1} with an article what is not, {2} the same without one
ABSENT = (
    "{0} without {1}", "{0} but no {2}", "no {2} but {0}", "{0} with no {2}", "{0} and no {2}",
    "without {1}, {0}", "{0}, no {2}", "{0} lacking {1}", "not {1} but {0}", "no {2}, only {0}",
    "{0} instead of {1}", "there is no {2}, just {0}", "{0} and not {1}", "{0} minus {1}",
    "{0}, and there is no {2}", "{0} but not {1}", "{0} with no {2} around",
)
BOTH_ABSENT = (
    "{0} without {1} or {3}", "{0} but no {2} or {4}", "no {2} or {4}, but {0}",
    "{0} with neither {1} nor {3}", "neither {1} nor {3}, only {0}", "{0}, no {2} and no {4}",
    "{0} with no {2} or {4} around", "no {2} and no {4} but {0}", "without {1} or {3}, {0}",
)
# fmt: on
IRREGULAR = {
    "mouse": "mice",
    "man": "men",
    "woman": "women",
    "child": "children",
    "goose": "geese",
    "sheep": "sheep",
    "fish": "fish",
    "wolf": "wolves",
    "leaf": "leaves",
    "knife": "knives",
    "loaf": "loaves",
    "person": "people",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "volcano": "volcanoes",
}


def plural(noun: str) -> str:
    """English plural of a picture-book noun, by the usual spelling rules.

    >>> [plural(n) for n in ("dog", "young boy", "policeman", "bus", "spy", "mug of beer")]
    ['dogs', 'young boys', 'policemen', 'buses', 'spies', 'mugs of beer']
    """
    vessel, of, content = noun.partition(" of ")
    if of:
        return plural(vessel) + of + content
    head, _, last = noun.rpartition(" ")
    front = f"{head} " if head else ""
    for stem, many in IRREGULAR.items():
        compound = stem in ("man", "woman") and last != "human"
        if last == stem or (compound and last.endswith(stem)):
            return front + last[: -len(stem)] + many
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return front + last[:-1] + "ies"
    if last.endswith(("s", "x", "ch", "sh")):
        already = last.endswith("s") and not last.endswith(("us", "ss"))
        return front + last + ("" if already else "es")
    return front + last + "s"


def article(words: str) -> str:
    """With "a" or "an" before it, by its first letter."""
    vowel = words[0] in "aeiou" and not words.startswith(("uni", "use", "euro"))
    return f"{'an' if vowel else 'a'} {words}"
