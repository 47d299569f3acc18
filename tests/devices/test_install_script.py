"""`devices/install.sh`, run for real: what it installs, what it leaves alone, what it refuses.

So that nothing has to be downloaded, what edgecil needs is there as if the system had it, where an
environment that sees the system's packages finds it.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "devices" / "install.sh"
VERSION = version("edgecil")
NOBODY: dict[str, Any] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
)
"""Has subprocess run something as a user with no rights."""
Installed = tuple[Path, "subprocess.CompletedProcess[str]"]


class Device:
    """Where the script is run.

    Args:
        packages: the folder of the system's packages.
        home: the user's folder.
    """

    def __init__(self, packages: Path, home: Path) -> None:
        # The Python beneath the environment of these tests: a device has none active.
        self.python = Path(sys._base_executable).parent  # type: ignore[attr-defined]
        self.environment = {
            "PATH": f"{self.python}:/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONPATH": str(packages),
            "PIP_NO_INDEX": "1",
        }

    def started(self, *words: object) -> "subprocess.Popen[bytes]":
        """Start the script in a process group of its own."""
        return subprocess.Popen(
            ["sh", str(SCRIPT), *map(str, words)],
            env=self.environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def install(self, *words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the script."""
        return subprocess.run(
            ["sh", str(SCRIPT), *map(str, words)],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def says(self, target: Path, *words: object) -> str:
        """What the command `edgecil` that was installed prints."""
        done = subprocess.run(
            [target / "bin" / "edgecil", *map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    packages = tmp_path_factory.mktemp("packages")
    for name in required_by("edgecil", set()) - {"edgecil"}:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(found.locate_file(top)))
    return Device(packages, tmp_path_factory.mktemp("home"))


def required_by(name: str, seen: set[str]) -> set[str]:
    """A package and what it requires in turn, as far as this system needs and has it."""
    with suppress(PackageNotFoundError):
        lines = distribution(name).requires or ()
        seen.add(name)
        for line in lines:
            package = re.split(r"[^\w.-]", line)[0]
            if "extra ==" not in line and package not in seen:
                required_by(package, seen)
    return seen


@pytest.fixture(scope="module")
def target(device: Device, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment that the script has made, and what it said."""
    folder = tmp_path_factory.mktemp("device") / "in here" / "edgecil"
    done = device.install("--from", wheel, "--target", folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def files_in(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of all that is installed there; compiled modules come with use."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name != ".edgecil-install"
    }


def newer(wheel: Path, folder: Path) -> Path:
    """The same wheel under the version 9.9."""
    names = f"edgecil-{VERSION}", "edgecil-9.9"
    path = folder / wheel.name.replace(*names)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(("METADATA", "RECORD")):
                data = data.replace(f"Version: {VERSION}".encode(), b"Version: 9.9")
                data = data.replace(names[0].encode(), names[1].encode())
            new.writestr(name.replace(*names), data)
    return path


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_after_it_pictures_can_be_classified(
    device: Device, target: Installed, bundle_path: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "picture.png")
    said = device.says(target[0], "predict", bundle_path, tmp_path / "picture.png", "--top", 1)
    assert re.match(r".*picture\.png +(ape|bee|cat) ", said)


def test_it_says_sizes_what_doctor_found_and_what_to_do_next(target: Installed) -> None:
    folder, done = target
    (size_mb,) = re.findall(rf"^{re.escape(str(folder))} takes (\d+) MB", done.stderr, re.M)
    on_disk = sum(path.lstat().st_blocks * 512 for path in [folder, *folder.rglob("*")])
    assert int(size_mb) == pytest.approx(on_disk / 1e6, abs=2)
    assert re.search(r"^ok +onnxruntime +\d+\.\d+", done.stdout, re.M)
    assert done.stderr.endswith(f"\nnext: {folder}/bin/edgecil predict BUNDLE PICTURE.jpg\n")


def test_the_systems_packages_stay_in_use_so_that_the_camera_keeps_working(
    target: Installed,
) -> None:
    folder, _ = target
    assert "include-system-site-packages = true" in (folder / "pyvenv.cfg").read_text()
    installed = {path.name for path in folder.glob("lib/python3.*/site-packages/*")}
    assert "edgecil_devices" in installed
    assert "numpy" not in installed


def test_a_second_run_changes_nothing_and_a_newer_release_only_edgecil(
    device: Device, target: Installed, wheel: Path, tmp_path: Path
) -> None:
    folder, _ = target
    before = files_in(folder)
    assert device.install("--from", wheel, "--target", folder).returncode == 0
    assert files_in(folder) == before

    done = device.install("--from", newer(wheel, tmp_path), "--target", folder)
    assert done.returncode == 0, done.stderr
    assert device.says(folder, "--version").split() == ["edgecil", "9.9"]
    after = files_in(folder)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed
    assert all("edgecil" in str(path.relative_to(folder)) for path in changed)


def test_without_a_network_it_says_so_and_what_was_there_stays(
    device: Device, target: Installed
) -> None:
    folder, _ = target
    before = files_in(folder)
    nowhere = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    done = device.install("--from", "edgecil==99", "--target", folder, **nowhere)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert "connect the device and run this again" in last
    assert files_in(folder) == before
    assert (folder / ".edgecil-install").read_text() == "complete\n"


def test_a_system_with_another_python_gets_a_new_environment_though_it_be_cut_short(
    device: Device, target: Installed, wheel: Path
) -> None:
    folder, _ = target
    words = "--from", wheel, "--target", folder
    for name in ("python", "python3"):
        (folder / "bin" / name).unlink()
        (folder / "bin" / name).symlink_to("/usr/bin/python3.10-which-is-gone")
    packages = next(folder.glob("lib/python3.*/site-packages"))
    with device.started(*words) as process:
        wait_until(lambda: not (packages / "edgecil").exists())
        wait_until(lambda: (packages / "pip").exists())
        os.killpg(process.pid, signal.SIGKILL)
    assert (folder / ".edgecil-install").read_text() == "changing\n"
    (packages / "left-over").touch()

    assert device.install(*words).returncode == 0
    assert device.says(folder, "--version").split() == ["edgecil", VERSION]
    assert not (packages / "left-over").exists()


def test_uninstalling_deletes_the_environment_and_nothing_else(
    device: Device, target: Installed, tmp_path: Path
) -> None:
    folder, beside = tmp_path / "edgecil", tmp_path / "beside"
    shutil.copytree(target[0], folder, symlinks=True)
    (folder / "link").symlink_to(beside)
    beside.mkdir()
    (beside / "picture.jpg").touch()
    assert device.install("--uninstall", "--target", folder).returncode == 0
    assert not folder.exists()
    assert (beside / "picture.jpg").exists()


def test_a_folder_of_the_users_is_neither_filled_nor_emptied(
    device: Device, tmp_path: Path
) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = elsewhere\n")
    for option in ([], ["--uninstall"]):
        done = device.install(*option, "--target", tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {tmp_path} ")
    assert [path.name for path in tmp_path.iterdir()] == ["pyvenv.cfg"]


OTHER_MACHINE = 'if [ "$1" = -m ]; then echo {}; else echo Linux; fi'
OLD_PYTHON = 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi'
NO_ENSUREPIP = 'case "$2" in *ensurepip*) exit 1 ;; esac'


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ({"uname": "echo Darwin"}, "this is Darwin"),
        (
            {"getconf": "echo 32", "uname": OTHER_MACHINE.format("aarch64")},
            "the system has 32 bits, .* flash the 64-bit Raspberry Pi OS",
        ),
        ({"uname": OTHER_MACHINE.format("riscv64")}, "no onnxruntime for riscv64"),
        ({"python3": OLD_PYTHON}, "Python 3.9.2 is too old, .* flash Raspberry Pi OS 12"),
        ({"python3": NO_ENSUREPIP}, "sudo apt install python3-venv"),
        ({"df": "echo; echo / 999999 1 300000 9% /"}, "has 307 MB free, and 350 are .* make room"),
    ],
    ids=["not Linux", "32 bits", "no packages", "old Python", "no venv", "no space"],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    device: Device, tmp_path: Path, commands: dict[str, str], said: str
) -> None:
    for name, script in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{device.environment['PATH']}"
    done = device.install("--target", tmp_path / "new" / "edgecil", PATH=path)
    assert done.returncode == 1
    assert re.fullmatch(f"error: .*{said}.*\n", done.stderr)
    assert not (tmp_path / "new").exists()


def test_a_device_without_python_is_refused(device: Device, tmp_path: Path) -> None:
    for name in ("sh", "id", "uname", "getconf", "df", "awk", "dirname", "ls"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = device.install("--target", tmp_path / "edgecil", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "error: there is no Python; run: sudo apt install python3-venv\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "/opt/edgecil"], "error: /opt cannot be written; run it with sudo"),
        (["--service", "cats.edgecil"], "error: only root can install a service; .* sudo"),
    ],
)
def test_who_may_not_is_told_to_become_root(words: list[str], said: str) -> None:
    done = subprocess.run(  # through a pipe, since the tree may lie where nobody else can read
        ["sh", "-s", "--", *words],
        input=SCRIPT.read_text(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        **NOBODY,
    )
    assert done.returncode == 1
    assert re.match(said, done.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--targets"], "--targets is not known; see --help"),
        (["--from"], "--from needs a value"),
        (["--trust", "cats.key.pub"], "--trust goes with --service"),
    ],
)
def test_wrong_options_are_refused(device: Device, words: list[str], said: str) -> None:
    done = device.install(*words)
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


def test_a_script_that_comes_through_a_pipe_that_breaks_does_nothing(
    device: Device, tmp_path: Path
) -> None:
    lines = SCRIPT.read_text().splitlines(keepends=True)
    for end in range(0, len(lines), 10):
        subprocess.run(
            ["sh", "-s", "--", "--target", tmp_path / "edgecil"],
            input="".join(lines[:end]),
            text=True,
            env=device.environment,
            capture_output=True,
            check=False,
        )
        assert not (tmp_path / "edgecil").exists()


BOX = """
set -eu
mount -t tmpfs box "$1"
cd "$1"
mkdir root all all-work tmp tmp-work
mount -t overlay -o lowerdir=/,upperdir=all,workdir=all-work overlay root
mount -t overlay -o lowerdir=/tmp,upperdir=tmp,workdir=tmp-work overlay root/tmp
for folder in dev proc; do mount --bind /$folder root/$folder; done
exec chroot root sh -c "$2"
"""
"""Runs a command that may change this machine's files as it likes: all is gone with it."""

INSTALL_AND_LOOK = """
set -eu
# What this tree's environment consists of may lie where only root can look.
for place in {readable}; do
    while [ "$place" != / ]; do chmod o+rx "$place"; place=$(dirname "$place"); done
done
sh {script} --from {wheel} --service {bundle}
[ "$(id -u edgecil)" != 0 ]
stat -c '%U has %n' /var/lib/edgecil /var/lib/edgecil/current
cmp {units}/edgecil-serve.service /etc/systemd/system/edgecil-serve.service
echo EDGECIL_HOST=0.0.0.0 >/etc/edgecil/serve.conf
sh {script} --uninstall
test -e /var/lib/edgecil/state.json
test -e /etc/edgecil/serve.conf
if ls -d /etc/systemd/system/edgecil* /opt/edgecil 2>/dev/null; then exit 1; fi
sed 's/^/systemctl /' {calls}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can install a service")
def test_a_service_gets_a_user_and_a_store_which_stay_when_it_is_taken_away(
    device: Device, wheel: Path, bundle_path: Path, tmp_path: Path
) -> None:
    box, calls = tmp_path / "box", tmp_path / "calls"
    box.mkdir()
    systemctl = tmp_path / "systemctl"  # nothing is to be started here
    systemctl.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    systemctl.chmod(0o755)
    packages = Path(device.environment["PYTHONPATH"])
    readable = [device.python, (device.python / "python3").resolve(), *packages.iterdir()]
    command = INSTALL_AND_LOOK.format(
        readable=" ".join({shlex.quote(str(path.resolve())) for path in [packages, *readable]}),
        script=SCRIPT,
        wheel=wheel,
        bundle=bundle_path,
        units=SCRIPT.parent,
        calls=calls,
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", BOX, "sh", box, command],
        env=device.environment | {"PATH": f"{tmp_path}:{device.environment['PATH']}:/usr/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"no file systems of one's own here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert re.search("^(ok|warn) +bundle ", done.stdout, re.M)
    assert "edgecil has /var/lib/edgecil\nedgecil has /var/lib/edgecil/current\n" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("systemctl ")] == [
        "systemctl daemon-reload",
        "systemctl try-restart edgecil-serve.service",
        "systemctl enable --now edgecil-serve.service edgecil-update.timer",
        "systemctl disable --now edgecil-serve.service edgecil-update.timer",
        "systemctl daemon-reload",
    ]
