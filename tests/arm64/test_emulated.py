"""A bundle exported here says the same on the processors of a Raspberry Pi 3, 4 and 5.

Shapes: N pictures, S image size, C classes.
"""

import io
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from edgecil.data.cifar100 import load_cifar100
from edgecil.data.datasets import Split
from edgecil.data.glyphs import load_glyphs
from edgecil.memory.codecs import codec_named
from edgecil.memory.exemplars import ExemplarSet
from edgecil.memory.state import State, StateSettings
from edgecil.networks.backbones import BACKBONES, Backbone
from edgecil_devices import Classifier
from edgecil_devices.bundle import read_bundle
from edgecil_devices.floors import OLDEST_ONNXRUNTIME
from edgecil_devices.graphs import operators
from edgecil_devices.images import Pixels, Preprocessing
from edgecil_devices.runtime import Runtime
from edgecil_export import ExportRequest, export
from tests.devices.conftest import tiny as tiny
from tests.devices.teaching.colours import RED, files, save_teachable
from tests.export.mobile import lite_like_groups, v3_like_groups

pytestmark = pytest.mark.slow

Logits: TypeAlias = NDArray[np.float32]

HERE = Path(__file__).parent
PICTURES = 6
"""One of each class: emulated, a picture takes up to a second."""
CLASSES = 6
ILLEGAL = "1.21.0"
"""Its aarch64 wheel has instructions that the Pi 3 and 4 lack."""


def first_of_class(split: Split, label: int, count: int) -> Pixels:
    rows = np.flatnonzero(np.asarray(split.labels) == label)[:count]
    return split.pixels(rows)


