#!/bin/sh
# benchmarks/gpu.sh DATASET [OUT]: everything that is measured on an NVIDIA GPU, in under 10 minutes.
#
# DATASET: what capture made, best with --size 512. OUT: folder for the avatar and all numbers (default: gpu-bench).
# PYTHON chooses the interpreter; it needs this package and a build of torch with CUDA.
set -eu
dataset=${1:?usage: benchmarks/gpu.sh DATASET [OUT]}
out=${2:-gpu-bench}
python=${PYTHON:-python3}
here=$(dirname "$0")/gpu
mkdir -p "$out"

say() { echo "== $*"; }

say "kernels beside grid_sample and the card's ceilings"
"$python" "$here/kernels.py" --json "$out/kernels.json"
say "a minute of training, and where a step's time goes"
"$python" "$here/train.py" "$dataset" --size 512 --seconds 60 --json "$out/train.json"
say "the same minute by the command, and its held-out frames"
"$python" -m nerf_ad train fast "$dataset" "$out/fast.avatar" --minutes 1 --device cuda >"$out/train.log" 2>&1
"$python" -m nerf_ad evaluate "$out/fast.avatar" "$dataset" --every 5 >"$out/evaluate.log" 2>&1 ||
    echo "not evaluated: see $out/evaluate.log"
say "frames a second of that avatar"
"$python" "$here/render.py" "$out/fast.avatar" --json "$out/render.json"
say "all numbers are in $out"
