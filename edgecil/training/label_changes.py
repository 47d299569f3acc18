"""Augmentation that may turn a picture of one class into one of another, told by the class names.

A mirrored arrow to the left is an arrow to the right. Whether that matters nobody knows but the
person who named the classes, and the names often tell: two that differ in nothing but `left` and
`right` are likely each other's mirror image. `CHANGES` lists what training does to pictures, the
words that tell of a class it may change, and what to do about it. What is found is a warning.

What all of training does is no reason to warn: small shifts, and a quarter more or less brightness.
"""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from edgecil.data.datasets import LARGEST_PADDED_CROP_PX
from edgecil.planning.data_facts import DataFacts
from edgecil.training.settings import RunSettings

SHOWN_PAIRS = 3
"""Pairs of classes that a warning names."""

_logger = logging.getLogger("edgecil")


@dataclass(frozen=True)
class Change:
    """Something that training does to pictures.

    Of every group of words, written as one text, any two make a pair of classes whose names are the
    same but for them.
    """

    what: str
    """What is done, as a warning says it."""
    happens: Callable[[RunSettings], bool]
    """Whether a run does it."""
    remedy: str
    """What a run is started with so that it does not."""
    words: tuple[str, ...]
    """Groups of whole words, in any case, as `str.casefold` writes them."""
    initials: tuple[str, ...] = ()
    """Groups of single letters, in any case. They count where all letters in their place stand for
    directions: among a, b, c to z, an l is no left."""
    shapes: tuple[str, ...] = ()
    """Groups of characters that are meant themselves. They count alone or beside words such as
    letter and digit: vitamin-b is no mirrored vitamin-d."""


CHANGES = (
    Change(
        what="pictures are mirrored",
        happens=lambda settings: settings.mirrors,
        remedy="--no-mirror",
        words=(
            "left right",
            "lh rh",
            "port starboard",
            "slash backslash",
            "/ \\",
            "links rechts",
            "linke rechte",
            "linker rechter",
            "linkes rechtes",
            "gauche droite droit",
            "izquierda derecha",
            "izquierdo derecho",
            "sinistra destra",
            "sinistro destro",
            "esquerda direita",
            "west east",
            "northwest northeast",
            "southwest southeast",
            "nw ne",
            "sw se",
            "clockwise counterclockwise anticlockwise",
            "cw ccw",
            "less greater",
            "< >",
            "( )",
            "[ ]",
            "{ }",
        ),
        initials=("l r",),
        shapes=("b d", "p q"),
    ),
    Change(
        what="pictures are turned by up to 135 degrees",
        happens=lambda settings: settings.augmentation.startswith("trivialaugment"),
        remedy="another --augmentation",
        words=(
            "up down left right",
            "upward downward",
            "upwards downwards",
            "top bottom",
            "north south east west",
            "horizontal vertical",
            "landscape portrait",
            "oben unten links rechts",
            "haut bas gauche droite",
            "arriba abajo izquierda derecha",
            "six nine",
        ),
        initials=("u d l r", "n s e w"),
        shapes=("6 9", "b q", "d p", "n u"),
    ),
    Change(
        what="pictures are moved by half a side",
        happens=lambda settings: settings.augmentation.startswith(("autoaug", "trivialaug")),
        remedy="another --augmentation",
        words=("top bottom", "upper lower", "high low", "oben unten", "haut bas"),
    ),
    Change(
        what="colours, brightness and sharpness are changed",
        happens=lambda settings: settings.augmentation.removesuffix("+cutout") != "plain",
        remedy="--augmentation plain",
        words=(
            "red green blue yellow orange purple violet pink brown black white grey gray cyan "
            "magenta turquoise beige gold golden silver",
            "rot grün gruen blau gelb lila rosa braun schwarz weiss grau",
            "rouge vert bleu jaune violet rose marron noir blanc gris",
            "rojo roja verde azul amarillo amarilla morado rosa marrón negro negra blanco blanca",
            "ripe unripe overripe underripe",
            "reif unreif überreif",
            "bright dark light dim",
            "day night",
            "sharp blurred blurry",
        ),
    ),
    Change(
        what="parts of pictures are shown at any size",
        happens=lambda settings: settings.image_size_px > LARGEST_PADDED_CROP_PX,
        remedy=f"--image-size {LARGEST_PADDED_CROP_PX} or less",
        words=(
            "small medium large big little tiny huge",
            "near far close distant",
            "klein mittel gross",
            "petit moyen grand",
            "pequeño mediano grande",
        ),
    ),
)
"""What can change a label; tests hold it to what augmentation does to pixels."""

