"""The evaluate stage: pairing, scores in files, a summary, and failures that stop nobody else."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.errors import ConfigError, ImageError, LabelsError
from seg_prior.evaluation import evaluate
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map
from seg_prior.io.write import write_volume
from seg_prior.metrics.overlap import mean17

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEG_PRIOR_DATA", ROOT.parent / "shared" / "data"))
BRAIN_TABLE = ROOT / "configs" / "brain_labels.tsv"
AFFINE = np.diag([-1.0, 1.0, 2.5, 1.0])

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save_label_map(name: str, data: NDArray[Any], affine: NDArray[np.float64] = AFFINE) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(data.astype(np.int16), affine), path)
        return path

    return save_label_map


def cubes(at: int = 2) -> NDArray[np.int32]:
    """Labels 2 and 41, a cube each of 4^3 voxels that begins at `at` along i."""
    data = np.zeros((12, 8, 16), dtype=np.int32)
    data[at : at + 4, 2:6, 2:6] = 2
    data[at : at + 4, 2:6, 9:13] = 41
    return data


def score(result: evaluate.EvaluateResult, subject: str, id_: int) -> Any:
    (found,) = [s for s in result.scores if (s.subject, s.id) == (subject, id_)]
    return found


def test_a_single_pair_needs_no_common_name_and_is_scored_in_mm(save: Save) -> None:
    pred, ref = save("mine.nii.gz", cubes(at=3)), save("theirs.nii.gz", cubes(at=2))
    result = evaluate.run([pred], [ref], None, None)
    assert [s[:3] for s in result.scores] == [("mine", 2, "label-2"), ("mine", 41, "label-41")]
    for found in result.scores:
        # 48 of 64 voxels in common. Of 56 surface voxels 1 mm is what 16 in front move by, and
        # what the 4 in the middle of the back lie inside the other cube.
        assert found[3:] == pytest.approx((0.75, 1.0, 20 / 56, 0.0, 160.0, 160.0))
    assert result.failed == ()


def test_files_hold_the_scores_and_absent_structures_are_empty(save: Save, tmp_path: Path) -> None:
    both, only_2 = cubes(), np.where(cubes() == 2, 2, 0)
    for name, data in {
        "p/sub-1": both,
        "p/sub-2": only_2,
        "r/sub-1": only_2,
        "r/sub-2": both,
    }.items():
        save(f"{name}_dseg.nii.gz", data)
    out = tmp_path / "new" / "scores.csv"
    result = evaluate.run([tmp_path / "p"], [tmp_path / "r"], out, None)

    with out.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == [
        *("subject", "id", "name", "dice", "hd95_mm", "mean_surface_distance_mm"),
        *("volume_error_mm3", "volume_mm3", "reference_volume_mm3"),
    ]
    assert rows == [
        ["sub-1", "2", "label-2", "1.0", "0.0", "0.0", "0.0", "160.0", "160.0"],
        ["sub-1", "41", "label-41", "", "", "", "", "160.0", ""],  # not in the reference
        ["sub-2", "2", "label-2", "1.0", "0.0", "0.0", "0.0", "160.0", "160.0"],
        ["sub-2", "41", "label-41", "0.0", "", "", "-160.0", "0.0", "160.0"],  # missed
    ]
    document = json.loads(out.with_suffix(".json").read_text())
    assert [list(row) for row in document["scores"]] == [head] * 4
    assert [row["dice"] for row in document["scores"]] == [1.0, None, 1.0, 0.0]
    assert [row["name"] for row in document["summary"]] == ["label-2", "label-41", "all structures"]
    assert document["summary"][1]["dice"] == {"mean": 0.0, "sd": None, "n": 1}
    assert document["summary"][2]["dice"] == {"mean": 0.75, "sd": 0.353553, "n": 2}
    assert document["failures"] == []
    assert sorted(file.name for file in out.parent.iterdir()) == ["scores.csv", "scores.json"]
    assert result.summary[2].dice.mean == 0.75


def test_the_summary_is_a_table_of_mean_sd_and_n(
    save: Save, talk: pytest.LogCaptureFixture
) -> None:
    ref = [save(f"r/sub-{s}_dseg.nii", cubes(at=2)) for s in "ab"]
    pred = [save(f"p/sub-{s}_dseg.nii", cubes(at)) for s, at in (("a", 2), ("b", 3))]
    evaluate.run(pred, ref, None, None)
    lines = talk.messages
    assert lines[:2] == ["sub-a: mean Dice 1.000", "sub-b: mean Dice 0.750"]
    table = [" ".join(line.split()) for line in lines[3:]]
    assert table == [
        "mean +- sd (n) Dice HD95 [mm] mean distance [mm] volume error [mm^3]",
        "label-2 0.875 +- 0.177 (2) 0.50 +- 0.71 (2) 0.18 +- 0.25 (2) 0 +- 0 (2)",
        "label-41 0.875 +- 0.177 (2) 0.50 +- 0.71 (2) 0.18 +- 0.25 (2) 0 +- 0 (2)",
        "all structures 0.875 +- 0.177 (2) 0.50 +- 0.71 (2) 0.18 +- 0.25 (2) -",
    ]


def test_without_surfaces_there_are_no_distances(save: Save) -> None:
    path = save("a.nii", cubes())
    result = evaluate.run([path], [path], None, None, surface=False)
    assert [row.hd95_mm.n for row in result.summary] == [0, 0, 0]
    assert [row.dice.mean for row in result.summary] == [1.0, 1.0, 1.0]


def test_source_ids_of_the_table_count_as_their_label(save: Save) -> None:
    fine = cubes()
    fine[3, 3, 3] = 251  # corpus callosum, scored as left white matter
    fine[0, 0, 0] = 502  # skin, no structure
    pred, ref = save("pred.nii", cubes()), save("ref.nii", fine)
    table = read_label_table(BRAIN_TABLE)
    result = evaluate.run([pred], [ref], None, table, surface=False)
    assert score(result, "pred", 2).dice == 1.0
    names = [s.name for s in result.scores]
    assert "Left-Cerebral-White-Matter" in names
    assert len(names) == table.is_structure.sum()
    assert not {"Background", "CSF"} & set(names)


def test_permuting_ids_permutes_the_result(save: Save) -> None:
    new_id = np.zeros(42, dtype=np.int32)
    new_id[[2, 41]] = 300, 7
    maps = cubes(at=3), np.where(cubes() == 41, 41, np.roll(cubes(), 1, 1))
    before = evaluate.run([save("a.nii", maps[0])], [save("b.nii", maps[1])], None, None)
    after = evaluate.run(
        [save("a.nii", new_id[maps[0]])], [save("b.nii", new_id[maps[1]])], None, None
    )
    for old, new in ((2, 300), (41, 7)):
        assert score(after, "a", new)[3:] == score(before, "a", old)[3:]


def test_of_several_files_of_a_subject_the_label_map_is_taken(save: Save, tmp_path: Path) -> None:
    for subject in ("sub-1", "sub-2"):
        save(f"r/{subject}_T1w.nii.gz", 100 * cubes())
        save(f"r/{subject}_dseg.nii.gz", cubes())
        save(f"p/{subject}_T1w_dseg.nii.gz", cubes())
        save(f"p/{subject}_T1w_entropy.nii.gz", 7 * cubes())
    result = evaluate.run([tmp_path / "p"], [tmp_path / "r"], None, None)
    assert [s.dice for s in result.scores] == [1.0] * 4


def test_two_label_maps_of_a_subject_are_refused(save: Save, tmp_path: Path) -> None:
    for run in ("T1w", "T2w"):
        save(f"p/sub-1_{run}_dseg.nii.gz", cubes())
    ref = save("r/sub-1_dseg.nii.gz", cubes())
    with pytest.raises(ConfigError, match=r"sub-1_T1w_dseg.*: found .*sub-1_T2w_dseg.* same subj"):
        evaluate.run([tmp_path / "p"], [ref], None, None)


def test_results_of_two_contrasts_share_a_reference(save: Save, tmp_path: Path) -> None:
    for suffix in ("T1w", "T2w"):
        save(f"p/sub-1_space-{suffix}_dseg.nii.gz", cubes())
    save("p/sub-2_space-T1w_dseg.nii.gz", cubes())
    for name in ("sub-1", "sub-2_space-T1w", "sub-2"):  # its own comes first
        save(f"r/{name}_dseg.nii.gz", cubes())
    result = evaluate.run([tmp_path / "p"], [tmp_path / "r"], None, None)
    names = ["sub-1_space-T1w", "sub-1_space-T2w", "sub-2_space-T1w"]
    assert list(dict.fromkeys(score.subject for score in result.scores)) == names
    assert result.references_without_prediction == ("sub-2",)


def test_one_bad_subject_stops_no_other_and_is_told(
    save: Save, tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 1.0
    for subject in "abcd":
        save(f"r/sub-{subject}_dseg.nii", cubes())
    save("r/sub-spare_dseg.nii", cubes())
    pred = [
        save("p/sub-a_dseg.nii", cubes(), moved),
        save("p/sub-b_dseg.nii", cubes()[:-1]),
        save("p/sub-c_dseg.nii", cubes()),
        save("p/sub-d_dseg.nii", cubes()),
        save("p/sub-lone_dseg.nii", cubes()),
    ]
    pred[3].write_bytes(b"no image")
    out = tmp_path / "scores.csv"
    result = evaluate.run(pred, [tmp_path / "r"], out, None, surface=False)
    assert {s.subject for s in result.scores} == {"sub-c"}
    assert [f.subject for f in result.failed] == ["sub-lone", "sub-a", "sub-b", "sub-d"]
    assert result.references_without_prediction == ("sub-spare",)
    assert talk.messages[-1] == "references without a prediction, not counted: 1 (sub-spare)"
    document = json.loads(out.with_suffix(".json").read_text())
    assert [f["subject"] for f in document["failures"]] == ["sub-lone", "sub-a", "sub-b", "sub-d"]
    assert document["references_without_prediction"] == ["sub-spare"]


def test_grids_that_differ_are_refused_by_both_names(save: Save, tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 1.0
    ref = save("ref.nii", cubes())
    with pytest.raises(
        LabelsError,
        match=r"moved\.nii: found corners that lie up to 1 mm, 1 voxels, away, "
        r"need the affine of .*ref\.nii\. Resample",
    ):
        evaluate.run([save("moved.nii", cubes(), moved)], [ref], None, None)
    out = tmp_path / "scores.csv"
    with pytest.raises(
        LabelsError, match=r"cut\.nii: found shape \(11, 8, 16\), need .* of .*ref\."
    ):
        evaluate.run([save("cut.nii", cubes()[:-1])], [ref], out, None)
    assert not out.exists()


def test_ids_that_are_not_in_the_table_are_refused(save: Save) -> None:
    pred, ref = save("pred.nii", cubes()), save("ref.nii", cubes() + 3000)
    with pytest.raises(
        LabelsError, match=r"ref\.nii: found label ids 3000, 3002, 3041 that are not"
    ):
        evaluate.run([pred], [ref], None, read_label_table(BRAIN_TABLE))


def test_nothing_to_pair_is_refused(save: Save) -> None:
    preds = [save(f"case_{n}.nii", cubes()) for n in (1, 2)]
    with pytest.raises(
        ConfigError, match=r"case_1\.nii: found no reference of subject case_1, nor"
    ):
        evaluate.run(preds, [save("case_3.nii", cubes())], None, None)
    with pytest.raises(ImageError, match=r"nope\.nii: no such file"):
        evaluate.run(preds, [Path("nope.nii")], None, None)


def test_out_must_be_a_csv(save: Save, tmp_path: Path) -> None:
    path = save("a.nii", cubes())
    with pytest.raises(ConfigError, match=r"scores\.json: found a name ending in '\.json', need"):
        evaluate.run([path], [path], tmp_path / "scores.json", None)


def test_a_sheared_grid_is_warned_of(save: Save, talk: pytest.LogCaptureFixture) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.2
    path = save("a.nii", cubes(), sheared)
    evaluate.run([path], [path], None, None)
    warning = f"{path}: its axes are sheared, surface distances are approximate"
    assert talk.messages.count(warning) == 1
    evaluate.run([path], [path], None, None, surface=False)
    assert talk.messages.count(warning) == 1  # no distances, no warning


@pytest.mark.skipif(not (DATA / "brain_t1w").is_dir(), reason=f"no {DATA}; set SEG_PRIOR_DATA")
def test_a_real_label_map_moved_by_one_voxel_is_1_mm_off(tmp_path: Path) -> None:
    ref = DATA / "brain_t1w" / "sub-1000_dseg.nii.gz"
    volume = read_label_map(ref)
    pred = tmp_path / "sub-1000_T1w_dseg.nii.gz"
    write_volume(pred, np.roll(volume.data, 1, axis=0), volume)
    result = evaluate.run([pred], [ref], None, read_label_table(BRAIN_TABLE))
    found = [s for s in result.scores if s.reference_volume_mm3 > 0]
    assert len(found) >= 31
    for s in found:
        assert 0.5 < s.dice < 0.97
        assert s.hd95_mm == pytest.approx(1.0)
        assert 0.2 < s.mean_surface_distance_mm < 0.9
        assert s.volume_error_mm3 == 0.0
    assert mean17({s.id: s.dice for s in found}) == pytest.approx(0.852, abs=0.001)


def lines_of(pred: Path, ref: Path, talk: pytest.LogCaptureFixture) -> list[str]:
    talk.clear()
    evaluate.run([pred], [ref], None, None)
    return list(talk.messages)


@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 1e-3), ("micron", 1e3)])
def test_maps_in_metres_and_microns_are_scored_in_mm(save: Save, unit: str, per_mm: float) -> None:
    pred, ref = (save(f"{name}.nii", cubes(at)) for name, at in (("pred", 3), ("ref", 2)))
    expected = evaluate.run([pred], [ref], None, None).scores
    for path in (pred, ref):
        image = nib.load(path)
        scaled = nib.Nifti1Image(
            np.asanyarray(image.dataobj).copy(), np.diag([per_mm] * 3 + [1]) @ AFFINE
        )
        scaled.header.set_xyzt_units(unit)
        nib.save(scaled, path)
    found = evaluate.run([pred], [ref], None, None).scores
    for one, other in zip(found, expected, strict=True):
        assert one[3:] == pytest.approx(other[3:], rel=1e-6)


def test_grids_are_compared_by_a_share_of_a_voxel(save: Save) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 0.015
    result = evaluate.run([save("a.nii", cubes(), moved)], [save("b.nii", cubes())], None, None)
    assert result.scores[0].dice == 1
    fine = np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE
    fine_moved = fine.copy()
    fine_moved[0, 3] = 0.0005
    pred, ref = save("c.nii", cubes(), fine_moved), save("d.nii", cubes(), fine)
    with pytest.raises(LabelsError, match=r"lie up to 0\.0005 mm, 0\.5 voxels, away"):
        evaluate.run([pred], [ref], None, None)


def test_what_only_the_prediction_has_is_told(save: Save, talk: pytest.LogCaptureFixture) -> None:
    pred = cubes()
    pred[0, 0, 0], pred[11, 7, 15] = 7, 8
    lines = lines_of(save("pred.nii", pred), save("ref.nii", cubes()), talk)
    assert "structures only in the prediction, not scored: 2 (label-7, label-8)" in lines
    same = lines_of(save("pred.nii", cubes()), save("ref.nii", cubes()), talk)
    assert not any("only in the prediction" in line for line in same)


def brain_like() -> NDArray[np.int32]:
    """Three of FreeSurfer's pairs, left at low i."""
    data = np.zeros((14, 8, 12), dtype=np.int32)
    for n, (left, right) in enumerate(((10, 49), (11, 50), (12, 51))):
        data[1:4, 2:6, 4 * n : 4 * n + 3] = left
        data[10:13, 2:6, 4 * n : 4 * n + 3] = right
    return data


def test_sides_that_are_a_guess_are_told_in_one_line(
    save: Save, talk: pytest.LogCaptureFixture
) -> None:
    right_way, wrong_way = np.eye(4), AFFINE
    sound = save("a.nii.gz", brain_like(), right_way)
    assert not any("guess" in line for line in lines_of(sound, sound, talk))
    mirrored = save("b.nii.gz", brain_like(), wrong_way)
    (line,) = [line for line in lines_of(mirrored, mirrored, talk) if "sides are a guess" in line]
    assert line.startswith(f"{mirrored} and 1 more: what its labels call left lies on")
    image = nib.load(sound)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, sound)
    (line,) = [line for line in lines_of(sound, sound, talk) if "does not say where left" in line]
    assert line.startswith(f"{sound} and 1 more: ")
