"""Scans of several subjects, as a cohort has them."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def scans(phantom_folder: Path, tmp_path: Path) -> Path:
    """Three subjects, one of them with two contrasts."""
    folder = tmp_path / "scans"
    folder.mkdir()
    names = ("sub-01_T1w", "sub-02_ses-1_T1w", "sub-03_T1w", "sub-03_T2w")
    for number, name in enumerate(names, start=1):
        shutil.copy(phantom_folder / f"sub-{number:03d}_phantom.nii.gz", folder / f"{name}.nii.gz")
    return folder
