"""What a command may write to: never its inputs, and nothing that is not as it was written."""

import os
import shutil
from pathlib import Path

import pytest

from seg_prior.cli.app import main
from seg_prior.errors import ConfigError
from seg_prior.files import Files
from seg_prior.output.guard import RECORD, guarded


def write(path: Path, text: str, reads: list[Path] | None = None) -> None:
    with guarded(Files(reads or [], [path])):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_was_written_may_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a b.txt"
    for text in ("one", "two", "two"):
        write(path, text)
    assert path.read_text() == "two"
    assert (tmp_path / "new" / RECORD).read_text().splitlines()[-1].endswith("  a b.txt")


def test_what_another_wrote_or_changed_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("theirs")
    with pytest.raises(ConfigError, match=r"a\.txt: found a file that seg-prior did not write"):
        write(path, "ours")
    path.unlink()
    write(path, "ours")
    path.write_text("edited")
    with pytest.raises(ConfigError, match="or that was changed since"):
        write(path, "ours again")
    assert path.read_text() == "edited"


def test_what_a_killed_command_left_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    guard = guarded(Files([], [path]))
    guard.__enter__()  # and nothing else, as if it were killed
    path.write_text("half of the work")
    write(path, "all of it")
    assert path.read_text() == "all of it"


def test_what_fails_keeps_a_record_of_what_it_wrote(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"

    def half() -> None:
        with guarded(Files([], [first, second])):
            first.write_text("one")
            second.write_text(f"{1 / 0}")

    with pytest.raises(ZeroDivisionError):
        half()
    first.write_text("edited")
    with pytest.raises(ConfigError, match="changed since"):
        write(first, "again")
    write(second, "again")


def test_where_nothing_came_of_it_nothing_is_left(tmp_path: Path) -> None:
    with guarded(Files([], [tmp_path / "new" / "deep" / "a", tmp_path / "new" / "b"])):
        assert (tmp_path / "new" / "deep" / RECORD).exists()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["same", "symbolic", "hard"])
def test_an_input_is_not_written_by_any_name(tmp_path: Path, kind: str) -> None:
    source, other = tmp_path / "a", tmp_path / "b"
    source.write_text("input")
    if kind == "symbolic":
        other.symlink_to(source)
    elif kind == "hard":
        other.hardlink_to(source)
    else:
        other = tmp_path / ".." / tmp_path.name / "a"
    with pytest.raises(
        ConfigError, match=r"b: found .*a, which is an input|a: found .*a, which is"
    ):
        write(other, "output", [source])
    assert source.read_text() == "input"


def test_what_a_command_is_there_to_change_it_may_change(tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.write_text("model")
    with guarded(Files([model], [model], updates=[model])):
        model.write_text("model and calibration")
    with pytest.raises(ConfigError, match="which is an input"):
        write(model, "table", [model])


def test_of_several_processes_one_guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("being written by the first")
    monkeypatch.setenv("RANK", "1")
    with guarded(Files([], [tmp_path / "a"])):
        pass
    assert os.listdir(tmp_path) == ["a"]


COMMANDS: dict[str, tuple[str, list[str]]] = {
    # Files of somebody else in the folder `in`, and a command that would write one of them.
    "labels onto the model": ("labels {in}/m.safetensors --out {in}/m.safetensors", ["m"]),
    "check onto its table": (
        "check {in} --label-table {in}/labels.tsv --out {in}",
        ["maps", "labels.tsv"],
    ),
    "check onto another's settings": ("check {in} --out {in}", ["maps", "prior.yaml"]),
    "evaluate onto a table": (
        "evaluate {in}/sub-001_phantom_dseg.nii.gz {in}/sub-001_phantom_dseg.nii.gz "
        "--out {in}/s.csv --no-surface",
        ["maps", "s.csv"],
    ),
    "evaluate onto another's JSON": (
        "evaluate {in}/sub-001_phantom_dseg.nii.gz {in}/sub-001_phantom_dseg.nii.gz "
        "--out {in}/s.csv --no-surface",
        ["maps", "s.json"],
    ),
    "phantoms onto scans": ("make-phantoms {in} --num 2 --spacing-mm 8", ["maps"]),
    "sample onto a map": (
        "sample {pca} {in} --num 1 --device cpu --threads 1",
        ["sample-001_dseg.nii.gz"],
    ),
    "reconstruct onto a table": (
        "reconstruct {pca} {in}/sub-001_phantom_dseg.nii.gz --out {in} --device cpu --threads 1",
        ["maps", "dice.csv"],
    ),
    "an atlas onto another model": (
        "train-prior {in} --kind atlas --spacing-mm 8 --out {in}/m.safetensors",
        ["maps", "m"],
    ),
    "a prior onto another's log": (
        "train-prior {in} --spacing-mm 8 --out {in}/logs.safetensors",
        ["maps", "logs/log.csv"],
    ),
    "an encoder onto its prior": (
        "train-encoder {in} --prior {in}/m.safetensors --out {in}/m.safetensors",
        ["m"],
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_replaces_what_is_not_its_own(
    name: str,
    phantom_folder: Path,
    tiny_pca: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv, victims = COMMANDS[name]
    for victim in victims:
        path = tmp_path / victim
        path.parent.mkdir(exist_ok=True)
        if victim == "maps":
            for label_map in phantom_folder.glob("*_dseg.nii.gz"):
                shutil.copy(label_map, tmp_path)
        elif victim == "m":
            shutil.copy(tiny_pca, tmp_path / "m.safetensors")
        elif victim == "labels.tsv":
            shutil.copy(phantom_folder / victim, path)
        else:
            path.write_text("mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert main(argv.format_map({"in": tmp_path, "pca": tiny_pca}).split()) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_many_files_of_a_folder_cost_one_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = [tmp_path / "new" / f"sub-{n % 5}" / f"{n}.txt" for n in range(50)]
    tried: list[Path] = []
    resolved: list[Path] = []
    resolve = Path.resolve

    def resolve_counted(self: Path, strict: bool = False) -> Path:
        resolved.append(self)
        return resolve(self, strict)

    monkeypatch.setattr("seg_prior.output.guard.check_writable", tried.append)
    monkeypatch.setattr(Path, "resolve", resolve_counted)
    with guarded(Files([tmp_path / "scan"], [], signed=iter(writes))):
        assert tried == [writes[0].parent]  # all of them are to be made in one place
        assert len(resolved) == len(set(resolved)) == 6
