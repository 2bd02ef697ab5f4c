"""A model in one safetensors file: weights, configuration, label table, grid, provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from seg_prior.checkpoints.header import METADATA_KEY, Header, read_header
from seg_prior.core.labels import LabelTable
from seg_prior.errors import CheckpointError
from seg_prior.files import sha256_of, whole_file
from seg_prior.models.image_encoder import ImageEncoder
from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.linear import LinearPrior
from seg_prior.models.location import FLOOR, LocationPrior
from seg_prior.models.locator import Locator

KINDS = ("atlas", "pca", "prior", "model")
LOG_STEPS = 25
"""log p_loc is stored in steps of 1 / 25 nat: less than what one label map more would change."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint.

    Attributes:
        header: Everything but the weights.
        prior: What decodes z; on the CPU, in eval mode, without gradients.
        image_encoder: q(z | x); None unless the kind is model.
        locator: What sees the anatomy in an image; None unless one has been trained.
        sha256: Of the file.
    """

    header: Header
    prior: LabelVAE | LinearPrior
    image_encoder: ImageEncoder | None
    locator: Locator | None
    sha256: str

    @property
    def location(self) -> LocationPrior:
        """The location prior."""
        return self.prior.location


def save_model(
    path: Path,
    header: Header,
    prior: LabelVAE | LinearPrior,
    image_encoder: ImageEncoder | None = None,
    locator: Locator | None = None,
) -> None:
    """Write one file, whole or not at all; weights in half precision, log p_loc sparsely coded."""
    tensors = _pack_location(prior.location)
    for name, tensor in prior.state_dict().items():
        if not name.startswith("location."):
            tensors[f"prior.{name}"] = _half(tensor)
    for prefix, network in (("image_encoder", image_encoder), ("locator", locator)):
        if network is not None:
            for name, tensor in network.state_dict().items():
                tensors[f"{prefix}.{name}"] = _half(tensor)
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: header.model_dump_json()})


def write_reference(path: Path, more: dict[str, Any]) -> None:
    """Add figures to the reference of a checkpoint that exists; its weights stay bit for bit.

    Raises:
        CheckpointError: As `read_header`.
    """
    header = read_header(path)
    header = header.model_copy(update={"reference": header.reference | more})
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: header.model_dump_json()})


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
    location = _unpack_location(tensors, header.label_table, header.shape)
    prior: LabelVAE | LinearPrior
    image_encoder = locator = None
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
    if header.locator is not None:
        locator = Locator(len(header.label_table.written), header.locator)
        _load_weights(locator, tensors, "locator.", path)
        locator.requires_grad_(False).eval()
    prior.requires_grad_(False).eval()
    return Model(header, prior, image_encoder, locator, sha256_of(path))


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
    tensors: dict[str, Tensor], table: LabelTable, shape: tuple[int, int, int]
) -> LocationPrior:
    cells = tensors["location.cells"].long()
    size = len(table) * cells.numel() * 8
    bits = np.unpackbits(tensors["location.is_above"].numpy(), count=size).astype(bool)
    is_above = torch.from_numpy(bits).view(len(table), -1)
    log_prob = torch.full(is_above.shape, float(np.log(FLOOR)))
    log_prob[is_above] = -tensors["location.code"].float() / LOG_STEPS
    return LocationPrior(log_prob.log_softmax(0), cells, shape, table.groups)