_ABOUT_CHARACTERS = frozenset(
    (
        *("letter", "letters", "lower", "lowercase", "small", "character", "char", "glyph"),
        *("digit", "number", "symbol", "sign"),
        *("buchstabe", "ziffer", "zahl", "lettre", "chiffre", "letra", "cifra"),
    )
)
_INITIALS = frozenset("lrudnsew" + "cmfbt")  # with centre, middle, front, back and top
_COMPOUNDS = re.compile(  # leftarrow, arrowright, but not bright
    r"(?:(?<![^\W\d_])|(?<=[^\W\d_]{3}))"
    "(?:left|right|links|rechts|gauche|droite|izquierd[ao]|derech[ao])",
    re.IGNORECASE,
)


def warn_of_label_changes(settings: RunSettings, new: DataFacts | None = None) -> None:
    """Warn in the log of classes that training may turn into each other.

    Args:
        settings: of the run.
        new: the data that `edgecil learn` adds. Only pairs with one of its classes are told.
    """
    for line in label_changes(settings, new.classes if new else None):
        _logger.warning("%s", line)
    if new and settings.mirrors and not new.mirrors:
        _logger.warning(
            "pictures are mirrored, and those of %s do not show their class in a mirror: "
            "train another run with --no-mirror",
            settings.sources[-1].data,
        )


def label_changes(settings: RunSettings, new: Collection[str] | None = None) -> list[str]:
    """The warnings as text, one for each thing that the run does to pictures."""
    names = settings.classes
    lines = []
    for change in CHANGES:
        pairs = twins(names, change) if change.happens(settings) else []
        if new is not None:
            pairs = [pair for pair in pairs if not set(new).isdisjoint(pair)]
        if pairs:
            lines.append(_line(change, pairs, "train" if new is None else "train another run"))
    return lines


def twins(names: Sequence[str], change: Change) -> list[tuple[str, str]]:
    """Pairs of classes that a change may turn into each other, by their names."""
    tokens = {name: _tokens(name) for name in names}
    found: dict[tuple[str, str], None] = {}
    for counts, groups in (
        (_is_word, change.words),
        (_is_initial, change.initials),
        (_is_shape, change.shapes),
    ):
        for words in map(frozenset, map(str.split, groups)):
            alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
            for name, parts in tokens.items():
                rest = tuple("" if counts(parts, k, words) else parts[k] for k in range(len(parts)))
                if rest != parts:
                    alike[rest].append(name)
            for rest, same in alike.items():
                if len(same) > 1 and (
                    counts is not _is_initial or _are_directions(rest, tokens.values())
                ):
                    found |= dict.fromkeys(combinations(same, 2))
    return [pair for pair in found if tokens[pair[0]] != tokens[pair[1]]]


def _line(change: Change, pairs: Sequence[tuple[str, str]], how: str) -> str:
    shown = ", ".join(f"{one!r} and {other!r}" for one, other in pairs[:SHOWN_PAIRS])
    more = f" and {len(pairs) - SHOWN_PAIRS} more pairs" if len(pairs) > SHOWN_PAIRS else ""
    return (
        f"{change.what}, which by their names may turn one class into another: {shown}{more}; "
        f"if it does, they cannot be told apart: {how} with {change.remedy}"
    )


def _tokens(name: str) -> tuple[str, ...]:
    """The words, numbers and signs of a name; only single letters keep their case."""
    composed = unicodedata.normalize("NFC", name)
    spaced = re.sub(r"(?i)(counter|anti)[\W_]*clockwise", r" \1clockwise", composed)
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", spaced)
    spaced = _COMPOUNDS.sub(r" \g<0> ", spaced)
    parts = re.findall(r"[^\W\d_]+|\d+|[<>()\[\]{}/\\]", spaced)
    return tuple(part if len(part) == 1 else part.casefold() for part in parts)


def _is_word(tokens: tuple[str, ...], place: int, words: frozenset[str]) -> bool:
    return tokens[place] in words


def _is_initial(tokens: tuple[str, ...], place: int, words: frozenset[str]) -> bool:
    return tokens[place].casefold() in words


def _is_shape(tokens: tuple[str, ...], place: int, words: frozenset[str]) -> bool:
    others = {*tokens[:place], *tokens[place + 1 :]}
    return tokens[place] in words and others <= _ABOUT_CHARACTERS


def _are_directions(rest: tuple[str, ...], names: Iterable[tuple[str, ...]]) -> bool:
    """Whether all single letters in the empty places of `rest` may stand for directions."""
    letters: set[str] = set()
    for tokens in names:
        if len(tokens) == len(rest):
            there = [token for token, word in zip(tokens, rest, strict=True) if token != word]
            same = all(token == word or not word for token, word in zip(tokens, rest, strict=True))
            if same and all(len(token) == 1 and token.isalpha() for token in there):
                letters |= {token.casefold() for token in there}
    return letters <= _INITIALS
