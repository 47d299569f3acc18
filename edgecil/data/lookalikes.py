"""Classes that training pictures could be taken for once they are mirrored or otherwise changed.

An arrow to the left is an arrow to the right in a mirror, and a network that is shown mirrored
pictures of both cannot tell them apart. Whether pictures are like that only a person knows; names
say enough for a warning. Two classes pair where swapping opposite words in the name of one gives
the name of the other: `turn_left` and `Turn Right`, `b` and `d`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_IN_A_MIRROR = (
    ("left", "right"),
    ("lefthand", "righthand"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("l", "r"),
    ("lh", "rh"),
    ("east", "west"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("cw", "ccw"),
    ("links", "rechts"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("sinistra", "destra"),
    ("esquerda", "direita"),
    ("b", "d"),
    ("p", "q"),
    ("less", "greater"),
    ("<", ">"),
    ("(", ")"),
    ("[", "]"),
    ("{", "}"),
    ("/", "\\"),
    ("slash", "backslash"),
    ("port", "starboard"),
)
"""Words, and letters and signs on their own, whose pictures change places in a mirror."""

_TURNED = (
    ("6", "9"),
    ("six", "nine"),
    ("n", "z"),
    ("+", "x"),
    ("plus", "times"),
    ("plus", "cross"),
    ("horizontal", "diagonal"),
    ("vertical", "diagonal"),
    ("upright", "tilted"),
    ("straight", "tilted"),
    ("level", "tilted"),
)
"""The same where a picture is turned by 30 to 135 degrees."""

_SHIFTED = (
    ("top", "bottom"),
    ("upper", "lower"),
    ("near", "far"),
    ("high", "low"),
)
"""The same where a picture is moved by half its side."""

_COLOURS = (
    *("red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown", "cyan"),
    *("magenta", "black", "white", "grey", "gray", "dark", "light", "bright"),
    *("ripe", "unripe", "overripe"),
    *("rot", "gelb", "grün", "blau", "schwarz", "weiß", "hell", "dunkel", "reif", "unreif"),
    *("rouge", "jaune", "vert", "bleu", "noir", "blanc"),
    *("rojo", "amarillo", "verde", "azul", "negro", "blanco"),
)
"""Words for what inverting, solarising and changed colour take away."""

_RECOLOURED = tuple(
    (one, other) for place, one in enumerate(_COLOURS) for other in _COLOURS[place + 1 :]
)


@dataclass(frozen=True)
class Doubt:
    """Two classes that a change to their pictures could turn into each other."""

    classes: tuple[str, str]
    """Their names."""
    change: str
    """What is done to pictures, as it stands in a sentence: "mirrored"."""
    remedy: str
    """The option that leaves it out."""

    def __str__(self) -> str:
        one, other = self.classes
        return (
            f"pictures are {self.change} in training; if that can make one of {one!r} look like "
            f"one of {other!r}, {self.remedy}"
        )


def doubts(
    classes: Sequence[str], *, mirrors: bool, augmentation: str, new: Sequence[str] | None = None
) -> list[Doubt]:
    """Which classes training could confuse by what it does to pictures; one pair a change.

    Args:
        classes: all names.
        mirrors: whether pictures are mirrored.
        augmentation: the policy, as `--augmentation` takes it.
        new: the names that one of a pair must be among; None for any.
    """
    asked: list[tuple[Sequence[tuple[str, str]], str, str]] = []
    if mirrors:
        asked.append((_IN_A_MIRROR, "mirrored", "train with --no-mirror"))
    policy = augmentation.partition("+")[0]
    if policy != "plain":
        plain = "train with --augmentation plain"
        asked.append((_TURNED, "turned", plain))
        asked.append((_SHIFTED, "moved", plain))
        asked.append((_RECOLOURED, "recoloured", plain))
    found = []
    for opposites, change, remedy in asked:
        pairs = _pairs(classes, opposites)
        for pair in pairs:
            if new is None or set(pair) & set(new):
                found.append(Doubt(pair, change, remedy))
                break
    return found


def _pairs(
    classes: Sequence[str], opposites: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Pairs of names that differ by opposite words alone, in the order of `classes`."""
    places = {_words(name): name for name in classes}
    swaps: dict[str, set[str]] = {}
    for one, other in opposites:
        swaps.setdefault(one, set()).add(other)
        swaps.setdefault(other, set()).add(one)
    met: set[str] = set()
    for words, name in places.items():
        for swapped in _swapped(words, swaps):
            other_name = places.get(swapped)
            if other_name is not None and other_name not in met:
                yield name, other_name
        met.add(name)


def _swapped(words: tuple[str, ...], swaps: Mapping[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """The words with one of them, or all that have one opposite, replaced by the opposite."""
    for place, word in enumerate(words):
        for opposite in sorted(swaps.get(word, ())):
            yield (*words[:place], opposite, *words[place + 1 :])
    everywhere = tuple(min(swaps[word]) if word in swaps else word for word in words)
    if sum(a != b for a, b in zip(words, everywhere, strict=True)) > 1:
        yield everywhere


def _words(name: str) -> tuple[str, ...]:
    """A name's words in lower case: `TurnLeft`, `turn_left` and `turn left 2` have theirs."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(re.findall(r"[^\W\d_]+|\d+|[^\w\s-]", spaced.lower())) or (name,)
