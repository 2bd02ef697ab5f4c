"""From a folder to models, scores and a page: `adapt` on phantoms and with a tiny training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from seg_prior.cli.app import main
from seg_prior.commands import adapt, make_phantoms
from seg_prior.output.guard import RECORD

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "heads"
    make_phantoms.run(make_phantoms.Config(out=folder, num=6, seed=1, spacing_mm=6.0))
    return folder


@pytest.fixture
def config(heads: Path, tmp_path: Path) -> Path:
    settings = {
        "data": str(heads.parent),
        "images": "heads/*_phantom.nii.gz",
        "labels": "heads/*_dseg.nii.gz",
        "label_table": str(heads / "labels.tsv"),
        "out": "run",
        "threads": 1,
        "device": "cpu",
        "shares": [3, 2, 1],
        "prior": {
            "pose": "as_maps",
            "vae": {"latent_channels": 4, "widths": [8, 8, 16], "detail_channels": 2},
            "optim": {"steps": 3, "warmup_steps": 1, "precision": "32-true"},
        },
        "locator": {"optim": {"steps": 2, "precision": "32-true", "num_workers": 0}},
    }
    path = tmp_path / "heads.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on the config: its exit code and what it says."""

    def call(*flags: object) -> tuple[int, str]:
        code = main(["adapt", str(config), *map(str, flags)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def written(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.name != RECORD}


def foreseen(said: str) -> set[Path]:
    lines = [line for line in said.splitlines() if line.startswith("# writes ")]
    return {Path(line.removeprefix("# writes ")) for line in lines}


@pytest.mark.slow
def test_a_folder_becomes_models_scores_and_a_page(run: Run, config: Path) -> None:
    out = config.parent / "run"
    code, planned = run("--dry-run")
    assert code == 0
    assert not out.exists()
    code, said = run()
    assert code == 0, said
    states = {out / folder / "last.pt" for folder in ("vae", "vae/detail", "located")}
    assert written(out) | states == foreseen(planned)
    page = (out / "report.md").read_text()
    for text in (
        "label maps of",
        "## The settings of train-prior",
        "| atlas + EM | label VAE | label VAE, located |",
        "| all structures | 0.",
        "(vae/log.png)",
        "(results/located/report.html)",
    ):
        assert text in page
    assert "| Left-Medial-Nucleus | " in page
    assert f"the model to segment with is {out / 'located.safetensors'}" in said
    roles = json.loads((out / "split.json").read_text())
    assert sorted(roles.values()) == ["images", "images", "maps", "maps", "maps", "scored"]

    before = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    code, said = run("--refine", "0")  # read otherwise, with the same models
    assert code == 0, said
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")} == before
    split = (out / "split.json").read_bytes()
    code, said = run("--shares", 4, 1, 1)
    assert code == 2
    assert "found the models of another request (differs in: shares" in said
    assert (out / "split.json").read_bytes() == split


def test_a_look_trains_nothing_and_says_how_to_go_on(run: Run, config: Path) -> None:
    code, planned = run("--check-only", "--dry-run")
    assert code == 0
    code, said = run("--check-only")
    assert code == 0, said
    assert said.splitlines()[-1] == "next: the same command without --check-only"
    assert "2 images and 3 label maps of 5 subjects" in said
    assert written(config.parent / "run") == foreseen(planned)


def test_headers_are_mended_before_the_look(run: Run, config: Path) -> None:
    code, said = run("--check-only", "--header-spacing-mm", 5, 5, 7)
    assert code == 0, said
    assert "of 5 x 5 x 7 mm" in said
    listed = (config.parent / "run" / "maps.txt").read_text().split()
    assert {Path(line).parent.name for line in listed} == {"mended"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": {"optim": {"stps": 3}}}, "prior.optim.stps: unknown key. Did you mean 'steps'?"),
        ({"locator": {"spacing_mm": -1}}, "locator.spacing_mm: found -1, need greater than 0"),
        ({"data": "nowhere"}, "nowhere"),
        ({"scored": ["sub-99"]}, "found no image and label map of 'sub-99'"),
        ({"shares": [1, 1]}, "heads.yaml: shares"),
    ],
)
def test_what_does_not_fit_is_one_line(
    run: Run, config: Path, settings: dict[str, object], message: str
) -> None:
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | settings))
    code, said = run()
    assert code == 2
    assert message in said
    assert said.count("\n") == 1


def test_maps_of_one_name_are_refused(run: Run, heads: Path, config: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for path in heads.glob("sub-*"):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / folder / path.name).symlink_to(path)
    places = {"images": "*/*_phantom.nii.gz", "labels": "*/*_dseg.nii.gz", "data": "data"}
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | places))
    code, said = run()
    assert code == 2
    assert "need a name of its own for each file" in said


def test_every_config_of_an_organ_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from seg_prior.cli.settings import resolve
    from seg_prior.io.label_tables import read_label_table

    configs = Path(__file__).parents[2] / "configs"
    for name in ("mouse", "fetal", "hippocampus", "cardiac"):
        flags = {"data": tmp_path}
        found = resolve(adapt.Config, configs / f"{name}.yaml", flags)
        assert found.label_table is not None
        table = read_label_table(found.label_table)
        classes = {label.intensity_class for label in table.labels}
        tied = found.prior.get("intensity", {}).get("ties", {})
        assert {one for tie in tied.values() for one in tie} <= classes
        assert not any(one.startswith("label-") for one in table.names)
