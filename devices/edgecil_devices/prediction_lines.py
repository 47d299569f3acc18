"""One line a picture, for people or as JSON."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgecil_devices.sources import Picture, Unreadable
from edgecil_devices.stream import Answer

if TYPE_CHECKING:
    from edgecil_devices.prediction import Prediction

_JOINERS = "\u200c\u200d"  # zero width non-joiner, of Persian; zero width joiner, of emoji


def text_line(
    picture: Picture,
    prediction: "Prediction",
    answer: Answer | None = None,
    with_timing: bool = False,
) -> str:
    """`cat.jpg  tabby 0.93  lynx 0.04  12.4 ms`, in columns two spaces apart.

    Args:
        picture: names the line.
        prediction: what the classifier said of it.
        answer: put before the candidates if given, as it may be another than the likeliest.
        with_timing: append what the time was spent on.
    """
    times = times_ms(picture, prediction)
    columns = [picture.name, *([answer.label] if answer else [])]
    columns += [
        f"{one.label}{' (taught)' if one.taught else ''} {one.score:.2f}" for one in prediction.top
    ]
    columns.append(f"{sum(times.values()):.1f} ms")
    if with_timing:
        columns[-1] += " = " + " + ".join(f"{part} {ms:.1f}" for part, ms in times.items())
    return "  ".join(map(printable, columns))


def json_line(picture: Picture, prediction: "Prediction", answer: Answer | None = None) -> str:
    """`text_line` as one JSON object."""
    label, score = answer or (prediction.label, prediction.score)
    record: dict[str, Any] = {
        "source": picture.name,
        "label": label,
        "score": score,
        "top": [candidate.record() for candidate in prediction.top],
        "ms": {part: round(ms, 3) for part, ms in times_ms(picture, prediction).items()},
    }
    return json.dumps(record, allow_nan=False)


def json_error_line(item: Unreadable) -> str:
    """What is wrong with a picture, as one JSON object."""
    return json.dumps({"source": item.name, "error": item.error}, allow_nan=False)


def error_line(item: Unreadable) -> str:
    """What is wrong with a picture, for people."""
    return printable(f"error: {item.name}: {item.error}")


def times_ms(picture: Picture, prediction: "Prediction") -> dict[str, float]:
    """Milliseconds for load, preprocess, trunk, blocks and head, in this order.

    Load is reading, downloading or waiting for the picture; preprocess is decoding and resizing.
    """
    return {"load": picture.load_ms, **asdict(prediction.timing_ms)}


def printable(text: str) -> str:
    """`text` with control characters, line ends and undecodable bytes as backslash escapes.

    Names of files are anybody's, and must neither break a line nor steer a terminal. Joiners stay:
    they only shape the letters beside them.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in text
    )
