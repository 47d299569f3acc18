"""What typer is told of a verb: the fields of its requests take the place of its parameters.

    def train(request: TrainRequest, device: Device = "auto") -> None: ...
    def plan(asked: Annotated[dict[str, Any], Fields(TrainRequest)]) -> None: ...

Other parameters are typer's own affair.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Annotated, Any, get_args, get_type_hints

import typer

from edgecil_devices.options import Option, options_of, request_from


@dataclass(frozen=True)
class Fields:
    """Options that a verb takes of a request, which it gets as a dict for a request of its own."""

    request: type
    """Whose they are."""
    without: tuple[str, ...] = ()
    """Fields that it does not take."""
    optional: dict[str, str] = field(default_factory=dict)
    """Fields that may be left out though the request wants them, and what happens then."""

    @property
    def options(self) -> list[Option]:
        """Those that are taken."""
        return [
            replace(one, required=False, shown_default=self.optional[one.name])
            if one.name in self.optional
            else one
            for one in options_of(self.request)
            if one.name not in self.without
        ]

    def take(self, typed: dict[str, Any]) -> dict[str, Any]:
        """The values of what was typed."""
        return {one.name: one.value_of(typed[one.name]) for one in self.options}


def command_of(verb: Callable[..., None]) -> Callable[..., None]:
    """The function that typer makes the command of, with a parameter for every option."""
    hints = get_type_hints(verb, include_extras=True)
    taken: dict[str, Callable[[dict[str, Any]], Any]] = {}
    parameters: list[inspect.Parameter] = []
    for name, own in inspect.signature(verb).parameters.items():
        if is_dataclass(hints[name]):
            taken[name] = partial(request_from, request=hints[name])
            parameters += map(_parameter, options_of(hints[name]))
        elif asked := [one for one in get_args(hints[name]) if isinstance(one, Fields)]:
            taken[name] = asked[0].take
            parameters += map(_parameter, asked[0].options)
        else:
            taken[name] = itemgetter(name)
            as_it_is = own.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            parameters.append(as_it_is)

    def command(**typed: Any) -> None:
        verb(**{name: take(typed) for name, take in taken.items()})

    paragraphs = (inspect.getdoc(verb) or "").split("\n\n")  # typer would keep the ends of lines
    command.__doc__ = "\n\n".join(one.replace("\n", " ") for one in paragraphs)
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def described(request: type, name: str, **changes: Any) -> Any:
    """What typer is told of a field of a request, for a verb that takes this one alone."""
    (found,) = (one for one in options_of(request) if one.name == name)
    return _info(replace(found, **changes))


def _parameter(one: Option) -> inspect.Parameter:
    kind: Any = list[one.kind] if one.many else one.kind  # type: ignore[name-defined]
    default = inspect.Parameter.empty if one.required else None if one.many else one.default
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if default is None else kind, _info(one)],
    )


def _info(one: Option) -> Any:
    told: dict[str, Any] = {"help": one.says, "show_default": one.shown_default or True}
    told |= {"metavar": one.metavar, "envvar": one.envvar}
    if one.argument:
        return typer.Argument(**told | {"metavar": one.metavar or one.name.upper()})
    return typer.Option(one.flag, **told)
