#!/usr/bin/env bash
# Every method at two budgets on real CIFAR-100, short enough for two cores: the first 20 classes of
# the published order in four tasks of five (cifar100_20_classes.toml), ResNet-14, 12 epochs for the
# first task and 8 for each later one, seed 1993, strict accounting, exemplars in lossless WebP,
# weights in fp16. Stop it at will; the same command goes on.
set -euo pipefail
out="${1:-runs/cifar100-comparison}"
edgecil compare --data cifar100 --tasks "$(dirname "$0")/cifar100_20_classes.toml" \
    --methods finetune,replay,icarl,wa,foster,der,memo,memo-2,joint --budgets 2MB,4MB --seeds 1993 \
    --backbone resnet14 --codec webp-lossless --state-precision fp16 \
    --first-epochs 12 --epochs 8 --jobs "${JOBS:-2}" --out "$out"
