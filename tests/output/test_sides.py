"""Left and right as one label, in every file."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from seg_prior.api import Segmentation, Segmenter
from seg_prior.checkpoints.header import read_header
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.output import OutputOptions
from seg_prior.core.sides import merged_sides


@pytest.fixture(scope="module")
def result(tiny_atlas: Path, phantom_folder: Path) -> Segmentation:
    segmenter = Segmenter.load(tiny_atlas, device="cpu", threads=1)
    return segmenter.segment(phantom_folder / "sub-004_phantom.nii.gz")


def test_the_brain_model_has_one_name_for_both_sides() -> None:
    table, groups = merged_sides(read_header(BRAIN_MODEL).label_table.written)
    assert len(table) == 19
    assert table.names[:3] == ["Background", "Cerebral-White-Matter", "Cerebral-Cortex"]
    assert table.names[table.ids.tolist().index(17)] == "Hippocampus"
    assert not table.has_sides
    assert sorted(n for group in groups for n in group) == list(range(32 + 1))


def test_the_label_map_has_the_id_of_the_first_side(result: Segmentation, tmp_path: Path) -> None:
    own, merged = _write(result, tmp_path, False), _write(result, tmp_path, True)
    found = np.asanyarray(nib.load(merged / "a_dseg.nii.gz").dataobj)
    wanted = np.asanyarray(nib.load(own / "a_dseg.nii.gz").dataobj).copy()
    assert {62, 72} <= set(np.unique(wanted))
    wanted[wanted == 62], wanted[wanted == 72] = 61, 71
    assert (found == wanted).all()


def test_volumes_and_probabilities_are_sums(result: Segmentation, tmp_path: Path) -> None:
    own, merged = _rows(_write(result, tmp_path, False)), _rows(_write(result, tmp_path, True))
    both = [own["Left-Medial-Nucleus"], own["Right-Medial-Nucleus"]]
    for column in ("volume_mm3", "posterior_volume_mm3"):
        total = sum(float(row[column]) for row in both)
        assert float(merged["Medial-Nucleus"][column]) == pytest.approx(total, abs=0.11)
    assert merged["Medial-Nucleus"]["low_mm3"] == "n/a"
    assert len(merged) == len(own) - 2
    series = np.asanyarray(nib.load(tmp_path / "True" / "a_probseg.nii.gz").dataobj)
    index = list(merged).index("Medial-Nucleus")
    wanted = result.posterior("Left-Medial-Nucleus") + result.posterior("Right-Medial-Nucleus")
    assert np.abs(series[..., index] - wanted).max() < 1 / 1024


def _write(result: Segmentation, folder: Path, merge_sides: bool) -> Path:
    out = folder / str(merge_sides)
    options = OutputOptions(volumes=True, posteriors=True, merge_sides=merge_sides)
    result.write(out / "a_dseg.nii.gz", options)
    return out


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "a_volumes.tsv").open(encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
