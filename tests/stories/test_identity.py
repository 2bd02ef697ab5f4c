"""Who made this, under which terms, and what a package or a container has to carry."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import yaml

import seg_prior

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def test_one_version_one_licence_one_name() -> None:
    (author,) = PROJECT["authors"]
    assert PROJECT["version"] == CITATION["version"] == seg_prior.__version__
    assert PROJECT["license"] == CITATION["license"] == "Apache-2.0"
    assert [author] == CITATION["authors"] == [{"name": "seg-prior maintainers"}]
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert PROJECT["version"] in headings


def test_the_notice_names_what_is_not_ours() -> None:
    notice = (ROOT / "NOTICE").read_text("utf-8")
    vendored = resources.files("seg_prior") / "report" / "vendor"
    licence = (vendored / "LICENSE.txt").read_text("utf-8")
    (version,) = re.findall(r"@niivue/niivue ([\d.]+)", licence)
    assert f"NiiVue {version} (seg_prior/report/vendor/niivue.umd.js)" in notice
    for file in re.findall(r"seg_prior/[\w./]+\w", notice):
        assert (ROOT / file).exists(), file
    assert all((ROOT / file).is_file() for file in PROJECT["license-files"])


def test_containers_copy_what_the_build_reads() -> None:
    needed = {"pyproject.toml", "constraints.txt", "seg_prior", PROJECT["readme"]}
    needed |= {file for file in PROJECT["license-files"] if "/" not in file}
    docker = (ROOT / "Dockerfile").read_text("utf-8")
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (.+)$", docker, re.M)]
    assert {file for files in copied for file in files} == needed
    (section,) = re.findall(
        r"^%files\n(.+?)^%", (ROOT / "seg-prior.def").read_text("utf-8"), re.M | re.S
    )
    assert {line.split()[0] for line in section.strip().splitlines()} == needed


def test_the_page_of_installation_names_every_extra() -> None:
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    (table,) = re.findall(r"^\| extra \|.*?\n\n", page, re.M | re.S)
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == set(PROJECT["optional-dependencies"])
    (version,) = re.findall(r"^\| Python \| (\d\.\d+) or newer", page, re.M)
    assert PROJECT["requires-python"] == f">={version}"
