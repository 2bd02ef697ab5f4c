"""The command line: every wrong request is one line and exit code 2, and leaves nothing behind."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from seg_prior import __version__
from seg_prior.api import Segmenter
from seg_prior.cli.app import build_app, load, main, place
from seg_prior.cli.settings import help_of
from seg_prior.commands import NAMES, segment, train_prior
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.config.inference import InferenceConfig
from seg_prior.errors import ConfigError

AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong request gets."""
    code = main(argv)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert code == 2, shown
    assert len(lines) == 1, shown.err
    assert lines[0].startswith("seg-prior: ")
    assert "Traceback" not in shown.err
    return lines[0].removeprefix("seg-prior: ")


def head(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj).copy()


def save(path: Path, data: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return path


def four_d(path: Path, good: Path) -> None:
    save(path, np.stack([head(good)] * 2, axis=3))


def with_nan(path: Path, good: Path) -> None:
    data = head(good)
    data[3, 4, 5] = np.nan
    save(path, data)


def constant(path: Path, good: Path) -> None:
    save(path, np.full_like(head(good), 7.0))


def no_bytes(path: Path, good: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path, good: Path) -> None:
    whole = good.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def text(path: Path, good: Path) -> None:
    with gzip.open(path, "wt") as file:
        file.write("not an image " * 100)


def missing(path: Path, good: Path) -> None:
    pass


SCAN_DOORS: dict[Callable[[Path, Path], None], str] = {
    four_d: "found a 4D image",
    with_nan: "found 1 NaN or infinite voxels",
    constant: "without contrast",
    no_bytes: "not a readable NIfTI",
    truncated: "truncated or damaged",
    text: "not a readable NIfTI",
    missing: "no such file",
}


@pytest.mark.parametrize("damage", SCAN_DOORS, ids=lambda damage: damage.__name__)
def test_a_scan_that_cannot_be_read_is_refused(
    damage: Callable[[Path, Path], None],
    phantom_folder: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan, out = tmp_path / "bad.nii.gz", tmp_path / "results" / "bad_dseg.nii.gz"
    damage(scan, phantom_folder / "sub-001_phantom.nii.gz")
    line = refusal(["segment", str(scan), str(out), "--model", str(tiny_atlas)], capsys)
    assert line.startswith(f"{scan}: ")
    assert SCAN_DOORS[damage] in line
    assert not out.parent.exists()


def unknown_ids(path: Path, good: Path) -> None:
    ids = head(good)
    ids[0, 0, 0] = 99
    save(path, ids)


def fractions(path: Path, good: Path) -> None:
    save(path, head(good) + np.float32(0.5))


def background_only(path: Path, good: Path) -> None:
    save(path, np.zeros_like(head(good)))


LABEL_MAP_DOORS: dict[Callable[[Path, Path], None], str] = {
    unknown_ids: "found label ids 99",
    fractions: "not whole numbers",
    background_only: "found background only",
    four_d: "found a 4D image",
    truncated: "truncated or damaged",
    missing: "no such file",
}


@pytest.mark.parametrize("command", ["train-prior", "reconstruct"])
@pytest.mark.parametrize("damage", LABEL_MAP_DOORS, ids=lambda damage: damage.__name__)
def test_a_label_map_that_does_not_fit_is_refused(
    damage: Callable[[Path, Path], None],
    command: str,
    phantom_folder: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad, out = tmp_path / "bad_dseg.nii.gz", tmp_path / "out.safetensors"
    good = phantom_folder / "sub-001_phantom_dseg.nii.gz"
    damage(bad, good)
    if command == "train-prior":
        table = str(phantom_folder / "labels.tsv")
        operands = [str(good), str(bad), "--kind", "atlas", "--label-table", table]
    else:
        operands = [str(tiny_atlas), str(bad)]
    line = refusal([command, *operands, "--out", str(out)], capsys)
    assert line.startswith(f"{bad}: ")
    assert LABEL_MAP_DOORS[damage] in line
    assert not out.exists()


def another_version(path: Path, good: Path) -> None:
    with safe_open(good, framework="np") as file:
        header = json.loads(file.metadata()["seg_prior"])
    header["format_version"] = 99
    save_file(load_file(good), path, metadata={"seg_prior": json.dumps(header)})


def another_program(path: Path, good: Path) -> None:
    save_file({"weight": np.zeros(3)}, path)


def no_checkpoint(path: Path, good: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def another_kind(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes())


CHECKPOINT_DOORS: dict[Callable[[Path, Path], None], str] = {
    another_version: "found checkpoint version 99, need 3 or 2",
    another_program: "safetensors file of another program",
    no_checkpoint: "found no safetensors file",
    another_kind: "found a checkpoint of kind 'atlas'",
    missing: "no such file",
}


@pytest.mark.parametrize("damage", CHECKPOINT_DOORS, ids=lambda damage: damage.__name__)
def test_a_checkpoint_that_does_not_fit_is_refused(
    damage: Callable[[Path, Path], None],
    tiny_atlas: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad, out = tmp_path / "bad.safetensors", tmp_path / "samples"
    damage(bad, tiny_atlas)
    line = refusal(["sample", str(bad), str(out)], capsys)
    assert line.startswith(f"{bad}: ")
    assert CHECKPOINT_DOORS[damage] in line
    assert not out.exists()


def test_the_encoder_goes_on_from_a_checkpoint_with_a_reader_alone(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train-encoder", f"{phantom_folder}/*_dseg.nii.gz", "--prior", str(tiny_atlas)]
    argv += ["--start", str(tiny_atlas), "--scans", "1", "--out", str(tmp_path / "a.safetensors")]
    line = refusal(argv, capsys)
    assert line.startswith(f"{tiny_atlas}: found no image reader to go on from")
    assert not any(tmp_path.iterdir())


FILE_DOORS = {
    "optim: {lerning_rate: 1}": "optim.lerning_rate: unknown key. Did you mean 'learning_rate'?",
    "zzz: 1": "zzz: unknown key. Known are ",
    "optim: {steps: many}": "optim.steps: found 'many', need a valid integer",
    "optim: 3": "optim: found 3, need",
    "vae: {widths: [8, 16]}": "vae.widths.2: found",
    "kind: forest": "kind: found 'forest', need 'vae', 'ae', 'swae', 'pca' or 'atlas'",
    "- 1": "found a list",
    "optim: [": "line 1: not YAML",
    "a: b: c": "line 1: not YAML",
    "\x00": "not text",
}


@pytest.mark.parametrize("content", FILE_DOORS)
def test_a_config_file_that_does_not_fit_is_refused_by_file_and_key(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    line = refusal(["train-prior", "maps", "--out", "out", "--config", str(file)], capsys)
    assert line.startswith(f"{file}: {FILE_DOORS[content]}")


FLAG_DOORS = {
    "train-prior maps --out x --optim.steps many": "--optim.steps: found 'many', need a valid int",
    "train-prior maps --out x --optim.stepps 3": "Unknown option: --optim.stepps",
    "train-prior maps --out x --kind forest": "--kind: found 'forest', need 'vae',",
    "train-prior maps --out": 'Command "train-prior" parameter --out requires',
    "train-prior maps": "out: found nothing",
    "train-prior --out x.safetensors": "labels: found nothing",
    "train-prior maps --out x --config nowhere.yaml": "nowhere.yaml: no such file",
    "train-prior nowhere.nii.gz --out x.safetensors": "nowhere.nii.gz: no such file",
    "segment scan.nii.gz --model x": "segment: found 1 path, scan.nii.gz the first, need IMAGES",
    "evaluate a b c": "evaluate: found 3 paths, a the first, need PRED REF",
    "sample prior out --num 0": "--num: found '0', need greater than",
    "sample prior out --device tpu": "device: found 'tpu', need auto, cpu",
    "make-phantoms out --num 0": "--num: found '0', need",
    "info nowhere.safetensors": "nowhere.safetensors: no such file",
    "labels --format braille": "--format: found 'braille', need 'bids'",
    "segmnt": 'Unknown command "segmnt". Did you mean "segment"?',
}


@pytest.mark.parametrize("line", FLAG_DOORS)
def test_a_wrong_command_line_is_refused(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(line.split(), capsys).startswith(FLAG_DOORS[line])
    assert not any(tmp_path.iterdir())


def test_a_scan_is_not_taken_for_the_result(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [tmp_path / f"scan-{n}.nii.gz" for n in (1, 2)]
    for scan in scans:
        scan.write_bytes((phantom_folder / "sub-001_phantom.nii.gz").read_bytes())
    before = scans[1].read_bytes()
    # BIDS keeps a file of this name beside every scan.
    (tmp_path / "scan-2.json").write_text('{"EchoTime": 0.03}')
    line = refusal(["segment", *map(str, scans), "--model", str(tiny_atlas)], capsys)
    assert line.startswith(f"{scans[1]}: found a file that segment did not write")
    assert scans[1].read_bytes() == before


def test_what_the_system_refuses_is_one_line(
    tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(["sample", str(tiny_prior), "/proc/no-folder-can-be-made-here"], capsys)
    assert "/proc/no-folder-can-be-made-here" in line


def test_some_failed_is_1_and_a_table(
    phantom_folder: Path, tiny_atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad_dseg.nii.gz"
    unknown_ids(bad, phantom_folder / "sub-001_phantom_dseg.nii.gz")
    good = phantom_folder / "sub-002_phantom_dseg.nii.gz"
    out = tmp_path / "out"
    code = main(["reconstruct", str(tiny_atlas), str(bad), str(good), "--out", str(out)])
    shown = capsys.readouterr()
    assert code == 1
    first, second = shown.err.splitlines()
    assert first == "seg-prior: 1 failed:"
    assert second.startswith(f"  {bad}: found label ids 99")
    assert (out / "sub-002_reconstruction_dseg.nii.gz").exists()


def test_an_interrupt_is_130_and_one_line(
    phantom_folder: Path,
    tiny_atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "run", interrupted)
    scan = str(phantom_folder / "sub-001_phantom.nii.gz")
    out = str(tmp_path / "out.nii.gz")
    assert main(["segment", scan, out, "--model", str(tiny_atlas)]) == 130
    assert capsys.readouterr().err == "seg-prior: interrupted.\n"


def resolved(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> TrainPriorConfig:
    """The config that a stage is called with."""
    seen: list[TrainPriorConfig] = []
    monkeypatch.setattr(train_prior, "run", seen.append)
    assert main(argv) == 0
    return seen[0]


def test_a_flag_overrides_the_file_which_overrides_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("optim: {steps: 7, learning_rate: 5e-4}\nintensity: {components: {grey: 2}}\n")
    labels = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    for path in labels:
        path.touch()  # a command looks for what it reads before it runs
    argv = ["train-prior", *map(str, labels), "--out", str(tmp_path / "c.safetensors")]
    argv += ["--config", str(file), "--optim.steps", "9"]
    config = resolved([*argv, "--augment.warp-knots-mm", "30", "10"], monkeypatch)
    assert config.labels == labels
    assert config.out == tmp_path / "c.safetensors"
    assert config.optim.steps == 9
    assert config.optim.learning_rate == 5e-4
    assert config.optim.batch_size == TrainPriorConfig.model_fields["optim"].default.batch_size
    assert config.augment.warp_knots_mm == (30.0, 10.0)
    assert config.intensity.components == {"grey": 2}


@pytest.mark.parametrize(
    ("operands", "paths", "placed"),
    [
        ("pred ref", "a b", {"pred": Path("a"), "ref": Path("b")}),
        ("images... out", "a b c", {"images": [Path("a"), Path("b")], "out": Path("c")}),
        ("model labels...", "a b c", {"model": Path("a"), "labels": [Path("b"), Path("c")]}),
        ("images... out", "", {}),
    ],
)
def test_paths_find_their_fields(operands: str, paths: str, placed: dict[str, object]) -> None:
    assert place([Path(path) for path in paths.split()], "segment", operands) == placed


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_a_line_to_paste_and_says_what_each_flag_is(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    command = load(name)
    operands = re.sub(r"[][]", "", shown.splitlines()[0])
    assert operands.startswith(f"Usage: seg-prior {name} {command.OPERANDS.upper()} ")
    # Unbroken: a line folded at 80 columns cannot be pasted.
    assert all(part in shown.splitlines() for part in command.EXAMPLE.splitlines())
    for argument in build_app(name)[name].assemble_argument_collection():
        if argument.parse:  # a command may have no flags of its own
            assert argument.children or argument.parameter.help, argument.name


def test_examples_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """They parse: what is wrong with them here is only that the files are not there."""
    for name in NAMES:
        words = load(name).EXAMPLE.replace("\\\n", " ").replace("'", "").split()
        assert words[:2] == ["seg-prior", name]
        code = main([*words[1:], "--dry-run"])
        shown = capsys.readouterr()
        assert (code, shown.err) == (0, "") or "no such file" in shown.err, shown.err


def test_version_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)


def test_quiet_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["make-phantoms", str(tmp_path), "--num", "1", "--spacing-mm", "8"]
    assert main([*argv, "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""
    assert main(argv) == 0
    assert "wrote 1 scans" in capsys.readouterr().out


def test_the_module_and_the_script_are_one_program(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("seg-prior")
    # Refused before anything heavy is imported.
    argv = ["train-prior", "maps", "--out", "prior.safetensors", "--config", "none.yaml"]
    for program in ([sys.executable, "-m", "seg_prior"], [str(script)]):
        done = subprocess.run([*program, *argv], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout == ""
        wanted = "seg-prior: none.yaml: no such file, need a YAML file of settings. Check the path."
        assert done.stderr == f"{wanted}\n"
    assert not any(tmp_path.iterdir())


def test_flags_of_segment_stand_in_two_groups(capsys: pytest.CaptureFixture[str]) -> None:
    main(["segment", "--help"])
    everyday, expert = capsys.readouterr().out.split("Everyday flags")[1].split("Expert flags")
    for flag in ("--report", "--volumes", "--contrasts", "--model", "--frame", "--dry-run"):
        assert flag in everyday
        assert f" {flag} " not in expert.split("Example")[0]
    for flag in ("--shard", "--output", "--seed", "--inference.refine-rate", "--entropy"):
        assert flag in expert
        assert flag not in everyday


def test_every_flag_of_segment_has_one_sentence() -> None:
    fields = {**segment.Config.model_fields, **InferenceConfig.model_fields}
    for name in fields:
        owner = InferenceConfig if name in InferenceConfig.model_fields else segment.Config
        text = help_of(owner, name)
        assert text.endswith(".")
        assert ". " not in text, (name, text)


def test_what_has_another_name_now_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "found a setting that is called frame now. Rename it."
    file = tmp_path / "old.yaml"
    file.write_text("volume: 1\n")
    assert refusal(["segment", "a.nii", "b.nii", "--volume", "1"], capsys) == f"--volume: {told}"
    line = refusal(["segment", "a.nii", "b.nii", "--config", str(file)], capsys)
    assert line == f"{file}: volume: {told}"
    with pytest.raises(ConfigError, match="volume: found a setting that is called frame now"):
        Segmenter.load(volume=1)  # type: ignore[call-arg]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert main(["--install-completion", "--shell", "bash"]) == 0
    [script] = tmp_path.rglob("completions/seg-prior")
    asked = f"""source {script}
    COMP_WORDS=(seg-prior tr); COMP_CWORD=1; _seg_prior; echo "${{COMPREPLY[@]}}"
    COMP_WORDS=(seg-prior segment --repo); COMP_CWORD=2; _seg_prior; echo "${{COMPREPLY[@]}}"
    """
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["train-encoder", "train-locator", "train-prior", "--report"]


def test_what_was_said_and_what_is_due_at_the_end_is_not_lost_by_leaving_at_once() -> None:
    script = (
        "import atexit; from seg_prior.__main__ import _leave; "
        "atexit.register(print, 'at exit'); print('said'); _leave(3)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\nat exit\n", "")
