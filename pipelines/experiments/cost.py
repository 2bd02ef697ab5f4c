"""What segmenting costs, in CPU seconds and memory; `pipelines/cost.py` prints it."""

from __future__ import annotations

import cProfile
import pstats
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from experiments.stopwatch import Cost, measure
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.io.read import read_volume
from seg_prior.io.write import write_volume
from seg_prior.registration.resample import resample_mean

PARTS = {
    "loading the model": "of (predictor.py)",
    "reading the file": "as_volume (read.py)",
    "registration": "register_scan (pipeline.py)",
    "its mutual information": "ImageRegistrationMethod_Execute",
    "q(z given x)": "read (amortized.py)",
    "Gaussians of f(z)": "refine_latent (refine.py)",
    "the image reader": "correct (correction.py)",
    "labelling at the scan's voxels": "summarise (posterior.py)",
    "quality control": "quality_of (verdict.py)",
    "writing, with quality control": "write (api.py)",
}
"""What a row of the profile is called, and the function that it measures."""


def profile(scan: Path, out: Path) -> Iterator[str]:
    """A table of the CPU seconds of `segment` in this process, by its parts."""
    watch = cProfile.Profile(time.process_time)
    before = time.process_time()
    watch.enable()
    from seg_prior.cli.app import main

    code = main(["segment", str(scan), str(out / "profile_dseg.nii.gz"), "--threads", "1", "-q"])
    watch.disable()
    if code:
        raise SystemExit(f"{scan}: segment ended with {code}")
    total_s = time.process_time() - before
    spent = _cumulative(watch)
    yield "| part | CPU s |\n|---|---|"
    for name, function in PARTS.items():
        yield f"| {name} | {spent[function]:.2f} |"
    yield f"| all, without the start of Python and torch | {total_s:.2f} |"


def _cumulative(watch: cProfile.Profile) -> dict[str, float]:
    """Seconds of `function (file.py)`, callees included."""
    spent: dict[str, float] = {}
    for (file, _, function), (_, _, _, seconds, _) in pstats.Stats(watch).stats.items():  # type: ignore[attr-defined]
        name = f"{function} ({Path(file).name})"
        if function.startswith("<built-in") and "ImageRegistrationMethod_Execute" in function:
            name = "ImageRegistrationMethod_Execute"
        spent[name] = max(seconds, spent.get(name, 0.0))
    return spent


def segment(scans: Sequence[Path], target: Path, checkout: Path, *flags: str) -> list[str]:
    """The command that segments scans with the package of a checkout, on one thread."""
    # -P: the package of the working directory would go before that of the checkout.
    module = [sys.executable, "-P", "-m", "seg_prior", "segment"]
    paths = [*map(str, scans), str(target)]
    return ["env", f"PYTHONPATH={checkout}", *module, *paths, "--threads", "1", *flags]


def against(scan: Path, other: Path, own: Path, num_pairs: int, out: Path) -> Iterator[str]:
    """A table of alternating runs, and the median of their ratios."""
    yield "| run | CPU s, other | CPU s | ratio | peak MB, other | peak MB | ratio |"
    yield "|---|---|---|---|---|---|---|"
    ratios = []
    for n in range(num_pairs):
        before, now = (
            _run(segment([scan], out / f"{name}_{n}_dseg.nii.gz", checkout))
            for name, checkout in (("other", other), ("own", own))
        )
        ratios.append((now.cpu_s / before.cpu_s, now.peak_mb / before.peak_mb))
        yield _pair_row(str(n + 1), before, now, ratios[-1])
    cpu, peak = (statistics.median(each) for each in zip(*ratios, strict=True))
    yield f"| median | | | {cpu:.2f} | | | {peak:.2f} |"


def _pair_row(name: str, before: Cost, now: Cost, ratio: tuple[float, float]) -> str:
    cpu = f"{before.cpu_s:.1f} | {now.cpu_s:.1f} | {ratio[0]:.2f}"
    return f"| {name} | {cpu} | {before.peak_mb:.0f} | {now.peak_mb:.0f} | {ratio[1]:.2f} |"


def _run(command: Sequence[str]) -> Cost:
    cost = measure(command)
    if cost.code:
        raise SystemExit(f"{' '.join(command)}: {cost.message}")
    return cost


class Size(NamedTuple):
    """What a scan of so many voxels costs; no cost where it was refused."""

    millions: float
    cost: Cost

    @property
    def row(self) -> str:
        """Of a table."""
        if self.cost.code:
            return f"| {self.millions:.1f} | refused: {self.cost.message} | |"
        return f"| {self.millions:.1f} | {self.cost.cpu_s:.1f} | {self.cost.peak_mb:.0f} |"


def by_voxels(scan: Path, millions: Sequence[float], checkout: Path, out: Path) -> list[Size]:
    """The cost of a scan that is resampled to so many voxels."""
    volume = read_volume(scan)
    found = []
    for wanted in millions:
        path = out / f"{wanted:g}_T1w.nii.gz"
        finer = _resampled(volume, wanted * 1e6)
        write_volume(path, finer.data, finer)
        cost = measure(segment([path], out / f"{wanted:g}_dseg.nii.gz", checkout))
        found.append(Size(finer.data.size / 1e6, cost))
        path.unlink()
    return found


def _resampled(volume: Volume, num_voxels: float) -> Volume:
    """A volume on as many voxels along each axis, in proportion, as give about `num_voxels`."""
    grid = volume.grid
    scale = float(np.cbrt(num_voxels / volume.data.size))
    i, j, k = (max(2, round(scale * n)) for n in grid.shape)
    step = np.array(grid.shape) / (i, j, k)
    affine = grid.affine @ np.diag([*step, 1.0])
    affine[:3, 3] = grid.affine[:3, 3] + grid.affine[:3, :3] @ ((step - 1) / 2)
    finer = Grid((i, j, k), affine)
    data = torch.from_numpy(volume.data.astype(np.float32))[None]
    values = resample_mean(data, grid, finer)[0].numpy()
    return Volume(np.rint(values).clip(0).astype(np.uint16), finer)


def draw(sizes: Sequence[Size], path: Path) -> None:
    """A plot of CPU seconds and peak memory by the number of voxels."""
    import matplotlib.pyplot as plt

    done = [size for size in sizes if not size.cost.code]
    millions = [size.millions for size in done]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    left.loglog(millions, [size.cost.cpu_s for size in done], "o-")
    left.set(xlabel="voxels, millions", ylabel="CPU s")
    right.loglog(millions, [size.cost.peak_mb / 1e3 for size in done], "o-")
    right.set(xlabel="voxels, millions", ylabel="peak memory, GB")
    figure.savefig(path)


def processes(cohort: Path, checkout: Path, out: Path) -> Iterator[str]:
    """Scans in an hour by one process and by two, each on one thread with a part of them."""
    scans = [cohort]
    yield "| processes | scans | wall s | scans in an hour |\n|---|---|---|---|"
    for num in (1, 2):
        target = out / f"by_{num}"
        start = time.perf_counter()
        running = [
            subprocess.Popen(
                segment(scans, target, checkout, "--shard", f"{part}/{num}"),
                stdout=subprocess.DEVNULL,
            )
            for part in range(1, num + 1)
        ]
        if any(process.wait() for process in running):
            raise SystemExit(f"{cohort}: not all of its scans were segmented")
        wall_s = time.perf_counter() - start
        count = len(list(target.rglob("*_dseg.nii.gz")))
        yield f"| {num} | {count} | {wall_s:.0f} | {3600 * count / wall_s:.0f} |"
