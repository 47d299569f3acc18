"""Requests as they should be: every way to send a picture, and what the other addresses say."""

import json
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgecil_devices.store.install import install
from tests.devices.store.releases import Releases

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork
    from tests.devices.serving.conftest import Served, Servers

FORM = "Content-Type: multipart/form-data; boundary=XyZ"


def form(picture: bytes, name: str = 'name="file"; filename="cat.png"') -> bytes:
    return (
        b'--XyZ\r\nContent-Disposition: form-data; name="note"\r\n\r\na cat\r\n--XyZ\r\n'
        + f"Content-Disposition: form-data; {name}\r\nContent-Type: image/png\r\n\r\n".encode()
        + picture
        + b"\r\n--XyZ--\r\n"
    )


def in_chunks(picture: bytes, size: int = 50) -> bytes:
    parts = [picture[start : start + size] for start in range(0, len(picture), size)]
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n"
    return head + chunks + b"0\r\nChecksum: none\r\n\r\n"


def test_a_picture_gets_the_label_and_scores_that_its_logits_give(
    server: "Served", picture: bytes, pixels: np.ndarray[Any, Any], tiny: "TinyNetwork"
) -> None:
    logits = tiny.logits(pixels[None])[0]
    scores = np.exp(logits) / np.exp(logits).sum()
    reply = server.post(picture)
    assert (reply.code, reply.headers["Content-Type"]) == (200, "application/json")
    by_class = {one["label"]: one["score"] for one in reply.json["top"]}
    assert by_class == pytest.approx(dict(zip(tiny.classes, scores, strict=True)), abs=1e-5)
    assert list(by_class.values()) == sorted(by_class.values(), reverse=True)
    assert reply.json["label"] == tiny.classes[int(logits.argmax())]
    assert reply.json["score"] == max(by_class.values())
    assert set(reply.json["ms"]) == {"wait", "preprocess", "trunk", "blocks", "head"}


def test_all_ways_to_send_a_picture_give_the_same(
    server: "Served", servers: "Servers", picture: bytes
) -> None:
    post = servers.post
    ways = {
        "raw": post(picture),
        "as curl --data-binary": post(
            picture, "/predict", "Content-Type: application/x-www-form-urlencoded"
        ),
        "form": post(form(picture), "/predict", FORM),
        "quoted boundary": post(form(picture), "/predict", FORM.replace("XyZ", '"XyZ"')),
        "any name": post(form(picture, 'filename=x; name="y"'), "/predict", FORM),
        "chunks": in_chunks(picture),
        "whole address": post(picture, "http://localhost/predict"),
        "line ends of one byte": post(b"")
        .replace(b"\r\n", b"\n")
        .replace(b"Length: 0", b"Length: %d" % len(picture))
        + picture,
        "an empty line before": b"\r\n" + post(picture),
        "HTTP/1.0 without a host": b"POST /predict HTTP/1.0\r\nContent-Length: %d\r\n\r\n"
        % len(picture)
        + picture,
    }
    answers = {}
    for way, request in ways.items():
        reply = server.ask(request)
        assert reply.code == 200, (way, reply.json)
        answers[way] = json.dumps(reply.json["top"])
    assert len(set(answers.values())) == 1, answers


def test_top_says_how_many_classes(server: "Served", picture: bytes) -> None:
    assert [len(server.post(picture, f"/predict?top={n}").json["top"]) for n in (1, 2, 99)] == [
        1,
        2,
        3,
    ]


def test_a_client_that_waits_for_a_word_before_the_picture_gets_it(
    server: "Served", servers: "Servers", picture: bytes
) -> None:
    head, _, body = servers.post(picture, "/predict", "Expect: 100-continue").partition(b"\r\n\r\n")
    client = server.client().send(head + b"\r\n\r\n")
    assert client.reply().code == 100
    assert client.send(body).reply().code == 200


def test_a_client_that_waits_for_a_word_is_refused_before_it_sends_too_much(
    server: "Served",
) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    client = server.client().send(head + b"Content-Length: 600000\r\n\r\n")
    assert client.reply().code == 413


