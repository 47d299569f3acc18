"""The file of the token: whole or not there, and nobody's but its owner's."""

import errno
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgecil_devices.errors import UsageError
from edgecil_devices.serving import token
from edgecil_devices.serving.token import Token

WITHOUT_ROOM = """
import resource, signal, sys
from pathlib import Path
from edgecil_devices.errors import StoreWriteError
from edgecil_devices.serving.token import Token
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    Token.kept_in(Path(sys.argv[1]))
except StoreWriteError as error:
    print(error)
"""
"""Writes nothing at all, as on a full disk."""


def test_a_token_that_could_not_be_written_is_written_at_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "token"
    words = [sys.executable, "-c", WITHOUT_ROOM, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"{file} cannot be written (File too large); check the disk\n"
    assert os.listdir(tmp_path) == []
    assert Token.kept_in(file).text + "\n" == file.read_text()


def test_an_empty_token_file_is_taken_for_none(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o644)
    text = Token.kept_in(file).text
    assert len(text) >= 24
    assert file.read_text() == text + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["token"]


def test_a_device_that_gives_nothing_is_no_empty_file(tmp_path: Path) -> None:
    device = tmp_path / "token"
    device.symlink_to("/dev/null")
    with pytest.raises(UsageError, match="one word of 16 characters"):
        Token.kept_in(device)
    assert device.is_symlink()


def test_a_token_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("chosen-by-a-person\n")
    before = file.stat()
    assert Token.kept_in(file).text == "chosen-by-a-person"
    token._write(file, "another")  # as if it had appeared at the last moment
    assert (file.stat(), file.read_text()) == (before, "chosen-by-a-person\n")
    assert os.listdir(tmp_path) == ["token"]


def test_those_who_start_at_once_have_the_same_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    context = multiprocessing.get_context("fork")
    barrier, texts = context.Barrier(8), context.SimpleQueue()

    def start() -> None:
        barrier.wait()
        texts.put(Token.kept_in(file).text)

    processes = [context.Process(target=start) for _ in range(8)]
    for process in processes:
        process.start()
    assert {texts.get() for _ in processes} == {file.read_text().strip()}
    for process in processes:
        process.join()


def test_a_token_is_kept_where_a_file_can_have_one_name_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on memory cards."""

    def link(_: Path, name: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(name))

    monkeypatch.setattr(os, "link", link)
    text = Token.kept_in(tmp_path / "token").text
    assert Token.kept_in(tmp_path / "token").text == text
    assert os.listdir(tmp_path) == ["token"]
