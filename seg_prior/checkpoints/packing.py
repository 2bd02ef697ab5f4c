"""How tensors are stored: half precision, eight bits, one bit and a byte where most is floor."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from seg_prior.core.labels import LabelTable
from seg_prior.core.memory import too_much
from seg_prior.models.cells import CELL
from seg_prior.models.location import FLOOR, LocationPrior

LOG_STEPS = 25
"""log p_loc is stored in steps of 1 / 25 nat: less than what one label map more would change."""
STEP = ".step"
"""End of the name of what is stored beside weights in eight bits."""
_IN_EIGHT_BITS = (
    "prior.encoder.",
    "prior.coarse_field.directions",
    "prior.detail_flow.",
    "image_reader.",
)
"""Whose weights are, where they are as many as `_LEAST_PACKED`: fewer are not worth it."""
_LEAST_PACKED = 4096
_BYTES_PER_VOXEL = 20
"""Of prior space and label, at the peak of making a location prior."""


def packed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Under its name: half precision; large matrices of what reads in eight bits, with row steps.

    A row is what one output channel weighs; its step is a 127th of its largest weight.
    """
    tensor = tensor.detach().cpu().float().contiguous()
    is_large = tensor.ndim > 1 and tensor.numel() >= _LEAST_PACKED
    if not is_large or not name.startswith(_IN_EIGHT_BITS):
        return {name: tensor.half()}
    step = tensor.flatten(1).abs().amax(1).clamp_min(1e-8) / 127
    code = (tensor / step.view(-1, *[1] * (tensor.ndim - 1))).round().to(torch.int8)
    return {name: code, name + STEP: step}


def unpacked(name: str, tensors: dict[str, Tensor]) -> Tensor:
    """What `packed` stored, float32."""
    value = tensors[name].float()
    step = tensors.get(name + STEP)
    return value if step is None else value * step.view(-1, *[1] * (value.ndim - 1))


def pack_location(location: LocationPrior) -> dict[str, Tensor]:
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


def unpack_location(
    tensors: dict[str, Tensor], table: LabelTable, shape: tuple[int, int, int]
) -> LocationPrior:
    """What `pack_location` stored, on a grid of a shape.

    Raises:
        ValueError: The tensors fit neither shape nor table, or there is not the memory.
    """
    cells = tensors["location.cells"].long()
    num_cells = math.prod(shape) // CELL
    if (
        not 0 < cells.numel() <= num_cells
        or not 0 <= int(cells.min()) <= int(cells.max()) < num_cells
    ):
        raise ValueError(f"cells of the location prior outside its {num_cells}")
    refusal = too_much(_BYTES_PER_VOXEL * float(len(table)) * math.prod(shape))
    if refusal:
        raise ValueError(f"a prior of shape {shape} and {len(table)} labels {refusal}")
    size = len(table) * cells.numel() * 8
    packed = tensors["location.is_above"].numpy()
    if packed.size != -(-size // 8):
        raise ValueError(f"{packed.size} bytes for {size} voxels of labels")
    bits = np.unpackbits(packed, count=size).astype(bool)
    is_above = torch.from_numpy(bits).view(len(table), -1)
    log_prob = torch.full(is_above.shape, float(np.log(FLOOR)))
    log_prob[is_above] = -tensors["location.code"].float() / LOG_STEPS
    return LocationPrior(log_prob.log_softmax(0), cells, shape, table.groups)
