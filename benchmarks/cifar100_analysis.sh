#!/usr/bin/env bash
# How shallow and deep layers learn, on real CIFAR-100: the first 20 classes of the published order
# in four tasks of five (cifar100_20_classes.toml), ResNet-20, 10 epochs a task, 3 MB, seed 1993.
# Two runs: MEMO, and replay, which is one network that goes on training, as in the paper's views.
# Stop it at will; the same command goes on.
#
# Usage: benchmarks/cifar100_analysis.sh [FOLDER]; CIFAR-100 is downloaded or found in EDGECIL_DATA.
set -euo pipefail
here="$(dirname "$0")"
out="${1:-runs/analysis}"
for method in memo replay; do
    edgecil train --data cifar100 --tasks "$here/cifar100_20_classes.toml" --method "$method" \
        --budget 3MB --backbone resnet20 --codec webp-lossless --state-precision fp16 \
        --epochs 10 --keep-history --run "$out/$method" --resume
    edgecil analyse "$out/$method" --out "$here/results/analysis-cifar100-$method"
done
