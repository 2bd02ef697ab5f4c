"""Files that appear whole or not at all, whoever else writes, dies or has no room."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seg_prior import files
from seg_prior.errors import OutputError
from seg_prior.files import (
    absolute,
    atomic_write,
    check_writable,
    claimed,
    staging,
    write_json,
    write_text,
)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def forget_left_overs() -> None:
    """As a new process, which has looked for none."""
    files._remove_left_overs.cache_clear()


HOLDER = """
import sys, time
from pathlib import Path
from seg_prior.files import claimed, staging
path = Path(sys.argv[1])
with staging(path) as folder, claimed(path) as is_mine:
    (folder / "half").write_text("half")
    print(is_mine, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that stages and claims `a.nii`."""
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "a.nii")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "first"
    assert names(path.parent) == ["a.txt"]


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_of_any_file_name_is_written_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff") / os.fsdecode(b"\xfe.json")
    write_json(path, {"é": [1.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": [1.5, None]}
    write_text(path, f"{path.name}\n")
    assert path.read_text(encoding="utf-8") == "\\udcfe.json\n"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_its_mode_is_what_the_umask_gives(tmp_path: Path, umask: None) -> None:
    with atomic_write(tmp_path / "a") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT, 0o600))  # as some libraries do
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_two_writers_do_not_take_each_other_s_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a"]


def test_what_is_left_over_goes_and_what_is_in_use_stays(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    path = tmp_path / "a.nii"
    with staging(path):
        (living,) = (p for p in tmp_path.glob(".a.nii.*.tmp") if (p / "half").exists())
    assert (living / "half").read_text() == "half"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with staging(path):
        assert living.exists()  # it was looked for
    forget_left_overs()
    theirs = tmp_path / ".b.nii.tmp"
    theirs.mkdir()
    with staging(tmp_path / "b.nii"):
        assert not living.exists()
        assert theirs.exists()


def test_what_another_machine_may_still_use_stays_for_a_day(tmp_path: Path) -> None:
    theirs = tmp_path / ".a.nii.0123abcd@elsewhere.tmp"
    theirs.mkdir()
    with staging(tmp_path / "a.nii"):
        assert theirs.exists()
    os.utime(theirs, (0, 0))
    forget_left_overs()
    with staging(tmp_path / "a.nii"):
        assert not theirs.exists()


def test_a_claim_is_for_one_and_ends_with_its_holder(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    path = tmp_path / "a.nii"
    with claimed(path) as is_mine, claimed(tmp_path / "b.nii") as is_other_mine:
        assert (is_mine, is_other_mine) == (False, True)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    for _ in range(2):
        with claimed(path) as is_mine, claimed(path) as is_twice_mine:
            assert (is_mine, is_twice_mine) == (True, False)
    assert not [name for name in names(tmp_path) if name.endswith(".lock")]


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (
            errno.ENOSPC,
            r"a: cannot be written \(No space .*\), need room, [\d.]+ MB are free there",
        ),
        (errno.EROFS, r"cannot be written \(Read-only .*\), need leave to write there\. Name"),
    ],
)
def test_a_full_or_closed_disk_is_told_with_the_file(
    tmp_path: Path, number: int, wanted: str
) -> None:
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(OutputError, match=wanted) as told,
        atomic_write(tmp_path / "a") as temporary,
        atomic_write(temporary),
    ):
        raise OSError(number, os.strerror(number))
    assert str(told.value).startswith(f"{tmp_path / 'a'}: ")
    assert (tmp_path / "a").read_text() == "old"
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        raise FileNotFoundError(errno.ENOENT, "an input that is gone")


def test_leave_is_tried_out_before_the_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "new" / "deep")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file: found a file, need a folder"):
        check_writable(tmp_path / "file" / "new")

    def closed(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", closed)
    with pytest.raises(OutputError, match=r"new/deep: cannot be written \(Permission denied\)"):
        check_writable(tmp_path / "new" / "deep")


def test_long_names_fit(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120)
    with claimed(path) as is_mine, atomic_write(path) as temporary:
        assert is_mine
        temporary.write_text("x")
    assert path.read_text() == "x"


def test_where_a_file_lies_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "scan").symlink_to("annex")
    monkeypatch.chdir(tmp_path)
    assert absolute(Path("link/scan")) == tmp_path / "real" / "scan"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_can_never_be_made_is_an_error() -> None:
    path = Path("/proc/no-folder-can-be-made-here/a")
    with pytest.raises(FileNotFoundError, match="no-folder-can-be-made-here"), staging(path):
        pass
    with pytest.raises(FileNotFoundError, match="no-folder-can-be-made-here"), claimed(path):
        pass
