#!/usr/bin/env bash
# A label map of 2 mm is resampled to 1 mm, or onto a grid that lies half a voxel off, with the nearest voxel.
# Places half way between two voxels go to the one or the other, one guesses, but always to the same side, so that
# each slice is there as often as before. They do in SimpleITK 2.5.7 (ITK 5.4) and nibabel 5.4.2. MONAI 1.6.1 asks
# grid_sample of torch 2.13.0, which rounds halves to the even voxel: slices with an even number are taken two or
# three times, those with an odd one once or never. A structure of one slice is gone, or three times too thick.
#
# Seen, slices 0 to 15. To half their thickness, how often each is there: MONAI 1 and 3 in turn, ITK 2. Half a voxel
# on, in float64: MONAI 0 2 2 4 4 6 6 8 8 10 10 12 12 14 14 15, ITK and nibabel 1 2 3 ... 15.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet monai==1.6.1 torch==2.13.0 SimpleITK==2.5.7 nibabel==5.4.2 scipy==1.17.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing, SpatialResample
from nibabel.processing import resample_from_to

NUM = 16
slices = np.broadcast_to(np.arange(NUM, dtype=np.float32)[:, None, None], (NUM, 8, 8)).copy()
thick, shifted = np.diag([2.0, 2, 2, 1]), np.eye(4)
shifted[0, 3] = 0.5


def by_itk(origin_mm, spacing_mm, num):
    image = sitk.GetImageFromArray(slices.T)
    place = ((origin_mm, 0, 0), (spacing_mm, 1, 1))
    moved = sitk.Resample(image, (num, 8, 8), sitk.Transform(), sitk.sitkNearestNeighbor, *place)
    return sitk.GetArrayFromImage(moved)[0, 0]


halved = Spacing((1, 2, 2), mode="nearest", padding_mode="border")(MetaTensor(slices[None], affine=thick))
assert halved.shape == (1, 2 * NUM - 1, 8, 8) and np.array_equal(halved.affine, np.diag([1, 2, 2, 1]))
monai = np.bincount(halved[0, :, 4, 4].int(), minlength=NUM)[1:-1]
itk = np.bincount(by_itk(0, 0.5, 2 * NUM - 1).astype(int), minlength=NUM)[1:-1]
print("to half the thickness, slices 1 to 14: MONAI", monai, "ITK", itk)
assert monai.tolist() == [1, 3] * 7
assert itk.tolist() == [2] * 14

move = SpatialResample(mode="nearest", padding_mode="border", dtype=torch.float64)
source = MetaTensor(slices[None], affine=np.eye(4))
moved = move(source, dst_affine=torch.from_numpy(shifted), spatial_size=(NUM, 8, 8))
monai = moved[0, :, 4, 4].int().tolist()
itk = by_itk(0.5, 1, NUM - 1).astype(int).tolist()
nibabel = resample_from_to(nib.Nifti1Image(slices, np.eye(4)), ((NUM - 1, 8, 8), shifted), order=0)
print("half a voxel on: MONAI", monai, "ITK", itk)
assert monai == [0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14, 15]
assert itk == nibabel.get_fdata()[:, 4, 4].astype(int).tolist() == list(range(1, NUM))
PYTHON
