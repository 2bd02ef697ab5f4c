#!/usr/bin/env bash
# One .lta file (RAS to RAS), two libraries, two matrices: surfa 0.6.3 gives the matrix that stands in the
# file (point of src -> point of dst); nitransforms 25.1.0 gives its inverse, because its transforms take
# points of the reference to points of the moving image. Who copies .matrix from one to the other moves
# images the wrong way. nitransforms also reads no geometry whose file name has a space in it.
#
# Seen: surfa: translation 5 -7 11; nitransforms: translation -5 7 -11; with a space: ValueError.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet nitransforms==25.1.0 surfa==0.6.3 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import warnings
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")
import surfa
from nitransforms import linear


def lta(name):
    volume = (
        f"valid = 1  # volume info valid\nfilename = {name}\nvolume = 50 60 70\n"
        "voxelsize = 1 1 1\nxras   = 1 0 0\nyras   = 0 1 0\nzras   = 0 0 1\ncras   = 0 0 0\n"
    )
    return (
        "type      = 1 # LINEAR_RAS_TO_RAS\nnxforms   = 1\nmean      = 0.0 0.0 0.0\n"
        "sigma     = 1.0\n1 4 4\n1 0 0 5\n0 1 0 -7\n0 0 1 11\n0 0 0 1\n"
        f"src volume info\n{volume}dst volume info\n{volume}"
    )


Path("a.lta").write_text(lta("scan.mgz"))
Path("b.lta").write_text(lta("my scan.mgz"))
one = np.asarray(surfa.load_affine("a.lta").matrix)
other = np.asarray(linear.load("a.lta", fmt="fs").matrix).reshape(-1, 4, 4)[0]
print("surfa: translation", one[:3, 3], "nitransforms: translation", other[:3, 3])
assert np.allclose(one[:3, 3], [5, -7, 11])
assert np.allclose(other, np.linalg.inv(one), atol=1e-5)
assert np.allclose(surfa.load_affine("b.lta").matrix, one)
try:
    linear.load("b.lta", fmt="fs")
except ValueError as error:
    print("with a space: ValueError:", error)
else:
    raise SystemExit("nitransforms reads a name with a space now")
PYTHON
