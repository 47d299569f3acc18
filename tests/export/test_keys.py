"""Keys on the workstation: who may read them, and that they sign what a device verifies."""

import errno
import shlex
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgecil.errors import UsageError
from edgecil_devices.signing import KeySet, read_public_keys
from edgecil_export import keys
from edgecil_export.keys import PASSPHRASE_VARIABLE, new_key, public_text, signature


def test_a_new_key_is_its_owners_alone_and_its_public_half_lies_beside_it(tmp_path: Path) -> None:
    text = new_key(tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert (tmp_path / "k.pub").read_text() == f"{text}\n"
    assert read_public_keys(tmp_path / "k.pub").texts == (text,) == (public_text(tmp_path / "k"),)


def test_no_two_keys_are_alike(tmp_path: Path) -> None:
    assert new_key(tmp_path / "a") != new_key(tmp_path / "b")


@pytest.mark.parametrize("there", ["k", "k.pub"])
def test_no_key_is_ever_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"precious")
    with pytest.raises(UsageError, match="never written over"):
        new_key(tmp_path / "k")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_bytes() == b"precious"


def test_a_signature_is_that_of_ed25519_over_context_and_manifest(tmp_path: Path) -> None:
    (public,) = KeySet.parse([new_key(tmp_path / "k")]).keys
    found = signature(b'{"format":1}', tmp_path / "k")
    assert found[:32] == public
    verifier = Ed25519PublicKey.from_public_bytes(public)
    verifier.verify(found[32:], b'edgecil release\0{"format":1}')
    assert signature(b'{"format":1}', tmp_path / "k") == found


def test_a_key_with_a_passphrase_is_not_readable_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k"
    text = new_key(path, "open sesame")
    assert b"ENCRYPTED" in path.read_bytes()
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="is encrypted; put its passphrase into EDGECIL_PASSPHR"):
        public_text(path)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "close sesame")
    with pytest.raises(UsageError, match="not its passphrase"):
        public_text(path)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "open sesame")
    assert public_text(path) == text


def test_a_passphrase_does_not_hinder_a_key_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = new_key(tmp_path / "k")
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "of another key")
    assert public_text(tmp_path / "k") == text


def test_what_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    new_key(tmp_path / "k")
    with pytest.raises(UsageError, match=r"k\.pub is no private key; sign with the one without"):
        signature(b"", tmp_path / "k.pub")
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "other").write_bytes(other)
    with pytest.raises(UsageError, match="is not an Ed25519 key"):
        signature(b"", tmp_path / "other")


def test_a_key_that_is_not_there_is_told_from_one_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "my key"
    with pytest.raises(UsageError, match="is not there; check the path, or make a key") as caught:
        signature(b"", path)
    assert shlex.split(str(caught.value).partition("with: ")[2])[-1] == str(path)
    path.mkdir()
    with pytest.raises(UsageError, match="my key cannot be read .Is a directory.; give the file"):
        signature(b"", path)


def test_a_key_in_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        new_key(tmp_path / "none" / "k")


def test_half_a_pair_of_keys_is_not_left_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:7])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(keys, "write_synced", full)
        with pytest.raises(UsageError, match=r"k\.pub cannot be written .*; make room"):
            new_key(tmp_path / "k")
    assert list(tmp_path.iterdir()) == []
    new_key(tmp_path / "k")
