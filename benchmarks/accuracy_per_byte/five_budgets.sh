#!/usr/bin/env bash
# Claim: thrift is above every published curve at the five published budgets, under strict accounting:
# CIFAR-100 B0 Inc10, seed 1993, the planner's own choice of backbone, precision and codec, the recipe
# `thorough`. For a graphics card; five runs share it. Goals, average / last: 76/64, 77.5/67, 78.5/69,
# 79/70, 80/72; best published (FOSTER and MEMO, read off a plot): 66.6/53.3 ... 72.3/62.1.
#
# Usage: benchmarks/accuracy_per_byte/five_budgets.sh [FOLDER] [STOP_AFTER, such as 9m]
# It goes on where it was stopped; exit code 75 means "run me again". JOBS sets how many runs share,
# EPOCHS shortens the recipe's 100.
set -euo pipefail
out="${1:-runs/five-budgets}"
stop=(${2:+--stop-after "$2"})
epochs=(${EPOCHS:+--epochs "$EPOCHS"})

edgecil compare --protocol cifar100-b0-inc10 --budgets published --methods thrift --recipe thorough \
    "${epochs[@]}" --device "${DEVICE:-cuda}" --jobs "${JOBS:-5}" --published --out "$out" "${stop[@]}"
edgecil report "$out" --out "$out/report.html"
for run in "$out"/thrift-*; do
    find "$run/state" -type f -printf '%s\n' | awk -v run="$run" '{ sum += $1 } END { print run, sum, "bytes" }'
    edgecil export "$run" --weights fp32 --out "$run.edgecil"
    edgecil eval "$run.edgecil" --data cifar100
done
