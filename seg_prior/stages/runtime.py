"""What every stage does first: choose the device, the threads, and what to record of the run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from seg_prior.config import RuntimeConfig
from seg_prior.errors import ConfigError
from seg_prior.header import Header


def start(config: RuntimeConfig) -> str:
    """Apply threads and seed to this process; the device as torch names it.

    Raises:
        ConfigError: The device does not exist here.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    return find_device(config.device)


def find_device(name: str) -> str:
    """The device as torch names it.

    Raises:
        ConfigError: The device does not exist here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cpu" and not index:
        return "cpu"
    if kind == "cuda" and (not index or index.isdecimal()):
        if int(index or 0) < torch.cuda.device_count():
            return name
        raise ConfigError(
            f"device: found '{name}', but torch sees {torch.cuda.device_count()} GPUs. "
            "Use --device cpu."
        )
    raise ConfigError(f"device: found '{name}', need auto, cpu, cuda or cuda:N.")


@contextmanager
def cpu_threads(num: int) -> Iterator[None]:
    """So many CPU threads while it lasts; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(num or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_checkpoint_name(out: Path) -> None:
    """Training leaves a folder of logs beside the checkpoint, named like it without its suffix.

    Raises:
        ConfigError: The name does not end in .safetensors.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out}: found the suffix '{out.suffix}', need .safetensors.")


def is_first_process() -> bool:
    """Whether this process writes; of those that torchrun starts, one does."""
    return os.environ.get("RANK", "0") == "0"


def autocast(device: str) -> torch.autocast:
    """bfloat16 for networks where the hardware multiplies in it, float32 elsewhere.

    Everything with a logarithm (likelihoods, warps, sums over voxels) stays in float32.
    """
    if device == "cpu":
        knows_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast("cpu", torch.bfloat16, enabled=knows_bfloat16)
    return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported())


def request_of(config: RuntimeConfig) -> str:
    """What must be the same for a training to be resumed."""
    return config.model_dump_json(exclude={"out", "device", "threads", "quiet"})


def settings_of(config: RuntimeConfig) -> dict[str, Any]:
    """A config for a checkpoint that travels: everything but the paths of this machine."""
    kept = {
        name
        for name, value in config
        if not any(
            isinstance(item, Path) for item in (value if isinstance(value, list) else [value])
        )
    }
    return config.model_dump(mode="json", include=kept)


def signed(header: Header, stage: str, config: RuntimeConfig, num_scans: int) -> Header:
    """A header with what a stage was asked and from how many scans, where and when it learned."""
    training = header.training | {stage: settings_of(config)}
    made = header.provenance | {stage: provenance() | {"num_scans": num_scans}}
    return header.model_copy(update={"training": training, "provenance": made})


def provenance() -> dict[str, Any]:
    """Versions and date, for sidecars and checkpoints."""
    packages = ("seg-prior", "torch", "numpy", "nibabel", "SimpleITK")
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }
