"""Which version of edgecil this is."""

from importlib import metadata


def version() -> str | None:
    """The version of the package; None where it was copied to the device instead of installed."""
    try:
        return metadata.version("edgecil")
    except metadata.PackageNotFoundError:
        return None
