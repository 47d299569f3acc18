"""The page as a person has it: on a desk and on a phone, with files, the clipboard and a camera."""

import base64
import io
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgecil_devices.collecting import Collector, Unsure
from tests.devices.teaching.colours import RED, pictures, save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork
    from tests.devices.serving.conftest import Served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PATIENCE_MS = 90_000
SCREENS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
GIVE = """([base64, type, kind]) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "given", { type }));
    const of = { bubbles: true, cancelable: true };
    document.body.dispatchEvent(kind === "drop"
        ? new DragEvent("drop", { ...of, dataTransfer: transfer })
        : new ClipboardEvent("paste", { ...of, clipboardData: transfer }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    # The names of a server that others call by its name, over http.
    options += ["--host-resolver-rules=MAP *.example 127.0.0.1"]
    options += ["--no-sandbox"] if os.getuid() == 0 else []  # root cannot have Chromium's sandbox
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(
            executable_path=chromium, args=options, timeout=PATIENCE_MS
        )
        yield launched
        launched.close()


def new_page(browser: Any, **options: Any) -> Any:
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE_MS)
    return page


class Screen:
    """A page in the browser, and all that it asked for or complained of."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.page = new_page(browser, **options)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#about:not(:empty)")

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def label(self) -> str:
        """The answer, once it is there."""
        self.page.wait_for_selector("#label:not(.soft)")
        return self.text("#label")

    def give(self, content: bytes, kind: str, type_: str = "image/png") -> None:
        self.page.evaluate(GIVE, [base64.b64encode(content).decode(), type_, kind])

    def forget(self) -> None:
        self.page.evaluate("document.querySelector('#label').className = 'soft'")


@pytest.fixture(params=SCREENS)
def screen(browser: Any, server: "Served", request: pytest.FixtureRequest) -> Iterator[Screen]:
    opened = Screen(browser, f"http://localhost:{server.port}/", **SCREENS[request.param])
    yield opened
    opened.page.close()


