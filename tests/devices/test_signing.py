"""Signatures, held to a vector of RFC 8032."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgecil_devices.errors import SignatureError, UsageError
from edgecil_devices.signing import CONTEXT, KeySet, read_public_keys, signers, verify

# RFC 8032, section 7.1, test 1: the public key of this secret.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
TEXT = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
OTHER_TEXT = "ed25519:" + base64.b64encode(bytes(32)).decode()


def sign(message: bytes, secret: bytes = SECRET) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(secret).sign(message)


def test_what_is_signed_are_these_sixteen_bytes_and_the_manifest() -> None:
    assert CONTEXT.hex() == "6564676563696c2072656c6561736500"
    verify(b"{}", PUBLIC + sign(b"edgecil release\0{}"), KeySet.parse([TEXT]))


def test_a_key_is_written_as_base64_and_read_back() -> None:
    keys = KeySet.parse([TEXT])
    assert keys.keys == (PUBLIC,)
    assert keys.texts == (TEXT,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        TEXT.removeprefix("ed25519:"),
        TEXT[:-1],
        TEXT + "\n",
        TEXT.replace("ed25519", "rsa"),
        "ed25519:" + base64.b64encode(bytes(31)).decode(),
        "ed25519:" + base64.b64encode(bytes(33)).decode(),
        "ed25519:" + "*" * 44,
        TEXT[:-2] + "p=",  # the same bytes, had the last two bits been left aside
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no public key"):
        KeySet.parse([text])


def test_a_private_key_in_its_place_is_told_apart_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="this is a private key") as caught:
        KeySet.parse(["-----BEGIN PRIVATE KEY-----"])
    assert "BEGIN" not in str(caught.value)


def test_any_trusted_key_will_do_and_strangers_are_left_aside() -> None:
    stranger = bytes(32) + bytes(64)
    verify(b"m", stranger + PUBLIC + sign(CONTEXT + b"m"), KeySet.parse([TEXT]))
    verify(b"m", PUBLIC + sign(CONTEXT + b"m"), KeySet.parse([TEXT, OTHER_TEXT]))
    with pytest.raises(SignatureError, match="is not of this manifest"):
        verify(b"m", stranger, KeySet.parse([OTHER_TEXT]))


def test_every_changed_bit_of_a_signature_is_refused() -> None:
    good = PUBLIC + sign(CONTEXT + b"m")
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1 << index % 8
        with pytest.raises(SignatureError):
            verify(b"m", bytes(bad), KeySet.parse([TEXT]))


def test_who_signed_can_be_told_without_trusting_anybody() -> None:
    assert signers(PUBLIC + bytes(64) + bytes(96)) == (TEXT, OTHER_TEXT)
    assert signers(b"") == ()


def test_a_file_of_keys_may_have_remarks_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "keys.pub"
    path.write_text(f"# of the workshop\n\n{TEXT}\n  {OTHER_TEXT}  \n")
    assert read_public_keys(path).texts == (TEXT, OTHER_TEXT)
    path.write_bytes(b"\xef\xbb\xbf" + f"{TEXT}\r\n".encode())  # as a Windows editor saves it
    assert read_public_keys(path).texts == (TEXT,)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe", (TEXT + "\n").encode() * 17])
def test_a_file_without_keys_or_with_too_many_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.pub"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"keys\.pub: "):
        read_public_keys(path)


def test_a_file_of_keys_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.pub: no public key can be read there"):
        read_public_keys(tmp_path / "none.pub")
