#!/bin/sh
# benchmarks/gpu.sh DATASET [OUT]: everything that is measured on an NVIDIA GPU, in under 10 minutes.
#
# DATASET: what capture made, best with --size 512. OUT: folder for the avatar and all numbers (default: gpu-bench).
# PYTHON chooses the interpreter; it needs this package and a build of torch with CUDA.
# MINUTES_MOST: a part that would begin later is left out, and one that still runs then is ended (default: 10).
#
# No part stops the others: each has a log beside its numbers, OUT/parts.tsv says how each ended, and
# OUT/summary.md is the short table that is printed at the end. Fails where a part failed.
set -u
dataset=${1:?usage: benchmarks/gpu.sh DATASET [OUT]}
out=${2:-gpu-bench}
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/benchmarks/gpu
begun=$(date +%s)
most=$((${MINUTES_MOST:-10} * 60 - 10))
failed=""
export PYTHONPATH="$root:$root/src${PYTHONPATH:+:$PYTHONPATH}" # where the package is not installed
if [ -e "$out/parts.tsv" ]; then # its avatar would not be trained anew, its numbers be taken for these
    echo "$out holds an earlier run: choose another folder" >&2
    exit 2
fi
if [ ! -f "$dataset/dataset.toml" ]; then
    echo "$dataset is not a dataset: make one with nerf-ad capture VIDEO DATASET --size 512" >&2
    exit 2
fi
mkdir -p "$out"
: >"$out/parts.tsv"

# part NAME SECONDS COMMAND...: run it for so long at most, and note how it ended
part() {
    name=$1 limit=$2
    shift 2
    left=$((begun + most - $(date +%s)))
    [ "$left" -lt "$limit" ] && limit=$left
    if [ "$limit" -lt 5 ]; then
        printf '%s\tskipped\t0\n' "$name" >>"$out/parts.tsv"
        failed="$failed $name"
        return
    fi
    echo "== $name (at most $limit s)"
    from=$(date +%s)
    timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
    status=$?
    printf '%s\t%s\t%s\n' "$name" "$status" "$(($(date +%s) - from))" >>"$out/parts.tsv"
    if [ "$status" -ne 0 ]; then
        failed="$failed $name"
        echo "   ended with $status; the end of $out/$name.log:"
        tail -n 5 "$out/$name.log" | sed 's/^/   /'
    fi
}

part kernels 90 "$python" "$here/kernels.py" --json "$out/kernels.json"
part train 240 "$python" "$here/train.py" "$dataset" --size 512 --seconds 60 --json "$out/train.json"
part fast 130 "$python" -m nerf_ad train fast "$dataset" "$out/fast.avatar" --minutes 1 --device cuda
if [ -f "$out/fast.avatar/avatar.toml" ]; then
    part render 90 "$python" "$here/render.py" "$out/fast.avatar" --json "$out/render.json"
else # a head of random weights has kernels too
    part render 90 "$python" "$here/render.py" --synthetic --sizes 512 --density 2 --json "$out/render.json"
fi
# Tests as they are marked; without the options of pyproject.toml, whose shape checks need beartype.
tests=$(grep -rl --include='*.py' 'mark\.gpu' "$root/tests")
# shellcheck disable=SC2086 # one word a file
part tests 120 "$python" -m pytest -q -m gpu -W default -o addopts=--import-mode=importlib \
    -p no:cacheprovider --continue-on-collection-errors --rootdir "$root" $tests
if command -v ncu >/dev/null 2>&1; then
    part counters 60 ncu --section SpeedOfLight --section Occupancy --csv --log-file "$out/counters.csv" \
        --clock-control none --kernel-name 'regex:read_level|spread_level|march_kernel|shade_kernel' \
        --launch-count 12 "$python" "$here/kernels.py" --once --samples 262144
fi
[ -f "$out/fast.avatar/avatar.toml" ] &&
    part evaluate 90 "$python" -m nerf_ad evaluate "$out/fast.avatar" "$dataset" --every 5
# Whether the paper's stages in front of the planes run here at all; what they reach in a minute is little.
part fast-ad 110 "$python" -m nerf_ad train fast-ad "$dataset" "$out/fast-ad.avatar" --minutes 1 --device cuda

"$python" "$here/summary.py" "$out"
echo "all numbers are in $out"
if [ -n "$failed" ]; then
    echo "failed:$failed"
    exit 1
fi
