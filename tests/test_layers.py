"""Who imports whom: the layers of pyproject.toml, the doors of libraries, what starts late."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import seg_prior

PACKAGE = Path(seg_prior.__file__).parent
ROOT = Path(__file__).parents[1]
NAME = PACKAGE.name

ONLY_IN = {
    "nibabel": {"io"},
    "SimpleITK": {"io", "registration"},
    "highdicom": {"io/dicom_seg.py"},
    "pydicom": {"io/dicom_seg.py"},
    "monai": {"training", "metrics"},
    "matplotlib": {"report", "training/curves.py"},
    "jinja2": {"report"},
    "pandas": {"api.py", "output/notebook.py"},
    "lightning_fabric": {"training"},
    "safetensors": {"checkpoints/file.py"},
    "cyclopts": {"cli"},
    "tqdm": {"core/progress.py"},
    "distributed": {"cohort/cluster.py"},
    "dask_jobqueue": {"cohort/cluster_file.py"},
}
"""Third-party package -> the files or folders of ours that may import it."""
EARLY = {"cli", "commands"}
"""Rooms that are imported before a command is chosen."""
LAZY = {"tqdm", "monai", "matplotlib", "jinja2", "pandas", "highdicom", "pydicom"}
LAZY |= {"distributed", "dask_jobqueue"}
"""Imported inside functions alone."""
HEAVY = ("torch", "monai", "SimpleITK", "matplotlib", "lightning_fabric", "nibabel", "scipy")


class Import(NamedTuple):
    """An import statement of ours: file, what it names, and whether it stands in a function."""

    file: Path
    target: str
    is_lazy: bool

    @property
    def room(self) -> str:
        return self.file.parts[0].removesuffix(".py")


def read_imports() -> Iterator[Import]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_top = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                # `from seg_prior.commands import segment` names a module, too.
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in targets:
                yield Import(path.relative_to(PACKAGE), target, id(node) not in at_top)


IMPORTS = list(read_imports())
INTERNAL = [i for i in IMPORTS if i.target.split(".")[0] == NAME and len(i.target.split(".")) > 1]


def test_there_is_something_to_read() -> None:
    assert len(INTERNAL) > 100
    assert {i.room for i in INTERNAL} >= {"commands", "training", "registration", "cli"}


def test_imports_point_down_and_no_circle_is_left() -> None:
    # What .ci/run does, for who runs pytest alone.
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " kept, 0 broken" in done.stdout


def test_every_room_has_a_layer() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (one for one in linter["contracts"] if one["type"] == "layers")
    placed = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in _modules()}
    assert {f"{NAME}.{room}" for room in rooms - {"__init__"}} == placed


def test_a_file_of_tests_is_named_after_what_it_tests() -> None:
    # Themes stand in stories/, pipelines/ is outside the wheel, and these look at everything.
    tests, everything = ROOT / "tests", {"test_examples.py", "test_layers.py"}
    for path in tests.rglob("test_*.py"):
        place = path.relative_to(tests)
        if place.parts[0] not in {"stories", "pipelines"} | everything:
            module = PACKAGE / place.with_name(place.name.removeprefix("test_"))
            assert module.is_file(), f"{place}: there is no {module.relative_to(ROOT)}"


def test_a_file_fits_in_one_sitting() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _modules()}
    assert {str(path): num for path, num in lines.items() if num > 300} == {}


def test_each_library_has_its_door() -> None:
    wrong = [
        f"{i.file} imports {i.target}"
        for i in IMPORTS
        for library, places in ONLY_IN.items()
        if i.target.split(".")[0] == library and not {i.file.parts[0], i.file.as_posix()} & places
    ]
    assert not wrong


def test_slow_libraries_are_imported_where_they_are_used() -> None:
    wrong = [i for i in IMPORTS if i.target.split(".")[0] in LAZY and not i.is_lazy]
    assert not wrong


def test_the_package_imports_the_api_when_it_is_asked_for() -> None:
    assert [i for i in INTERNAL if i.room == "__init__" and not i.is_lazy] == []


def test_commands_import_what_they_work_with_when_they_are_called() -> None:
    eager = {i.target.split(".", 1)[1] for i in INTERNAL if i.room in EARLY and not i.is_lazy}
    light = ("__version__", "cli.", "commands.", "config.", "core.progress.", "errors.", "files.")
    assert [target for target in eager if not target.startswith(light)] == []


def test_only_commands_and_the_command_line_speak() -> None:
    wrong = []
    for path in _modules():
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in ("commands", "cli", "__main__") or path.name == "progress.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print":
                wrong.append(f"{path}:{node.lineno}")
    assert not wrong


def test_the_command_line_starts_at_once() -> None:
    # CPU time: how long one waits also depends on what else the machine does.
    script = "import sys, time; from seg_prior.cli.app import build_app; build_app()"
    modules, time_s = _run(f"{script}; print(*sys.modules, time.process_time())")
    assert "cyclopts" in modules
    assert not modules & set(HEAVY)
    assert time_s < 1.5


def test_a_label_table_is_shown_at_once(tiny_atlas: Path) -> None:
    call = f"main(['labels', {str(tiny_atlas)!r}])"
    script = f"import sys, time; from seg_prior.cli.app import main; {call}"
    modules, time_s = _run(f"{script}; print(*sys.modules, time.process_time())")
    assert "seg_prior.commands.labels" in modules
    assert not modules & set(HEAVY)
    assert time_s < 1.5


def test_reading_a_model_needs_no_training_library() -> None:
    script = "import sys, time; from seg_prior.api import Segmenter"
    modules, _ = _run(f"{script}; print(*sys.modules, time.process_time())")
    assert "torch" in modules
    assert not modules & {"monai", "matplotlib", "lightning_fabric"}


def _run(script: str) -> tuple[set[str], float]:
    """Modules that a fresh interpreter has loaded in the end, and its CPU seconds."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    *modules, time_s = done.stdout.split()
    return set(modules), float(time_s)


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))
