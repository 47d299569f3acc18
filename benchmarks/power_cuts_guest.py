"""What `power_cuts.sh` runs inside the emulated machine.

    python3 power_cuts_guest.py write|check store|teaching synced|unsynced

`write` takes one step after the other until the power goes, and reports each on the console.
`check` reads, compares with what was reported, recovers, and takes a step more, as the next start
of a device would. The file `number` beside this says which step was last reported as done. What a
step is, and what must be there after it, say `power_cuts_store.py` and `power_cuts_teaching.py`.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Protocol

from edgecil_devices.errors import EdgecilError


class Writer(Protocol):
    """The module of a kind of writer."""

    def step(self, number: int) -> None:
        """Take the step of this number, the one after all earlier ones."""

    def look(self, last: int) -> tuple[int, str]:
        """Which step is found to be the last one, and what else there was, in words.

        Args:
            last: the last one that was reported as done.

        Raises:
            EdgecilError, OSError: it is an older one, or something is not whole.
        """


def sectors_written() -> int:
    """Of 512 bytes, by the disk since it was switched on."""
    disk = next(p for p in Path("/sys/block").iterdir() if p.name in ("vda", "mmcblk0"))
    return int((disk / "stat").read_text().split()[6])


def write(writer: Writer, number: int) -> None:
    """Take one step after the other."""
    while True:
        number += 1
        before = sectors_written()
        writer.step(number)
        print("ACK", number, "sectors", sectors_written() - before, flush=True)


def check(writer: Writer, last: int) -> None:
    """Say what is there, and whether it still works."""
    try:
        found, told = writer.look(last)
        writer.step(found + 1)
        if writer.look(found + 1) != (found + 1, ""):
            raise EdgecilError("something lies about after the next step")
        print("CHECK whole", found, told or "nothing to clear up", flush=True)
    except (EdgecilError, OSError) as error:
        print("CHECK broken", type(error).__name__, error, flush=True)


if __name__ == "__main__":
    job, kind, fsync = sys.argv[1:]
    if fsync == "unsynced":
        os.fsync = lambda descriptor: None  # type: ignore[assignment]
    module: Writer = import_module(f"power_cuts_{kind}")
    (write if job == "write" else check)(module, int(Path("number").read_text()))
