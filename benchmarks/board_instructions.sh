#!/bin/bash
# Python as on a Raspberry Pi, in an emulator that counts instructions: exact, and the same on a busy
# machine.
#
#   board_instructions.sh BOARD[,cache=KB][,blocks=N] [ARGUMENT...]    # BOARD: pi3, pi4 or pi5
#
# The board's system and packages are those of tests/arm64/pi.sh, whose settings hold here as well.
# The emulator with plugins (Debian 12's qemu-user; qemu-user-static has none) and the plugin,
# board_instructions.c, are kept beside them. Needs gcc, apt and dpkg on an x86-64 machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pi=$here/../tests/arm64/pi.sh
board=${1%%,*} options=${1#"${1%%,*}"}
shift
bash "$pi" setup
system=$(bash "$pi" system)
root=$system/$board cpu=$(python3 "$here/../tests/arm64/boards.py" "$board")
emulator=$(dirname "$system")/qemu-with-plugins
if [ ! -d "$emulator" ]; then
    new=$(mktemp -d "$emulator.XXXX")
    (cd "$new" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download qemu-user libcapstone4 liburing2 &&
        for archive in *.deb; do dpkg -x "$archive" .; done)
    mv "$new" "$emulator"
fi
plugin=$emulator/count.so
[ "$plugin" -nt "$here/board_instructions.c" ] ||
    gcc -O2 -shared -fPIC -Wall -o "$plugin" "$here/board_instructions.c"
export QEMU_LD_PREFIX=$root QEMU_CPU=$cpu LD_LIBRARY_PATH=$emulator/usr/lib/x86_64-linux-gnu
path=${PYTHONPATH:+$PYTHONPATH:}$(bash "$pi" site)
export QEMU_SET_ENV="LD_LIBRARY_PATH=,PYTHONPATH=$path,PYTHONDONTWRITEBYTECODE=1,ORT_DISABLE_TELEMETRY=1"
exec "$emulator/usr/bin/qemu-aarch64" -plugin "$plugin$options" "$root/usr/bin/python3.11" "$@"