def test_pictures_are_chosen_dropped_and_pasted(
    screen: Screen, server: "Served", picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes(picture)
    expected = server.post(picture).json
    screen.page.set_input_files("#file", tmp_path / "cat.png")
    assert screen.label() == expected["label"]
    for kind in ("drop", "paste"):
        screen.forget()
        screen.give(picture, kind)
        assert screen.label() == expected["label"]
    rows = screen.page.locator("#top li")
    assert [row.split("\n")[0] for row in rows.all_inner_texts()] == [
        one["label"] for one in expected["top"]
    ]
    percents = [float(row.rstrip("%\u202f").split("\n")[1]) for row in rows.all_inner_texts()]
    assert percents == pytest.approx([100 * one["score"] for one in expected["top"]], abs=0.5)
    # A bar is as long as its class is likely.
    bars = rows.evaluate_all("rows => rows.map(row => +row.style.getPropertyValue('--part'))")
    assert bars == pytest.approx([one["score"] for one in expected["top"]])
    assert screen.text("#device-ms").endswith(" ms")
    assert screen.text("#stages").startswith("wait ")
    assert screen.complaints == []


def test_the_camera_is_classified_live_until_it_is_stopped(
    screen: Screen, server: "Served"
) -> None:
    before = server.metric("predict_seconds_count")
    screen.page.click("#live")
    screen.page.wait_for_selector("#rate:text-matches('[1-9]')")
    assert screen.label() in ("ape", "bee", "cat")
    assert screen.page.is_visible("#badge")
    # The square that the network sees is framed, in the middle of the wider picture.
    video, seen = (screen.page.locator(s).bounding_box() for s in ("#video", "#seen"))
    assert seen["width"] == pytest.approx(seen["height"])
    assert seen["x"] + seen["width"] / 2 == pytest.approx(video["x"] + video["width"] / 2, abs=1)
    deadline = time.monotonic() + PATIENCE_MS / 1e3
    while server.metric("predict_seconds_count") <= before + 2:
        assert time.monotonic() < deadline
        screen.page.wait_for_timeout(20)
    screen.page.click("#live")
    assert screen.text("#live") == "Live camera"
    assert screen.page.evaluate("document.querySelector('#video').srcObject") is None
    screen.page.wait_for_timeout(300)
    asked = len(screen.requests)  # the last of which may still be answered
    screen.page.wait_for_timeout(300)
    assert len(screen.requests) == asked
    assert screen.complaints == []


def test_the_page_fits_the_screen_and_asks_no_other_host(screen: Screen, server: "Served") -> None:
    for summary in screen.page.locator("summary").all():
        summary.click()
    screen.give(b"no picture", "drop")
    screen.page.wait_for_selector("#problem:not([hidden])")
    width = screen.page.viewport_size["width"]
    assert screen.page.evaluate("document.documentElement.scrollWidth") == width
    for button in screen.page.locator(".button:visible").all():
        assert button.bounding_box()["height"] >= 44  # a finger's
    own = (f"http://localhost:{server.port}/", "data:", "blob:")
    assert [url for url in screen.requests if not url.startswith(own)] == []
    assert "cat" in screen.text("#tasks")


def test_what_is_no_picture_is_told_and_the_next_one_is_classified(
    screen: Screen, picture: bytes
) -> None:
    screen.give(picture, "drop")
    screen.label()
    screen.give(b"no picture", "drop")
    screen.page.wait_for_selector("#problem:not([hidden])")
    assert "his is no JPEG" in screen.text("#problem")
    assert screen.text("#label") == "No answer"  # and not that of the picture before
    assert screen.page.locator("#top li").count() == 0
    screen.give(b"text", "paste", "text/plain")
    assert "no picture file" in screen.text("#problem")
    screen.give(picture, "paste")
    screen.label()
    assert screen.page.is_hidden("#problem")


def test_what_only_the_browser_can_read_or_is_too_large_is_saved_anew(screen: Screen) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="9"/></svg>'
    screen.give(svg, "drop", "image/svg+xml")
    assert screen.label() in ("ape", "bee", "cat")
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    large = io.BytesIO()
    Image.fromarray(noise).save(large, "PNG")
    assert len(large.getvalue()) > 500_000  # what the server takes
    screen.forget()
    screen.give(large.getvalue(), "drop")
    assert screen.label() in ("ape", "bee", "cat")
    assert screen.complaints == []


def test_without_https_the_page_says_how_to_have_the_camera(
    browser: Any, server: "Served", picture: bytes
) -> None:
    screen = Screen(browser, f"http://pi.example:{server.port}/")
    assert screen.page.is_disabled("#live")
    command = f"ssh -L 8000:localhost:{server.port} pi.example, then http://localhost:8000/"
    assert command in screen.text("#hint")
    screen.give(picture, "drop")
    screen.label()
    assert screen.complaints == []
    screen.page.close()


def test_a_page_of_another_server_can_neither_post_nor_read(
    browser: Any, server: "Served", picture: bytes
) -> None:
    """Even under a name that points to us."""
    page = new_page(browser)
    answer = page.goto(f"http://evil.example:{server.port}/")
    assert answer.status == 421
    page.goto(f"http://pi.example:{server.port}/health")
    before = server.metric("predict_seconds_count")
    outcome = page.evaluate(
        """([url, base64]) => fetch(url, { method: "POST", mode: "no-cors", body: atob(base64) })
            .then((answer) => answer.type, (error) => error.name)""",
        [f"http://localhost:{server.port}/predict", base64.b64encode(picture).decode()],
    )
    assert outcome in ("opaque", "TypeError")
    assert server.metric("predict_seconds_count") == before
    page.close()


def test_the_page_says_so_when_the_server_has_gone(
    browser: Any, servers: Any, bundle_path: Path, picture: bytes
) -> None:
    with servers.start(bundle_path) as server:
        screen = Screen(browser, f"http://localhost:{server.port}/")
        assert server.stop() == 0
        screen.give(picture, "drop")
        screen.page.wait_for_selector("#problem:not([hidden])")
        assert "is edgecil serve still running?" in screen.text("#problem")
        screen.page.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [(413, "let it take 1 MB, for nginx: client_max_body_size 1m"), (502, "proxy answers")],
)
def test_a_page_of_a_proxy_is_told_as_what_it_is(
    screen: Screen, picture: bytes, code: int, said: str
) -> None:
    html = f"<html><head><title>{code}</title></head></html>"
    screen.page.route(
        "**/predict?*",
        lambda route: route.fulfill(status=code, content_type="text/html", body=html),
    )
    screen.give(picture, "drop")
    screen.page.wait_for_selector("#problem:not([hidden])")
    assert said in screen.text("#problem")
    assert f"({code})" in screen.text("#problem")
    screen.page.unroute("**/predict?*")
    screen.give(picture, "paste")
    assert screen.label() in ("ape", "bee", "cat")


