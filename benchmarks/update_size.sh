#!/usr/bin/env bash
# What travels to a device when CIFAR-100 gets new classes: an update against the whole bundle.
#
# Claim: with a frozen trunk an update is one block, a head and golden logits, whatever the number of
# blocks before it; so its part of the whole falls with every task.
#
# Usage: benchmarks/update_size.sh [FOLDER]; CIFAR-100 is downloaded or found in EDGECIL_DATA.
# The first 20 classes in four tasks, MEMO, ResNet32, one epoch a task: sizes do not depend on how well
# it has learned. After tasks 1 to 4 the run is exported at fp32 and int8 weights, release by release.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work="${1:-$(mktemp -d)}"
run="$work/run"
mkdir -p "$work"
[ -e "$work/key" ] || edgecil keys new "$work/key" >/dev/null

learned() { cat "$run/results.json" 2>/dev/null | grep -c '"stage"' || true; }

# Trains until a task is finished. What is between tasks is the state, so a stop in the middle of the
# next task does no harm; --resume goes on there.
learn_task() {
    while [ "$(learned)" -lt "$1" ]; do
        edgecil train --data cifar100 --tasks "$here/cifar100_20_classes.toml" --budget 4MB \
            --backbone resnet32 --trunk freeze --epochs 1 --run "$run" --resume \
            --stop-after 15s >>"$work/train.log" 2>&1 || [ $? = 75 ]
    done
    [ "$(learned)" = "$1" ] || { echo "task $1 went by too fast; use a shorter --stop-after" >&2; exit 1; }
}

size() { stat -c %s "$1"; }

echo "| tasks | weights | whole bundle | update | part of the whole | carried |"
echo "|---|---|---|---|---|---|"
for task in 1 2 3 4; do
    learn_task "$task"
    for weights in fp32 int8; do
        new="$work/$weights-$task.edgecil" update="$work/$weights-$task.update"
        edgecil export "$run" --weights "$weights" --sign "$work/key" --release "$task" \
            --out "$new" >/dev/null
        if [ "$task" = 1 ]; then
            echo "| 1 | $weights | $(size "$new") | - | - | all |"
            continue
        fi
        carried=$(edgecil update "$new" --since "$work/$weights-$((task - 1)).edgecil" --out "$update" |
            awk '$NF == "bytes" && NF == 3 { printf "%s%s %s", sep, $1, $2; sep = "; " }')
        part=$(awk "BEGIN { printf \"%.1f %%\", 100 * $(size "$update") / $(size "$new") }")
        echo "| $task | $weights | $(size "$new") | $(size "$update") | $part | $carried |"
    done
done
