"""The verb `predict` as a person meets it, by both command lines, with real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.__main__ import main
from edgecil_devices.package import pack
from edgecil_devices.prediction_lines import printable
from edgecil_devices.store.install import install
from edgecil_devices.teaching_facts import UnknownFacts
from edgecil_devices.watch import POLL_S

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

COMMANDS = {
    "edgecil": [sys.executable, "-c", "from edgecil.cli import main; main()"],
    "edgecil_devices": [sys.executable, "-m", "edgecil_devices"],
}
PATIENCE_S = 90


@contextmanager
def running(
    *arguments: object, command: str = "edgecil_devices"
) -> Iterator[subprocess.Popen[str]]:
    """`predict` as a process of its own, with pipes."""
    pipe = subprocess.PIPE
    words = [*COMMANDS[command], "predict", *map(str, arguments)]
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with process:
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def picture(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        picture(folder / f"{seed}.png", seed)
    return folder


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_both_command_lines_say_the_same(bundle_path: Path, photos: Path) -> None:
    said = []
    for command in COMMANDS:
        arguments = (bundle_path, photos, photos / "gone.jpg", "--json", "--threshold", "0.5")
        with running(*arguments, command=command) as process:
            out, err = process.communicate()
            lines = records(out)
            for record in lines:
                record.pop("ms", None)
            said.append((process.returncode, lines, err))
    assert said[0] == said[1]
    assert said[0][0] == 1
    assert said[0][1][-1] == {
        "source": str(photos / "gone.jpg"),
        "error": "the file cannot be opened (No such file or directory)",
    }


def test_an_unlikely_picture_is_unknown(
    bundle_path: Path, photos: Path, tiny: "TinyNetwork", capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(photos.iterdir())
    logits = tiny.logits(np.stack([np.asarray(Image.open(path)) for path in paths]))
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).max(axis=1)
    threshold = float(np.sort(scores)[1])  # one below, two from there on
    words = ["predict", str(bundle_path), str(photos), "--threshold", f"{threshold - 1e-4}"]
    expected = [
        "unknown" if score < threshold - 1e-4 else tiny.classes[best]
        for score, best in zip(scores, logits.argmax(axis=1), strict=True)
    ]
    assert expected.count("unknown") == 1

    assert main(words) == 0
    columns = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [column[1] for column in columns] == expected
    assert [len(column) for column in columns] == [1 + 1 + 3 + 1] * 3

    assert main([*words, "--json"]) == 0
    lines = records(capsys.readouterr().out)
    assert [record["label"] for record in lines] == expected
    for record, score in zip(lines, scores, strict=True):
        told = None if record["label"] == "unknown" else pytest.approx(score, rel=1e-4)
        assert record["score"] == told


def test_frames_of_a_camera_must_agree(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = iter([np.full((48, 64, 3), value, np.uint8) for value in (9, 9, 9)])
    camera = SimpleNamespace(
        isOpened=lambda: True,
        set=lambda key, value: None,
        read=lambda: (True, frame) if (frame := next(frames, None)) is not None else (False, None),
        release=lambda: None,
    )
    opencv = SimpleNamespace(CAP_PROP_BUFFERSIZE=38, VideoCapture=lambda number: camera)
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    assert main(["predict", str(bundle_path), "camera", "--agree", "3/5", "--top", "1"]) == 1
    printed = capsys.readouterr()
    columns = [line.split("  ") for line in printed.out.splitlines()]
    assert [column[0] for column in columns] == ["camera:0#1", "camera:0#2", "camera:0#3"]
    assert [column[1] for column in columns[:2]] == ["unknown", "unknown"]
    assert columns[2][1] == columns[2][2].split()[0]
    assert printed.err == "error: camera 0 gives no frames; plug it in again\n"


def test_timing_shows_what_the_total_is_made_of(
    bundle_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(bundle_path), str(photos), "--timing"]) == 0
    printed = capsys.readouterr()
    for line in printed.out.splitlines():
        total, parts = line.split("  ")[-1].split(" ms = ")
        names = [part.split()[0] for part in parts.split(" + ")]
        assert names == ["load", "preprocess", "trunk", "blocks", "head"]
        sum_ms = sum(float(part.split()[1]) for part in parts.split(" + "))
        assert sum_ms == pytest.approx(float(total), abs=0.3)
    assert printed.err.startswith(f"{bundle_path} loaded in ")


def test_a_picture_from_the_network(bundle_path: Path, photos: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((photos / "1.png").read_bytes())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/cat.png"
        with running(bundle_path, address, photos / "1.png", "--json") as process:
            out, err = process.communicate()
        server.shutdown()
        thread.join()
    from_network, from_file = records(out)
    assert (err, from_network["source"]) == ("", address)
    assert from_network["top"] == from_file["top"]


def test_names_can_neither_break_a_line_nor_steer_a_terminal(
    bundle_path: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    names = ["red\x1b[31m.png", "two\nlines.png", "caf\xe9.png", os.fsdecode(b"latin\xe9.png")]
    paths = [picture(tmp_path / name) for name in names]
    assert main(["predict", str(bundle_path), *map(str, paths), str(tmp_path / "\x1b.png")]) == 1
    printed = capsysbinary.readouterr()
    told = [line.split(b"  ")[0].rpartition(b"/")[2] for line in printed.out.splitlines()]
    expected = [r"red\x1b[31m.png", r"two\nlines.png", "caf\xe9.png", r"latin\udce9.png"]
    assert told == [name.encode() for name in expected]
    assert rb"/\x1b.png: the file cannot be opened" in printed.err
    assert b"\x1b" not in printed.err


def test_joiners_stay_and_other_marks_that_nobody_sees_are_shown() -> None:
    assert printable("\u0645\u06cc\u200c\u062e \U0001f468\u200d\U0001f469") == (
        "\u0645\u06cc\u200c\u062e \U0001f468\u200d\U0001f469"
    )
    assert printable("a\u200d\x1b\u202eb") == "a\u200d\\x1b\\u202eb"


def test_lines_come_at_once_and_paths_from_standard_input(bundle_path: Path, photos: Path) -> None:
    with running(bundle_path, "-") as process:
        assert process.stdin
        for name in ("2.png", "0.png"):
            process.stdin.write(f"{photos / name}\n")
            process.stdin.flush()
            assert line(process).startswith(f"{photos / name}  ")
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_pipe_ends_it_silently(bundle_path: Path, photos: Path, command: str) -> None:
    with running(bundle_path, *[photos] * 200, command=command) as process:
        assert process.stdout
        assert process.stderr
        assert line(process)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_ends_a_watch_cleanly(
    bundle_path: Path, photos: Path, number: int, command: str
) -> None:
    with running(bundle_path, photos / "0.png", "--watch", photos, command=command) as process:
        assert line(process)
        process.send_signal(number)
        out, err = process.communicate()
        assert (process.returncode, out) == (0, "")
        assert err.startswith(f"watching {photos}; Ctrl-C ends it\n")
        assert "Traceback" not in err


def test_a_signal_before_the_last_picture_is_told_by_the_exit_code(bundle_path: Path) -> None:
    with running(bundle_path, "-") as process:
        assert process.stdin
        process.stdin.write("gone.png\n")
        process.stdin.flush()
        assert process.stderr
        assert process.stderr.readline().startswith("error: gone.png: ")
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM


def test_a_watched_folder(bundle_path: Path, photos: Path) -> None:
    with running(bundle_path, "--watch", photos, "--json") as process:
        assert process.stderr
        assert process.stderr.readline() == f"watching {photos}; Ctrl-C ends it\n"
        picture(photos / "new.jpg")
        assert json.loads(line(process))["source"] == str(photos / "new.jpg")
        (photos / "bad.jpg").write_bytes(b"no picture")
        assert json.loads(line(process)) == {
            "source": str(photos / "bad.jpg"),
            "error": "this is no JPEG, PNG, WebP, BMP, GIF, HEIC or AVIF picture; "
            "convert it to one of them",
        }
        picture(photos / ".tmp.png", seed=5).rename(photos / "bad.jpg")
        assert json.loads(line(process))["source"] == str(photos / "bad.jpg")
        process.terminate()
        assert process.wait() == 1  # of one of them there was no picture


def test_a_watch_goes_on_with_a_release_that_cannot_tell_the_unknown(
    tiny: "TinyNetwork", photos: Path, tmp_path: Path
) -> None:
    facts = UnknownFacts(energies=(1e6,) * 101, auroc=0.9, pictures=50)
    store, bundle = tmp_path / "store", tmp_path / "one.edgecil"
    bundle.write_bytes(pack(replace(tiny.manifest(), unknown=facts), tiny.blobs()))
    install(bundle, store)
    with running(store, "--watch", photos, "--unknown", "95", "--json") as process:
        assert process.stderr
        assert process.stderr.readline().startswith("unknown: 95 % of known pictures pass")
        assert process.stderr.readline() == f"watching {photos}; Ctrl-C ends it\n"
        picture(photos / "new0.jpg")
        assert json.loads(line(process))["label"] == "unknown"
        install(tiny.save(tmp_path / "two.edgecil"), store)
        for number in range(1, 20):  # the first of these may still be of the release before
            picture(photos / f"new{number}.jpg")
            if (label := json.loads(line(process))["label"]) != "unknown":
                break
        assert label in tiny.classes
        assert process.stderr.readline().startswith("warning: the release that is current now has")
        process.terminate()
        assert process.wait() == 0


def test_an_idle_watch_takes_a_hundredth_of_a_core_above_one_that_only_sleeps_and_looks(
    bundle_path: Path, photos: Path
) -> None:
    for number in range(500):
        (photos / f"{number}.jpg").write_bytes(b"x")
    looks = f"import os, time\nwhile True: os.stat({str(photos)!r}), time.sleep({POLL_S})"
    with (
        running(bundle_path, "--watch", photos) as process,
        subprocess.Popen([sys.executable, "-c", looks], text=True) as sleeper,
    ):
        assert process.stderr
        process.stderr.readline()
        picture(photos / "first.png")
        assert line(process)  # everything is loaded and has run once
        # Waking up alone costs much where memory is taken from whoever sleeps. Every file is looked
        # at now and then, the rarer the longer that took, so in one span and not in the next.
        above = []
        for _ in range(6):
            before = [cpu_s(one.pid) for one in (process, sleeper)]
            time.sleep(2)
            watching, sleeping = (
                cpu_s(one.pid) - was for one, was in zip((process, sleeper), before, strict=True)
            )
            above.append((watching - sleeping) / 2)
        sleeper.kill()
        assert min(above) < 0.01


def cpu_s(pid: int) -> float:
    """Seconds that all threads of a process have computed, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give pictures: files, folders"),
        (["a.png", "camera"], "camera does not end, so give it alone"),
        (["a.png", "--top", "0"], "--top must be at least 1, not 0"),
        (["a.png", "--threshold", "50"], "threshold 50 is no probability; give 0 to 1"),
        (["a.png", "--agree", "5"], "--agree 5 is no agreement; give votes/frames"),
        (["--watch", "missing"], "--watch missing: No such file or directory"),
        (["camera:x"], "camera:x is no camera"),
        (["a.png", "--collect-most", "5"], "--collect-below and --collect-most are for --collect"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    bundle_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(bundle_path), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {said}")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_bundle_that_is_missing_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "gone.edgecil", "a.png"]) == 1
    assert capsys.readouterr().err.startswith("error: gone.edgecil: ")


def test_the_verbs_are_listed_without_their_packages() -> None:
    code = "import sys; from edgecil_devices.__main__ import main; main(['--help'])"
    program = f"try: {code}\nexcept SystemExit: print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "predict" in shown
    assert not {"numpy", "onnxruntime", "PIL", "typer"} & set(shown.split())
