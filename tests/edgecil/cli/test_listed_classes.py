"""A run that learned a list of a folder's classes goes on with these, whatever else lies there."""

import hashlib
import json
import shutil
from pathlib import Path

from tests.edgecil.cli.desk import Desk


def test_measured_and_learned_further_as_if_the_other_folders_were_not_there(desk: Desk) -> None:
    """Of ten pictures a class two are for the test, those of the lowest places."""
    old = desk.photos("old", "ant", "bee")
    for name in ("ant", "bee"):
        for path in (old / name).iterdir():
            (old / "all").mkdir(exist_ok=True)
            shutil.copy(path, old / "all" / f"{name}-{path.name}")
    (desk.folder / "list.txt").write_text("bee\nant\n")
    desk.train("--classes-file", desk.folder / "list.txt", "--epochs", 1)
    desk.run("export", "run", "--out", "x.edgecil")
    out, told = desk.run("eval", "x.edgecil", "--data", "old", "--json")
    assert json.loads(out)["images"] == 4
    assert told == "left out: 1 classes that the bundle has not learned\n"

    def place(path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return hashlib.sha256(f"1993 {digest}".encode()).hexdigest()

    for path in sorted((old / "ant").iterdir(), key=place)[:2]:
        path.unlink()
    desk.photos("new", "cow")
    _, told = desk.learn("--data", "new")
    assert f"not measured, without test pictures in {old}: ant\n" in told
    assert desk.strictly("results.json")["stages"][-1]["measured_classes"] == 2
