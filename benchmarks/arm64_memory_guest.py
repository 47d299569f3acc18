"""What `arm64_memory.py` runs inside the emulated machine; prints one line, MEASURED and JSON.

It imports nothing large itself: a child's peak is at least what its parent had when it forked.
"""

import json
import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlopen

CLIENTS, REQUESTS = 4, 5
IMPORTS = "import numpy, PIL.Image, onnxruntime"
PICTURES = sorted(map(str, Path("pictures").iterdir()))


def peak_mb(
    *words: str, meanwhile: "Callable[[subprocess.Popen[bytes]], None] | None" = None
) -> float:
    """The most memory that a Python with these arguments had; it must end well."""
    process = subprocess.Popen(
        [sys.executable, *words],
        stderr=subprocess.PIPE if meanwhile else None,
        stdout=subprocess.DEVNULL,
    )
    if meanwhile:
        meanwhile(process)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{words} ended with {process.returncode}")
    return usage.ru_maxrss * 1024 / 1e6


def ask(server: "subprocess.Popen[bytes]") -> None:
    """Four clients at once, then the end."""
    assert server.stderr
    (address,) = re.findall(r"http://\S+", server.stderr.readline().decode())
    answers = []

    def client() -> None:
        for picture in PICTURES[:REQUESTS]:
            with urlopen(f"{address}predict", Path(picture).read_bytes(), 120) as answer:
                answers.append(answer.status)

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    if answers != [200] * CLIENTS * REQUESTS:
        sys.exit(f"serve answered {answers}")
    server.terminate()


def main() -> None:
    """Measure each command."""
    available = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert available
    verb, bundle, store = ("-m", "edgecil_devices"), "bundle.edgecil", ("--store", "/data/store")
    found = {"imports alone": peak_mb("-c", IMPORTS)}
    found["predict"] = peak_mb(*verb, "predict", bundle, *PICTURES)
    found["predict --threads 1"] = peak_mb(*verb, "predict", bundle, *PICTURES, "--threads", "1")
    found["serve, four clients"] = peak_mb(*verb, "serve", bundle, "--port", "0", meanwhile=ask)
    found["install"] = peak_mb(*verb, "install", bundle, *store)
    found["doctor"] = peak_mb(*verb, "doctor", bundle)
    names = ("numpy", "onnxruntime", "pillow")
    content = {
        "kernel": platform.release(),
        "page_kb": os.sysconf("SC_PAGE_SIZE") // 1024,
        "free_mb": int(available[1]) * 1024 / 1e6,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in names},
        "peak_mb": found,
    }
    print("MEASURED", json.dumps(content, allow_nan=False), flush=True)


if __name__ == "__main__":
    main()
