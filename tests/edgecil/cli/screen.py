"""A terminal that remembers what it shows: as much of one as bars need."""

import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass, field


@dataclass
class Screen:
    """What a person sees after all that was written."""

    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0

    def feed(self, written: str) -> None:
        for control, other in re.findall(r"(\x1b\[[?0-9;]*[A-Za-z])|(.)", written, re.DOTALL):
            if control:
                self._obey(control[2:-1], control[-1])
            elif other == "\n":
                self.row += 1
            elif other == "\r":
                self.column = 0
            else:
                line = self._line().ljust(self.column)
                self.lines[self.row] = line[: self.column] + other + line[self.column + 1 :]
                self.column += 1

    def _line(self) -> str:
        self.lines += [""] * (self.row + 1 - len(self.lines))
        return self.lines[self.row]

    def _obey(self, number: str, letter: str) -> None:
        if letter == "A":
            self.row = max(0, self.row - int(number or 1))
        elif letter == "K":
            line = self._line()
            self.lines[self.row] = "" if number == "2" else line[: self.column]
        else:
            assert letter in "mhl", f"unknown: {number}{letter}"

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")


def in_terminal(code: str, **environment: str) -> tuple[str, str]:
    """What a Python program writes to a terminal, and what stands there in the end."""
    ours, theirs = pty.openpty()
    known = {**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment}
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, stdin=theirs, env=known
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            some = os.read(ours, 4096)
        except OSError:  # Linux says so of a terminal that nobody has open any more
            break
        if not some:
            break
        written += some
    program.wait()
    os.close(ours)
    screen = Screen()
    screen.feed(written.decode())
    return written.decode(), screen.text
