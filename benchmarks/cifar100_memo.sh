#!/usr/bin/env bash
# MEMO on CIFAR-100, ten tasks of ten classes, everything kept under 7.6 MB (7,600,000 bytes).
#
# Claim: README's first example on a machine without a graphics card, nothing else asked for: accuracy
# and bytes after every task, a bundle within 0.1 point of the network in the state, one seed (1993).
# Stop it at will; the same command goes on.
#
# Usage: benchmarks/cifar100_memo.sh [RUN_FOLDER]; CIFAR-100 is downloaded or found in EDGECIL_DATA.
set -euo pipefail
run="${1:-runs/cifar100-b0-inc10-7.6MB}"

edgecil train --data cifar100 --budget 7.6MB --run "$run" --resume
find "$run/state" -type f -printf '%s\n' | awk '{ sum += $1 } END { print "state holds", sum, "bytes" }'
edgecil export "$run" --weights fp32 --out "$run.edgecil"
edgecil eval "$run.edgecil" --data cifar100
cp "$run/results.json" "$(dirname "$0")/results/cifar100-b0-inc10-7.6MB.json"
