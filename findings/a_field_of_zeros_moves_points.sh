#!/usr/bin/env bash
# A field of displacements that ITK has written and whose displacements are all 0. It moves no point, one guesses,
# and in SimpleITK 2.5.7 (ITK 5.4) none. nitransforms 25.1.0 adds the places of the voxels to the displacements and
# puts cubic splines through the sum, which end flat: within three voxels of the border points are pushed outwards and inwards in turn,
# the further the larger the voxels are, in every field. On the voxels themselves, where one would compare the
# two, and in the middle they agree.
#
# Seen, voxels of 4 mm, 0, 0.5, 1, 1.5, 2.5 and 5.5 voxels from the border: nitransforms 0 -0.63 0 0.17 -0.05 0 mm, at
# the other border 0.63; ITK always 0. With 1 mm a quarter of it; on top of a shift by 100 mm the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet SimpleITK==2.5.7 nitransforms==25.1.0 scipy==1.17.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import SimpleITK as sitk

warnings.simplefilter("ignore")
from nitransforms.nonlinear import DenseFieldTransform

VOXELS = np.array([0, 0.5, 1, 1.5, 2.5, 5.5, 10.5])


def by_both(shift_mm, voxel_mm):
    """What is added along z to the shift, at VOXELS from the border."""
    field = np.zeros((12, 12, 12, 3))
    field[..., 2] = shift_mm
    image = sitk.GetImageFromArray(field, isVector=True)
    image.SetSpacing([voxel_mm] * 3)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, "field.nii.gz")
    itk = sitk.DisplacementFieldTransform(sitk.Image(image))
    other = DenseFieldTransform.from_filename("field.nii.gz", fmt="itk")
    side = 5.0 * voxel_mm  # RAS; in x and y on the grid and in its middle
    z = VOXELS * voxel_mm
    moved = np.array([itk.TransformPoint((-side, -side, one))[2] for one in z])
    mapped = np.array([other.map([[side, side, one]])[0][2] for one in z])
    return moved - z - shift_mm, mapped - z - shift_mm


for shift_mm in (0, 100):
    for voxel_mm in (1, 4):
        itk, other = by_both(shift_mm, voxel_mm)
        print(f"shift {shift_mm}, voxels of {voxel_mm} mm: ITK {itk.round(3)}, nitransforms {other.round(3)}")
        assert np.allclose(itk, 0, atol=1e-4)
        assert np.allclose(other / voxel_mm, [0, -0.158, 0, 0.042, -0.011, 0, 0.158], atol=2e-3)
PYTHON
