#!/bin/bash
# Power cuts while a store is updated, in an emulated arm64 machine.
#
# Claim: whenever the power is cut, the store holds a whole release that is no older than the last
# update that was reported as done, readers get it before anything is recovered, and the next update
# works, without repair. A control without fsync, cut in the same way, does lose releases.
#
#     bash benchmarks/power_cuts.sh 20        # 20 cuts, then 4 of the control
#
# A machine with a real arm64 kernel and ext4 installs release after release (a new head of 200 kB in
# each); at a random moment its emulator is killed, which loses all that the guest's kernel had not
# written. It boots again from the same disk and reads, recovers, checks every byte and updates once
# more. Modelled is the loss of the guest's page cache; torn sectors and caches inside a real SD card
# are not. The self-test in these updates only reads the release: it is not what is tested here.
#
# Needs `tests/arm64/pi-vm.sh setup`, and in TEMPLATE the path of any small bundle. Results:
# results/power_cuts.md.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cuts=${1:-20} controls=${2:-4} board=${3:-virt}
tools=$here/../tests/arm64
export PI_REQ=${PI_REQ:-"numpy pillow onnxruntime cryptography"} VM_MEM=512
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{write,check,python}
cp -r "$here/../devices/edgecil_devices" "$work/python/"
find "$work/python" -name __pycache__ -prune -exec rm -rf {} +
cp "${TEMPLATE:?set it to the path of any small bundle}" "$work/python/template.edgecil"
cp "$here/power_cuts_guest.py" "$work/python/"
for job in write check; do
    cp -r "$work/python/." "$work/$job/"
    echo 'cd /data && exec python3 power_cuts_guest.py '"$job"' "$(cat /data/mode)"' >"$work/$job/job.sh"
done

# Cuts the power of one kind of writer several times on one disk; prints a line a cut.
series() {
    local mode=$1 count=$2 disk=$work/$1.ext4 bad=0 last=0 cut writer line
    bash "$tools/pi-vm.sh" new "$disk"
    echo "$mode" | tee "$work/write/mode" >"$work/check/mode"
    for ((cut = 1; cut <= count; cut++)); do
        bash "$tools/pi-vm.sh" boot "$disk" "$board" "$work/write" >"$work/write.log" 2>&1 &
        writer=$!
        for ((t = 0; t < 1800; t++)); do
            grep -qsaE '^ACK [0-9]+ sectors [0-9]+' "$work/write.log" && break
            sleep 0.1
        done
        sleep $((RANDOM % 3)).$((RANDOM % 10))$((RANDOM % 10))
        kill -9 "$(cat "$disk.pid")"
        wait "$writer" 2>/dev/null
        # Whole lines only: the power may go in the middle of one.
        last=$(grep -aoE '^ACK [0-9]+ sectors [0-9]+' "$work/write.log" | tail -1 | cut -d' ' -f2)
        grep -aoE '^ACK [0-9]+ sectors [0-9]+' "$work/write.log" | cut -d' ' -f4 >>"$work/$mode.sectors"
        timeout 150 bash "$tools/pi-vm.sh" boot "$disk" "$board" "$work/check" >"$work/check.log" 2>&1
        line=$(grep -ao 'CHECK .*' "$work/check.log" | tr -d '\r' | tail -1)
        set -- $line
        if [ "${2:-}" = whole ] && [ "${3:-0}" -ge "${last:-0}" ]; then
            echo "$mode cut $cut: last reported $last, found ${line#CHECK }"
        else
            bad=$((bad + 1))
            echo "$mode cut $cut: last reported ${last:-none}, FAILED: ${line:-no answer}"
            # A disk that has lost its store begins anew.
            bash "$tools/pi-vm.sh" new "$disk"
        fi
    done
    e2fsck -fn "$disk" 2>&1 | tail -1
    echo "$mode: $((count - bad)) of $count cuts survived; kB written to the disk an update:" \
        "$(sort -n "$work/$mode.sectors" | awk '{s[NR]=$1} END {print s[int((NR+1)/2)] / 2, "median of", NR}')"
    failed=$bad
}

series synced "$cuts"
synced_failed=$failed
series unsynced "$controls"
[ "$synced_failed" = 0 ] && [ "$failed" -gt 0 ]
