#!/usr/bin/env bash
# What a machine with a GPU is asked for in ten minutes: tests, training, and how fast it all is.
#
#   bash pipelines/on_gpu.sh pack LABELS      here: what the other machine needs, in three parts of 31 MB
#   OUT=folder bash pipelines/on_gpu.sh       there, in a copy of the checkout with runs/gpu in it
#
# Each part may travel by itself, as long as runs/gpu has all three in the end. The second command
# unpacks them, installs what is missing, runs `pytest -m gpu`, measures, and goes on teaching the image
# reader of the package for the minutes that are left; logs, figures and checkpoint lie in OUT.
# MINUTES, SCANS and DEVICE change its size, so that a CPU can try it.
set -euo pipefail
cd "$(dirname "$0")/.."
PACK=runs/gpu

if [ "${1:-}" = pack ]; then
    labels=$(realpath "${2:?name the folder of label maps}")
    rm -rf "$PACK" && mkdir -p "$PACK/wheels" "$PACK/maps" "$PACK"/{first,second,third}
    for map in "$labels"/*_dseg.nii.gz; do gunzip -c "$map" >"$PACK/maps/$(basename "${map%.gz}")"; done
    tar -C "$PACK" -cf - maps | xz -6 >"$PACK/third/maps.tar.xz"
    # The other machine has torch, numpy, scipy, matplotlib, pydantic's and pytest's needs.
    python -m pip download -q --no-deps --only-binary=:all: --python-version "${PYTHON:-3.12}" \
        --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 -d "$PACK/wheels" -c constraints.txt \
        SimpleITK nibabel lightning-fabric lightning-utilities monai pydantic pydantic-core \
        annotated-types typing-inspection cyclopts docstring-parser rich-rst safetensors jinja2 \
        importlib-resources
    tar -C "$PACK" -cf - wheels | split -b 31M - "$PACK/first/wheels.tar."
    mv "$PACK"/first/wheels.tar.ab "$PACK/second/"
    rm -r "$PACK/maps" "$PACK/wheels"
    du -sh "$PACK"/*
    exit
fi

OUT=${OUT:?name a folder for what is measured}
SECONDS=0
mkdir -p "$OUT" "$PACK/here"
tar -C "$PACK/here" -xJf "$PACK/third/maps.tar.xz"
if ! python3 -c 'import SimpleITK, nibabel, lightning_fabric, cyclopts' 2>/dev/null; then
    cat "$PACK"/{first,second}/wheels.tar.* | tar -C "$PACK/here" -x
    python3 -m pip install -q --no-index --no-deps --target "$PACK/here/site" "$PACK"/here/wheels/*.whl
    export PYTHONPATH="$PWD/$PACK/here/site"
fi
export PYTHONPATH="$PWD:${PYTHONPATH:-}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
python3 -m pytest -q -p no:cacheprovider -m gpu tests 2>&1 | tee "$OUT/tests.log" || true
python3 pipelines/teach_on_gpu.py "$PACK/here/maps" "$OUT" --device "${DEVICE:-cuda}" \
    --scans "${SCANS:-300}" --minutes "$(awk -v t="${MINUTES:-9}" -v s=$SECONDS 'BEGIN {print t - s / 60}')" \
    2>&1 | tee "$OUT/teach.log"
# What comes back is no larger than 16 MB a file: put together by `cat reader.safetensors.a*`.
split -b 15M "$OUT/reader.safetensors" "$OUT/reader.safetensors." && rm "$OUT/reader.safetensors"
cp "$OUT/reader/log.csv" "$OUT/log.csv"
rm -rf "$OUT/tried" "$OUT/tried.safetensors" "$OUT/reader"
