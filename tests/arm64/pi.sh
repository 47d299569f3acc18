#!/bin/bash
# Python as on a Raspberry Pi with Raspberry Pi OS Bookworm (Debian 12, arm64, Python 3.11), on an
# x86-64 machine with Debian 12: the real aarch64 wheels, on an emulated processor.
#
#     pi.sh setup                     fetch what is missing; does nothing when all is there
#     pi.sh run BOARD [ARGUMENT...]   Python with these arguments as on a pi3, pi4 or pi5
#     pi.sh site                      the folder of the Python packages
#     pi.sh system                    the folder of the emulator and of the boards' roots
#     pi.sh apt ARGUMENT...           apt-get on the private arm64 state, for pi-vm.sh
#
# PI_REQ     what pip installs (numpy pillow onnxruntime); each value has a folder of its own
# PI_PYTHON  a Python with pip (python3.11)
# PI_CACHE   where everything is kept (edgecil-arm64 in the cache folder of the user)
#
# Nothing is installed on the machine. apt's and pip's own settings say where packages come from.
# The packages are unpacked, not installed: no maintainer script runs. Child processes work without
# binfmt_misc, because sys.executable is a script that calls the emulator.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edgecil-arm64}
python=${PI_PYTHON:-python3.11}
requirements=${PI_REQ:-numpy pillow onnxruntime}
packages="python3.11-minimal libpython3.11-stdlib libstdc++6"
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

key() { sha256sum | cut -c1-12; }
# Changes with the packages and with this file, so that a changed recipe never meets an old folder.
system=$cache/system-$(cat "${BASH_SOURCE[0]}" "$here/boards.py" | key)
site=$cache/site-$(echo "$requirements" | key)

apt_private() {
    local state=$cache/apt
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    touch "$state/status"
    apt-get -qq -o APT::Sandbox::User="$(id -un)" -o APT::Architecture=arm64 \
        -o APT::Architectures::=arm64 -o APT::Architectures::=amd64 \
        -o APT::Install-Recommends=0 -o Acquire::Languages=none -o Debug::NoLocking=1 \
        -o Dir::State="$state" -o Dir::State::lists="$state/lists" \
        -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" "$@"
}

# The emulator, Debian's Python with its libraries, and one root folder for each board.
make_system() {
    local new=$system.new archive board root
    rm -rf "$cache"/system-* "$cache/apt"
    mkdir -p "$new/root"
    apt_private update
    (cd "$new" && apt_private download qemu-user-static:amd64)
    dpkg-deb --fsys-tarfile "$new"/qemu-user-static_*.deb |
        tar -xO ./usr/bin/qemu-aarch64-static >"$new/qemu"
    chmod +x "$new/qemu"
    rm "$new"/*.deb
    # shellcheck disable=SC2086
    apt_private install --yes --download-only $packages >/dev/null
    for archive in "$cache"/apt/cache/archives/*.deb; do
        case ${archive##*/} in
        perl* | dpkg* | tar_* | debconf*) ;; # only for maintainer scripts
        *) dpkg-deb -x "$archive" "$new/root" ;;
        esac
    done
    rm -rf "$cache/apt" "$new"/root/usr/share/{doc,man,locale}
    "$python" -m compileall -q "$new/root/usr/lib/python3.11" >/dev/null || true # starts sooner
    for board in pi3 pi4 pi5; do
        root=$new/$board
        cp -al "$new/root" "$root"
        "$python" "$here/boards.py" "$board" "$root"
        # Python takes the name it is called by, -0, for sys.executable.
        printf '%s\n' '#!/bin/sh' 'root=${0%/usr/bin/python}' \
            'export QEMU_LD_PREFIX="$root" QEMU_CPU='"$("$python" "$here/boards.py" "$board")" \
            'exec "${root%/*}/qemu" -0 "$0" "$root/usr/bin/python3.11" "$@"' >"$root/usr/bin/python"
        chmod +x "$root/usr/bin/python"
    done
    mv "$new" "$system"
}

make_site() {
    local platforms=() glibc
    rm -rf "$site" "$site.new"
    for glibc in 2_36 2_35 2_34 2_31 2_28 2_27 2_17; do # Debian 12 has 2.36
        platforms+=(--platform "manylinux_${glibc}_aarch64")
    done
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet --quiet --target "$site.new" "${platforms[@]}" \
        --platform manylinux2014_aarch64 --python-version 3.11 --implementation cp \
        --only-binary=:all: $requirements
    mv "$site.new" "$site"
}

setup() {
    [ -d "$system" ] && [ -d "$site" ] && return
    exec 9>"$cache/lock"
    flock 9
    [ -d "$system" ] || make_system
    [ -d "$site" ] || make_site
    exec 9>&-
}

case ${1:-} in
setup) setup ;;
site) echo "$site" ;;
system) echo "$system" ;;
apt) shift && apt_private "$@" ;;
run)
    board=${2:?a board: pi3, pi4 or pi5}
    shift 2
    setup
    export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$site ORT_DISABLE_TELEMETRY=1
    exec "$system/$board/usr/bin/python" "$@"
    ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
