"""What one release costs a server when 100 000 devices fetch it, and how soon they all have it.

Claim: with the timer's random delay a fleet of 100 000 takes a release from one small static server
within six hours, at a few requests a second; after an hour's outage the devices that failed come
back spread out; and an update costs a fraction of the whole bundle in bytes.

    python benchmarks/fleet.py --update-bytes 1170000 --bundle-bytes 12600000

Simulated are the devices, second by second, each with the pauses and the bounds of
`edgecil_devices.store.fetching` and the timer of `devices/edgecil-update.timer`. The server answers
at most so many requests a second and refuses the rest with 503; a file arrives at the device's own
rate. What a look at `latest` costs is measured with the real client against a real server on this
machine, HTTP without TLS; a TLS handshake adds about 5 kB, which is counted. Nothing is simulated
of lost packets, DNS or caches: with a CDN the origin sees one request a file and edge instead.
Seed 0; the sizes are those of two consecutive tasks, see `results/fleet.md`.
"""

import argparse
import json
import math
import socket
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecil_devices.store.fetching import LONGEST_PAUSE_S, MOST_FAILURES, WebSource

TLS_BYTES = 5_000
PERIOD_S = 6 * 3600
"""Of the timer; its random delay is as long, and fixed for each device."""


@dataclass(frozen=True)
class Fleet:
    """One situation."""

    name: str
    devices: int = 100_000
    spread_s: float = PERIOD_S
    """The timer's random delay; 0: all at the same second."""
    outage_s: tuple[float, float] = (0.0, 0.0)
    """From when to when the server answers nothing."""
    capacity_per_s: int = 200
    """Requests that the server answers."""
    rate_bytes_per_s: float = 250_000.0
    """Of a device's line, 2 Mbit/s."""


@dataclass(frozen=True)
class Result:
    """What became of it."""

    name: str
    half_have_it_h: float | None
    """Hours; None: not within three turns of the timer."""
    all_but_1_percent_have_it_h: float | None
    all_have_it_h: float | None
    peak_requests_per_s: int
    refused_requests: int
    peak_mbit_per_s: float
    total_gb: float
    failed_runs: int


