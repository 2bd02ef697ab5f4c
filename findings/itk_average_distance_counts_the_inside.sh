#!/usr/bin/env bash
# "Average Hausdorff distance" of SimpleITK 2.5.7 (ITK 5.4) is taken, one guesses, between two surfaces, as the
# average symmetric surface distance of other libraries. It is the mean over all voxels of a mask, and those that
# lie in the other mask too count as 0: the same error of the surface weighs less the larger the
# structure is, and a table of it makes large organs look well segmented. It cannot stand beside ASSD.
#
# Seen, a cube of 10, 20 and 40 voxels, one face of it 2 voxels off: ITK 0.15, 0.075, 0.0375 (halved each time);
# mean over surface voxels (medpy 0.5.2, assd): 0.40, 0.37, 0.35.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 medpy==0.5.2 scipy==1.17.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import SimpleITK as sitk
from medpy.metric.binary import assd, hd

found = []
for size in (10, 20, 40):
    one = np.zeros((size + 8,) * 3, dtype=np.uint8)
    one[4:-4, 4:-4, 4:-4] = 1
    other = one.copy()
    other[4:6] = 0
    measured = sitk.HausdorffDistanceImageFilter()
    measured.Execute(sitk.GetImageFromArray(one), sitk.GetImageFromArray(other))
    assert measured.GetHausdorffDistance() == hd(one, other) == 2
    found.append((measured.GetAverageHausdorffDistance(), assd(one, other)))
    print(f"cube of {size}: ITK {found[-1][0]:.4f}, assd {found[-1][1]:.4f}")
    # Two planes of the larger mask are 1 and 2 voxels away, the rest 0; the smaller lies inside; half of the mean.
    assert np.isclose(found[-1][0], (1 + 2) / size / 2)
itk, surface = np.transpose(found)
assert np.allclose(itk[1:] / itk[:-1], 0.5)
assert (surface[1:] / surface[:-1] > 0.85).all() and (surface > 2 * itk).all()
PYTHON
