#!/usr/bin/env bash
# MEMO as published: CIFAR-100 B0 Inc10, ResNet-32, 24,684,160 bytes by the papers' accounting.
#
# Paper (MEMO, ICLR 2023, table 15): 72.37 average, 61.98 last accuracy. For a graphics card; it goes
# on where it was stopped, so it can be run in pieces: exit code 75 means "run me again".
#
# Usage: benchmarks/published_memo.sh [RUN_FOLDER] [STOP_AFTER, such as 9m]
set -euo pipefail
run="${1:-runs/cifar100-b0-inc10-published}"

edgecil train --data cifar100 --budget 24684160 --accounting published --backbone resnet32 \
    --increment 10 --recipe published --device cuda --run "$run" --resume \
    ${2:+--stop-after "$2"}
cp "$run/results.json" "$(dirname "$0")/results/cifar100-b0-inc10-published.json"
