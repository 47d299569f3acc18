"""`devices/install.sh --service`, run for real but for systemd, which is not started."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.devices.store.releases import Key, Releases

if TYPE_CHECKING:
    from tests.devices.conftest import TinyNetwork
    from tests.devices.installing.conftest import Device

pytestmark = pytest.mark.slow

BOX = """
set -eu
mount -t tmpfs box "$1"
cd "$1"
mkdir root all all-work tmp tmp-work
mount -t overlay -o lowerdir=/,upperdir=all,workdir=all-work overlay root
mount -t overlay -o lowerdir=/tmp,upperdir=tmp,workdir=tmp-work overlay root/tmp
for folder in dev proc; do mount --bind /$folder root/$folder; done
exec chroot root sh -c "$2"
"""
"""Runs a command that may change this machine's files as it likes: all is gone with it."""

INSTALL_AND_LOOK = """
set -eu
# What this tree's environment consists of may lie where only root can look.
for place in {readable}; do
    while [ "$place" != / ]; do chmod o+rx "$place"; place=$(dirname "$place"); done
done
# An environment of a Python that the system had before its upgrade.
mkdir -p /opt/edgecil/bin
ln -s /usr/bin/python3.10-which-is-gone /opt/edgecil/bin/python
echo complete >/opt/edgecil/.edgecil-install
sh {script} --from {wheel} --service {bundle} --trust {key} --no-teach
/opt/edgecil/bin/edgecil status
[ "$(id -u edgecil)" != 0 ]
# As of a store that root has made by hand, whose device has a newer release than is given again.
chown -R root:root /var/lib/edgecil
sh {script} --from {wheel} --service {older} --trust {other_key}
/opt/edgecil/bin/edgecil status
cd /var/lib/edgecil && stat -c '%U has %n' . lock state.json current blobs blobs/*
cmp {units}/edgecil-serve.service /etc/systemd/system/edgecil-serve.service
echo EDGECIL_HOST=0.0.0.0 >/etc/edgecil/serve.conf
mkdir /etc/systemd/system/edgecil-update.service.d # as systemctl edit makes it
sh {script} --uninstall --target /opt/edgecil//
rmdir /etc/systemd/system/edgecil-update.service.d
test -e /var/lib/edgecil/state.json
test -e /etc/edgecil/serve.conf
if ls -d /etc/systemd/system/edgecil* /opt/edgecil 2>/dev/null; then exit 1; fi
sed 's/^/systemctl /' {calls}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can install a service")
def test_a_service_gets_a_user_and_a_store_which_stay_when_it_is_taken_away(
    device: "Device", wheel: Path, tiny: "TinyNetwork", tmp_path: Path
) -> None:
    """And an environment whose Python is gone is made anew."""
    key, box, calls = Key(1), tmp_path / "box", tmp_path / "calls"
    releases = Releases(tiny, tmp_path)
    box.mkdir()
    systemctl = tmp_path / "systemctl"  # nothing is to be started here
    systemctl.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    systemctl.chmod(0o755)
    packages = Path(device.environment["PYTHONPATH"])
    readable = [device.python, (device.python / "python3").resolve(), *packages.iterdir()]
    command = INSTALL_AND_LOOK.format(
        readable=" ".join({shlex.quote(str(path.resolve())) for path in [packages, *readable]}),
        script=device.script,
        wheel=wheel,
        bundle=releases.bundle(7, key),
        key=key.save(tmp_path / "key.pub"),
        older=releases.bundle(6, key),
        other_key=Key(2).save(tmp_path / "other.pub"),
        units=device.script.parent,
        calls=calls,
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", BOX, "sh", box, command],
        env=device.environment | {"PATH": f"{tmp_path}:{device.environment['PATH']}:/usr/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"no file systems of one's own here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert "release 7 is current" in done.stdout
    assert "release 6 is not newer than release 7" in done.stderr
    assert "the store goes on with what it has, see above\n" in done.stderr
    assert done.stdout.count(f"takes releases by: {key.text}") == 2
    assert "can be taught: no" in done.stdout
    assert len(re.findall("^(?:ok|warn) +bundle ", done.stdout, re.M)) == 2
    owned = re.findall(r"^(\w+) has (\S+)$", done.stdout, re.M)
    assert {owner for owner, _ in owned} == {"edgecil"}
    assert {".", "lock", "state.json", "current", "blobs"} < {name for _, name in owned}
    assert [line for line in done.stdout.splitlines() if line.startswith("systemctl ")] == [
        "systemctl daemon-reload",
        "systemctl try-restart edgecil-serve.service",
        "systemctl enable --now edgecil-serve.service edgecil-update.timer",
        "systemctl daemon-reload",
        "systemctl try-restart edgecil-serve.service",
        "systemctl enable --now edgecil-serve.service edgecil-update.timer",
        "systemctl disable --now edgecil-serve.service edgecil-update.timer",
        "systemctl daemon-reload",
    ]
