"""The units for systemd: what they start works as it stands there, and is shut in."""

import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.__main__ import function_of, request_of
from edgecil_devices.errors import StoreBusyError
from edgecil_devices.options import add_arguments
from edgecil_devices.serving.server import Limits
from edgecil_devices.store.install import install

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

FOLDER = Path(__file__).parents[2] / "devices"
SERVICES = sorted(FOLDER.glob("*.service"))
SERVE, UPDATE = FOLDER / "edgecil-serve.service", FOLDER / "edgecil-update.service"
PYTHON, STORE = "/opt/edgecil/bin/python", "/var/lib/edgecil"


def settings(unit: Path) -> dict[str, str]:
    """A unit's settings by name; those that come twice are joined by a space."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^(\w+)=(.*)", unit.read_text(), re.MULTILINE):
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def environment_of(unit: Path) -> dict[str, str]:
    return dict(word.split("=", 1) for word in settings(unit)["Environment"].split())


def command_of(unit: Path, environment: Mapping[str, str]) -> list[str]:
    """As systemd has it: `${NAME}` stays within its word, `$NAME` alone is as many as it holds."""
    words = []
    for word in shlex.split(settings(unit)["ExecStart"]):
        value = Template(word).substitute(environment)
        words += value.split() if re.fullmatch(r"\$\w+", word) else [value]
    return words


@pytest.fixture
def store(bundle_path: Path, tmp_path: Path) -> Path:
    install(bundle_path, tmp_path / "store")
    return tmp_path / "store"


@contextmanager
def started(store: Path, **conf: str) -> Iterator["subprocess.Popen[str]"]:
    """What the unit starts, with this environment's Python and that store; conf as in serve.conf.

    As from systemd, it has no environment but the unit's, and the root folder for its own.
    """
    environment = environment_of(SERVE) | conf
    places = {PYTHON: sys.executable, STORE: str(store)}
    words = [places.get(word, word) for word in command_of(SERVE, environment)]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, cwd="/", env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def address_of(process: "subprocess.Popen[str]") -> str:
    assert process.stderr
    (address,) = re.findall(r"http://\S+/", process.stderr.readline())
    return str(address)


def picture() -> tuple[bytes, "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"]:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue(), pixels


def test_serve_answers_under_load_and_stops_cleanly(tiny: "TinyNetwork", store: Path) -> None:
    data, pixels = picture()
    expected = tiny.classes[tiny.logits(pixels[None])[0].argmax()]
    with started(store, EDGECIL_PORT="0") as process:
        address = address_of(process)
        assert address.startswith("http://127.0.0.1:")
        assert json.load(urlopen(f"{address}health", timeout=30)) == {"status": "ok"}

        def label(_: int) -> str:
            with urlopen(f"{address}predict", data, 30) as answer:
                return str(json.load(answer)["label"])

        with ThreadPoolExecutor(8) as clients:
            assert set(clients.map(label, range(400))) == {expected}
        process.send_signal(signal.Signals[settings(SERVE)["KillSignal"]])
        assert process.wait(float(settings(SERVE)["TimeoutStopSec"])) == 0


def test_serve_takes_further_options_from_its_settings(store: Path) -> None:
    options = "--allow-host cam.example --queue 4"
    with started(store, EDGECIL_PORT="0", EDGECIL_OPTIONS=options) as process:
        asked = Request(f"{address_of(process)}metrics", headers={"Host": "cam.example"})
        with urlopen(asked, timeout=30) as answer:
            assert b"\nedgecil_queue_limit_pictures 4\n" in answer.read()


def test_systemd_waits_until_serve_has_finished_what_is_under_way() -> None:
    assert float(settings(SERVE)["TimeoutStopSec"]) > Limits().grace_s


def test_settings_that_cannot_be_are_not_tried_again_for_ever(store: Path) -> None:
    with started(store, EDGECIL_PORT="70000") as process:
        assert process.wait(300) == int(settings(SERVE)["RestartPreventExitStatus"])


def test_an_update_that_meets_another_one_has_not_failed() -> None:
    assert int(settings(UPDATE)["SuccessExitStatus"]) == StoreBusyError.exit_code


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_every_option_that_a_unit_gives_exists(unit: Path) -> None:
    environment = environment_of(unit) | {"EDGECIL_FROM": "https://releases.example.org/cats"}
    python, dash_m, package, verb, *arguments = command_of(unit, environment)
    assert [python, dash_m, package] == [PYTHON, "-m", "edgecil_devices"]
    parser = ArgumentParser(allow_abbrev=False)
    add_arguments(parser, request_of(function_of(verb)))
    assert STORE in map(str, vars(parser.parse_args(arguments)).values())


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_nothing_is_reported_to_the_makers_of_onnxruntime(unit: Path) -> None:
    assert environment_of(unit)["ORT_DISABLE_TELEMETRY"] == "1"


def test_both_services_are_shut_in_alike_but_update_may_write_the_store() -> None:
    serve, update = (unit.read_text().partition("\nUser=edgecil\n")[2] for unit in (SERVE, UPDATE))
    assert "ProtectSystem=strict" in serve
    assert update == "StateDirectory=edgecil\n" + serve.partition("\n[Install]")[0]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_systemd_understands_the_units_and_finds_them_shut_in(unit: Path, tmp_path: Path) -> None:
    # It wants to see the program too.
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PYTHON, sys.executable))
    for timer in FOLDER.glob("*.timer"):
        shutil.copy(timer, tmp_path)
    for words in (
        ["verify", *map(str, tmp_path.glob("*.*"))],
        ["security", "--offline=true", "--threshold=20", str(copy)],  # 2.0 of 10, the most exposed
    ):
        done = subprocess.run(
            ["systemd-analyze", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_device_looks_within_a_quarter_of_an_hour_of_its_start() -> None:
    """The delay of the timer for every six hours also holds for what Persistent= makes up for."""
    regular, at_start = (FOLDER / f"edgecil-update{end}.timer" for end in ("", "-boot"))
    assert settings(regular)["Wants"] == at_start.name
    assert settings(at_start)["PartOf"] == regular.name
    assert settings(at_start)["Unit"] == UPDATE.name
    delays = (settings(at_start)[name] for name in ("OnBootSec", "RandomizedDelaySec"))
    assert sum(int(delay.removesuffix("min")) for delay in delays) <= 15


def test_every_unit_is_in_the_wheel() -> None:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    units = {path.name for path in FOLDER.glob("edgecil-*")}
    assert shared == {f"devices/{name}": f"share/edgecil/{name}" for name in units}
