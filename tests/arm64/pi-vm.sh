#!/bin/bash
# A whole arm64 machine, emulated: Debian's kernel and ext4 with the Python of pi.sh. It has what
# pi.sh has not, memory of its own that runs out and a disk whose power can be cut.
#
#     pi-vm.sh setup                 (root) installs qemu-system-arm where it is missing; makes a disk
#     pi-vm.sh new DISK              a fresh copy of the disk, as a file of its own
#     pi-vm.sh boot DISK virt JOB    boots, copies the folder JOB to /data, runs /data/job.sh as root
#                                    and stops; the console is on stdout, its last line
#                                    "JOB rc=N" is the exit code of the job
#
# VM_MEM  MB of memory (512)   VM_CPU  cortex-a53, cortex-a72 or cortex-a76 (cortex-a72)
# VM_SMP  cores (2)            PI_REQ, PI_PYTHON, PI_CACHE  as for pi.sh
#
# To cut the power: kill -9 "$(cat DISK.pid)" of a machine that runs, then boot DISK again. That
# loses what the guest's kernel had not yet written; it does not model an SD card's own cache.
# Boots in about 10 s. There is no init system and no network; python3 is in the PATH, / is writable.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edgecil-arm64}
# What Debian's kernel needs to reach a disk of this machine, in the order of loading; what is
# built into the kernel is not among its module files, and passed over.
modules="crc16 crc32c_generic mbcache jbd2 ext4 virtio virtio_ring virtio_mmio virtio_blk"
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
export PI_CACHE=$cache
version=$(sha256sum <"${BASH_SOURCE[0]}" | cut -c1-12)
kernel=$cache/kernel-$version

# The kernel, its modules, a static busybox, and a first file system that finds the disk.
make_kernel() {
    local new=$kernel.new image module
    rm -rf "$cache"/kernel-* "$cache/apt"
    mkdir -p "$new"/first/{bin,proc,sys,dev,mnt,modules,job}
    "$here/pi.sh" apt update
    "$here/pi.sh" apt install --yes --download-only linux-image-arm64 busybox-static >/dev/null
    dpkg-deb --fsys-tarfile "$cache"/apt/cache/archives/busybox-static_*.deb |
        tar -xO ./bin/busybox >"$new/first/bin/busybox"
    chmod +x "$new/first/bin/busybox"
    image=$(echo "$cache"/apt/cache/archives/linux-image-[0-9]*.deb)
    dpkg-deb --fsys-tarfile "$image" | tar -x -C "$new" --wildcards './boot/vmlinuz-*' '*/kernel/fs/*' \
        '*/kernel/lib/*' '*/kernel/crypto/*' '*/kernel/drivers/virtio/*' '*/kernel/drivers/block/*'
    rm -rf "$cache/apt"
    mv "$new"/boot/vmlinuz-* "$new/vmlinuz"
    for module in $modules; do
        find "$new/lib" -name "$module.ko" -exec cp {} "$new/first/modules/" \;
    done
    rm -rf "$new/lib" "$new/boot"
    ln -s busybox "$new/first/bin/sh"
    cat >"$new/first/init" <<INIT
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev 2>/dev/null
for module in $modules; do [ ! -e /modules/\$module.ko ] || insmod /modules/\$module.ko; done
tries=0
while [ ! -b /dev/vda ] && [ \$tries -lt 100 ]; do sleep 0.1; tries=\$((tries + 1)); done
mount -t ext4 -o rw,noatime /dev/vda /mnt || { echo "no disk"; reboot -f; }
mkdir -p /mnt/data && cp -a /job/. /mnt/data/
for folder in proc sys dev; do mount --move /\$folder /mnt/\$folder; done
exec switch_root /mnt /sbin/init
INIT
    chmod +x "$new/first/init"
    pack "$new/first" >"$new/first.gz"
    mv "$new" "$kernel"
}

pack() { (cd "$1" && find . | cpio --quiet --create --format=newc | gzip -1); }

make_disk() {
    local root=$disk.root name
    rm -rf "$root" "$disk.new"
    cp -a "$("$here/pi.sh" system)/root" "$root"
    mkdir -p "$root"/{proc,sys,dev,tmp,run,data,bin,sbin,root,usr/local/lib/python3.11}
    cp "$kernel/first/bin/busybox" "$root/bin/"
    for name in sh mount umount sync reboot cat ls cp mv rm mkdir df free dmesg sleep head tail \
        grep sed ps kill env wc dd; do
        ln -sf busybox "$root/bin/$name"
    done
    ln -sf python3.11 "$root/usr/bin/python3"
    cp -a "$("$here/pi.sh" site)" "$root/usr/local/lib/python3.11/dist-packages"
    cat >"$root/sbin/init" <<'INIT'
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root ORT_DISABLE_TELEMETRY=1
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
cd /data && sh /data/job.sh
echo "JOB rc=$?"
sync; mount -o remount,ro / 2>/dev/null; reboot -f
INIT
    chmod +x "$root/sbin/init"
    mke2fs -q -F -t ext4 -d "$root" "$disk.new" 1G >/dev/null
    rm -rf "$root"
    mv "$disk.new" "$disk"
}

setup() {
    "$here/pi.sh" setup
    disk=$cache/disk-$(echo "$version $("$here/pi.sh" system) $("$here/pi.sh" site)" | sha256sum |
        cut -c1-12).ext4
    [ -d "$kernel" ] && [ -e "$disk" ] && return
    if ! { command -v qemu-system-aarch64 && command -v cpio && command -v mke2fs; } >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends \
            qemu-system-arm cpio e2fsprogs >/dev/null
    fi
    exec 9>"$cache/lock"
    flock 9
    [ -d "$kernel" ] || make_kernel
    [ -e "$disk" ] || make_disk
    exec 9>&-
}

boot() {
    local image=$1 first
    [ "$2" = virt ] || { echo "the only machine is virt" >&2 && exit 2; }
    # The kernel unpacks one archive after the other, so that of the job follows the first file
    # system's. It is read before the machine runs, and kept beside the disk.
    first=$image.first
    local staging
    staging=$(mktemp -d)
    mkdir "$staging/job"
    cp -a "$3/." "$staging/job/"
    { cat "$kernel/first.gz" && pack "$staging"; } >"$first"
    rm -rf "$staging" "$image.pid"
    exec qemu-system-aarch64 -M virt -cpu "${VM_CPU:-cortex-a72}" -smp "${VM_SMP:-2}" \
        -m "${VM_MEM:-512}" -drive "file=$image,format=raw,if=none,id=disk" \
        -device virtio-blk-device,drive=disk -net none -serial stdio -monitor none -display none \
        -append "console=ttyAMA0 panic=-1 quiet" -kernel "$kernel/vmlinuz" -initrd "$first" \
        -no-reboot -pidfile "$image.pid" </dev/null
}

case ${1:-} in
setup) setup ;;
new) setup && cp --sparse=always "$disk" "$2" ;;
boot) setup && boot "${@:2}" ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
