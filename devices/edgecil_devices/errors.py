"""The root of every error that edgecil raises, and the device's share of the tree.

    EdgecilError                  exit code 1
      + UsageError                exit code 2: an argument or option that cannot be
        + MissingExtraError       a part of edgecil that is not installed
      + ImageError                one picture cannot be read
      + BundleError               a bundle cannot be used
        + BundleCorruptError      truncated, altered, or not a bundle at all
        + BundleVersionError      made for a newer edgecil or a newer onnxruntime

The workstation's errors grow from the same root, in `edgecil.errors`. The message of every error
is one line that says what is wrong and what to do about it.
"""


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
