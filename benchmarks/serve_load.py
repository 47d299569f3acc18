"""What `edgecil serve` takes and gives: requests a second, latencies, memory over many requests.

Claims: HTTP adds well under a millisecond of processor time to a picture; memory does not grow over
20,000 requests of which every tenth is broken in some way; an idle server takes no processor time.

    python benchmarks/serve_load.py BUNDLE

- Throughput: 1, 2 and 8 clients, each with one connection that stays open, post a JPEG of 320 x 240
  pixels again and again; `/health` shows what the server takes without a picture. "In process" is
  `Classifier.predict` on the same bytes in a loop, within no server, measured in turns with it.
- Memory: the resident set after every thousandth request. Growth is that of its median from the
  second fifth of the requests to the last.
- What is broken: no picture, a cut one, an unknown path, a wrong method, a length that is no
  number, a form without an end, a body above the limit, a client that goes away in the middle.

Clients and server share the machine's cores, so a server with a machine of its own gives more. n,
hardware and versions stand with the results, `results/serve_load.json` and `.md`.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch

from edgecil.training.run import hardware
from edgecil_devices import Classifier
from serve_requests import SEED, Connection, Process, broken, get, jpeg, post, serving

CLIENTS = (1, 2, 8)
IDLE_S = 10.0
EVERY_NTH_IS_BROKEN = 10


@dataclass(frozen=True)
class Row:
    """One load."""

    what: str
    clients: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    """Processor time of the server a request, of all its threads."""


@dataclass(frozen=True)
class Endurance:
    """What was seen over many requests, and at rest."""

    requests: int
    codes: dict[str, int]
    """Answers by code; clients that went away have none."""
    resident_mb: list[float]
    """After every thousandth request."""
    growth_mb: float
    idle_percent_of_a_core: float
    load_average: float
    """Of the last minute when the measurement began: what else the machine had to do."""


def load(server: Process, what: str, request: bytes, clients: int, requests: int) -> Row:
    """Clients ask as fast as they are answered."""
    times_ms: list[float] = []

    def client() -> None:
        with closing(Connection(server.port)) as connection:
            for _ in range(requests // clients):
                start = time.perf_counter()
                code = connection.ask(request)
                times_ms.append((time.perf_counter() - start) * 1e3)
                assert code == 200, code

    cpu_s, start = server.cpu_s(), time.perf_counter()
    in_threads([client] * clients)
    took_s = time.perf_counter() - start
    cpu_ms = (server.cpu_s() - cpu_s) * 1e3 / len(times_ms)
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Row(what, clients, len(times_ms), len(times_ms) / took_s, p50, p99, cpu_ms)


def in_process(classifier: Classifier, picture: bytes, requests: int) -> Row:
    """The same without a server."""
    times_ms = []
    cpu_s = time.process_time()
    for _ in range(requests):
        start = time.perf_counter()
        classifier.predict(picture)
        times_ms.append((time.perf_counter() - start) * 1e3)
    cpu_ms = (time.process_time() - cpu_s) * 1e3 / requests
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Row("in process", 1, requests, 1e3 * requests / sum(times_ms), p50, p99, cpu_ms)


def in_threads(functions: list[object]) -> None:
    """Run all at once, and wait for all."""
    threads = [threading.Thread(target=function) for function in functions]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def endure(server: Process, picture: bytes, requests: int) -> tuple[list[float], Counter[int]]:
    """Four clients, every tenth request broken; resident MB after every thousandth, and codes."""
    good, bad = post(picture), broken(picture)
    resident_mb, codes, lock = [server.resident_mb()], Counter[int](), threading.Lock()
    numbers = iter(range(requests))

    def client() -> None:
        with closing(Connection(server.port)) as connection:
            while True:
                with lock:
                    number = next(numbers, None)
                    if number is None:
                        return
                    if number % 1000 == 999:
                        resident_mb.append(server.resident_mb())
                turn, is_good = divmod(number, EVERY_NTH_IS_BROKEN)
                kind = turn % (len(bad) + 1)
                if is_good:
                    code = connection.ask(good)
                elif kind < len(bad):
                    code = connection.ask(bad[kind])
                else:
                    connection.leave(good[:-100])
                    code = 0
                with lock:
                    codes[code] += 1

    in_threads([client] * 4)
    return resident_mb, codes


def idle_share(server: Process) -> float:
    """Share of a core that a server without requests takes, in percent."""
    cpu_s = server.cpu_s()
    time.sleep(IDLE_S)
    return 100 * (server.cpu_s() - cpu_s) / IDLE_S


def growth_mb(resident_mb: list[float]) -> float:
    """From the second fifth of the measurements to the last."""
    fifth = max(1, len(resident_mb) // 5)
    return median(resident_mb[-fifth:]) - median(resident_mb[fifth : 2 * fifth])


HEADING = (
    "| what | clients | requests | requests/s | p50, ms | p99, ms | processor time, ms |\n"
    "|---|---|---|---|---|---|---|"
)


def table_line(row: Row) -> str:
    """One line of the table, in Markdown."""
    return (
        f"| {row.what} | {row.clients} | {row.requests} | {row.per_second:.0f} | {row.p50_ms:.2f} "
        f"| {row.p99_ms:.2f} | {row.server_cpu_ms:.2f} |"
    )


def measure(bundle: Path, requests: int, endured: int) -> tuple[list[Row], Endurance]:
    """All rows, and what was seen of memory and rest."""
    picture, classifier = jpeg(), Classifier.load(bundle)
    health, predict, busy = get("/health"), post(picture), os.getloadavg()[0]
    rows: list[Row] = []

    def note(row: Row) -> None:
        rows.append(row)
        print(table_line(row), flush=True)

    with serving(bundle) as server:
        load(server, "warm up", predict, 2, 200)
        in_process(classifier, picture, 100)
        note(in_process(classifier, picture, requests))
        for clients in CLIENTS:
            note(load(server, "/predict", predict, clients, requests))
        note(in_process(classifier, picture, requests))
        for clients in CLIENTS:
            note(load(server, "/health", health, clients, requests))
        idle_percent = idle_share(server)
        resident_mb, codes = endure(server, picture, endured)
    told = {str(code) if code else "left": n for code, n in sorted(codes.items())}
    rounded_mb = [round(mb, 1) for mb in resident_mb]
    seen = Endurance(endured, told, rounded_mb, growth_mb(resident_mb), idle_percent, busy)
    return rows, seen


def write_results(bundle: Path, rows: list[Row], seen: Endurance, folder: Path) -> None:
    """Write the results as JSON and as a table."""
    manifest = Classifier.load(bundle).manifest
    names = ("edgecil", "numpy", "onnxruntime", "pillow")
    packages = {"python": sys.version.split()[0]} | {name: version(name) for name in names}
    machine = hardware(torch.device("cpu"))
    network = {
        **(manifest.network or {}),
        "blocks": len(manifest.blocks),
        "image_size_px": manifest.preprocessing.image_size_px,
    }
    content = {
        "network": network,
        "picture_bytes": len(jpeg()),
        "seed": SEED,
        "rows": [asdict(row) for row in rows],
        "endurance": asdict(seen),
        "versions": packages,
        "hardware": machine,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "serve_load.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    about = ", ".join(f"{name} {number}" for name, number in packages.items())
    first_mb, *_, last_mb = seen.resident_mb
    lines = [
        "# The load that `edgecil serve` takes",
        "",
        f"{network.get('backbone', 'A network')}, {network['blocks']} blocks, "
        f"{network['image_size_px']} x {network['image_size_px']} pixels; a JPEG of "
        f"{content['picture_bytes']:,} bytes. {machine['processor']}, {machine['cores']} cores, "
        f"shared with the clients and, at the start, {seen.load_average:.1f} other processes on "
        f"average; {about}. Made by `benchmarks/serve_load.py`, which says what is "
        "compared.",
        "",
        HEADING,
        *map(table_line, rows),
        "",
        f"Over {seen.requests:,} requests of four clients, every tenth of them broken, resident "
        f"memory went from {first_mb:.1f} MB to {last_mb:.1f} MB; from the second fifth to the "
        f"last it grew by {seen.growth_mb:.1f} MB. Answers by code: {seen.codes}. "
        f"Idle, the server took {seen.idle_percent_of_a_core:.2f} % of a core.",
    ]
    (folder / "serve_load.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="any bundle; the results say what is in it")
    parser.add_argument("--requests", type=int, default=2000, help="of each row")
    parser.add_argument("--endured", type=int, default=20_000, help="of the memory's measurement")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    print(HEADING)
    rows, seen = measure(arguments.bundle, arguments.requests, arguments.endured)
    print(seen)
    write_results(arguments.bundle, rows, seen, arguments.out)


if __name__ == "__main__":
    main()
