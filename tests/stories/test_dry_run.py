"""A dry run says what a run would do, and does nothing."""

from pathlib import Path

import pytest
import yaml

from seg_prior.cli.app import main
from seg_prior.output.guard import RECORD


def dry(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, set[Path]]:
    """What --dry-run prints, and the files it says would be written."""
    assert main([*argv, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    writes = [line.removeprefix("# writes ") for line in shown.splitlines() if "# writes" in line]
    return shown, {Path(path) for path in writes}


WRITERS = {
    "make-phantoms": "make-phantoms {out} --num 2 --spacing-mm 8",
    "train-prior": "train-prior {heads}/*_dseg.nii.gz --out {out}/p.safetensors --spacing-mm 6 "
    "--optim.steps 1 --optim.num-workers 0 --optim.precision 32-true --vae.widths 8 8 8 "
    "--vae.num-blocks 1",
    "atlas": "train-prior {heads}/*_dseg.nii.gz --out {out}/p.safetensors --kind atlas "
    "--spacing-mm 6",
    "segment": "segment {heads}/sub-001_phantom.nii.gz {out}/a_dseg.nii.gz --model {atlas} "
    "--entropy --volumes --posteriors --departure --report --refine 0",
    "segment --bids": "segment {heads}/*_phantom.nii.gz {out} --model {atlas} --bids --entropy "
    "--report --shard 2/3",
    "evaluate": "evaluate {heads}/*_dseg.nii.gz {heads}/*_dseg.nii.gz --out {out}/scores.csv "
    "--no-surface",
    "sample": "sample {prior} {out} --num 2",
    "explore": "explore {prior} {out} --num 1 --labels {heads}/*_dseg.nii.gz --between "
    "{heads}/sub-001_phantom_dseg.nii.gz {heads}/sub-002_phantom_dseg.nii.gz",
    "reconstruct": "reconstruct {prior} {heads}/sub-001_phantom_dseg.nii.gz --out {out}",
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_dry_run_names_the_files_that_a_run_writes(
    name: str,
    phantom_folder: Path,
    tiny_atlas: Path,
    tiny_prior: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    places = {"out": out, "heads": phantom_folder, "atlas": tiny_atlas, "prior": tiny_prior}
    argv = WRITERS[name].format_map(places).split()
    argv += ["--device", "cpu", "--threads", "1"] if "{prior}" in WRITERS[name] else []
    shown, foreseen = dry(argv, capsys)
    assert not out.exists()
    assert main(argv) == 0
    # The state of a training goes when its model is written.
    foreseen = {path for path in foreseen if path.name != "last.pt"}
    assert {p for p in out.rglob("*") if p.is_file() and p.name != RECORD} == foreseen
    assert yaml.safe_load(shown)


def test_what_a_dry_run_prints_is_a_config_file(
    phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train-prior", str(phantom_folder), "--out", str(tmp_path / "p"), "--optim.steps", "5"]
    shown, _ = dry(argv, capsys)
    file = tmp_path / "again.yaml"
    file.write_text(shown)
    again, _ = dry(["train-prior", "--config", str(file)], capsys)
    assert again == shown
    assert yaml.safe_load(shown)["optim"]["steps"] == 5


def test_a_dry_run_refuses_what_a_run_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sample", str(tmp_path / "none.safetensors"), str(tmp_path / "out"), "--dry-run"]
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{tmp_path / 'none.safetensors'}: no such file" in shown.err


def test_a_dry_run_counts_what_leads_nowhere(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub-01_T1w.nii.gz").symlink_to(phantom_folder / "sub-001_phantom.nii.gz")
    (tmp_path / "sub-02_T1w.nii.gz").symlink_to(".git/annex/objects/aa")
    argv = ["segment", str(tmp_path), str(tmp_path / "out"), "--model", str(tiny_atlas)]
    assert main([*argv, "--dry-run"]) == 1
    shown = capsys.readouterr()
    assert "sub-02_space-T1w_dseg.nii.gz" in shown.out
    assert f"{tmp_path / 'sub-02_T1w.nii.gz'}: no such file" in shown.err
    assert "seg-prior: 1 failed" in shown.err
