#!/bin/sh
# Installs edgecil on a device, brings it up to date, or takes it away.
set -eu
umask 022

STORE=/var/lib/edgecil
UNITS=/etc/systemd/system

usage() {
    cat <<'END'
usage: sh install.sh [--from WHAT] [--target DIR]
       sudo sh install.sh --service BUNDLE [--trust KEY] [--no-teach] [--from WHAT]
       sh install.sh --uninstall [--target DIR]

Puts edgecil and what it needs, about 200 MB, into a Python environment of its own. A second run
brings it up to date; one that was cut short is made good by the next.

  --from WHAT       a wheel, a folder of sources, or what a package index has, edgecil==0.1.0; by
                    itself the newest wheel that lies beside this script
  --target DIR      the environment's folder (/opt/edgecil for root, ~/edgecil for others)
  --service BUNDLE  put BUNDLE into the store /var/lib/edgecil and serve it, now and whenever the
                    device starts, as a user who can do nothing else; if the store has a newer
                    one, it goes on with that
  --trust KEY       let that store, if it is new, take what this public key has signed and no more
  --no-teach        let nothing be taught in that store, if it is new
  --uninstall       take environment and service away; the store stays
END
}

say() {
    printf '%s\n' "$1" >&2
}

fail() {
    say "error: $1"
    exit "${2:-1}"
}

value() {
    [ -n "${2:-}" ] || fail "$1 needs a value" 2
    printf '%s' "$2"
}

# All is read before anything is done: the script may come through a pipe that breaks.
main() {
    target=${HOME:-}/edgecil from='' bundle='' trust='' no_teach='' remove='' root='' store=''
    [ "$(id -u)" != 0 ] || root=yes target=/opt/edgecil
    while [ $# -gt 0 ]; do
        case $1 in
        --from) from=$(value "$@"); shift ;;
        --target) target=$(value "$@"); shift ;;
        --service) bundle=$(value "$@"); shift ;;
        --trust) trust=$(value "$@"); shift ;;
        --no-teach) no_teach=yes ;;
        --uninstall) remove=yes ;;
        --help) usage; exit ;;
        *) fail "$1 is not known; see --help" 2 ;;
        esac
        shift
    done
    case $target in /*) ;; *) target=$PWD/$target ;; esac
    while [ "$target" != "${target%/}" ]; do target=${target%/}; done
    mark=$target/.edgecil-install
    [ "$target" != /opt/edgecil ] || [ ! -f $UNITS/edgecil-serve.service ] || store=$STORE
    if [ -n "$remove" ]; then
        uninstall
        return
    fi
    [ -z "$bundle" ] || store=$STORE
    [ -n "$from" ] || from=$(wheel_beside)
    check_service
    check_system
    check_place
    check_python
    # Of a package index only if asked: whoever has the name there would run code as root.
    [ -n "$from" ] || fail \
        "no wheel lies beside this script; build one with pip wheel --no-deps -w dist . or give --from"
    install_packages
    [ -z "$store" ] || install_units
    [ -z "$bundle" ] || install_service
    tell
}

# Nothing where the script comes through a pipe and lies nowhere.
wheel_beside() {
    [ ! -f "$0" ] || ls "$(dirname "$0")"/edgecil-*.whl 2>/dev/null | sort -V | tail -n 1
}

check_service() {
    if [ -z "$bundle" ]; then
        [ -z "$trust" ] || fail "--trust goes with --service" 2
        [ -z "$no_teach" ] || fail "--no-teach goes with --service" 2
        return 0
    fi
    [ -n "$root" ] || fail "only root can install a service; run it with sudo"
    [ "$target" = /opt/edgecil ] || fail "a service runs from /opt/edgecil; leave out --target" 2
    command -v systemctl >/dev/null || fail "there is no systemd here; leave out --service"
    for file in "$bundle" ${trust:+"$trust"}; do
        [ -f "$file" ] || fail "$file: there is no such file; check the path"
    done
}

check_system() {
    [ "$(uname -s)" = Linux ] || fail "this is $(uname -s); use a device with Linux"
    # Many a 32-bit system has a 64-bit kernel, and of that alone uname tells.
    [ "$(getconf LONG_BIT)" = 64 ] ||
        fail "the system has 32 bits, onnxruntime needs 64; flash the 64-bit Raspberry Pi OS"
    case $(uname -m) in
    aarch64 | x86_64) ;;
    *) fail "there is no onnxruntime for $(uname -m); use a device with aarch64 or x86_64" ;;
    esac
}

check_python() {
    command -v python3 >/dev/null || fail "there is no Python; run: sudo apt install python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$(python3 --version) is too old, 3.11 it must be; flash Raspberry Pi OS 12 or newer"
    python3 -c 'import ensurepip' 2>/dev/null ||
        fail "Python cannot make environments; run: sudo apt install python3-venv"
}

check_place() {
    needed_mb=350 # for downloads too
    if [ -f "$mark" ]; then
        needed_mb=100
    elif [ -n "$(ls -A "$target" 2>/dev/null)" ]; then
        fail "$target has other things in it; give --target another folder"
    fi
    place=$target
    until [ -d "$place" ]; do place=$(dirname "$place"); done
    [ -w "$place" ] || fail "$place cannot be written; run it with sudo, or give --target a folder"
    free_mb=$(free_mb "$place")
    [ "$free_mb" -ge $needed_mb ] ||
        fail "$place has $free_mb MB free, and $needed_mb are needed; make room"
}

free_mb() {
    df -Pk "$1" | awk 'NR == 2 { print int($4 * 1.024 / 1000) }'
}

# The mark makes a folder ours, and says "complete" unless pip has been cut short.
install_packages() {
    before=$(cat "$mark" 2>/dev/null) || before=new
    mkdir -p "$target"
    echo changing >"$mark"
    # The second: the environment is of a Python that the system had before. Its pip may be the
    # system's own, and answer all the same.
    if [ "$before" != complete ] || [ ! -d "$target/lib/$(python_folder)" ] ||
        ! "$target/bin/pip" --version >/dev/null 2>&1; then
        before=changing
        clear_target
        # picamera2 is one of the system's packages.
        python3 -m venv --system-site-packages "$target"
    fi
    [ ! -e "$from" ] || from=$(realpath "$from") # or pip may take a folder for a package's name
    quiet=$([ -t 2 ] || echo --quiet)
    say "installing $from into $target, at first about 50 MB to download"
    if ! pip_installs --upgrade "$from" ${store:+"edgecil[sign]"} ||
        ! { is_from_file || pip_installs --no-deps --force-reinstall "$from"; }; then
        echo "$before" >"$mark" # pip has put back what it had replaced
        fail "pip failed, see above; without a network, connect the device and run this again"
    fi
    sync # or a power cut could leave the mark without what it stands for
    echo complete >"$mark"
}

python_folder() {
    python3 -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}")'
}

pip_installs() {
    "$target/bin/pip" --disable-pip-version-check install ${quiet:+"$quiet"} "$@" >&2
}

# Whether what is installed came of that file, where it is one: pip takes a wheel that was built anew
# for the one it has, as long as the version is the same.
is_from_file() {
    [ ! -f "$from" ] || grep -qs "$(sha256sum "$from" | cut -d' ' -f1)" \
        "$target"/lib/python3*/site-packages/edgecil-*.dist-info/direct_url.json
}

