"""Options, each described once: as a field of the dataclass that says what a verb is asked for.

    @dataclass(frozen=True)
    class BenchRequest:
        bundle: Path = field(metadata=described("A bundle, or a store.", argument=True))
        seconds: float = option(10.0, "How long to measure, about.")

Both command lines are derived from such fields, here for argparse and in `edgecil.cli.verbs` for
typer, and so is the command that asks for the same once more. Imports nothing but our errors.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from edgecil_devices.errors import UsageError

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """A field of a request as a person gives it on a command line."""

    says: str
    """What it is, for --help."""
    argument: bool = False
    """Whether it is known by its place and not by a flag."""
    flag: str = ""
    """Such as --image-size; "" is as the field is called. That of a bool is a switch."""
    metavar: str | None = None
    """What stands for its value in --help."""
    shown_default: str | None = None
    """What happens without it, where the default does not tell."""
    envvar: str | None = None
    """Variable of the environment that takes its place; `edgecil` alone looks at it."""
    parse: Callable[[str], Any] | None = None
    """What makes the value of the typed text, where the type alone does not."""
    name: str = ""
    """The field's. This and what follows are read off the field, see `options_of`."""
    kind: type = str
    """Of what is typed: str, int, float, bool or Path."""
    many: bool = False
    """Whether it may be given several times."""
    required: bool = False
    """Whether the field has no default."""
    default: Any = None
    """The field's, None where it is required."""

    def value_of(self, typed: Any) -> Any:
        """What is put into the field."""
        if self.many:
            return tuple(typed or ())
        return self.parse(typed) if self.parse and isinstance(typed, str) else typed

    def words(self, value: Any) -> list[str]:
        """What a person types for `value`."""
        if self.kind is bool:
            return [self.flag] if value else []
        if self.argument:
            return list(map(str, _each(value)))
        # What begins with a dash would be taken for a flag.
        pairs = [
            (f"{self.flag}={text}",) if text.startswith("-") else (self.flag, text)
            for text in map(str, _each(value))
        ]
        return [word for pair in pairs for word in pair]


def described(says: str, **more: Any) -> dict[str, Option]:
    """The metadata that make a field an option; `more` are fields of `Option`."""
    return {"option": Option(says, **more)}


def option(default: T, says: str, **more: Any) -> T:
    """A field with a default that is an option; see `described`."""
    made: Any = field(default=default, metadata=described(says, **more))
    return made  # type: ignore[no-any-return]


def options_of(request: type) -> list[Option]:
    """The options of a dataclass, in the order of its fields; those without metadata are none."""
    hints = get_type_hints(request)
    found = []
    for one in fields(request):
        if "option" in one.metadata:
            told: Option = one.metadata["option"]
            flag = told.flag or "--" + one.name.replace("_", "-")
            kind, many = _kind(hints[one.name])
            read_off = replace(told, name=one.name, flag=flag, kind=kind, many=many)
            required = one.default is MISSING
            default = None if required else one.default
            found.append(replace(read_off, required=required, default=default))
    return found


def _kind(annotation: Any) -> tuple[type, bool]:
    """What is typed for a field of this type, and whether several times."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not NoneType]
    return kinds[0], False


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def request_from(values: Mapping[str, Any], request: type[R]) -> R:
    """The request that a command line asks for, from what it found by name."""
    return request(**{one.name: one.value_of(values[one.name]) for one in options_of(request)})


def words_of(request: Any, always: Collection[str] = ()) -> list[str]:
    """The words of a command line that ask for just this request.

    Options that have their default are left out, but for the fields `always`.
    """
    flags: list[str] = []
    arguments: list[str] = []
    for one in options_of(type(request)):
        value = getattr(request, one.name)
        if one.required or value != one.default or one.name in always:
            (arguments if one.argument else flags).extend(one.words(value))
    dashes = ["--"] if any(word.startswith("-") for word in arguments) else []
    return flags + dashes + arguments


def add_arguments(parser: ArgumentParser, request: type) -> None:
    """Describe the options of a request to argparse."""
    for one in options_of(request):
        told: dict[str, Any] = {"help": _told(one)}
        if one.kind is bool:
            parser.add_argument(one.flag, dest=one.name, action="store_true", **told)
            continue
        told |= {"type": one.kind, "metavar": _metavar(one), "default": one.default}
        if one.argument:
            if one.many or not one.required:
                told["nargs"] = "*" if one.many else "?"
            parser.add_argument(one.name, **told)
        else:
            told["action"] = "append" if one.many else "store"
            told["default"] = None if one.many else one.default
            parser.add_argument(one.flag, dest=one.name, required=one.required, **told)


def _told(one: Option) -> str:
    """What argparse shows, which takes % for its own."""
    default = one.shown_default
    if default is None and not one.many and one.default not in (None, False):
        default = f"{one.default:g}" if one.kind is float else str(one.default)
    return (one.says + (f" ({default})" if default else "")).replace("%", "%%")


def _metavar(one: Option) -> str:
    if one.metavar or one.argument:
        return one.metavar or one.name.upper()
    return {int: "N", float: "X"}.get(one.kind, one.flag.removeprefix("--").upper())


def one_of(names: Iterable[str]) -> str:
    """Names as --help lists them: "raw, webp or jpeg"."""
    *others, last = names
    return f"{', '.join(others)} or {last}"


BUNDLE = described("A bundle, or a store.", argument=True)
THREADS = described("Threads that may compute at once.", shown_default="cores, at most 4")
COMPUTE = described(
    "auto, fp32, fp16 or int8; auto is as exported, or in half precision or by Winograd's products "
    "where that is faster and golden samples agree."
)
JSON = described("Print one JSON object.")
DEFAULT_BELOW, DEFAULT_MOST = 0.6, 1000
"""Of `COLLECT_BELOW` and `COLLECT_MOST`."""

UNKNOWN = described(
    "Answer unknown to what is less like anything known than so many percent of known "
    "pictures are, 95; the bundle must have been exported with --teachable. What is taken for a "
    "taught class counts as known."
)
COLLECT = described("Keep the pictures of unsure answers here, to be labelled.", metavar="DIR")
COLLECT_BELOW = described(
    "With --collect: below this probability an answer is unsure; so are those that --unknown calls "
    "unknown."
)
COLLECT_MOST = described("With --collect: pictures in the folder at most.")


def require_collect(collect: Path | None, below: float, most: int) -> None:
    """Check that `COLLECT_BELOW` and `COLLECT_MOST` are given with `COLLECT` alone.

    Raises:
        UsageError: they are given without.
    """
    if collect is None and (below, most) != (DEFAULT_BELOW, DEFAULT_MOST):
        raise UsageError("--collect-below and --collect-most are for --collect; give that, too")


def require_percent(unknown: float | None) -> None:
    """Check a value of `UNKNOWN`.

    Raises:
        UsageError: it is no percentage.
    """
    if unknown is not None and not 1 <= unknown <= 100:
        raise UsageError(f"--unknown is a percentage from 1 to 100, such as 95, not {unknown:g}")
