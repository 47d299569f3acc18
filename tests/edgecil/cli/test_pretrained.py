"""A backbone that comes pretrained, from the command line."""

from pathlib import Path

import numpy as np
from PIL import Image

from edgecil.training.stopping import EXIT_STOPPED
from tests.edgecil.cli.desk import Desk
from tests.edgecil.networks.drawn import TINY, tiny_backbone


def test_a_run_says_where_its_weights_come_from_and_learns_on_without_them(
    desk: Desk, tmp_path: Path
) -> None:
    desk.photos("old", "cup", "fork")
    desk.photos("new", "key")
    with tiny_backbone(tmp_path) as file:
        desk.train("--backbone", TINY)
        before = desk.state()["trunk.safetensors"]
        file.unlink()
        desk.learn("--data", "new")
        out, _ = desk.run("info", "run")
    assert desk.state()["trunk.safetensors"] == before
    assert "starts from: a drawing, sha256 " in out
    assert "licence of these weights: CC0-1.0; trained on: noise" in out


def test_a_stopped_run_of_small_photos_goes_on_with_the_same_pictures_unasked(
    desk: Desk, tmp_path: Path
) -> None:
    """Loaded for a smaller network, oblong pictures would be squares without their sides."""
    draw = np.random.default_rng(0)
    for name in ("cup", "fork"):
        (desk.folder / "old" / name).mkdir(parents=True)
        for number in range(8):
            pixels = draw.integers(0, 256, (48, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(desk.folder / "old" / name / f"{number}.png")
    command = "train --data old --budget 5MB --epochs 2 --codec webp-lossless --device cpu --seed 3"
    named = (*command.split(), "--backbone", TINY, "--method", "memo")
    with tiny_backbone(tmp_path):
        desk.run(*named, "--run", "whole")
        desk.run(*named, "--run", "run", "--stop-after", "0.01s", code=EXIT_STOPPED)
        desk.run(*command.split(), "--method", "memo", "--run", "run", "--resume")
    whole = {path.name: path.read_bytes() for path in (desk.folder / "whole/state").iterdir()}
    assert desk.state() == whole


def test_weights_that_cannot_be_used_are_one_line_before_any_picture_is_read(desk: Desk) -> None:
    (desk.folder / "w.pth").write_bytes(b"no weights")
    command = "train --data nowhere --budget 3MB --backbone efficientnet-lite0 --weights"
    _, err = desk.run(*command.split(), "w.pth", code=1)
    assert err.startswith("error: w.pth is neither a .safetensors file nor a state dict")
    assert len(err.splitlines()) == 1
    _, err = desk.run(*command.split(), "gone.pth", code=1)
    assert err == ("error: gone.pth cannot be read (No such file or directory); check --weights\n")
    command = "compare --data nowhere --methods memo --budgets 3MB --backbone efficientnet-lite0"
    _, err = desk.run(*command.split(), "--weights", "gone.pth", "--out", "out", code=1)
    assert "gone.pth cannot be read" in err
    assert sorted(path.name for path in desk.folder.iterdir()) == ["w.pth"]
