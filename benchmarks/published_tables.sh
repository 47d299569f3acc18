#!/usr/bin/env bash
# The paper's tables with its own recipe and accounting: CIFAR-100 B0 Inc5 (20 sessions, 43,224,320
# bytes) and B0 Inc10 (24,684,160 bytes), ResNet-32, seed 1993. For a graphics card. Several runs share it.
#
# Published averages (MEMO, ICLR 2023): Inc5 Replay 70.61, iCaRL 71.85, WA 71.39, DER 69.52, MEMO
# 73.16; Inc10 69.98, 70.94, 69.55, 71.47, 72.37. Published numbers stand in the table that this ends with.
#
# Usage: benchmarks/published_tables.sh [FOLDER] [STOP_AFTER, such as 9m]
# It goes on where it was stopped; exit code 75 means "run me again". JOBS sets how many runs share.
set -euo pipefail
out="${1:-runs/published}"
stop=(${2:+--stop-after "$2"})

for protocol in cifar100-b0-inc5:43224320 cifar100-b0-inc10:24684160; do
    edgecil compare --protocol "${protocol%:*}" --budgets "${protocol#*:}" --accounting published \
        --methods memo,der,wa,icarl,replay --device cuda --jobs "${JOBS:-5}" --published \
        --out "$out/${protocol%:*}" "${stop[@]}"
done
