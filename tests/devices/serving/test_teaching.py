"""Teaching over HTTP: what each address answers, who may, and what is bounded."""

import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from PIL import Image

from edgecil_devices import Classifier
from edgecil_devices.errors import StoreWriteError, UsageError
from edgecil_devices.serving.token import Token
from edgecil_devices.serving.verb import ServeRequest
from tests.devices.teaching.colours import BLUE, RED, pictures, save_teachable

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork
    from tests.devices.serving.conftest import Reply, Served


def photo(colour: tuple[int, int, int], seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pictures(colour, 1, seed)[0]).save(stream, "PNG")
    return stream.getvalue()


def form(*files: bytes) -> tuple[bytes, str]:
    """A form of files, and the field that says so."""
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n' + one
        for one in files
    ]
    return b"\r\n".join([*parts, b"--xyz--\r\n"]), "Content-Type: multipart/form-data; boundary=xyz"


def sent(server: "Served", method: str, path: str, body: bytes = b"", *fields: str) -> "Reply":
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    return server.ask("\r\n".join([*lines, *fields, "", ""]).encode() + body)


@pytest.fixture
def bundle_path(tiny: "TinyNetwork", tmp_path: Path) -> Path:
    return save_teachable(tiny, tmp_path / "tiny.edgecil")


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    return tmp_path / "unsure"


@pytest.fixture
def teaching(servers: Any, bundle_path: Path, collected: Path) -> Iterator["Served"]:
    options = ["--teach", "--collect", str(collected), "--collect-below", "1"]
    with servers.start(bundle_path, *options, "--max-mb", "0.5") as server:
        yield server


@pytest.fixture
def unsure(
    servers: Any, tiny: "TinyNetwork", tmp_path: Path, collected: Path
) -> Iterator["Served"]:
    """Of a bundle that was never trained, and is sure of nothing."""
    options = ["--teach", "--collect", str(collected), "--collect-below", "1"]
    with servers.start(tiny.save(tmp_path / "unsure.edgecil"), *options) as server:
        yield server


def test_a_class_is_taught_shown_predicted_forgotten_and_brought_back(
    teaching: "Served", bundle_path: Path
) -> None:
    body, kind = form(*(photo(RED, seed) for seed in range(6)))
    told = sent(teaching, "POST", "/taught?label=red%20mug", body, kind).json
    assert (told["label"], told["pictures"]) == ("red mug", 6)
    assert told["said"] == ["taught 'red mug': 6 pictures, 6 now"]
    (shown,) = told["taught"]
    assert (shown["label"], shown["pictures"], shown["kind"]) == ("red mug", 6, "new")
    assert shown["takes_from"][0] in ("ape", "bee", "cat")
    assert 0 < told["bytes"] < told["budget"] == 4_000_000
    assert told["can_undo"] is True

    kept = sent(teaching, "GET", f"/taught/picture?sha256={shown['newest']}")
    assert kept.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(kept.body)).size == (8, 8)

    predicted = teaching.post(photo(RED, 99)).json
    assert {"label": "red mug", "taught": True}.items() <= predicted["top"][0].items()
    assert Classifier.load(bundle_path).predict(photo(RED, 99)).label == "red mug"

    forgotten = sent(teaching, "DELETE", "/taught?label=red%20mug").json
    assert (forgotten["pictures"], forgotten["taught"]) == (6, [])
    assert "taught" not in teaching.post(photo(RED, 99)).json["top"][0]
    assert sent(teaching, "POST", "/taught/undo").json["taught"] == told["taught"]
    assert sent(teaching, "GET", "/taught").json["taught"] == told["taught"]
    assert teaching.metric('teaching_pictures_total{action="taught"}') == 6
    assert teaching.metric('teaching_pictures_total{action="forgotten"}') == 6


def test_a_class_of_the_release_is_corrected_only_when_that_is_meant(teaching: "Served") -> None:
    picture = photo(RED)
    assert teaching.post(picture).json["label"] != "ape"
    refused = sent(teaching, "POST", "/taught?label=ape", picture)
    assert refused.code == 400
    assert "knows 'ape' already" in refused.json["error"]
    told = sent(teaching, "POST", "/taught?label=ape&correct=1", picture).json
    assert [(one["label"], one["kind"]) for one in told["taught"]] == [("ape", "correction")]
    assert teaching.post(photo(RED, 7)).json["label"] == "ape"


