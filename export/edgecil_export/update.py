"""An update: what a release has and its base lacks, as one file."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from edgecil.errors import ExportError, UsageError
from edgecil_devices.bundle import complete
from edgecil_devices.files import cannot_be_written, remove_leftovers, replace_atomically
from edgecil_devices.manifest import Manifest
from edgecil_devices.package import Package, pack, read_package
from edgecil_export.accuracy_loss import AccuracyLoss
from edgecil_export.exporter import export, require_place
from edgecil_export.releases import require_within_reach
from edgecil_export.request import CLASSIFIERS, PLAIN, ExportRequest


@dataclass(frozen=True)
class UpdateReport:
    """What was written."""

    path: Path
    """The update."""
    manifest: Manifest
    """Of the whole bundle that a device will have."""
    carried: dict[str, int]
    """Bytes of each blob that travels, by its name."""
    size_bytes: int
    """Of the update."""
    whole_bytes: int
    """Of the bundle that it stands for."""
    lost: tuple[str, ...] = ()
    """What devices have of the base and will not have any more, for people."""
    loss: AccuracyLoss | None = None
    """What computing in eight bits costs, where a run was exported for that."""

    def lines(self) -> list[str]:
        """For people: what travels, and what need not."""
        stays = [b.name for b in self.manifest.blobs if b.name not in self.carried]
        width = max(map(len, self.carried))
        part = 100 * self.size_bytes / self.whole_bytes
        number = f"release {self.manifest.release}, " if self.manifest.release else ""
        return [
            *(f"{name:<{width}}  {size:>12,} bytes" for name, size in self.carried.items()),
            f"stays: {', '.join(stays) or 'nothing'}",
            *([self.loss.line()] if self.loss else []),
            *(f"lost: {part}, which the base has" for part in self.lost),
            f"wrote {self.path} ({number}{self.size_bytes:,} bytes, {part:.1f} % of the "
            f"{self.whole_bytes:,} of the whole bundle)",
        ]


def make_update(
    new: Path, since: Path, out: Path, request: ExportRequest = PLAIN, bundle: Path | None = None
) -> UpdateReport:
    """Write what a device with `since` needs to become `new`.

    Args:
        new: a bundle, or a run, which is then exported as `since` was.
        since: the bundle that devices have.
        out: the update.
        request: of a run: its release, by default one above the run's last and that of `since`,
            and who sign it; its weights, classifier and compute are those of `since`. Where
            `since` tells the unknown, so must it, unless `lose_unknown` says otherwise.
        bundle: of a run: where to keep the whole bundle, for devices that have none.

    Raises:
        ExportError: the two have nothing to do with each other, devices would not take it or lose
            their thresholds of the unknown, or `out` cannot be written.
        UsageError: something is asked for that a finished bundle cannot change any more.
        BundleError: a bundle cannot be read.
    """
    require_place(out)
    base = read_package(since)
    if base.base is not None:
        raise UsageError(f"{since} is an update; give the whole bundle that devices have")
    if new.is_dir():
        with TemporaryDirectory() as room:
            whole = bundle or Path(room) / out.name
            asked = replace(request, kept=bundle is not None)
            loss = _export_like(base, new, whole, asked)
            return replace(_cut(read_package(whole), base, out), loss=loss)
    if request != PLAIN or bundle:
        raise UsageError(
            f"{new} is a finished bundle; --sign, --release and the like go with a run"
        )
    return _cut(read_package(new), base, out)


def _export_like(
    base: Package, run: Path, whole: Path, asked: ExportRequest
) -> AccuracyLoss | None:
    """Export a run with the precision, the classifier and the statistics of `base`.

    Returns:
        What computing in eight bits costs, if it does.
    """
    manifest = base.manifest
    if base.signatures and not asked.sign:
        raise UsageError("the base is signed, so devices want a signature; give --sign KEY")
    request = replace(
        asked,
        weights=manifest.weights,
        classifier={role: name for name, role in CLASSIFIERS.items()}[manifest.head.role],
        compute=manifest.compute,
        teachable=manifest.statistics is not None,
        above=manifest.release,
        tells_unknown=manifest.unknown is not None,
    )
    return export(run, whole, request).loss


def _cut(new: Package, base: Package, out: Path) -> UpdateReport:
    numbers = new.manifest.release, base.manifest.release
    if new.base is not None:
        raise UsageError(f"{new.source} is an update; give a run or a whole bundle")
    if base.signatures and not new.signatures:
        raise ExportError(
            f"{base.source} is signed, so devices want a signature; export with --sign KEY"
        )
    if numbers[0] is None and numbers[1] is not None:
        raise ExportError(
            f"{new.source} has no release number, and devices have release {numbers[1]}; export "
            f"it with a --release above {numbers[1]}"
        )
    if numbers[0] is not None and numbers[1] is None:
        raise ExportError(
            f"{base.source} has no release number, so nobody knows whether release {numbers[0]} "
            "is above it; leave out --release, --sign and --new-keys, or let devices take the "
            "whole bundle"
        )
    if numbers[0] is not None and numbers[1] is not None:
        if numbers[0] <= numbers[1]:
            raise ExportError(
                f"release {numbers[0]} is not above release {numbers[1]}, which devices have; "
                "export with a higher --release"
            )
        require_within_reach(numbers[0], numbers[1])
    if new.manifest.classes[: len(base.manifest.classes)] != base.manifest.classes:
        raise ExportError(
            f"{base.source} knows other classes, so it is of another run; give --since one of the "
            "same, or let devices take the whole bundle"
        )
    contents = complete(new, {}).blobs
    carried = {b.name: contents[b.name] for b in new.manifest.blobs if b.sha256 not in base.blobs}
    if not carried:
        raise ExportError(
            "there is nothing new in it: the two bundles have the same blobs; where its number, "
            "keys or day matter, let devices take the whole bundle"
        )
    data = pack(new.manifest, carried, signatures=new.signatures, base=base.manifest_sha256)
    # What will be sent is read back, and put together with what devices have.
    if complete(read_package(data), base.blobs).manifest_json != new.manifest_json:
        raise ExportError("the update does not give the new bundle; please report this")
    remove_leftovers(out)
    try:
        replace_atomically(out, data)
    except OSError as error:
        raise ExportError(cannot_be_written(out, error)) from error
    sizes = {name: len(content) for name, content in carried.items()}
    lost = _lost(base.manifest, new.manifest)
    return UpdateReport(out, new.manifest, sizes, len(data), new.size_bytes, lost)


def _lost(old: Manifest, new: Manifest) -> tuple[str, ...]:
    parts = {
        "statistics to teach with": (old.statistics, new.statistics),
        "thresholds for --unknown": (old.unknown, new.unknown),
    }
    return tuple(name for name, (had, has) in parts.items() if had is not None and has is None)
