"""README.md is true: its commands run, its Python runs, and what it names is there."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser

from seg_prior.cli.app import main
from seg_prior.commands import NAMES
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map, read_volume

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.M | re.S)
INLINE = re.findall(r"`([^`\n]+)`", PROSE)
NETWORK = "--vae.latent-channels 4 --vae.widths 8 8 16 --vae.num-blocks 1 --spacing-mm 5 "
RUNTIME = " --device cpu --threads 1"


def optim(name: str) -> str:
    return " ".join(
        f"--{name}.{flag}"
        for flag in ("steps 2", "warmup-steps 1", "precision 32-true", "num-workers 0")
    )


TINY = {
    "train-prior": NETWORK + optim("optim") + RUNTIME,
    "train-encoder": f"{optim('optim')} --scans 1" + RUNTIME,
    "segment": "--refine 0" + RUNTIME,
}


def blocks(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def commands(script: str) -> list[list[str]]:
    """The words of every command of a shell script, comments left out."""
    lines = re.sub(r"\\\n", " ", script).splitlines()
    parts = [part for line in lines for part in line.split("&&")]
    return [words for words in (shlex.split(part, comments=True) for part in parts) if words]


SHELL = [words for block in blocks("bash") for words in commands(block)]


STUDY = {
    "threads": 1,
    "device": "cpu",
    "prior": {
        "spacing_mm": 6.0,
        "vae": {"latent_channels": 4, "widths": [8, 8, 16], "num_blocks": 1, "detail_channels": 2},
        "optim": {"steps": 2, "warmup_steps": 1, "precision": "32-true"},
    },
}
"""What makes `adapt` small; the rest of organ.yaml is as it stands in the text."""


def study(heads: Path, desk: Path) -> None:
    """The folder that organ.yaml speaks of, and that file: six subjects, two of them twice."""
    (written,) = blocks("yaml")
    (desk / "organ.yaml").write_text(written + yaml.safe_dump(STUDY))
    for folder, ending in (("scans", "_phantom"), ("label_maps", "_phantom_dseg")):
        (desk / "study" / folder).mkdir(parents=True)
        for number in range(6):
            source = heads / f"sub-00{number % 4 + 1}{ending}.nii.gz"
            shutil.copy(source, desk / "study" / folder / f"sub-0{number}{ending}.nii.gz")


@pytest.fixture
def desk(phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader of README.md stands: the files it speaks of, made from phantoms."""
    images = sorted(phantom_folder.glob("*_phantom.nii.gz"))
    label_maps = sorted(phantom_folder.glob("*_dseg.nii.gz"))
    for folder, files in (("label_maps", label_maps[:3]), ("scans", images[2:3])):
        (tmp_path / folder).mkdir()
        for file in files:
            shutil.copy(file, tmp_path / folder)
    shutil.copy(phantom_folder / "labels.tsv", tmp_path)
    for name in ("scan", "T1w", "FLAIR", "T2w"):
        shutil.copy(images[3], tmp_path / f"{name}.nii.gz")
    anat = tmp_path / "bids" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    shutil.copy(images[0], anat / "sub-01_T1w.nii.gz")
    shutil.copy(label_maps[3], tmp_path / "reference.nii.gz")
    study(phantom_folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: list[str], capsys: pytest.CaptureFixture[str], model: Path | None = None) -> str:
    """What a `seg-prior` command says when it succeeds.

    The model of the package would take a minute for what is here: `model` stands in for it.
    """
    if words[1] == "segment" and "--model" not in words:
        words = [*words, "--model", str(model)]
    code = main([*words[1:], *shlex.split(TINY.get(words[1], ""))])
    said = capsys.readouterr()
    assert code == 0, (words, said.err)
    return said.out


