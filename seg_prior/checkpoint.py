"""A model in one safetensors file: weights, configuration, label table, grid, provenance."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seg_prior.config import IntensityConfig, VAEConfig
from seg_prior.conform.pose import PosePrior
from seg_prior.errors import CheckpointError
from seg_prior.grid import Grid
from seg_prior.labels import LabelTable
from seg_prior.models.image_encoder import ImageEncoder
from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.linear import LinearPrior
from seg_prior.models.location import FLOOR, LocationPrior
from seg_prior.volume import whole_file

FORMAT_VERSION = 2
Kind = Literal["atlas", "pca", "prior", "model"]
KINDS = ("atlas", "pca", "prior", "model")
LOG_STEPS = 25
"""log p_loc is stored in steps of 1 / 25 nat: less than what one label map more would change."""


class Header(BaseModel):
    """What a checkpoint says of itself, stored as JSON.

    Attributes:
        format_version: Of this layout.
        kind: atlas (no latent), pca (linear latent), prior (label VAE), model (with image encoder).
        shape, affine: Prior grid.
        label_table: The labels in index order.
        intensity: Classes, ties and Gaussians of the likelihood.
        vae: Form of the network; None for atlas and pca.
        pose_prior: Where in an image the anatomy lies; None where scans are cut in any way.
        training: The resolved configuration of the stage that wrote the file.
        provenance: Versions, subjects, dates; for people.
        reference: Figures of held-out or training subjects that a new result is judged by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int
    kind: Kind
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    label_table: LabelTable
    intensity: IntensityConfig
    vae: VAEConfig | None
    pose_prior: PosePrior | None = None
    training: dict[str, Any]
    provenance: dict[str, Any]
    reference: dict[str, Any]

    @property
    def grid(self) -> Grid:
        """The prior grid."""
        return Grid(self.shape, np.array(self.affine))


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint.

    Attributes:
        header: Everything but the weights.
        prior: What decodes z; on the CPU, in eval mode, without gradients.
        image_encoder: q(z | x); None unless the kind is model.
        sha256: Of the file.
    """

    header: Header
    prior: LabelVAE | LinearPrior
    image_encoder: ImageEncoder | None
    sha256: str

    @property
    def location(self) -> LocationPrior:
        """The location prior."""
        return self.prior.location


def save_model(
    path: Path, header: Header, prior: LabelVAE | LinearPrior, image_encoder: ImageEncoder | None
) -> None:
    """Write one file, whole or not at all; weights in half precision, log p_loc sparsely coded."""
    tensors = _pack_location(prior.location)
    for name, tensor in prior.state_dict().items():
        if not name.startswith("location."):
            tensors[f"prior.{name}"] = _half(tensor)
    if image_encoder is not None:
        for name, tensor in image_encoder.state_dict().items():
            tensors[f"image_encoder.{name}"] = _half(tensor)
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={"seg_prior": header.model_dump_json()})


def read_header(path: Path) -> Header:
    """The header alone, without weights.

    Raises:
        CheckpointError: The file is missing, not a checkpoint of this package, or of a version
            that this package does not read.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, need a checkpoint. Check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: found no safetensors file ({error}), need a checkpoint written by seg-prior."
        ) from error
    if "seg_prior" not in metadata:
        raise CheckpointError(
            f"{path}: found a safetensors file of another program, need one written by seg-prior."
        )
    try:
        found = dict(json.loads(metadata["seg_prior"]))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: its header is not JSON ({error}). The file is damaged; copy it again."
        ) from error
    if found.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: found checkpoint version {found.get('format_version')}, need "
            f"{FORMAT_VERSION}. Train it again or install the matching seg-prior."
        )
    try:
        return Header.model_validate(found)
    except ValidationError as error:
        raise CheckpointError(
            f"{path}: its header does not fit ({error.error_count()} faults). The file is damaged."
        ) from error


def load_model(path: Path, kinds: tuple[str, ...] = KINDS) -> Model:
    """Read a checkpoint.

    Args:
        path: The file.
        kinds: Kinds that will do.

    Raises:
        CheckpointError: As `read_header`, or the kind is another, or the weights are those of
            another network.
    """
    header = read_header(path)
    if header.kind not in kinds:
        raise CheckpointError(
            f"{path}: found a checkpoint of kind '{header.kind}', need "
            f"{' or '.join(repr(kind) for kind in kinds)}."
        )
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    location = _unpack_location(tensors, len(header.label_table), header.shape)
    prior: LabelVAE | LinearPrior
    image_encoder = None
    if header.vae is None:
        prior = LinearPrior(
            location, tensors["prior.center"].float(), tensors["prior.basis"].float()
        )
    else:
        prior = LabelVAE(location, header.vae)
        _load_weights(prior, tensors, "prior.", path)
        if header.kind == "model":
            image_encoder = ImageEncoder(prior)
            _load_weights(image_encoder, tensors, "image_encoder.", path)
            image_encoder.requires_grad_(False).eval()
    prior.requires_grad_(False).eval()
    return Model(header, prior, image_encoder, _sha256(path))


def _load_weights(
    module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path
) -> None:
    state = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
    state |= {k: v for k, v in module.state_dict().items() if k.startswith("location.")}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: found weights of another network, need those of this seg-prior's. Train it "
            "again or install the seg-prior that wrote it."
        ) from error


def _half(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().to(torch.float16).contiguous()


def _pack_location(location: LocationPrior) -> dict[str, Tensor]:
    """Most labels are at the floor at most voxels: one bit says so, one byte holds the others."""
    log_prob = location.log_prob.cpu()
    code = (-log_prob * LOG_STEPS).round().clamp(0, 255).to(torch.uint8)
    is_above = log_prob > np.log(2 * FLOOR)
    bits = np.packbits(is_above.numpy().reshape(-1))
    return {
        "location.cells": location.cells.cpu().to(torch.int32),
        "location.is_above": torch.from_numpy(bits),
        "location.code": code[is_above].contiguous(),
    }


def _unpack_location(
    tensors: dict[str, Tensor], num_labels: int, shape: tuple[int, int, int]
) -> LocationPrior:
    cells = tensors["location.cells"].long()
    size = num_labels * cells.numel() * 8
    bits = np.unpackbits(tensors["location.is_above"].numpy(), count=size).astype(bool)
    is_above = torch.from_numpy(bits).view(num_labels, -1)
    log_prob = torch.full(is_above.shape, float(np.log(FLOOR)))
    log_prob[is_above] = -tensors["location.code"].float() / LOG_STEPS
    return LocationPrior(log_prob.log_softmax(0), cells, shape)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