# --- teaching --------------------------------------------------------------------------------


@pytest.fixture(params=SCREENS)
def teaching(
    browser: Any,
    servers: Any,
    tiny: "TinyNetwork",
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[tuple[Screen, "Served"]]:
    options = ["--teach", "--collect", str(tmp_path / "unsure"), "--collect-below", "1"]
    with servers.start(save_teachable(tiny, tmp_path / "tiny.edgecil"), *options) as server:
        opened = Screen(browser, f"http://localhost:{server.port}/", **SCREENS[request.param])
        opened.page.wait_for_selector("#teach:not([hidden])")
        yield opened, server
        opened.page.close()


def taught(server: "Served") -> dict[str, int]:
    return {one["label"]: one["pictures"] for one in server.get("/taught").json["taught"]}


def test_a_button_is_held_before_the_camera_and_the_thing_is_known(
    teaching: tuple[Screen, "Served"],
) -> None:
    screen, server = teaching
    page = screen.page
    page.click("#hold")  # without a name
    page.wait_for_selector("#problem:not([hidden])")
    assert "irst give it a name" in screen.text("#problem")
    page.fill("#teach-label", "mug")
    page.hover("#hold")
    page.mouse.down()
    page.wait_for_selector("#frames img:nth-child(6)")
    page.mouse.up()
    page.wait_for_selector("#taught li")
    count = taught(server)["mug"]
    assert count >= 6
    assert screen.text("#said").startswith(f"taught 'mug': {count} pictures, {count} now")
    assert f"{count} pictures" in screen.text("#taught")
    assert "recognised when left out" in screen.text("#taught")
    assert page.evaluate("document.querySelector('#taught img').decode()") is None

    # By the keyboard, too: More puts the name back and the finger on the button.
    page.fill("#teach-label", "")
    page.focus('[aria-label="More pictures of mug"]')
    page.keyboard.press("Enter")
    assert page.input_value("#teach-label") == "mug"
    page.keyboard.down(" ")
    page.wait_for_selector("#frames img:nth-child(3)")
    page.keyboard.up(" ")
    page.wait_for_selector(f"#taught:not(:has-text('{count} pictures'))")
    assert taught(server)["mug"] > count

    page.click('[aria-label="Forget mug"]')
    page.wait_for_selector("#taught li", state="detached")
    page.wait_for_selector("#top li:nth-child(4)", state="detached")  # there are three classes
    assert taught(server) == {}
    page.click("#undo")
    page.wait_for_selector("#taught li")
    assert taught(server)["mug"] > count
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "taught.zip"
    assert zipfile.is_zipfile(download.value.path())
    assert screen.complaints == []


def test_pictures_are_dropped_upon_a_name(
    teaching: tuple[Screen, "Served"], picture: bytes
) -> None:
    screen, server = teaching
    screen.page.fill("#teach-label", "mug")
    files = [base64.b64encode(one).decode() for one in (picture, b"no picture")]
    screen.page.evaluate(
        """(files) => {
            const transfer = new DataTransfer();
            for (const base64 of files) {
                const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
                transfer.items.add(new File([bytes], "given", { type: "image/png" }));
            }
            document.querySelector("#taught").dispatchEvent(
                new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
        }""",
        files,
    )
    screen.page.wait_for_selector("#taught li")
    assert taught(server) == {"mug": 1}
    assert "this is no JPEG" in screen.text("#said")
    assert screen.text("#label") == "No picture yet"  # they were not for the stage


def test_photos_that_take_several_requests_are_undone_together(
    teaching: tuple[Screen, "Served"],
) -> None:
    screen, server = teaching
    files = []
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, (900, 700, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "PNG")
        name = f"{seed}.png"
        files.append({"name": name, "mimeType": "image/png", "buffer": stream.getvalue()})
    assert len(files[0]["buffer"]) > 1_000_000
    screen.page.evaluate("import('./page.js').then((page) => (page.info.max_body_bytes = 9e5))")
    screen.page.fill("#teach-label", "mug")
    screen.page.set_input_files("#teach-files", files)
    screen.page.wait_for_selector("#taught li:has-text('3 pictures')")
    assert sum(url.endswith("/taught?label=mug") for url in screen.requests) > 1
    screen.page.click("#undo")
    screen.page.wait_for_selector("#said:text-is('Undone.')")
    assert taught(server) == {}
    assert screen.complaints == []


def test_text_that_is_pasted_into_a_field_is_no_picture(
    teaching: tuple[Screen, "Served"],
) -> None:
    screen, _ = teaching
    screen.page.evaluate(
        """() => document.querySelector("#teach-label").dispatchEvent(
            new ClipboardEvent("paste", { bubbles: true, clipboardData: new DataTransfer() }))"""
    )
    assert screen.page.is_hidden("#problem")


def test_a_wrong_answer_is_corrected_with_one_press(
    teaching: tuple[Screen, "Served"],
) -> None:
    screen, server = teaching
    stream = io.BytesIO()
    Image.fromarray(pictures(RED, 1)[0]).save(stream, "PNG")
    picture = stream.getvalue()
    wrong, right = (one["label"] for one in server.post(picture).json["top"][:2])
    screen.give(picture, "drop")
    assert screen.label() == wrong
    screen.page.click(f'[aria-label="Wrong: it is {right}"]')
    screen.page.wait_for_selector("#taught li")
    assert server.get("/taught").json["taught"][0]["kind"] == "correction"
    screen.page.wait_for_selector(f"#label:text-is('{right}')")
    assert server.post(picture).json["label"] == right
    screen.page.fill("#teach-label", right)
    assert screen.text("#teach-this") == "Correct this picture"
    assert screen.complaints == []


def test_pictures_that_waited_get_their_label_in_a_grid(
    teaching: tuple[Screen, "Served"], tmp_path: Path
) -> None:
    screen, server = teaching
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "PNG")
        Collector(tmp_path / "unsure", 1, 10).consider(stream.getvalue(), Unsure("ape", 0.4))
    page = screen.page
    page.reload()
    page.wait_for_selector("#grid button:nth-child(3)")
    assert screen.text("#grid button >> nth=0") == "ape 40\u202f%"
    assert "3 pictures wait" in screen.text("#collected-about")
    for image in page.locator("#grid img").all():
        image.and_(page.locator("[src]")).wait_for()
        assert image.evaluate("(one) => one.decode()") is None
    page.locator("#grid button").nth(0).click()
    page.locator("#grid button").nth(2).click()
    assert screen.text("#label-them") == "Teach 2 pictures"
    page.fill("#collected-label", "mug")
    page.click("#label-them")
    page.wait_for_selector("#taught li")
    assert taught(server) == {"mug": 2}
    assert page.locator("#grid button").count() == 1
    assert len(list((tmp_path / "unsure" / "labelled" / "mug").iterdir())) == 2
    page.click("#choose-all")
    page.click("#discard")
    page.wait_for_selector("#grid button", state="detached")
    assert "None wait" in screen.text("#collected-about")
    assert screen.complaints == []


