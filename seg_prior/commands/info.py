"""`info`: a checkpoint in, what it holds out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seg_prior.config.base import FrozenModel
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.files import Files

if TYPE_CHECKING:
    from torch import nn

    from seg_prior.checkpoints.file import Model

SUMMARY = "Show what a checkpoint holds."
EXAMPLE = "seg-prior info prior.safetensors"
OPERANDS = "file"
_INDENT = "  "


class Config(FrozenModel):
    """`info`: a checkpoint in, what it holds out."""

    file: Path = BRAIN_MODEL
    """A checkpoint; the human brain model of the package if none is named."""
    format: Literal["text", "json"] = "text"
    """Write text for people, or one json object."""


def files(config: Config) -> Files:
    """What `run` reads; it writes nothing."""
    return Files([config.file], [])


def run(config: Config) -> dict[str, Any]:
    """Show what a checkpoint holds, for people or as one JSON object.

    Raises:
        CheckpointError: The file is missing, not a checkpoint, or of another version.
    """
    from seg_prior.checkpoints.file import load_model

    facts = describe(load_model(config.file), config.file)
    is_json = config.format == "json"
    print(json.dumps(facts, indent=1) if is_json else "\n".join(_lines(facts)))
    return facts


def describe(model: Model, file: Path) -> dict[str, Any]:
    """Everything that `info` tells, as JSON holds it."""
    from seg_prior.models.label_vae import LabelVAE

    header, prior = model.header, model.prior
    grid, table = header.grid, header.label_table
    latent: dict[str, Any] = {"num_latents": prior.num_latents}
    if prior.num_latents:
        latent["density"] = header.density
    if isinstance(prior, LabelVAE):
        channels, *cells = prior.decoder.latent_shape
        latent |= {"channels": channels, "cells": cells}
    networks = {"prior": prior, "locator": model.locator, "image_reader": model.image_reader}
    return {
        "file": str(file),
        "kind": header.kind,
        "format_version": header.format_version,
        "sha256": model.sha256,
        "size": {
            "megabytes": round(file.stat().st_size / 1e6, 3),
            "num_weights": {
                name: _num_weights(network)
                for name, network in networks.items()
                if network is not None
            },
        },
        "grid": {
            "shape": list(grid.shape),
            "spacing_mm": [round(float(edge), 6) for edge in grid.spacing_mm],
            "affine": [list(row) for row in header.affine],
            "num_anatomy_voxels": model.location.voxels.numel(),
        },
        "latent": latent,
        "labels": [label.model_dump(mode="json") for label in table.labels],
        "intensity": header.intensity.model_dump(mode="json"),
        "vae": header.vae and header.vae.model_dump(mode="json"),
        "offset": header.offset and header.offset.model_dump(mode="json"),
        "training": header.training,
        "provenance": header.provenance,
        "reference": header.reference,
        "calibration": header.calibration and header.calibration.model_dump(mode="json"),
    }


def _num_weights(network: nn.Module) -> int:
    """Numbers that were fitted, the location prior left out."""
    tensors = network.state_dict().items()
    return sum(tensor.numel() for name, tensor in tensors if not name.startswith("location."))


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts for people: long lists shortened, labels as a table."""
    for key, value in facts.items():
        if key == "labels":
            yield f"labels: {len(value)}"
            yield from _label_rows(value)
        else:
            yield from _outline(key, value, "")


def _label_rows(labels: list[dict[str, Any]]) -> Iterator[str]:
    name_of = {label["id"]: label["name"] for label in labels}
    width = max(len(name) for name in name_of.values())
    class_width = max(len(label["intensity_class"]) for label in labels)
    for label in labels:
        text = (
            f"{label['id']:>7}  {label['name']:{width}}  {label['intensity_class']:{class_width}}"
        )
        if label["partner_id"] != label["id"]:
            text += f"  partner {label['partner_id']}"
        others = [value for value in label["source_ids"] if value != label["id"]]
        if others:
            text += f"  also {_short(others)}"
        yield text.rstrip()


def _outline(key: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield f"{indent}{key}:"
        for inner_key, inner in value.items():
            yield from _outline(inner_key, inner, indent + _INDENT)
    else:
        yield f"{indent}{key}: {_short(value)}"


def _short(value: Any) -> str:
    """Numbers with four digits, the first of a long list, a dash for nothing."""
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        few = ", ".join(_short(item) for item in value[:6])
        return f"[{few}]" if len(value) <= 6 else f"[{few}, ... {len(value)} in all]"
    return str(value)