def test_what_was_taught_is_taken_home(teaching: "Served") -> None:
    sent(teaching, "POST", "/taught?label=mug", photo(RED))
    exported = sent(teaching, "GET", "/taught/export")
    assert exported.headers["Content-Disposition"] == 'attachment; filename="taught.zip"'
    with zipfile.ZipFile(io.BytesIO(exported.body)) as archive:
        names = archive.namelist()
        assert names[0].startswith("mug/0001-")
        assert json.loads(archive.read("taught.json"))[0]["source"] == "page"


def test_unsure_pictures_are_collected_labelled_and_discarded(
    unsure: "Served", collected: Path
) -> None:
    pictures = {photo(colour, seed) for seed, colour in enumerate((RED, BLUE))}
    for one in pictures:
        unsure.post(one)
    listed = sent(unsure, "GET", "/collected").json
    assert listed["collected_total"] == 2
    assert {one["guess"] for one in listed["collected"]} <= {"ape", "bee", "cat"}
    names = [one["name"] for one in listed["collected"]]
    assert {(collected / name).read_bytes() for name in names} == pictures

    small = sent(unsure, "GET", f"/collected/picture?name={quote(names[0])}")
    assert small.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(small.body)).size == (8, 8)

    chosen = json.dumps({"pictures": names[:1]}).encode()
    told = sent(unsure, "POST", "/collected?label=a%2Fb", chosen).json
    assert [one["label"] for one in told["taught"]] == ["a/b"]
    assert [one["name"] for one in told["collected"]] == names[1:]
    # Whole as it came, in a folder of its own, whatever the label is.
    (kept,) = (collected / "labelled" / "a%2Fb").iterdir()
    assert kept.read_bytes() in pictures

    rest = json.dumps({"pictures": names[1:]}).encode()
    assert sent(unsure, "POST", "/collected/discard", rest).json["collected"] == []
    assert [path.name for path in collected.iterdir()] == ["labelled"]
    assert unsure.metric('teaching_pictures_total{action="labelled"}') == 1


def test_a_label_that_is_undone_leaves_nothing_to_learn_from(
    unsure: "Served", collected: Path
) -> None:
    for seed, colour in enumerate((RED, BLUE)):
        unsure.post(photo(colour, seed))
    (collected / "own.png").write_bytes(photo(RED, 9))
    names = [one["name"] for one in sent(unsure, "GET", "/collected").json["collected"]]
    assert len(names) == 3
    chosen = json.dumps({"pictures": names[1:]}).encode()
    sent(unsure, "POST", "/collected?label=wrong", chosen)
    told = sent(unsure, "POST", "/taught/undo").json
    assert told["said"] == ["2 collected pictures can be chosen again"]
    assert [one["name"] for one in told["collected"]] == names
    assert list((collected / "labelled" / "wrong").iterdir()) == []

    sent(unsure, "POST", "/taught?label=mug", photo(BLUE, 7))
    assert "said" not in sent(unsure, "POST", "/taught/undo").json
    sent(unsure, "POST", "/collected?label=wrong", chosen)
    told = sent(unsure, "DELETE", "/taught?label=wrong").json
    assert told["said"] == [f"{collected}/labelled/wrong still has 2 of them to learn from"]


