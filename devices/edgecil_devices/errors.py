"""The root of every error that edgecil raises, and the device's share of the tree.

    EdgecilError                  exit code 1
      + UsageError                exit code 2: an argument or option that cannot be
        + MissingExtraError       a part of edgecil that is not installed
      + ImageError                one picture cannot be read
      + BundleError               a bundle cannot be used
        + BundleCorruptError      truncated, altered, or not a bundle at all
        + BundleVersionError      made for a newer edgecil or a newer onnxruntime
        + SignatureError          not signed by a key that is trusted
        + SelfTestError           this device computes something else than the workstation
        + ReleaseError            a release that this store does not take: not newer, or unsuitable
          + OldReleaseError       exit code 3: the store has it behind it, or a newer one
      + StoreError                the store cannot be used
        + StoreBusyError          exit code 75: another process is changing it; try again later
        + UntestedError           exit code 75: a self-test came to no verdict; later it may
        + StoreWriteError         exit code 74: no room, no permission, or a failing disk
        + StoreDamagedError       a file of the store is not what was written
      + FetchError                a release cannot be fetched
      + RequestError              one request to a server is refused; the others go on

The workstation's errors grow from the same root, in `edgecil.errors`. The message of every error
is one line that says what is wrong and what to do about it.
"""

from collections.abc import Mapping


class EdgecilError(Exception):
    """Something the person in front of edgecil can put right; the message says how."""

    exit_code = 1
    """What the command line exits with when this error ends it."""


class UsageError(EdgecilError):
    """An argument or option has a value that cannot be."""

    exit_code = 2


class MissingExtraError(UsageError):
    """A command needs packages of an extra that is not installed.

    Args:
        what: what was asked for, as the subject of a sentence ("edgecil train").
        extra: the extra to install, "train" for example.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more packages; run: pip install 'edgecil[{extra}]'")


class ImageError(EdgecilError):
    """A picture that cannot be read, or must not be; the other pictures go on."""


class BundleError(EdgecilError):
    """A bundle that cannot be used."""


class BundleCorruptError(BundleError):
    """A bundle that is truncated, altered, or no bundle at all."""


class BundleVersionError(BundleError):
    """A bundle that needs a newer edgecil or a newer onnxruntime than is installed."""


class ReleaseError(BundleError):
    """A release that this store does not take, however sound it is."""


class OldReleaseError(ReleaseError):
    """A release that the store has behind it; what a script asked for may be done already."""

    exit_code = 3


class SignatureError(BundleError):
    """A release that no trusted key has signed."""


class SelfTestError(BundleError):
    """A bundle that gives other answers here than where it was made."""


class StoreError(EdgecilError):
    """A store that cannot be used."""


class StoreBusyError(StoreError):
    """Another process is changing the store; later it will have finished."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class UntestedError(StoreError):
    """A release's self-test came to no verdict, as for want of memory; later it may."""

    exit_code = 75


class StoreWriteError(StoreError):
    """The disk is full, read-only, failing, or not ours to write; nothing has changed."""

    exit_code = 74  # EX_IOERR of sysexits.h


class StoreDamagedError(StoreError):
    """A file of the store is not what was written."""


class FetchError(EdgecilError):
    """A release cannot be fetched from where releases are offered."""


class RequestError(EdgecilError):
    """A request to `edgecil serve` that is refused; the other requests go on.

    Args:
        code: the HTTP status.
        message: what is wrong and what the client can do about it.
        headers: that the answer needs besides.
    """

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers or {}
