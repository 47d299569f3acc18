#!/usr/bin/env bash
# MEMO on CIFAR-100, ten tasks of ten classes, everything kept under 7.6 MB (7,600,000 bytes).
#
# Claim: the whole way on a machine without a graphics card in under an hour: accuracy and bytes
# after every task, a bundle within 0.1 point of the network in the state, one seed (1993).
#
# Usage: benchmarks/cifar100_memo.sh [RUN_FOLDER]; CIFAR-100 is downloaded or found in EDGECIL_DATA.
set -euo pipefail
run="${1:-runs/cifar100-b0-inc10-7.6MB}"

edgecil train --data cifar100 --budget 7.6MB --increment 10 --first-epochs 25 --epochs 12 \
    --backbone resnet14 --codec webp-lossless --state-precision fp16 --run "$run" --resume
find "$run/state" -type f -printf '%s\n' | awk '{ sum += $1 } END { print "state holds", sum, "bytes" }'
edgecil export "$run" --out "$run.edgecil"
edgecil eval "$run.edgecil" --data cifar100
cp "$run/results.json" "$(dirname "$0")/results/cifar100-b0-inc10-7.6MB.json"
