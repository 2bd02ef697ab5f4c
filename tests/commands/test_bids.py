"""`bids`: called as BIDS Apps are; a folder that the validator accepts, which says where from."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from seg_prior.cli.app import main


@pytest.fixture(scope="module")
def dataset(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three participants; the second has two sessions."""
    root = tmp_path_factory.mktemp("bids") / "my data"
    places = ("sub-01", "sub-02/ses-a", "sub-02/ses-b", "sub-03")
    for number, place in enumerate(places, start=1):
        folder = root / place / "anat"
        folder.mkdir(parents=True)
        name = f"{place.replace('/', '_')}_T1w.nii.gz"
        shutil.copy(phantom_folder / f"sub-{number:03d}_phantom.nii.gz", folder / name)
    shutil.copy(root / "sub-01/anat/sub-01_T1w.nii.gz", root / "sub-01/anat/sub-01_T2w.nii.gz")
    about = {"Name": "x", "BIDSVersion": "1.8.0", "DatasetDOI": "doi:10.18112/x"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    return root


@pytest.fixture(scope="module")
def derivatives(dataset: Path, tiny_atlas: Path) -> Path:
    out = dataset / "derivatives" / "seg-prior"
    argv = ["bids", str(dataset), str(out), "participant", "--model", str(tiny_atlas)]
    assert main([*argv, "--participant-label", "01", "sub-02"]) == 0
    return out


def test_participants_and_sessions_are_chosen_by_label(derivatives: Path) -> None:
    found = [path.name for path in sorted(derivatives.rglob("*_dseg.nii.gz"))]
    assert found == [
        "sub-01_space-T1w_dseg.nii.gz",
        "sub-02_ses-a_space-T1w_dseg.nii.gz",
        "sub-02_ses-b_space-T1w_dseg.nii.gz",
    ]


def test_every_label_map_says_where_it_comes_from(derivatives: Path, dataset: Path) -> None:
    about = json.loads((derivatives / "dataset_description.json").read_text())
    [(name, uri)] = about["DatasetLinks"].items()
    assert uri == dataset.as_uri()
    assert about["SourceDatasets"] == [{"URL": uri, "DOI": "doi:10.18112/x"}]
    [sidecar] = derivatives.rglob("sub-02_ses-b*_dseg.json")
    sources = json.loads(sidecar.read_text())["Sources"]
    assert sources == [f"bids:{name}:sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz"]


@pytest.mark.skipif(
    shutil.which("bids-validator-deno") is None, reason="no bids-validator-deno; pip install it"
)
def test_the_validator_finds_no_error(derivatives: Path) -> None:
    command = ["bids-validator-deno", "--format", "json", str(derivatives)]
    done = subprocess.run(command, capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0


REFUSED = {
    "{raw} out participant --participant-label 09": "found no sub-09, need folders of the labels",
    "{raw} out participant --session-label z": "found no scan anat/*_T1w.nii.gz",
    "{raw} out participant --suffix FLAIR": "found no scan anat/*_FLAIR.nii.gz",
    "{raw} out group": "level: found 'group', need 'participant'",
    "{raw} out": "bids: found 2 paths",
    "{raw}/sub-01 out participant": "found no dataset_description.json, need a BIDS data set",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_wrong_request_is_one_line(
    words: str,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [word.replace("{raw}", str(dataset)) for word in words.split()]
    assert main(["bids", *argv]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert REFUSED[words] in line
