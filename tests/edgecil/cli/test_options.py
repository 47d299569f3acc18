"""What typer is told of every verb follows from the fields of its requests."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from edgecil.cli import VERBS, command_called
from edgecil.cli.verbs import Fields, command_of
from edgecil.data import DATASETS
from edgecil.memory.precisions import PRECISIONS
from edgecil.methods import METHODS
from edgecil.methods.memo import TRUNK_POLICIES
from edgecil.networks import BACKBONES
from edgecil.pictures.policies import AUGMENTATIONS
from edgecil.planning.accounting import ACCOUNTINGS
from edgecil.training.request import TrainRequest
from edgecil_devices.options import Option, options_of, words_of


def function_of(verb: str) -> Any:
    name = {"eval": "evaluate"}.get(verb, verb)
    return getattr(import_module(f"edgecil.cli.{name}"), name)


def derived(verb: str) -> list[Option]:
    """The options that a verb has because its requests have them."""
    if isinstance(function_of(verb), typer.Typer):
        return []
    found = []
    for hint in get_type_hints(function_of(verb), include_extras=True).values():
        if is_dataclass(hint):
            assert isinstance(hint, type)
            found += options_of(hint)
        found += [
            one for given in get_args(hint) if isinstance(given, Fields) for one in given.options
        ]
    return found


def called(verb: Callable[..., None], words: list[str]) -> None:
    """Call a function as typer does after the words of a command line."""
    alone = typer.Typer(add_completion=False)
    alone.command()(command_of(verb))
    get_command(alone).main(list(words), standalone_mode=False)


@pytest.mark.parametrize("verb", VERBS)
def test_the_options_of_a_verb_are_those_of_its_requests(verb: str) -> None:
    by_name = {parameter.name: parameter for parameter in command_called(verb).params}
    for one in derived(verb):
        parameter = by_name[one.name]
        assert parameter.opts == [one.name if one.argument else one.flag]
        assert parameter.secondary_opts == []
        assert parameter.help == one.says
        assert parameter.required == one.required
        assert parameter.multiple == (one.many and not one.argument)
        assert parameter.envvar == one.envvar


def test_train_and_its_kin_take_every_field_of_the_request() -> None:
    every = {one.name for one in fields(TrainRequest)}
    own = {
        "plan": {"trunk", "learning_rate", "batch_size"},
        "compare": {"method", "budget", "seed"},
        "train": set(),
    }
    for verb, left_out in own.items():
        assert {one.name for one in derived(verb)} & every == every - left_out


TEXTS = st.text(st.characters(exclude_categories=["C"]), min_size=1)
NUMBERS = st.integers(1, 10**6)
REQUESTS = {
    str: TEXTS,
    int: NUMBERS,
    float: st.floats(0.001, 10**6),
    bool: st.booleans(),
    Path: TEXTS.map(Path),
}


@st.composite
def requests(draw: st.DrawFn) -> TrainRequest:
    """Whatever fields may hold; what could be no run at all is not the matter here."""
    asked = TrainRequest(data="glyphs", budget=draw(st.sampled_from(["1MB", "2.5 MiB"]) | NUMBERS))
    for one in options_of(TrainRequest):
        if one.name != "budget" and draw(st.booleans()):
            object.__setattr__(asked, one.name, draw(REQUESTS[one.kind]))
    return asked


@given(requests())
def test_the_words_of_a_request_ask_for_just_this(request_: TrainRequest) -> None:
    found: dict[str, Any] = {}

    def verb(asked: Annotated[dict[str, Any], Fields(TrainRequest)]) -> None:
        found.update(asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGECIL_DATA", raising=False)
        called(verb, words_of(request_))
    assert found == {one.name: getattr(request_, one.name) for one in fields(TrainRequest)}


def test_a_budget_is_bytes_from_the_command_line_on() -> None:
    found: list[TrainRequest] = []

    def verb(request: TrainRequest) -> None:
        found.append(request)

    called(verb, ["--data", "glyphs", "--budget", "7.6MB"])
    (request,) = found
    assert isinstance(request.budget, int)
    assert request.budget == request.budget_bytes == 7_600_000
    assert words_of(request)[:4] == ["--data", "glyphs", "--budget", "7.6MB"]
    assert request == TrainRequest(data="glyphs", budget=7_600_000, data_dir=request.data_dir)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("data", DATASETS),
        ("method", METHODS),
        ("backbone", BACKBONES),
        ("precision", PRECISIONS),
        ("accounting", ACCOUNTINGS),
        ("trunk", TRUNK_POLICIES),
        ("augmentation", {name.removesuffix("+cutout") for name in AUGMENTATIONS}),
    ],
)
def test_help_has_every_name_of_the_table(option: str, names: Any) -> None:
    (said,) = (one.says for one in options_of(TrainRequest) if one.name == option)
    words = said.replace(",", " ").replace(".", " ").replace(":", " ").replace(";", " ").split()
    assert set(names) <= set(words)


def test_a_method_is_found_under_its_own_name() -> None:
    assert {name: method.name for name, method in METHODS.items()} == {
        name: name for name in METHODS
    }


@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS)])
def test_help_waits_for_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from edgecil.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"torch", "torchvision", "onnx", "safetensors", "matplotlib"} & loaded
    # What a small computer is asked is answered without waiting for a package.
    if words in ([], ["predict"], ["status"], ["install"], ["serve"], ["bench"], ["doctor"]):
        assert not {"numpy", "PIL", "onnxruntime"} & loaded


@pytest.mark.parametrize("verb", VERBS)
def test_a_paragraph_of_help_is_one_for_typer_too(verb: str) -> None:
    """It wraps lines to the width of the terminal, and keeps ends of lines that are there."""
    help_ = command_called(verb).help
    assert [line for line in help_.split("\n\n") if "\n" in line] == []