def state_of(exemplars: list[Pixels], backbone: str) -> State:
    """Untrained features of two blocks, with statistics of real pictures.

    The nearest mean of such features tells the classes apart well enough for a top-1 that varies.
    """
    settings = StateSettings(
        method="memo",
        backbone=backbone,
        cut="last",
        precision="fp32",
        codec="raw",
        preprocessing=Preprocessing(32),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        block_count=2,
        classes=tuple(f"class-{c}" for c in range(CLASSES)),
        task_sizes=(CLASSES // 2, CLASSES // 2),
    )
    # With this seed the highest logit of every picture leads by 5e-4: no rounding is to change it.
    torch.manual_seed(2)
    network = settings.empty_network().train()
    pictures = torch.from_numpy(np.concatenate(exemplars)).permute(0, 3, 1, 2)
    with torch.no_grad():
        for _ in range(20):  # until the running statistics are those of the pictures
            network.features(pictures)
    codec = codec_named("raw")
    kept = ExemplarSet.empty(codec, 32).with_new_classes([codec.encode_many(p) for p in exemplars])
    return State.of(settings, network.eval(), kept)


BACKBONES_OF_TESTS = {
    "relu6": Backbone("relu6", lite_like_groups, 16, 1, 64),
    "hard-swish": Backbone("hard-swish", v3_like_groups, 16, 1, 64),
}
"""With the operators of format 2."""
REQUESTS = {
    "fp32": ExportRequest(),
    "weights-int8": ExportRequest(weights="int8"),
    "compute-int8": ExportRequest(compute="int8", force=True),
}
BUNDLES = {
    **{name: ("resnet14", name) for name in REQUESTS},
    **{f"{b}-{name}": (b, name) for b in BACKBONES_OF_TESTS for name in ("fp32", "compute-int8")},
}
"""Each bundle's backbone and request."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pixels.npy (N, S, S, 3), and three networks as bundles."""
    folder = tmp_path_factory.mktemp("bundles")
    data_dir = os.environ.get("EDGECIL_DATA")
    data = load_cifar100(Path(data_dir)) if data_dir else load_glyphs(image_size_px=32)
    exemplars = [first_of_class(data.train, c, 32) for c in range(CLASSES)]
    pixels = [first_of_class(data.test, c, PICTURES // CLASSES) for c in range(CLASSES)]
    np.save(folder / "pixels.npy", np.concatenate(pixels))
    with pytest.MonkeyPatch.context() as patch:
        for name, row in BACKBONES_OF_TESTS.items():
            patch.setitem(BACKBONES, name, row)
        for backbone in {of for of, _ in BUNDLES.values()}:
            (folder / backbone).mkdir()
            state_of(exemplars, backbone).write(folder / backbone / "state", None)
        for name, (backbone, asked) in BUNDLES.items():
            request = replace(REQUESTS[asked], classifier="nearest-mean")
            export(folder / backbone, folder / f"{name}.edgecil", request)
    return folder


def logits_on(pi: Any, boards: list[str], bundles: Path, out: Path) -> dict[str, Any]:
    """The logits of every bundle on each board, {board: {bundle: (N, C)}}, two boards at a time."""

    def on(board: str) -> Any:
        done = pi.run(board, HERE / "on_device.py", bundles, out / f"{board}.npz")
        assert done.returncode == 0, done.stderr
        return np.load(out / f"{board}.npz")

    with ThreadPoolExecutor(2) as workers:
        return dict(zip(boards, workers.map(on, boards), strict=True))


@pytest.fixture(scope="module")
def logits_here(bundles: Path) -> dict[str, Logits]:
    pixels = np.load(bundles / "pixels.npy")
    return {
        path.stem: Runtime(read_bundle(path), threads=1).run(pixels).logits
        for path in sorted(bundles.glob("*.edgecil"))
    }


@pytest.fixture(scope="module")
def logits_there(pi: Any, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    newest = logits_on(pi, ["pi3", "pi4", "pi5"], bundles, tmp_path_factory.mktemp("newest"))
    older = pi.with_onnxruntime(OLDEST_ONNXRUNTIME)
    oldest = logits_on(older, ["pi4"], bundles, tmp_path_factory.mktemp("oldest"))
    return newest | {
        f"{board} with {OLDEST_ONNXRUNTIME}": logits for board, logits in oldest.items()
    }


def test_the_pictures_are_not_all_of_one_class(logits_here: dict[str, Logits]) -> None:
    for logits in logits_here.values():
        assert logits.shape == (PICTURES, CLASSES)
        assert len(set(logits.argmax(axis=1))) >= 3


@pytest.mark.parametrize("name", [name for name in BUNDLES if "compute" not in name])
def test_logits_are_those_of_this_machine_on_every_processor(
    name: str, logits_here: dict[str, Logits], logits_there: Any
) -> None:
    expected = logits_here[name]
    for board, logits in logits_there.items():
        # Means of unit features give logits that differ little: 1e-4 would be a part in 600.
        assert np.abs(logits[name] - expected).max() < 1e-5, board
        assert (logits[name].argmax(axis=1) == expected.argmax(axis=1)).all(), board


@pytest.mark.parametrize("name", [name for name in BUNDLES if "compute" in name])
def test_graphs_in_eight_bits_agree_on_every_processor_to_an_output_step(
    name: str, logits_here: dict[str, Logits], logits_there: Any
) -> None:
    expected = logits_here[name]
    for board, logits in logits_there.items():
        # Six times the largest difference that was seen, 7.7e-5; logits span half a unit.
        assert np.abs(logits[name] - expected).max() < 5e-4, board
        assert (logits[name].argmax(axis=1) == expected.argmax(axis=1)).all(), board


def test_bundles_with_the_operators_of_format_2_are_among_them(bundles: Path) -> None:
    for name, (backbone, _) in BUNDLES.items():
        bundle = read_bundle(bundles / f"{name}.edgecil")
        new = {"relu6": {"Clip"}, "hard-swish": {"HardSwish", "HardSigmoid"}}.get(backbone, set())
        assert operators(bundle.blobs["trunk.onnx"]) >= new
        assert bundle.manifest.format_number == (2 if new else 1)


def test_an_illegal_instruction_ends_the_process_on_the_processors_that_lack_it(pi: Any) -> None:
    broken = pi.with_onnxruntime(ILLEGAL)
    importing = "import onnxruntime; print(onnxruntime.__version__)"
    assert broken.run("pi3", "-c", importing).returncode == -signal.SIGILL
    assert broken.run("pi4", "-c", importing).returncode == -signal.SIGILL
    assert broken.run("pi5", "-c", importing).stdout.strip() == ILLEGAL


@pytest.mark.parametrize(
    ("board", "core"), [("pi3", "Cortex-A53"), ("pi4", "Cortex-A72"), ("pi5", "Cortex-A76")]
)
def test_doctor_names_board_and_processor_and_tests_a_bundle_on_it(
    pi: Any, bundles: Path, board: str, core: str
) -> None:
    done = pi.run(board, "-m", "edgecil_devices", "doctor", bundles / "compute-int8.edgecil")
    assert done.returncode == 0, done.stdout + done.stderr
    told = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert told["board"].endswith(f"profile raspberry-pi-{board[-1]}")
    assert core in told["processor"]
    assert ("asimddp" in told["processor"]) == (board == "pi5")
    assert "same answers to" in told["bundle"]
    # Only the Cortex-A76 has dot products of bytes.
    assert told["precision"].startswith("ok" if board == "pi5" else "warn")


def test_a_server_on_it_answers_as_this_machine_would(
    pi: Any, bundles: Path, logits_here: dict[str, Logits]
) -> None:
    body = io.BytesIO()
    Image.fromarray(np.load(bundles / "pixels.npy")[0]).save(body, "PNG")
    words = ["-m", "edgecil_devices", "serve", bundles / "fp32.edgecil", "--port", "0"]
    with pi.start("pi3", *words) as server:
        try:
            (address,) = re.findall(r"http://\S+", server.stderr.readline())
            with urlopen(f"{address}predict", body.getvalue(), 240) as answer:
                label = json.load(answer)["label"]
            server.terminate()
            assert server.wait(240) == 0
        finally:
            server.kill()
    assert label == f"class-{logits_here['fp32'][0].argmax()}"


def test_it_is_taught_and_answers_as_this_machine_would(pi: Any, tiny: Any, tmp_path: Path) -> None:
    bundle = save_teachable(tiny, tmp_path / "tiny.edgecil")
    mugs, seen = files(tmp_path / "mugs", RED, 6), files(tmp_path / "seen", RED, 1, seed=9)[0]
    there = "-m", "edgecil_devices"
    taught = pi.run("pi4", *there, "teach", bundle, *mugs, "--label", "mug", "--json")
    assert taught.returncode == 0, taught.stderr
    assert json.loads(taught.stdout)["taught"] == 6
    predicted = pi.run("pi4", *there, "predict", bundle, seen, "--json")
    here = Classifier.load(bundle).predict(seen)  # with what was taught there
    found = json.loads(predicted.stdout)["top"]
    assert (found[0]["label"], found[0]["taught"]) == ("mug", True)
    assert [one["label"] for one in found] == [one.label for one in here.top[: len(found)]]
    assert [one["score"] for one in found] == pytest.approx(
        [one.score for one in here.top[: len(found)]], abs=1e-4
    )


def test_bench_on_it_knows_the_board(pi: Any, tiny: Any, tmp_path: Path) -> None:
    bundle = tiny.save(tmp_path / "tiny.edgecil")  # 64 pictures at once would take a minute
    done = pi.run("pi4", "-m", "edgecil_devices", "bench", bundle, "--seconds", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["setting"]["profile"] == "raspberry-pi-4"
    assert found["latency_ms"]


def test_doctor_turns_the_illegal_instruction_into_a_sentence(pi: Any) -> None:
    done = pi.with_onnxruntime(ILLEGAL).run("pi4", "-m", "edgecil_devices", "doctor")
    assert done.returncode == 1, done.stdout + done.stderr
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert "an illegal instruction, SIGILL" in failed
    assert "run: pip install" in failed


def test_child_processes_are_emulated_too(pi: Any) -> None:
    child = "import platform; print(platform.machine())"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    done = pi.run("pi4", "-c", code)
    assert done.stdout.strip() == "aarch64", done.stderr
