"""The boards that are emulated: their processors, as Linux describes them.

    python boards.py BOARD FOLDER     # writes FOLDER/proc and FOLDER/sys
    python boards.py BOARD            # prints the emulator's name of the processor

An emulated process would otherwise see the files of the machine that it runs on, an x86-64, and
onnxruntime 1.28 and newer then die at their import. The values are those that the boards' kernels
are known to give; they were not copied from boards.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

CORES = 4


@dataclass(frozen=True)
class Board:
    """One board, and what its kernel says about its processor."""

    model: str
    """As in /proc/device-tree/model."""
    processor: str
    """The core's name, as the emulator has it."""
    part: str
    """ARM's number of the core, as in /proc/cpuinfo."""
    variant: str
    revision: int
    features: str
    """The instruction set extensions, as in /proc/cpuinfo."""
    max_khz: int


_V8_0 = "fp asimd evtstrm crc32 cpuid"
_V8_2 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)
BOARDS = {
    "pi3": Board(
        "Raspberry Pi 3 Model B Plus Rev 1.3", "cortex-a53", "0xd03", "0x0", 4, _V8_0, 1_400_000
    ),
    "pi4": Board(
        "Raspberry Pi 4 Model B Rev 1.4", "cortex-a72", "0xd08", "0x0", 3, _V8_0, 1_800_000
    ),
    "pi5": Board(
        "Raspberry Pi 5 Model B Rev 1.0", "cortex-a76", "0xd0b", "0x4", 1, _V8_2, 2_400_000
    ),
}


def describe(board: Board, folder: Path) -> None:
    """Write the files under proc and sys in which programs look up the processor."""
    core = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {board.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {board.variant}\nCPU part\t: {board.part}\n"
        f"CPU revision\t: {board.revision}\n\n"
    )
    cores = "".join(f"processor\t: {number}\n{core}" for number in range(CORES))
    cpus = "sys/devices/system/cpu"
    files = {
        "proc/cpuinfo": f"{cores}Model\t\t: {board.model}\n",
        "proc/device-tree/model": f"{board.model}\0",
        **{f"{cpus}/{name}": f"0-{CORES - 1}\n" for name in ("possible", "present", "online")},
    }
    for number in range(CORES):
        topology = f"{cpus}/cpu{number}/topology"
        files |= {
            f"{topology}/physical_package_id": "0\n",
            f"{topology}/core_id": f"{number}\n",
            f"{topology}/core_siblings_list": f"0-{CORES - 1}\n",
            f"{topology}/thread_siblings_list": f"{number}\n",
            f"{cpus}/cpu{number}/cpufreq/cpuinfo_max_freq": f"{board.max_khz}\n",
        }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


if __name__ == "__main__":
    chosen = BOARDS[sys.argv[1]]
    if len(sys.argv) == 2:
        print(chosen.processor)
    else:
        describe(chosen, Path(sys.argv[2]))