def test_a_connection_serves_many_requests_also_sent_at_once(
    server: "Served", servers: "Servers", picture: bytes
) -> None:
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client = server.client().send(get + servers.post(picture) + get.replace(b"health", b"nothing"))
    assert [client.reply().code for _ in range(3)] == [200, 200, 404]
    assert client.send(get).reply().json == {"status": "ok"}


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\n",
    ],
)
def test_the_connection_ends_where_the_client_wants_it(server: "Served", request_: bytes) -> None:
    client = server.client().send(request_.replace(b"Host: x", b"Host: localhost"))
    reply = client.reply()
    assert (reply.code, reply.headers["Connection"]) == (200, "close")
    assert client.is_closed()


def test_a_client_that_has_said_all_still_gets_its_answer(
    server: "Served", servers: "Servers", picture: bytes
) -> None:
    client = server.client().send(servers.post(picture))
    client.socket.shutdown(1)
    assert client.reply().code == 200
    assert client.is_closed()


def test_head_is_get_without_the_body(server: "Served") -> None:
    client = server.client().send(b"HEAD /info HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert int(client.reply(without_body=True).headers["Content-Length"]) == len(
        server.get("/info").body
    )
    client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.reply().code == 200


def test_info_tells_what_the_bundle_knows(server: "Served", tiny: "TinyNetwork") -> None:
    info = server.get("/info").json
    assert info["classes"] == list(tiny.classes)
    assert info["tasks"] == [["ape", "bee"], ["cat"]]
    assert info["preprocessing"]["image_size_px"] == 8
    assert (info["name"], info["release"]) == ("tiny.edgecil", None)
    assert info["max_body_bytes"] == 500_000


def test_the_page_may_load_nothing_from_elsewhere(server: "Served") -> None:
    for path, kind in {"/": "html", "/page.css": "css", "/page.js": "javascript"}.items():
        reply = server.get(path)
        assert (reply.code, kind in reply.headers["Content-Type"]) == (200, True)
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'none';")
        assert not re.search(rb"""(src|href|url|import|fetch)\W{1,3}(https?:)?//""", reply.body)


def test_metrics_count_requests_and_time_pictures(
    servers: "Servers", bundle_path: Any, picture: bytes
) -> None:
    with servers.start(bundle_path, "--queue", "3") as server:
        for body in (picture, picture, b"no picture"):
            server.post(body)
        server.get("/made/up/1")
        server.get("/made/up/2")
        reply = server.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = reply.body.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['edgecil_requests_total{path="/predict",code="200"}'] == "2"
    assert values['edgecil_requests_total{path="/predict",code="422"}'] == "1"
    assert values['edgecil_requests_total{path="other",code="404"}'] == "2"
    buckets = [int(v) for name, v in values.items() if name.startswith("edgecil_predict_seconds_b")]
    assert all(before <= after for before, after in pairwise(buckets))
    assert buckets[-1] == int(values["edgecil_predict_seconds_count"]) == 2
    stages = [v for name, v in values.items() if name.startswith("edgecil_stage_seconds_total")]
    assert 0 < sum(map(float, stages)) <= float(values["edgecil_predict_seconds_sum"])
    assert values["edgecil_queue_limit_pictures"] == "3"
    assert 30e6 < float(values["edgecil_resident_memory_bytes"]) < 500e6
    assert 0 < float(values["edgecil_uptime_seconds"]) < 60
    # Each value is described, and typed, before it comes.
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    for name in values:
        assert re.sub(r"\{.*|_(bucket|sum|count)$", "", name.partition("{")[0]) in typed


def test_a_newer_release_of_a_store_is_served_without_a_gap(
    servers: "Servers", tiny: "TinyNetwork", tmp_path: Path, picture: bytes
) -> None:
    releases, store = Releases(tiny, tmp_path / "releases"), tmp_path / "store"
    install(releases.bundle(1), store)
    with servers.start(store) as server:
        assert server.get("/info").json["release"] == 1
        assert server.post(picture).json["release"] == 1
        install(releases.bundle(2), store)
        deadline, told = time.monotonic() + 90, 1
        while told == 1 and time.monotonic() < deadline:
            reply = server.post(picture)
            assert reply.code == 200
            told = reply.json["release"]
            # The class names of these releases begin with their number.
            assert {one["label"].split()[1] for one in reply.json["top"]} == {str(told)}
        assert told == server.get("/info").json["release"] == 2
