"""Addresses with a name and a password in them: said to their own server, and to nobody else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgecil_devices._http import shown
from edgecil_devices.download import download
from edgecil_devices.errors import FetchError
from edgecil_devices.sources import pictures_of
from edgecil_devices.store.fetching import WebSource
from edgecil_devices.store.install import install
from edgecil_devices.store.update import update_from
from tests.devices.store.releases import Releases, passes

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork

LOGIN = "Aladdin:open%20sesame"
FIELD = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
"""What RFC 7617 says of this name and password."""


class Web:
    """A server that answers by path, redirects, and remembers who said what."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.said: dict[str, str | None] = {}
        self.host = ""


@contextmanager
def web() -> Iterator[Web]:
    made = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.said[self.path] = self.headers["Authorization"]
            if there := made.redirects.get(self.path):
                self.send_response(302)
                self.send_header("Location", there)
            else:
                self.send_response(200 if self.path in made.answers else 404)
            body = made.answers.get(self.path, b"")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.host = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_name_and_password_are_said_as_http_has_them() -> None:
    with web() as camera:
        camera.answers = {"/now@2x.jpg": b"photo"}
        assert download(f"http://{LOGIN}@{camera.host}/now@2x.jpg") == b"photo"
        assert camera.said["/now@2x.jpg"] == FIELD
        assert download(f"http://{camera.host}/now@2x.jpg") == b"photo"
        assert camera.said["/now@2x.jpg"] is None


def test_a_redirection_takes_them_along_on_the_same_server_only() -> None:
    with web() as camera, web() as other:
        other.answers = {"/a.jpg": b"other", "/b.jpg": b"own"}
        camera.answers = {"/there.jpg": b"photo"}
        camera.redirects = {
            "/here.jpg": "/there.jpg",
            "/away.jpg": f"http://{other.host}/a.jpg",
            "/named.jpg": f"http://{LOGIN}@{other.host}/b.jpg",
        }
        assert download(f"http://{LOGIN}@{camera.host}/here.jpg") == b"photo"
        assert camera.said["/there.jpg"] == FIELD
        assert download(f"http://{LOGIN}@{camera.host}/away.jpg") == b"other"
        assert download(f"http://x:y@{camera.host}/named.jpg") == b"own"
        assert other.said == {"/a.jpg": None, "/b.jpg": FIELD}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://admin:s3cret@10.0.0.1/now.jpg", "http://***@10.0.0.1/now.jpg"),
        ("HTTPS://t0ken@host:8443?a=b@c", "HTTPS://***@host:8443?a=b@c"),
        ("http://admin:s3c@ret@[::1]/", "http://***@[::1]/"),
        ("http://host/photo@2x.jpg", "http://host/photo@2x.jpg"),
        ("photos/http://a@b", "photos/http://a@b"),
    ],
)
def test_a_password_is_not_told(url: str, told: str) -> None:
    assert shown(url) == told


def test_neither_a_pictures_name_nor_an_error_has_the_password() -> None:
    with web() as camera:
        camera.answers = {"/now.jpg": b"photo"}
        address = f"http://admin:s3cret@{camera.host}"
        found = list(pictures_of([f"{address}/now.jpg", f"{address}/gone.jpg"], None))
    found += pictures_of(["http://admin:s3cret@127.0.0.1:1/now.jpg"], None)
    assert [one.name for one in found] == [
        f"http://***@{camera.host}/now.jpg",
        f"http://***@{camera.host}/gone.jpg",
        "http://***@127.0.0.1:1/now.jpg",
    ]
    assert "s3cret" not in repr(found)


def test_an_update_says_the_password_to_the_server_and_not_to_people(
    tiny: "TinyNetwork", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    install(Releases(tiny, tmp_path / "releases").bundle(1), store, test=passes)
    with web() as shelf:
        shelf.answers = {"/cats/latest": b"1\n"}
        address = f"http://{LOGIN}@{shelf.host}/cats/"
        assert update_from(address, store, passes) is None
        assert shelf.said == {"/cats/latest": FIELD}
        assert capsys.readouterr().err == (
            f"http://***@{shelf.host}/cats/: release 1 is the newest, and current\n"
        )
        shelf.answers.clear()
        with pytest.raises(FetchError, match=r"^http://\*\*\*@") as caught:
            WebSource(address, tmp_path / "incoming").latest()
        assert "sesame" not in str(caught.value)