def simulate(fleet: Fleet, update_bytes: int, poll_bytes: int, seed: int = 0) -> Result:
    """Let every device of `fleet` fetch a release that was published at second 0."""
    random = np.random.default_rng(seed)
    n, horizon_s = fleet.devices, 3 * PERIOD_S
    phase_s = random.uniform(0, fleet.spread_s, n) if fleet.spread_s else np.zeros(n)
    due_s = phase_s.copy()  # when each asks next
    step = np.zeros(n, np.int8)  # 0: asks for `latest`; 1: for the update
    failures, done_s = np.zeros(n, np.int32), np.full(n, np.inf)
    requests, sent = np.zeros(horizon_s, np.int64), np.zeros(horizon_s + 1, np.float64)
    refused = failed_runs = 0
    for second in range(horizon_s):
        asking = np.flatnonzero((due_s < second + 1) & (due_s >= 0))
        if not len(asking):
            continue
        requests[second] = len(asking)
        down = fleet.outage_s[0] <= second < fleet.outage_s[1]
        answered = random.permutation(asking)[: 0 if down else fleet.capacity_per_s]
        turned_away = np.setdiff1d(asking, answered)
        refused += len(turned_away)
        failed_runs += _pause(turned_away, second, due_s, step, failures, phase_s, random)
        failures[answered] = 0
        polled, fetched = answered[step[answered] == 0], answered[step[answered] == 1]
        sent[second] += len(polled) * (poll_bytes + TLS_BYTES)
        step[polled] = 1
        due_s[polled] = second + 1
        duration_s = int(update_bytes / fleet.rate_bytes_per_s) + 1
        end = min(second + duration_s, horizon_s)
        sent[second:end] += len(fetched) * (update_bytes + TLS_BYTES) / duration_s
        done_s[fetched] = second + duration_s
        due_s[fetched] = -1
    ordered_h = np.sort(done_s) / 3600

    def after_h(rank: int) -> float | None:
        hours = float(ordered_h[rank])
        return round(hours, 2) if math.isfinite(hours) else None

    return Result(
        fleet.name,
        half_have_it_h=after_h(n // 2),
        all_but_1_percent_have_it_h=after_h(n * 99 // 100),
        all_have_it_h=after_h(-1),
        peak_requests_per_s=int(requests.max()),
        refused_requests=refused,
        peak_mbit_per_s=round(float(sent.max()) * 8 / 1e6, 1),
        total_gb=round(float(sent.sum()) / 1e9, 1),
        failed_runs=failed_runs,
    )


def _pause(
    devices: NDArray[np.int64],
    second: int,
    due_s: NDArray[np.float64],
    step: NDArray[np.int8],
    failures: NDArray[np.int32],
    phase_s: NDArray[np.float64],
    random: np.random.Generator,
) -> int:
    """Devices that got no answer wait as `fetching` does, or for the timer's next turn."""
    failures[devices] += 1
    backoff_s = random.uniform(0, np.minimum(2.0 ** failures[devices], LONGEST_PAUSE_S))
    due_s[devices] = second + 1 + backoff_s
    given_up = devices[failures[devices] >= MOST_FAILURES]
    turns = np.floor((second - phase_s[given_up]) / PERIOD_S) + 1
    due_s[given_up] = phase_s[given_up] + turns * PERIOD_S
    step[given_up], failures[given_up] = 0, 0
    return len(given_up)


def measured_poll_bytes(folder: Path) -> int:
    """Bytes on the wire, both ways, of one look at `latest`."""
    counted = 0
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        nonlocal counted
        connection, _ = listener.accept()
        with connection:
            asked = connection.recv(2**16)
            body = b"8\n"
            # The headers that nginx sends for a small static file.
            answer = (
                b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n"
                b"Date: Mon, 01 Jan 2026 00:00:00 GMT\r\n"
                b"Content-Type: application/octet-stream\r\nContent-Length: 2\r\n"
                b"Last-Modified: Mon, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n"
                b'ETag: "6776f4c0-2"\r\nAccept-Ranges: bytes\r\n\r\n'
            ) + body
            connection.sendall(answer)
            counted = len(asked) + len(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        WebSource(f"http://127.0.0.1:{listener.getsockname()[1]}", folder).latest()
        thread.join()
    return counted


def table(results: list[Result]) -> list[str]:
    """The results in Markdown."""
    head = (
        "| situation | half have it | 99 % | all | peak requests/s | refused | peak Mbit/s | GB |"
    )
    rows = [
        f"| {r.name} | {_hours(r.half_have_it_h)} | {_hours(r.all_but_1_percent_have_it_h)} | "
        f"{_hours(r.all_have_it_h)} | {r.peak_requests_per_s} | {r.refused_requests} | "
        f"{r.peak_mbit_per_s} | {r.total_gb} |"
        for r in results
    ]
    return [head, "|---|---|---|---|---|---|---|---|", *rows]


def _hours(hours: float | None) -> str:
    return "not in 18 h" if hours is None else f"{hours} h"


def main() -> None:
    """Simulate every situation and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--update-bytes", type=int, required=True, help="of one task's update")
    parser.add_argument("--bundle-bytes", type=int, required=True, help="of the whole bundle")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    n = arguments.devices
    poll_bytes = measured_poll_bytes(arguments.out)
    situations = [
        (Fleet("staggered, updates", n), arguments.update_bytes),
        (Fleet("staggered, whole bundles", n), arguments.bundle_bytes),
        (
            Fleet("staggered, outage of an hour", n, outage_s=(3600, 7200)),
            arguments.update_bytes,
        ),
        (Fleet("all at the same second", n, spread_s=0), arguments.update_bytes),
    ]
    results = [simulate(fleet, size, poll_bytes) for fleet, size in situations]
    content = {
        "devices": n,
        "update_bytes": arguments.update_bytes,
        "bundle_bytes": arguments.bundle_bytes,
        "poll_bytes": poll_bytes,
        "tls_bytes_assumed": TLS_BYTES,
        "period_s": PERIOD_S,
        "seed": 0,
        "results": [asdict(result) for result in results],
    }
    lines = table(results)
    (arguments.out / "fleet.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    settings = f"{n} devices, updates of {arguments.update_bytes} bytes, bundles of "
    settings += f"{arguments.bundle_bytes} bytes, {poll_bytes} + {TLS_BYTES} bytes a look, seed 0"
    (arguments.out / "fleet.md").write_text("\n".join([settings, "", *lines]) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
