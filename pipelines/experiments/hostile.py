"""A campaign of files made wrong on purpose: each is refused in one line, or it is read.

Every file is given to a process of its own, forked after the imports, with a limit of time and of
memory.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk  # noqa: N813

from experiments.hostile_files import KINDS, make
from seg_prior.io.read import read_volume
from seg_prior.io.write import write_volume

TIME_S = 60
"""Of the processor; of the clock ten times as much, for the machine may be busy."""
MEMORY_BYTES = 2 << 30
"""Above what the process has before it reads a file; the honest need is a small part of it."""
SOUND_SPACING_MM = 8.0

_CPU = ("--threads", "1", "--device", "cpu", "--quiet")


class Ran(NamedTuple):
    """What became of one command.

    Attributes:
        code: Its exit code; None where it was killed.
        errors: Standard error.
        time_s: Of the processor; of the clock where it was killed by that.
        memory_bytes: Peak above what the process began with.
    """

    code: int | None
    errors: str
    time_s: float
    memory_bytes: float


class Verdict(NamedTuple):
    """One file: what was tried, and the faults found; none where it was handled."""

    kind: str
    number: int
    code: int | None
    faults: tuple[str, ...]
    message: str


def run(argv: Sequence[str], errors: Path, time_s: int = TIME_S) -> Ran:
    """One command line in a forked process."""
    sys.stdout.flush()
    begin, before = time.monotonic(), _resident_bytes()
    child = os.fork()
    if child == 0:
        _be_child(argv, errors, time_s)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        took_s = time.monotonic() - begin
        if done:
            break
        if took_s > 10 * time_s:
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
            return Ran(None, errors.read_text(errors="replace"), took_s, 0.0)
        time.sleep(0.005)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    took_s = usage.ru_utime + usage.ru_stime
    peak = usage.ru_maxrss * 1024.0 - before
    return Ran(code, errors.read_text(errors="replace"), took_s, peak)


def _be_child(argv: Sequence[str], errors: Path, time_s: int) -> None:
    """Run the command and leave; never returns."""
    code = 97
    try:
        descriptor = os.open(errors, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(descriptor, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = size + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (time_s, time_s + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from seg_prior.cli.app import main

        try:
            code = main(list(argv))
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _resident_bytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * float(resource.getpagesize())


def prepare(folder: Path) -> None:
    """Sound files of every kind, and two tiny models of phantom heads.

    Raises:
        RuntimeError: One of the commands that make them failed.
    """
    heads, spacing = folder / "heads", str(SOUND_SPACING_MM)
    maps, atlas = f"{heads}/*_dseg.nii.gz", str(folder / "atlas.safetensors")
    train = ["train-prior", maps, "--spacing-mm", spacing, "--label-table", f"{heads}/labels.tsv"]
    tiny = ["--vae.latent-channels", "3", "--vae.widths", "8", "8", "8", "--optim.steps", "2"]
    commands = (
        ["make-phantoms", str(heads), "--num", "4", "--spacing-mm", spacing, "--quiet"],
        [*train, "--out", atlas, "--kind", "atlas", *_CPU],
        [*train, "--out", str(folder / "vae.safetensors"), *tiny, *_CPU],
        ["labels", atlas, "--format", "bids", "--out", str(folder / "dseg.tsv")],
        ["labels", atlas, "--format", "freesurfer", "--out", str(folder / "colours.txt")],
    )
    for argv in commands:
        ran = run(argv, folder / "errors.txt", time_s=600)
        if ran.code != 0:
            raise RuntimeError(f"{argv[0]}: {ran.errors}")
    shutil.copy(heads / "labels.tsv", folder / "labels.tsv")
    (folder / "settings.yaml").write_text(_SETTINGS, encoding="utf-8")
    for name, head in (("scan", "sub-001_phantom"), ("map", "sub-001_phantom_dseg")):
        shutil.copy(heads / f"{head}.nii.gz", folder / f"{name}.nii.gz")
        volume = read_volume(heads / f"{head}.nii.gz")
        for suffix in (".nii", ".mgz", ".nrrd"):
            write_volume(folder / f"{name}{suffix}", volume.data, volume)
    sitk.WriteImage(sitk.ReadImage(folder / "scan.nrrd"), folder / "scan.mha")


_SETTINGS = """kind: vae
spacing_mm: 8.0
margin_mm: 4.0
pose: any
num_components: 5
decoded_share: 0.5
vae:
  latent_channels: 4
  widths: [8, 8, 16]
