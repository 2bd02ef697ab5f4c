#!/usr/bin/env bash
# A NRRD names its space in words or in letters (left-posterior-superior or LPS), and LAS is one of them. MONAI 1.6.1
# (NrrdReader, with pynrrd 1.1.3) converts to RAS; one guesses that it does so from each space, or refuses what it
# does not know. It compares with one spelling: "LPS" in letters, and LAS in either, pass as RAS without a word.
# From LAS, left and right are exchanged, which no look at the picture shows. SimpleITK 2.5.7 (ITK 5.4)
# converts them all.
#
# Seen, a step along x, y and z in RAS. LPS in words: both - - +. LPS in letters: ITK - - +, MONAI + + +.
# LAS, in words and in letters: ITK - + +, MONAI + + +. RAS: both + + +.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet monai==1.6.1 torch==2.13.0 pynrrd==1.1.3 SimpleITK==2.5.7 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import nrrd
import numpy as np
import SimpleITK as sitk
from monai.transforms import LoadImage

data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
header = {"space directions": np.diag([1.0, 2.0, 3.0]), "space origin": np.array([10.0, 20.0, 30.0])}
in_ras = {"L": -1, "R": 1, "P": -1, "A": 1, "S": 1}
words = ("left-posterior-superior", "left-anterior-superior", "right-anterior-superior")
for name in (*words, "LPS", "LAS", "RAS"):
    nrrd.write("a.nrrd", data, header | {"space": name})
    assert nrrd.read_header("a.nrrd")["space"] == name
    image = sitk.ReadImage("a.nrrd")
    itk = np.sign(np.diag(np.reshape(image.GetDirection(), (3, 3)))) * [-1, -1, 1]
    read = LoadImage()("a.nrrd")
    assert np.array_equal(read.numpy(), data)
    monai = np.sign(np.diag(read.affine.numpy())[:3])
    print(f"{name}: ITK {itk}, MONAI {monai}, origin {read.affine[:3, 3].tolist()}")
    letters = "".join(word[0] for word in name.split("-")).upper() if "-" in name else name
    assert itk.tolist() == [in_ras[letter] for letter in letters]
    assert monai.tolist() == (itk.tolist() if "-" in name and letters != "LAS" else [1, 1, 1])
PYTHON
