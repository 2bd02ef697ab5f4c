"""What to record of a run: who asked what, with which versions, from how many scans."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seg_prior.checkpoints.header import Header
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.errors import ConfigError


def check_checkpoint_name(out: Path) -> None:
    """Training leaves a folder of logs beside the checkpoint, named like it without its suffix.

    Raises:
        ConfigError: The name does not end in .safetensors.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out}: found the suffix '{out.suffix}', need .safetensors.")


def training_files(folder: Path) -> list[Path]:
    """What a training leaves in its folder."""
    return [folder / name for name in ("last.pt", "log.csv", "log.png")]


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


def signed(
    header: Header, stage: str, config: RuntimeConfig, num_scans: int, request: Mapping[str, Any]
) -> Header:
    """A header with what a stage was asked and from how many scans, where and when it learned."""
    training = header.training | {stage: settings_of(config)}
    new = provenance() | {"num_scans": num_scans, "request": dict(request)}
    made = header.provenance | {stage: new}
    return header.model_copy(update={"training": training, "provenance": made})


def provenance() -> dict[str, Any]:
    """Versions and date, for sidecars and checkpoints."""
    packages = ("seg-prior", "torch", "numpy", "nibabel", "SimpleITK")
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }
