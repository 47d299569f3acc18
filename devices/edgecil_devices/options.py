"""Options, each described once: as a field of the dataclass that says what a verb is asked for.

    @dataclass(frozen=True)
    class BenchRequest:
        bundle: Path = field(metadata=described("A bundle, or a store.", argument=True))
        seconds: float = option(10.0, "How long to measure, about.")

Both command lines are derived from such fields, here for argparse and in `edgecil.cli.verbs` for
typer, and so is the command that asks for the same once more. Imports the standard library alone.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Option:
    """A field of a request as a person gives it on a command line."""

    name: str
    """The field's."""
    kind: type
    """Of what is typed: str, int, float, bool or Path."""
    many: bool
    """Whether it may be given several times."""
    required: bool
    """Whether it has no default."""
    default: Any
    """None where it is required."""
    says: str
    """What it is, for --help."""
    argument: bool
    """Whether it is known by its place and not by a flag."""
    flag: str
    """Such as --image-size."""
    metavar: str | None
    """What stands for its value in --help."""
    shown_default: str | None
    """What happens without it, where the default does not tell."""
    envvar: str | None
    """Variable of the environment that takes its place; `edgecil` alone looks at it."""
    parse: Callable[[str], Any] | None
    """What makes the value of the typed text, where the type alone does not."""

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


def option(default: T, says: str, **more: Any) -> T:
    """A field with a default that is an option, for the rest see `described`."""
    made: Any = field(default=default, metadata=described(says, **more))
    return made  # type: ignore[no-any-return]


def described(
    says: str,
    *,
    argument: bool = False,
    flag: str | None = None,
    metavar: str | None = None,
    shown_default: str | None = None,
    envvar: str | None = None,
    parse: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """The metadata that make a field an option; see `Option` for what they mean.

    Without a `flag` it is called as the field, and a bool is a switch.
    """
    return {
        "says": says,
        "argument": argument,
        "flag": flag,
        "metavar": metavar,
        "shown_default": shown_default,
        "envvar": envvar,
        "parse": parse,
    }


def options_of(request: type) -> list[Option]:
    """The options of a dataclass, in the order of its fields; those without metadata are none."""
    hints = get_type_hints(request)
    found = []
    for one in fields(request):
        if one.metadata:
            kind, many = _kind(hints[one.name])
            required = one.default is MISSING
            described: dict[str, Any] = dict(one.metadata)
            described["flag"] = described["flag"] or "--" + one.name.replace("_", "-")
            default = None if required else one.default
            described |= {"required": required, "default": default}
            found.append(Option(name=one.name, kind=kind, many=many, **described))
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
JSON = described("Print one JSON object.")