def test_every_command_runs_in_the_order_of_the_text(
    desk: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = [words for words in SHELL if words[0] == "seg-prior" and words[1] != "demo"]
    assert {words[1] for words in ours} >= {"check", "train-encoder", "evaluate", "adapt"}
    said = {" ".join(words): run(words, capsys, tiny_prior) for words in ours}
    (promised,) = re.findall(r"^```\nquality control: 1 PASS\n(wrote \d files)\n```", README, re.M)
    assert said["seg-prior segment scan.nii.gz scan_dseg.nii.gz"].splitlines()[-1] == promised
    assert (desk / "results" / "volumes.tsv").is_file()
    assert (desk / "derivatives" / "sub-01" / "anat" / "sub-01_space-T1w_dseg.tsv").is_file()
    for words in ours:
        if "--out" in words:
            assert (desk / words[words.index("--out") + 1]).exists(), words
    assert "| all structures | " in (desk / "adapted" / "report.md").read_text()
    segmented = read_label_map(desk / "organ_dseg.nii.gz")
    assert segmented.grid.same_as(read_volume(desk / "scan.nii.gz").grid)
    ids = set(read_label_table(desk / "labels.tsv").ids.tolist())
    assert {0} < set(segmented.data.ravel().tolist()) <= ids
    with (desk / "scores.csv").open(newline="") as file:
        scores = [float(row["dice"]) for row in csv.DictReader(file) if row["dice"]]
    assert len(scores) >= 5
    assert all(0 <= score <= 1 for score in scores)


def test_the_other_commands_name_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    others = [words for words in SHELL if words[:2] == ["seg-prior", "demo"]]
    others += [words for words in SHELL if words[0] != "seg-prior"]
    assert ["pip", "install", "-c", "constraints.txt", "."] in others
    assert (ROOT / "constraints.txt").is_file()
    for words in others:
        match words:
            case ["seg-prior", "demo", *flags]:
                assert main(["demo", *flags, "--dry-run"]) == 0
                assert "# writes" in capsys.readouterr().out
            case ["pip", "install", "-c", "constraints.txt", target]:
                found = re.fullmatch(r"\.(?:\[(\w+)\])?", target)
                assert found, target
                assert found[1] in {None, *project["optional-dependencies"]}
            case ["pytest"]:
                test = project["optional-dependencies"]["test"]
                assert any(name.startswith("pytest") for name in test)
            case _:
                pytest.fail(f"no test knows {words}")


def test_torchrun_starts_this_package() -> None:
    lines = [shlex.split(span) for span in INLINE if span.startswith("torchrun ")]
    assert lines
    for words in lines:
        parsed = get_args_parser().parse_args(words[1:])
        assert parsed.module
        assert (parsed.training_script, parsed.training_script_args[0]) == (
            "seg_prior",
            "train-prior",
        )


def test_the_table_of_outputs_names_what_is_written(
    desk: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = re.findall(r"^\| `(X_[^`]+)` \| (.+) \|$", README, re.M)
    assert len(rows) >= 5
    named = [flag for _, text in rows for flag in re.findall(r"`(--[\w-]+)`", text)]
    flags = list(dict.fromkeys(named))
    shutil.copy(tiny_prior, desk / "model.safetensors")
    base = ["seg-prior", "segment", "scan.nii.gz", "X_dseg.nii.gz", "--model", "model.safetensors"]
    before = set(desk.iterdir())
    run([*base, *flags], capsys)
    written = {path.name for path in set(desk.iterdir()) - before}
    assert written == {name for name, _ in rows}

    sidecar = json.loads((desk / "X_dseg.json").read_text())
    (promised,) = (text for name, text in rows if name == "X_dseg.json")
    keys = {
        "versions": sidecar["provenance"]["versions"],
        "model hash": sidecar["model_sha256"],
        "settings": sidecar["config"],
        "seconds": sidecar["seconds"],
        "registration": sidecar["registration"]["prior_from_native"],
        "ELBO": sidecar["elbo"],
        "Gaussians": sidecar["intensities"],
        "quality": sidecar["quality"]["verdict"],
        "warnings": sidecar["warnings"],
    }
    assert promised.split(", ") == list(keys)
    assert set(sidecar["files"]) == written


def test_the_python_runs(desk: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (script,) = blocks("python")
    (checkpoint,) = re.findall(r'Segmenter\.load\("([\w.]+\.safetensors)"\)', script)
    shutil.copy(tiny_prior, desk / checkpoint)
    # With a small model of other labels in place of the package's.
    name = read_label_table(desk / "labels.tsv").names[1]
    assert "Segmenter.load()" in script
    assert '"Left-Hippocampus"' in script
    script = script.replace("Segmenter.load()", f'Segmenter.load("{checkpoint}")')
    script = script.replace("Left-Hippocampus", name)
    exec(compile(script, "README.md", "exec"), {})
    written = re.findall(r"PosixPath\('([^']+)'\)", capsys.readouterr().out)
    assert written
    assert all((desk / name).is_file() for name in written)
    (label_map,) = (name for name in written if name.endswith("_dseg.nii.gz"))
    assert read_label_map(desk / label_map).grid.same_as(read_volume(desk / "scan.nii.gz").grid)


def test_flags_and_commands_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    flags = {flag for span in INLINE for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*", span)}
    helps = ""
    for name in NAMES:
        assert main([name, "--help"]) == 0
        helps += capsys.readouterr().out
    known = set(re.findall(r"--[a-z][\w.-]*", helps)) | {"--nproc-per-node", "--version"}
    assert {"--dry-run", "--volumes"} <= flags
    assert flags <= known
    named = {span.split()[1] for span in INLINE if re.match(r"seg-prior \w", span)}
    assert named <= set(NAMES)


def test_files_in_the_text_exist() -> None:
    paths = re.findall(r"\b(?:configs|docs|pipelines)/[\w./-]*\w", PROSE)
    assert {"configs/brain_labels.tsv", "pipelines/benchmark.py"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_it_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) < 200
