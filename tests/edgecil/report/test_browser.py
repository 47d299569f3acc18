"""The page as a person sees it, on a desk and on a phone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PATIENCE_MS = 90_000


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    # Chromium's own sandbox cannot be had by root.
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(
            executable_path=chromium, args=options, timeout=PATIENCE_MS
        )
        yield launched
        launched.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_page_fits_the_screen_and_complains_of_nothing(
    browser: object, report_page: Path, width: int, height: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})  # type: ignore[attr-defined]
    page.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report_page.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [report_page.as_uri()]
    # Tables of twenty tasks are wider than both screens, and scroll in boxes of their own.
    box = page.locator("#accuracy .table").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert box.bounding_box()["width"] <= width
    for plot in page.locator("figure:visible svg").all():
        assert 300 <= plot.bounding_box()["width"] <= 560
    page.close()