augment:
  rotation_sd_deg: 3.0
  warp_knots_mm: [40.0, 16.0]
  warp_sd_mm: [3.0, 1.5]
optim:
  steps: 100
  learning_rate: 0.001
intensity:
  components: {background: 2}
seed: 3
threads: 1
"""


def command_for(kind: str, number: int, file: Path, sound: Path, out: Path) -> list[str]:
    """What reads a file of a kind; where several commands do, they take turns."""
    atlas, known = str(sound / "atlas.safetensors"), str(sound / "map.nii.gz")
    scan, label_map = str(sound / "scan.nii.gz"), str(out / "a_dseg.nii.gz")
    heads = [str(sound / "heads" / f"sub-00{n}_phantom_dseg.nii.gz") for n in (2, 3)]
    prior, evaluated = str(out / "prior.safetensors"), str(out / "scores.csv")
    train = ["--kind", "atlas", "--spacing-mm", str(SOUND_SPACING_MM), "--out", prior, *_CPU]
    scores = ["--out", evaluated, "--no-surface", "--quiet"]
    readers = {
        "image": [["segment", str(file), label_map, "--volumes", "--model", atlas, *_CPU]],
        "label map": [
            ["evaluate", str(file), known, *scores],
            ["train-prior", str(file), *heads, *train],
        ],
        "table": [
            ["evaluate", known, known, "--label-table", str(file), *scores],
            ["train-prior", *heads, "--label-table", str(file), *train],
        ],
        "config": [["train-prior", known, "--config", str(file), "--out", prior, "--dry-run"]],
        "checkpoint": [
            ["info", str(file)],
            ["segment", scan, label_map, "--volumes", "--model", str(file), *_CPU],
        ],
    }[kind]
    return readers[number // len(KINDS) % len(readers)]


def judge(ran: Ran, file: Path, out: Path) -> tuple[str, ...]:
    """The faults of one run."""
    faults = []
    lines = [line for line in ran.errors.splitlines() if line.strip()]
    if ran.code is None:
        faults.append("hang" if ran.time_s > TIME_S else "killed")
    if "Traceback" in ran.errors:
        faults.append("traceback")
    if ran.memory_bytes > MEMORY_BYTES:
        faults.append("memory")
    if ran.code == 0:
        return tuple(faults)
    if ran.code not in (1, 2) and not faults:
        faults.append(f"code {ran.code}")
    if len(lines) != 1 and not faults:
        faults.append(f"{len(lines)} lines")
    if file.name not in ran.errors:
        faults.append("file not named")
    if any(one.is_file() for one in out.rglob("*")):
        faults.append("half files")
    return tuple(faults)


def campaign(num: int, seed: int, folder: Path) -> list[Verdict]:
    """So many files, the kinds in turn.

    Args:
        num: Of files.
        seed: Of the mutations.
        folder: For sound and hostile files; what is wrong stays there.
    """
    _import_what_commands_need()
    sound = folder / "sound"
    sound.mkdir(parents=True, exist_ok=True)
    prepare(sound)
    verdicts = []
    for number in range(num):
        kind = list(KINDS)[number % len(KINDS)]
        place = folder / f"{number:04d}"
        out = place / "out"
        out.mkdir(parents=True)
        file = make(kind, number, seed, sound, place)
        ran = run(command_for(kind, number, file, sound, out), place / "errors.txt")
        faults = judge(ran, file, out)
        last = ran.errors.strip().splitlines()[-1:] or [""]
        verdicts.append(Verdict(kind, number, ran.code, faults, last[0][:300]))
        if not faults:
            shutil.rmtree(place)
    return verdicts


def _import_what_commands_need() -> None:
    """Once, before the forks; no thread is started."""
    import seg_prior.api
    import seg_prior.cli.app
    import seg_prior.commands.evaluate
    import seg_prior.commands.info
    import seg_prior.commands.segment
    import seg_prior.commands.train_prior  # noqa: F401


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """Markdown: of each kind, how many were tried, refused, read, and at fault."""
    lines = ["| files | tried | refused in one line | read | faults |", "|---|---|---|---|---|"]
    for kind in KINDS:
        mine = [one for one in verdicts if one.kind == kind]
        sound = [one for one in mine if not one.faults]
        read = sum(one.code == 0 for one in sound)
        faults = Counter(fault for one in mine for fault in one.faults)
        shown = ", ".join(f"{count} {fault}" for fault, count in faults.items()) or "0"
        lines.append(f"| {kind} | {len(mine)} | {len(sound) - read} | {read} | {shown} |")
    return lines
