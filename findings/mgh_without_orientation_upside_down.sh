#!/usr/bin/env bash
# An MGH volume whose goodRASFlag is 0 has a default place. FreeSurfer and its Python library surfa 0.6.3
# have coronal slices with the second axis from head to foot; nibabel 5.4.2 has the second and third axis
# the other way around: the head lies upside down, turned by 180 degrees about x, and nothing is said.
# (numpy is held at 2.2: surfa 0.6.3 asks for any numpy, and reads no MGH at all with 2.4.)
#
# Seen: nibabel rows (-1 0 0) (0 0 -1) (0 1 0); surfa rows (-1 0 0) (0 0 1) (0 -1 0).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet nibabel==5.4.2 surfa==0.6.3 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import nibabel as nib
import numpy as np
import surfa

data = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
nib.save(nib.MGHImage(data, np.eye(4)), "a.mgh")
raw = bytearray(Path("a.mgh").read_bytes())
raw[28:30] = b"\0\0"  # goodRASFlag, which old files do not have
Path("a.mgh").write_bytes(raw)
one = nib.load("a.mgh").affine[:3, :3]
volume = surfa.load_volume("a.mgh")
other = np.asarray(volume.geom.vox2world.matrix)[:3, :3]
print("nibabel", one.tolist(), "surfa", other.tolist())
assert np.array_equal(volume.data, data)
assert np.allclose(one, [[-1, 0, 0], [0, 0, -1], [0, 1, 0]])
assert np.allclose(other, [[-1, 0, 0], [0, 0, 1], [0, -1, 0]])
assert np.allclose(one, other @ np.diag([1, -1, -1]))
PYTHON
