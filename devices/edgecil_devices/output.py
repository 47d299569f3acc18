"""Standard output: written, or told that it cannot be."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from edgecil_devices.errors import EdgecilError

CLOSED_PIPE = 128 + 13
"""The exit code of a program that SIGPIPE ends, as scripts with `set -o pipefail` expect it."""


def write_line(stream: TextIO | None, line: str) -> None:
    """Write a line at once, whatever characters the stream's encoding lacks.

    Args:
        stream: None, as Python has it for a stream that was closed from the start, takes all.
        line: without its end.

    Raises:
        BrokenPipeError: nobody reads the stream any more.
        EdgecilError: the disk is full, or the like.
    """
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _cannot_be_written(error) from None


@contextmanager
def output_written() -> Iterator[None]:
    """Write out what the block printed. Python itself does so only when nothing can be told.

    An error that ends the block goes before what is raised here.

    Raises:
        SystemExit: nobody reads standard output any more; the code is `CLOSED_PIPE`.
        EdgecilError: the disk is full, or the like.
    """
    try:
        yield
    finally:
        failure = _flush()
        ended_by = sys.exception()
        if failure and (ended_by is None or isinstance(ended_by, SystemExit | OSError)):
            if isinstance(failure, BrokenPipeError):
                raise SystemExit(CLOSED_PIPE)
            raise _cannot_be_written(failure)


def _flush() -> OSError | None:
    """Flush standard output; if that fails, give up what it holds."""
    if sys.stdout is None:
        return None
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _cannot_be_written(error: OSError) -> EdgecilError:
    return EdgecilError(f"the output cannot be written: {error.strerror}")


def typed(path: object) -> str:
    """A path as a person can type it into a shell, with quotes where it needs them."""
    return shlex.quote(str(path))
