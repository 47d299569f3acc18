"""A person's desk for the tests of the command line: small folders of pictures, and commands."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecil.cli import main

COUNT = 10
"""Pictures a class; two of them are for the test."""


@dataclass
class Desk:
    """A folder to work in, and what commands say there."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def photos(self, name: str, *classes: str) -> Path:
        """A folder of class folders with pictures of a colour each."""
        for class_name in classes:
            draw = np.random.default_rng(list(f"{name} {class_name}".encode()))
            colour = draw.integers(40, 216, 3)
            place = self.folder / name / class_name
            place.mkdir(parents=True)
            for number in range(COUNT):
                pixels = colour + draw.integers(-40, 40, (16, 16, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
                    place / f"{number}.png"
                )
        return self.folder / name

    def run(self, *words: object, code: int = 0, at: Path | None = None) -> tuple[str, str]:
        """What `edgecil WORDS` prints and complains of; it must end with `code`."""
        self.monkeypatch.chdir(at or self.folder)
        self.monkeypatch.setattr(sys, "argv", ["edgecil", *map(str, words)])
        try:
            main()
            ended = 0
        except SystemExit as exited:
            ended = int(exited.code or 0)
        said = self.capsys.readouterr()
        assert ended == code, said.err
        return said.out, said.err

    def train(
        self, *words: object, data: object = "old", code: int = 0, at: Path | None = None
    ) -> tuple[str, str]:
        """`edgecil train` into the folder `run`, two classes a task."""
        command = "train --image-size 16 --budget 600kB --backbone convnet2 --epochs 2"
        command += " --codec webp-lossless --state-precision fp16 --increment 2 --device cpu"
        words = ("--data", data, "--run", self.folder / "run", *words)
        return self.run(*command.split(), *words, code=code, at=at)

    def learn(self, *words: object, code: int = 0, at: Path | None = None) -> tuple[str, str]:
        """`edgecil learn` of the folder `run`."""
        words = ("learn", self.folder / "run", "--device", "cpu", *words)
        return self.run(*words, code=code, at=at)

    def strictly(self, name: str) -> dict[str, Any]:
        """A file of the run, read as JSON that has no NaN."""
        return strictly((self.folder / "run" / name).read_text())

    def state(self) -> dict[str, bytes]:
        """The files of the run's state."""
        return {path.name: path.read_bytes() for path in (self.folder / "run/state").iterdir()}


def strictly(text: str) -> dict[str, Any]:
    """JSON, which has no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return dict(json.loads(text, parse_constant=refuse))