def test_small_pictures_wait_their_turn_where_the_queue_is_short(
    browser: Any, servers: Any, bundle_path: Path, tmp_path: Path
) -> None:
    for seed in range(12):
        noise = np.random.default_rng(seed).integers(0, 256, (600, 600, 3), dtype=np.uint8)
        Collector(tmp_path / "unsure", 1, 20).consider(noise, Unsure("ape", 0.4))
    options = ["--teach", "--collect", str(tmp_path / "unsure"), "--queue", "1"]
    with servers.start(bundle_path, *options) as server:
        screen = Screen(browser, f"http://localhost:{server.port}/")
        screen.page.wait_for_selector("#grid button:nth-child(12)")
        for image in screen.page.locator("#grid img").all():
            image.and_(screen.page.locator("[src]")).wait_for()
        screen.page.close()


def test_the_teaching_page_fits_the_screen(
    teaching: tuple[Screen, "Served"], picture: bytes
) -> None:
    screen, server = teaching
    server.post(picture, "/taught?label=" + "long" * 40)
    screen.page.reload()
    screen.page.wait_for_selector("#taught li")
    width = screen.page.viewport_size["width"]
    assert screen.page.evaluate("document.documentElement.scrollWidth") == width
    for button in screen.page.locator(".button:visible").all():
        assert button.bounding_box()["height"] >= 44  # a finger's


