"""Measure scans and training on a device, and teach the image reader for the minutes that are left.

    python pipelines/teach_on_gpu.py MAPS OUT --device cuda --minutes 9

OUT/figures.json has what was measured, OUT/reader.safetensors the model. `on_gpu.sh` calls it.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from seg_prior.api import Segmenter
from seg_prior.cli.settings import resolve
from seg_prior.cli.talk import talking
from seg_prior.commands import train_encoder
from seg_prior.commands.calibrate import Config as CalibrateConfig
from seg_prior.commands.train_encoder import Config as TrainEncoderConfig
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.files import write_json
from seg_prior.io.find import find_label_maps
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.scan import synthetic_scan
from seg_prior.training.align import centered_map
from seg_prior.training.holdout import kept
from seg_prior.training.readings import Spread, make_readings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
HOLDOUT = ["sub-03", "sub-08", "sub-13", "sub-18"]
TRIED, FEW, WARM = 24, 8, 4
"""Steps and synthetic scans that tell how long one takes, and scans timed after the first."""
RESERVE_S = 40.0
"""To write what was learned."""


def main() -> None:
    """Figures first, then as many steps as fit."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scans", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=9.0)
    given = parser.parse_args()
    figures: dict[str, Any] = {
        "device": _name_of(given.device),
        "segment": time_scans(given.labels, given.device),
    }
    write_json(given.out / "figures.json", figures)
    asked: dict[str, Any] = {
        "labels": [given.labels],
        "holdout": HOLDOUT,
        "prior": BRAIN_MODEL,
        "start": BRAIN_MODEL,
        "scans": given.scans,
        "workers": max(1, (os.cpu_count() or 1) - 1),
        "device": given.device,
        "kept_share": {},
        "offset": {},
    }
    figures["train"] = time_steps(asked | {"scans": FEW}, given.out)
    write_json(given.out / "figures.json", figures)
    made_s = figures["train"]["s_a_synthetic_scan"] * given.scans
    left_s = 60 * given.minutes - (time.monotonic() - began) - made_s - RESERVE_S
    steps = max(1, int(left_s / figures["train"]["s_a_step"]))
    print(f"{left_s:.0f} s are left for training: {steps} steps")
    train_encoder.run(_encoder(asked, given.out / "reader.safetensors", steps))
    print(json.dumps(figures, indent=1))


def time_scans(labels: Path, device: str) -> dict[str, Any]:
    """Seconds and memory of synthetic brains, read one after the other; the first warms up."""
    segmenter = Segmenter.load(device=device)
    config = resolve(
        CalibrateConfig,
        CONFIGS / "brain_calibration.yaml",
        {"labels": [labels], "model": BRAIN_MODEL},
    )
    seconds = []
    for n, path in enumerate(find_label_maps([labels])[: 1 + WARM]):
        label_map, sources = centered_map(path, segmenter.model, config.synthesis)
        scan = synthetic_scan(
            label_map,
            sources,
            1.0,
            config.augment,
            config.synthesis,
            generator_of(0, n),
        )
        start = time.perf_counter()
        result = segmenter.segment(scan.volume)
        assert result.label_map.any()
        seconds.append(round(time.perf_counter() - start, 3))
    found: dict[str, Any] = {"first_s": seconds[0], "warm_s": seconds[1:]}
    if device.startswith("cuda"):
        found["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return found


def time_steps(asked: dict[str, Any], out: Path) -> dict[str, Any]:
    """Seconds of a synthetic scan, by all the processes that make them, and of a step."""
    config = _encoder(asked, out / "tried.safetensors", TRIED)
    spread = Spread(config.augment, config.synthesis, config.seed)
    maps = kept(find_label_maps(config.labels), config.holdout)
    start = time.perf_counter()
    made_in = out / "tried" / "readings"
    make_readings(maps, config.prior, spread, made_in, config.scans, config.workers)
    made = time.perf_counter()
    train_encoder.run(config)
    end = time.perf_counter()
    return {
        "s_a_synthetic_scan": round((made - start) / config.scans, 3),
        "s_a_step": round((end - made) / TRIED, 4),
    }


def _name_of(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()


def _encoder(asked: dict[str, Any], out: Path, steps: int) -> TrainEncoderConfig:
    workers = asked["workers"]
    optim = {"steps": steps, "learning_rate": 1e-3, "num_workers": workers, "save_every": 10**6}
    request = asked | {"out": out, "optim": optim}
    return resolve(TrainEncoderConfig, CONFIGS / "brain_encoder.yaml", request)


if __name__ == "__main__":
    with talking():
        main()