def test_a_collected_picture_that_cannot_be_read_is_told_and_stays(
    unsure: "Served", collected: Path
) -> None:
    unsure.post(photo(RED))
    (collected / "broken.jpg").write_bytes(b"no picture")
    names = [one["name"] for one in sent(unsure, "GET", "/collected").json["collected"]]
    chosen = json.dumps({"pictures": names}).encode()
    told = sent(unsure, "POST", "/collected?label=mug", chosen).json
    assert any(line.startswith("broken.jpg: ") for line in told["said"])
    assert [one["name"] for one in told["collected"]] == ["broken.jpg"]
    assert [path.name for path in (collected / "labelled" / "mug").iterdir()] == names[:1]

    alone = json.dumps({"pictures": ["broken.jpg"]}).encode()
    assert sent(unsure, "POST", "/collected?label=mug", alone).code == 400
    assert (collected / "broken.jpg").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("../../etc/passwd", "not among"), ("gone.jpg", "not among"), ("labelled", "not among")],
)
def test_only_collected_pictures_are_read_moved_or_deleted(
    teaching: "Served", collected: Path, name: str, said: str
) -> None:
    (collected / "labelled").mkdir()
    (collected.parent / "secret.jpg").write_bytes(photo(RED))
    body = json.dumps({"pictures": [name]}).encode()
    for reply in (
        sent(teaching, "GET", f"/collected/picture?name={quote(name)}"),
        sent(teaching, "POST", "/collected?label=mug", body),
        sent(teaching, "POST", "/collected/discard", body),
    ):
        assert reply.code == 400
        assert said in reply.json["error"]
    assert (collected.parent / "secret.jpg").exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "said"),
    [
        ("POST", "/taught", b"x", 400, "needs ?label="),
        ("POST", "/taught?label=", b"x", 400, "needs ?label="),
        ("POST", "/taught?label=mug", b"", 400, "no picture in the request"),
        ("POST", "/taught?label=mug", b"no picture", 400, "there is no picture to teach 'mug'"),
        ("POST", "/taught?label=a%00b", photo(RED), 400, "cannot be a label: it holds U+0000"),
        ("POST", "/taught?label=a%ffb", photo(RED), 400, "which is no UTF-8"),
        ("POST", "/taught?label=mug&count=3", photo(RED), 400, "'count' is not known"),
        ("POST", "/taught?label=dog&correct=1", photo(RED), 400, "nothing here is called 'dog'"),
        ("POST", "/taught?label=mug", b"x" * 600_000, 413, "larger than the 500,000 bytes"),
        ("DELETE", "/taught?label=mug", b"", 400, "nothing was taught as 'mug'"),
        ("PUT", "/taught?label=mug", b"", 405, "takes GET or POST or DELETE or HEAD"),
        ("POST", "/taught/undo", b"", 400, "there is nothing to undo"),
        ("GET", "/taught/picture?sha256=0", b"", 404, "no such picture"),
        ("GET", "/taught/export", b"", 400, "nothing is taught here"),
        ("POST", "/collected?label=mug", b"[]", 400, 'the body must be {"pictures"'),
        ("POST", "/collected?label=mug", b'{"pictures": []}', 400, "the body must be"),
        ("POST", "/collected/discard", b'{"pictures": [3]}', 400, "the body must be"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    teaching: "Served", method: str, path: str, body: bytes, code: int, said: str
) -> None:
    reply = sent(teaching, method, path, body)
    assert (reply.code, said in reply.json["error"]) == (code, True), reply.json
    assert sent(teaching, "GET", "/taught").json["taught"] == []


def test_pages_of_other_servers_cannot_teach(teaching: "Served") -> None:
    for method, path in (("POST", "/taught?label=mug"), ("DELETE", "/taught?label=mug")):
        reply = sent(teaching, method, path, photo(RED), "Origin: http://evil.example")
        assert reply.code == 403
    assert sent(teaching, "GET", "/taught").json["taught"] == []


def test_without_a_token_nobody_teaches_or_looks_through_a_proxy(teaching: "Served") -> None:
    assert teaching.process.stderr
    assert "behind a proxy start it with --allow-host" in teaching.process.stderr.readline()
    sent(teaching, "POST", "/taught?label=mug", photo(RED))
    fields = [
        "X-Forwarded-For: 192.168.1.9",
        "Forwarded: for=192.168.1.9",
        "X-Real-IP: 192.168.1.9",
        "Via: 1.1 cam.example",
    ]
    for method, path in (
        ("GET", "/taught/export"),
        ("GET", "/collected/picture?name=a.jpg"),
        ("POST", "/taught?label=cup"),
        ("DELETE", "/taught?label=mug"),
        ("POST", "/collected/discard"),
    ):
        # As nginx asks, which adds no field by itself.
        old = f"{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:8000\r\nContent-Length: 0\r\n\r\n"
        replies = [sent(teaching, method, path, b"", field) for field in fields]
        for reply in (*replies, teaching.ask(old.encode())):
            assert reply.code == 403
            assert "through a proxy" in reply.json["error"]
            assert "--allow-host" in reply.json["error"]
    assert teaching.post(photo(RED), "/predict", fields[0]).code == 200  # that is for everybody
    assert [one["label"] for one in sent(teaching, "GET", "/taught").json["taught"]] == ["mug"]


def test_a_server_teaches_only_if_it_is_asked_to(server: "Served") -> None:
    assert server.get("/info").json["teaching"] is None
    assert sent(server, "POST", "/taught?label=mug", photo(RED)).code == 404


def test_a_token_of_ones_own_is_told_as_it_stands_in_an_address(
    servers: Any, bundle_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("Zm9v+YmFy/cXV4&YmF6%\n")
    options = ("--teach", "--token-file", str(tmp_path / "token"))
    with servers.start(bundle_path, *options) as server:
        assert server.process.stderr.readline().endswith("#token=Zm9v%2BYmFy%2FcXV4%26YmF6%25\n")


def test_with_a_token_nobody_teaches_without_it(
    servers: Any, bundle_path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    with servers.start(bundle_path, "--teach", "--token-file", str(file)) as server:
        assert server.process.stderr
        said = server.process.stderr.readline()
        text = file.read_text().strip()
        assert said == f"to teach, open http://127.0.0.1:{server.port}/#token={text}\n"
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        assert server.get("/info").json["teaching"] == {"token": True, "collected": False}
        for fields in ([], ["Authorization: Bearer x"], [f"Authorization: Basic {text}"]):
            for method, path in (
                ("GET", "/taught"),
                ("POST", "/taught?label=mug"),
                ("DELETE", "/taught?label=mug"),
                ("POST", "/taught/undo"),
                ("GET", "/taught/picture?sha256=0"),
                ("GET", "/taught/export"),
            ):
                reply = sent(server, method, path, photo(RED), *fields)
                assert (reply.code, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
        right = f"Authorization: Bearer {text}"
        assert sent(server, "POST", "/taught?label=mug", photo(RED), right).code == 200
        assert server.post(photo(RED)).code == 200  # answers are for everybody
    with servers.start(bundle_path, "--teach", "--token-file", str(file)) as server:
        assert sent(server, "GET", "/taught", b"", right).json["taught"][0]["label"] == "mug"


@pytest.mark.parametrize(
    ("options", "is_needed"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "192.168.1.7"}, True),
        ({"host": "pi.local"}, True),
        ({"allow_host": ("cam.example",)}, True),
    ],
)
def test_a_token_is_needed_wherever_others_can_reach_the_page(
    options: dict[str, Any], is_needed: bool
) -> None:
    tokens = [ServeRequest(Path("b"), teach=True, **options).token() for _ in range(2)]
    assert [one is not None for one in tokens] == [is_needed] * 2
    if is_needed:
        assert len({one.text for one in tokens if one}) == 2
        assert all(len(one.text) >= 24 for one in tokens if one)


def test_a_token_file_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "words").write_text("two words that are long enough\n")
    for name, said in (
        ("short", "one word of 16 characters"),
        ("words", "one word of 16 characters"),
        (".", "cannot be read"),
    ):
        with pytest.raises(UsageError, match=said):
            Token.kept_in(tmp_path / name)
    with pytest.raises(StoreWriteError, match="No such file"):  # a disk may be mounted later
        Token.kept_in(tmp_path / "no" / "folder")
    with pytest.raises(UsageError, match="is for --teach"):
        ServeRequest(Path("b"), token_file=tmp_path / "t")


def test_a_server_that_can_answer_nothing_is_not_in_good_health(
    teaching: "Served", bundle_path: Path
) -> None:
    sent(teaching, "POST", "/taught?label=mug", photo(RED))
    assert teaching.get("/health").json == {"status": "ok"}
    records = bundle_path.with_name(f"{bundle_path.name}.taught") / "taught.json"
    sound = records.read_bytes()
    records.write_bytes(sound[:-9])
    assert teaching.post(photo(RED)).code == 500
    reply = teaching.get("/health")
    assert reply.code == 500
    assert str(records) in reply.json["error"]
    records.write_bytes(sound)
    assert teaching.get("/health").code == 200


def test_a_device_that_is_taught_elsewhere_meanwhile_says_so(
    teaching: "Served", bundle_path: Path
) -> None:
    classifier = Classifier.load(bundle_path)
    with classifier.overlay.changing():
        reply = sent(teaching, "POST", "/taught?label=mug", photo(RED))
    assert (reply.code, reply.headers["Retry-After"]) == (503, "1")
    assert "is being changed by" in reply.json["error"]
    assert sent(teaching, "POST", "/taught?label=mug", photo(RED)).code == 200


def test_a_folder_that_cannot_be_written_stops_no_answer(unsure: "Served", collected: Path) -> None:
    collected.rmdir()
    collected.write_bytes(b"")  # not even root can write into a file as if it were a folder
    assert unsure.post(photo(RED)).code == 200
    assert unsure.post(photo(BLUE)).code == 200
    unsure.stop()
    assert unsure.process.stderr
    said = unsure.process.stderr.read()
    assert said.count("no pictures are kept meanwhile") == 1