clear_target() {
    find -H "$target" -mindepth 1 ! -name "${mark##*/}" -delete
}

# After an upgrade too: the units are those of the version, and the old one may be running.
install_units() {
    install -m 644 "$target"/share/edgecil/edgecil-* $UNITS
    systemctl daemon-reload
    systemctl try-restart edgecil-serve.service
}

install_service() {
    id edgecil >/dev/null 2>&1 ||
        useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin edgecil
    install -d -o edgecil -g edgecil $STORE
    chown -hR edgecil:edgecil $STORE/ # one that was made by hand is root's
    install -d /etc/edgecil
    keep_what_the_store_is
    # The user edgecil cannot look into people's folders.
    work=$(mktemp -d)
    trap 'rm -r "$work"' EXIT
    release=$work/$(basename "$bundle")
    install -m 644 "$bundle" "$release"
    [ -z "$trust" ] || install -m 644 "$trust" "$work/key"
    chmod 755 "$work"
    runuser -u edgecil -- "$target/bin/python" -P -m edgecil_devices \
        install "$release" --store $STORE ${trust:+--trust "$work/key"} ${no_teach:+--no-teach} ||
        go_on_without "$?"
    systemctl enable --now edgecil-serve.service edgecil-update.timer
}

keep_what_the_store_is() {
    [ -e $STORE/state.json ] || [ -e $STORE/current ] || return 0
    [ -z "$trust$no_teach" ] ||
        say "$STORE is not new and stays as it is; --trust and --no-teach change nothing there"
    trust='' no_teach=''
}

# An old release is no failure: the timer has brought a newer one since.
go_on_without() {
    [ "$1" = 3 ] || exit "$1"
    say "the store goes on with what it has, see above"
}

tell() {
    size_mb=$(du -skH "$target" | awk '{ print int($1 * 1.024 / 1000) }')
    say "$target takes $size_mb MB, and $(free_mb "$target") MB are free"
    "$target/bin/edgecil" doctor ${store:+"$store"} || fail "edgecil cannot run here, see above"
    say "next: $target/bin/edgecil predict ${store:-BUNDLE} PICTURE.jpg"
    [ -z "$store" ] || say "or: curl --data-binary @PICTURE.jpg http://127.0.0.1:8000/predict"
}

uninstall() {
    [ -f "$mark" ] || fail "$target was not made by this script; delete it yourself"
    if [ -n "$store" ]; then
        systemctl disable --now edgecil-serve.service edgecil-update.timer
        rm -f $UNITS/edgecil-serve.service $UNITS/edgecil-update.service \
            $UNITS/edgecil-update.timer $UNITS/edgecil-update-boot.timer
        systemctl daemon-reload
        say "kept: $STORE, /etc/edgecil, the user edgecil"
    fi
    clear_target
    rm "$mark" # before a folder that may be a link to another disk
    rm -r "$target"
    say "$target is gone"
}

main "$@"
