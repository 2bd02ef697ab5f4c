"""The pages under docs/: their links lead somewhere, their pictures stay small."""

import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest

from seg_prior.cli.app import main

ROOT = Path(__file__).parents[2]
SITE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*SITE, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

MARKED = """
seg-prior --version
seg-prior --install-completion
seg-prior segment scans/ results/ --volumes --threads 1 --shard 2/8
seg-prior segment scans/ results/ --volumes --cluster local:4
seg-prior segment scans/ results/ --volumes --cluster slurm.yaml
seg-prior segment scans/ results/ --volumes --cluster tcp://host:8786
"""
"""Commands that the pages show and the README does not: tried here without doing their work."""


def blocks(language: str, page: Path) -> str:
    """The code blocks of one language, one after the other."""
    return "\n".join(
        re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    )


def _lines(script: str) -> list[str]:
    parts = [part.strip() for line in script.splitlines() for part in line.split("&&")]
    return [part for part in parts if part and not part.startswith("#")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_pages_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    named = re.findall(r"`(\w+\.md)`", text)
    paths = re.findall(r"`((?:configs|docs|pipelines|tests|seg_prior)/[\w./-]*\w)`", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [name for name in named if not {page.parent / name, ROOT / name} & _files()] == []
    missing = [path for path in paths if not (ROOT / path).exists() and "NAME" not in path]
    assert missing == []


def test_commands_are_those_of_the_readme_which_run_or_are_marked() -> None:
    known = [blocks("bash", ROOT / "README.md"), MARKED]
    commands = [line for text in known for line in _lines(text)]
    found = [line for page in SITE for line in _lines(blocks("bash", page))]
    assert len(found) >= 10
    assert [line for line in found if line not in commands] == []


def test_commands_that_are_indented_or_in_a_line_name_what_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They need data or hours, or they are shapes: so they are read, and not run."""
    found = [line for page in (*SITE, ROOT / "CONTRIBUTING.md") for line in _unfenced(page)]
    assert len(found) >= 15
    wrong = [line for line in found if not _names_what_exists(shlex.split(line), capsys)]
    assert wrong == []


def _unfenced(page: Path) -> list[str]:
    """Commands of indented blocks, continued lines joined, and of inline code."""
    text = re.sub(
        r"\\\n\s*", " ", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    )
    indented = re.findall(r"^    (?=\S)(.+)$", text, re.M)
    inline = re.findall(r"`([^`]+)`", text)
    parts = [part.strip() for line in (*indented, *inline) for part in line.split("&&")]
    parts = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", " ".join(part.split())) for part in parts]
    return [part for part in parts if re.match(r"(seg-prior|python) [a-z]", part)]


def _names_what_exists(words: list[str], capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether command or script are there, and know the flags."""
    flags = {word for word in words if word.startswith("--")}
    if words[0] == "python":
        script = ROOT / words[1]
        return script.is_file() and all(f'"{flag}"' in script.read_text("utf-8") for flag in flags)
    if main([words[1], "--help"]) != 0:
        return False
    return flags <= set(re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out))


def test_marked_commands_are_understood(
    phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(phantom_folder, "scans")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("SHELL", "/bin/bash")
    for line in _lines(MARKED):
        words = shlex.split(line)[1:]
        is_whole = words[0].startswith("--")
        assert main(words if is_whole else [*words, "--dry-run"]) == 0, line


def test_the_page_of_python_runs_from_top_to_bottom(
    tiny_prior: Path,
    phantom_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_prior, "model.safetensors")
    shutil.copy(phantom_folder / "sub-004_phantom.nii.gz", "scan.nii.gz")
    exec(compile(blocks("python", ROOT / "docs" / "python.md"), "python.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("int32")
    assert said[-1].startswith("nowhere.nii.gz: no such file")


def test_pictures_are_jpeg_or_drawn_and_3_mb_in_all() -> None:
    pictures = [path for path in (ROOT / "docs").iterdir() if path.suffix in (".jpg", ".png")]
    assert len(pictures) >= 5
    assert sum(path.stat().st_size for path in pictures) < 3_000_000


def test_the_glossary_is_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    words = [row.replace("`", "").lower() for row in re.findall(r"^\| ([^|]+?) \| ", text, re.M)]
    assert words[0] == "word"
    assert words[1:] == sorted(words[1:])


def _files() -> set[Path]:
    return {*PAGES, *ROOT.glob("*.md")}


def test_the_page_of_decisions_has_the_values_of_the_code() -> None:
    text = (ROOT / "docs" / "decisions.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w., ]+ = [^`]+)` \| `([\w/]+\.py)` \|", text, re.M)
    assert len(rows) >= 20
    assert [row for row in rows if not _stands_in(ROOT / row[1], row[0])] == []


def _stands_in(path: Path, assignment: str) -> bool:
    """Whether a module, or a class in it, gives a name this value, or a field this default."""
    target, _, value = assignment.partition(" = ")
    *owner, name = target.split(".")
    scopes: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    for wanted in owner:
        scopes = [n for s in scopes for n in ast.walk(s) if getattr(n, "name", None) == wanted]
    said = ast.unparse(ast.parse(f"{name} = {value}"))
    found = []
    for node in (child for scope in scopes for child in getattr(scope, "body", [])):
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            is_field = isinstance(node.value, ast.Call) and node.value.args
            default = node.value.args[0] if is_field else node.value
            found.append(f"{ast.unparse(node.target)} = {ast.unparse(default)}")
        elif isinstance(node, ast.Assign):
            found.append(ast.unparse(node))
    return said in found
