"""JSON from a stranger: parsed without surprises, its fields read with the type they must have.

`json_object` reads whatever we read as JSON, on the workstation too; the others are for manifests
and the records of a store.
"""

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from edgecil_devices.errors import BundleCorruptError

T = TypeVar("T")
V = TypeVar("V")


def json_object(data: bytes) -> dict[str, Any]:
    """Parse UTF-8 JSON that must be one object; repeated keys, NaN and infinities are refused.

    Raises:
        ValueError: it is not JSON.
        TypeError: it is, but not an object.
    """
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_unique_keys, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object that a manifest is.

    Raises:
        BundleCorruptError: it is none.
    """
    try:
        return json_object(data)
    except ValueError as error:
        raise BundleCorruptError(f"the manifest is not valid JSON ({error})") from error
    except TypeError as error:
        raise BundleCorruptError(f"the manifest is {error}") from error


def get(record: Any, key: str, kind: type[T]) -> T:
    """`record[key]`, which must be there and of type `kind`; an integer will do for a float.

    Raises:
        BundleCorruptError: it is missing, of another type, or not finite.
    """
    value = record.get(key) if isinstance(record, dict) else None
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**53 else math.nan
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise BundleCorruptError(f"the manifest's {key!r} is missing or not {_WORDS[kind]}")
    return value


def find(record: Any, key: str, kind: type[T]) -> T | None:
    """Like `get`, but None where the key is missing or null."""
    if isinstance(record, dict) and record.get(key) is None:
        return None
    return get(record, key, kind)


def items(record: Any, key: str, read: Callable[[dict[str, Any], str], V]) -> tuple[V, ...]:
    """The array `record[key]`, each value read by `read(holder, key)`.

    Raises:
        BundleCorruptError: it is missing or not an array, or `read` refuses a value.
    """
    return tuple(read({key: value}, key) for value in get(record, key, list))


def texts(record: Any, key: str) -> dict[str, str]:
    """The object `record[key]`, whose values must be strings; empty where it is missing."""
    values = find(record, key, dict) or {}
    return {name: get(values, name, str) for name in values}


def require(holds: bool, problem: str) -> None:
    """Refuse a manifest that breaks a rule.

    Raises:
        BundleCorruptError: `holds` is false.
    """
    if not holds:
        raise BundleCorruptError(
            f"the manifest cannot be right: {problem}; export the bundle again"
        )


_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key is repeated")
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