def test_who_has_the_token_teaches_and_nobody_else(
    browser: Any, servers: Any, bundle_path: Path, tmp_path: Path, picture: bytes
) -> None:
    file = tmp_path / "token"
    options = ["--teach", "--token-file", str(file), "--allow-host", "pi.example"]
    with servers.start(bundle_path, *options) as server:
        page = new_page(browser)
        page.goto(f"http://localhost:{server.port}/")
        page.wait_for_selector("#token-form:not([hidden])")
        assert page.is_hidden("#teach-tools")
        page.fill("#token", file.read_text().strip())
        page.keyboard.press("Enter")
        page.wait_for_selector("#teach-tools:not([hidden])")
        assert page.is_hidden("#token-form")
        page.close()

        page = new_page(browser)
        page.goto(f"http://localhost:{server.port}/#token={file.read_text().strip()}")
        page.wait_for_selector("#teach-tools:not([hidden])")
        assert page.url == f"http://localhost:{server.port}/"  # the token is out of sight
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": picture})
        page.fill("#teach-label", "mug")
        page.wait_for_selector("#label:not(.soft)")
        page.click("#teach-this")
        page.wait_for_selector("#taught li")
        assert page.evaluate("document.querySelector('#taught img').decode()") is None
        page.close()

        page = new_page(browser)
        page.goto(f"http://localhost:{server.port}/")
        page.wait_for_selector("#token-form:not([hidden])")
        page.evaluate(f"location.hash = '#token={file.read_text().strip()}'")  # pasted into the tab
        page.wait_for_selector("#teach-tools:not([hidden])")
        assert page.url == f"http://localhost:{server.port}/"
        page.close()

        # Over http from another machine there is no camera, but pictures can be added.
        page = new_page(browser)
        page.goto(f"http://pi.example:{server.port}/#token={file.read_text().strip()}")
        page.wait_for_selector("#taught li")
        assert page.is_disabled("#hold")
        page.fill("#teach-label", "cup")
        added = {"name": "a.png", "mimeType": "image/png", "buffer": picture}
        page.set_input_files("#teach-files", [added])
        page.wait_for_selector("#taught b:text-is('cup')")
        page.close()
