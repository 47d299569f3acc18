"""The pictures of the documents, made of real commands, pages and reports.

    python docs/tools/pictures.py          # two minutes; needs the extra dev, and chromium

Runs the demo in a folder of its own, shows what commands print about it as it stands in a terminal,
and looks at its page in a browser, on a desk, and on a phone while a class is taught. Writes
docs/pictures/.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from edgecil.data import load_dataset

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
REPORT = ROOT / "benchmarks" / "results" / "cifar100-comparison" / "report.html"
COLUMNS = 96
TERMINALS = {
    "predict.svg": ["edgecil predict demo/glyphs.edgecil demo/pictures --top 2"],
    "plan.svg": ["edgecil plan --data cifar100 --budget 7.6MB"],
}
DESK: dict[str, Any] = {"viewport": {"width": 1100, "height": 640}}
REPORT_SCREEN: dict[str, Any] = {"viewport": {"width": 1100, "height": 960}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}
TAUGHT, TAUGHT_PICTURES = "lower-m", 12


def printed(command: str, folder: Path) -> str:
    """What a command prints there.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    words = [sys.executable, "-m", *command.split()]
    others = {name: value for name, value in os.environ.items() if name != "EDGECIL_DATA"}
    done = subprocess.run(
        words, cwd=folder, check=True, stdout=subprocess.PIPE, text=True, env=others
    )
    return done.stdout


def terminal(commands: list[str], folder: Path) -> str:
    """Commands and what they print, as an SVG picture that asks no server for a font."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    for command in commands:
        console.print(Text(f"$ {command}", style="bold"))
        console.print(Text(printed(command, folder).rstrip()))
    plain = re.sub(r"@font-face {{.*?}}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="edgecil", code_format=plain, unique_id="edgecil")


def new_glyphs(folder: Path) -> list[Path]:
    """Pictures of a class that the demo has not learned."""
    dataset = load_dataset("glyphs")
    chosen = (dataset.test.labels == dataset.classes.index(TAUGHT)).nonzero()[0][:TAUGHT_PICTURES]
    paths = [folder / f"{number}.png" for number in range(len(chosen))]
    for path, pixels in zip(paths, dataset.test.pixels(chosen), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the demo's page."""
    words = ["edgecil", "serve", "demo/teachable.edgecil", "--teach", "--port", "0"]
    command = [sys.executable, "-u", "-m", *words]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        (address,) = re.findall(r"http://\S+", server.stderr.readline())
        try:
            yield address
        finally:
            server.terminate()


@contextmanager
def opened(browser: Browser, url: str, screen: dict[str, Any]) -> Iterator[Page]:
    """A page that is there."""
    page = browser.new_page(**screen)
    page.set_default_timeout(60_000)
    page.goto(url)
    yield page
    page.close()


def look(browser: Browser, folder: Path) -> None:
    """Take the pictures of pages."""
    asked, *_ = sorted((folder / "demo" / "pictures").iterdir())
    new = new_glyphs(folder)
    with served(folder) as address:
        with opened(browser, address, DESK) as page:
            page.set_input_files("#file", asked)
            page.wait_for_selector("#label:not(.soft)")
            page.screenshot(path=PICTURES / "page.png")
        with opened(browser, address, PHONE) as page:
            page.set_input_files("#file", new[0])
            page.wait_for_selector("#teach-tools:not([hidden])")
            page.fill("#teach-label", TAUGHT)
            page.set_input_files("#teach-files", new[1:])
            page.wait_for_selector("#taught li")
            page.locator("#teach").screenshot(path=PICTURES / "teach.png")
    with opened(browser, REPORT.as_uri(), REPORT_SCREEN) as page:
        page.screenshot(path=PICTURES / "report.png")


def main() -> None:
    """Make them all."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("error: there is no chromium; install it")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        printed("edgecil demo --out demo", folder)
        printed("edgecil export demo/run --out demo/teachable.edgecil --teachable", folder)
        for name, commands in TERMINALS.items():
            (PICTURES / name).write_text(terminal(commands, folder))
        with sync_playwright() as playwright:
            # Root cannot have Chromium's sandbox.
            options = ["--no-sandbox"] if os.getuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=chromium, args=options)
            look(browser, folder)
            browser.close()


if __name__ == "__main__":
    main()
