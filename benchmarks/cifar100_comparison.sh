#!/usr/bin/env bash
# Every method at two budgets on real CIFAR-100, short enough for two cores: the first 20 classes of
# the published order in four tasks of five (cifar100_20_classes.toml), 12 epochs for the first task
# and 8 for each later one, seed 1993, strict accounting. All have the same network, codec and
# precision: ResNet-14, exemplars in webp:75, weights in fp16. Stop it at will; the same command goes
# on.
set -euo pipefail
out="${1:-runs/cifar100-comparison}"
methods=finetune,replay,icarl,wa,foster,der,memo,memo-2,thrift,slda,joint
edgecil compare --data cifar100 --tasks "$(dirname "$0")/cifar100_20_classes.toml" \
    --methods "$methods" --budgets 1.6MB,3MB --seeds 1993 \
    --backbone resnet14 --codec webp:75 --state-precision fp16 \
    --first-epochs 12 --epochs 8 --jobs "${JOBS:-2}" --out "$out"
