#!/bin/bash
# Power cuts while a store is updated, or while a device is taught, in an emulated arm64 machine.
#
# Claim: whenever the power is cut, what is there is whole and no older than the last step that was
# reported as done; readers get it before anything is recovered; and the next step works, without
# repair. A step is an update of a store, or one of teaching, forgetting and taking back. A control
# without fsync, cut in the same way, does lose steps.
#
#     bash benchmarks/power_cuts.sh store 20 4       # 20 cuts, then 4 of the control
#     bash benchmarks/power_cuts.sh teaching 20 4
#
# A machine with a real arm64 kernel and ext4 takes step after step (an update: a new head of 200 kB;
# teaching: two to four pictures); at a random moment its emulator is killed, which loses all that
# the guest's kernel had not written. It boots again from the same disk, reads, recovers, checks every
# byte and takes one step more. Modelled is the loss of the guest's page cache; torn sectors and
# caches inside a real SD card are not. Neither are the self-test of an update, which only reads the
# release, and the network of what is taught, for which `power_cuts_teaching.py` has another.
#
# Needs `tests/arm64/pi-vm.sh setup`, and for the store in TEMPLATE the path of any small bundle.
# Results: results/power_cuts.md.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kind=${1:?store or teaching} cuts=${2:-20} controls=${3:-4}
tools=$here/../tests/arm64
export PI_REQ=${PI_REQ:-"numpy pillow onnxruntime cryptography"} VM_MEM=512
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{write,check,python}
cp -r "$here/../devices/edgecil_devices" "$work/python/"
find "$work/python" -name __pycache__ -prune -exec rm -rf {} +
[ "$kind" = teaching ] ||
    cp "${TEMPLATE:?set it to the path of any small bundle}" "$work/python/template.edgecil"
cp "$here/power_cuts_guest.py" "$here/power_cuts_$kind.py" "$work/python/"
for job in write check; do
    cp -r "$work/python/." "$work/$job/"
    echo "cd /data && exec python3 power_cuts_guest.py $job $kind \"\$(cat /data/mode)\"" >"$work/$job/job.sh"
done

# Cuts the power of one kind of writer several times on one disk; prints a line a cut.
series() {
    local mode=$1 count=$2 disk=$work/$1.ext4 bad=0 last=0 cut writer line told
    bash "$tools/pi-vm.sh" new "$disk"
    echo "$mode" | tee "$work/write/mode" >"$work/check/mode"
    for ((cut = 1; cut <= count; cut++)); do
        echo "$last" >"$work/write/number"
        rm -f "$work/write.log" # else the last machine's steps could be taken for this one's
        bash "$tools/pi-vm.sh" boot "$disk" virt "$work/write" >"$work/write.log" 2>&1 &
        writer=$!
        for ((t = 0; t < 6000; t++)); do
            grep -qsaE '^ACK [0-9]+ sectors [0-9]+' "$work/write.log" && break
            sleep 0.1
        done
        sleep $((RANDOM % 3)).$((RANDOM % 10))$((RANDOM % 10))
        kill -9 "$(cat "$disk.pid")"
        wait "$writer" 2>/dev/null
        # Whole lines only: the power may go in the middle of one.
        told=$(grep -aoE '^ACK [0-9]+ sectors [0-9]+' "$work/write.log")
        last=$(tail -1 <<<"$told" | cut -d' ' -f2 | grep . || echo "$last")
        cut -d' ' -f4 <<<"$told" >>"$work/$mode.sectors"
        echo "$last" >"$work/check/number"
        timeout 600 bash "$tools/pi-vm.sh" boot "$disk" virt "$work/check" >"$work/check.log" 2>&1
        line=$(grep -ao 'CHECK .*' "$work/check.log" | tr -d '\r' | tail -1)
        set -- $line
        if [ "${2:-}" = whole ] && [ "${3:-0}" -ge "$last" ]; then
            echo "$mode cut $cut: last reported $last, found ${line#CHECK }"
            last=$(($3 + 1)) # which the check has taken
        else
            bad=$((bad + 1))
            echo "$mode cut $cut: last reported $last, FAILED: ${line:-no answer}"
            # A disk that has lost something begins anew.
            bash "$tools/pi-vm.sh" new "$disk"
            last=0
        fi
    done
    e2fsck -fn "$disk" >"$work/e2fsck" 2>&1
    echo "e2fsck: exit code $? (0: nothing to repair), $(tail -1 "$work/e2fsck")"
    echo "$mode: $((count - bad)) of $count cuts survived; kB written to the disk a step:" \
        "$(grep . "$work/$mode.sectors" | sort -n | awk '{s[NR]=$1} END {print s[int((NR+1)/2)] / 2, "median of", NR}')"
    failed=$bad
}

series synced "$cuts"
synced_failed=$failed
series unsynced "$controls"
[ "$synced_failed" = 0 ] && [ "$failed" -gt 0 ]
