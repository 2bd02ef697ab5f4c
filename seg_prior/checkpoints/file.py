"""A model in one safetensors file: weights, configuration, label table, grid, provenance."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from seg_prior.checkpoints.calibration import Calibration
from seg_prior.checkpoints.digest import digest_of
from seg_prior.checkpoints.header import (
    DIGEST_KEY,
    FORMAT_VERSION,
    METADATA_KEY,
    Header,
    Kind,
    read_header,
    read_metadata,
)
from seg_prior.core.labels import LabelTable
from seg_prior.core.memory import too_much
from seg_prior.errors import CheckpointError
from seg_prior.files import atomic_write, sha256_of
from seg_prior.models.density import Density, standard_normal
from seg_prior.models.detail import DetailFlow
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.linear import LinearPrior
from seg_prior.models.location import CELL, FLOOR, LocationPrior
from seg_prior.models.locator import Locator
from seg_prior.models.prior import Prior
from seg_prior.models.reader_input import ReaderSpace

log = logging.getLogger(__name__)
LOG_STEPS = 25
"""log p_loc is stored in steps of 1 / 25 nat: less than what one label map more would change."""

_FLOW = "prior.detail_flow."
_PACKED, _LEAST_PACKED, _STEP = ("prior.encoder.", _FLOW, "image_reader."), 4096, ".step"
"""Whose weights are packed, how many are worth it, and what is stored beside them."""
_DENSITY = "density."
_BYTES_PER_VOXEL = 20
"""Of prior space and label, at the peak of making a location prior."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint.

    Attributes:
        header: Everything but the weights.
        prior: What decodes z; on the CPU, in eval mode, without gradients.
        locator: What sees the anatomy in an image; None unless one has been trained.
        image_reader: What corrects f(z) by the image; None unless one has been trained.
        sha256: Of the file.
    """

    header: Header
    prior: Prior
    locator: Locator | None
    image_reader: ImageReader | None
    sha256: str

    @property
    def location(self) -> LocationPrior:
        """The location prior."""
        return self.prior.location


def save_model(
    path: Path,
    header: Header,
    prior: Prior,
    locator: Locator | None = None,
    image_reader: ImageReader | None = None,
) -> None:
    """Write one file, whole or not at all; weights in 8 or 16 bits, log p_loc sparsely coded.

    The header's form of the flow of the detail is the prior's.
    """
    flow = prior.detail_flow if isinstance(prior, LabelVAE) else None
    header = header.model_copy(update={"detail_flow": flow and flow.config})
    tensors = _pack_location(prior.location)
    for name, tensor in prior.state_dict().items():
        if not name.startswith("location."):
            tensors |= _packed(f"prior.{name}", tensor)
    if not prior.density.is_standard:
        for name, tensor in prior.density.named_buffers():
            tensors |= _packed(f"{_DENSITY}{name}", tensor)
    networks = {"locator": locator, "image_reader": image_reader}
    for prefix, network in networks.items():
        if network is not None:
            for name, tensor in network.state_dict().items():
                tensors |= _packed(f"{prefix}.{name}", tensor)
    _write(path, header, tensors)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put a calibration into a checkpoint that exists; its weights stay bit for bit.

    Raises:
        CheckpointError: As `read_header`.
    """
    header = read_header(path)
    header = header.model_copy(update={"calibration": calibration})
    _write(path, header, _read_tensors(path))


def write_detail_flow(path: Path, out: Path, flow: DetailFlow) -> None:
    """A checkpoint with another flow of the detail; all else stays bit for bit.

    Args:
        path: Checkpoint of an autoencoder with channels of detail.
        out: Where to write it; may be the same.
        flow: Of that autoencoder.

    Raises:
        CheckpointError: As `read_header`.
    """
    header = read_header(path).model_copy(update={"detail_flow": flow.config})
    kept = {k: v for k, v in _read_tensors(path).items() if not k.startswith(_FLOW)}
    for name, tensor in flow.state_dict().items():
        kept |= _packed(f"{_FLOW}{name}", tensor)
    _write(out, header, kept)


def load_model(path: Path, kinds: tuple[str, ...] = get_args(Kind)) -> Model:
    """Read a checkpoint.

    Args:
        path: The file.
        kinds: Kinds that will do.

    Raises:
        CheckpointError: As `read_header`, or the kind is another, or the weights are damaged or
            those of another network.
    """
    header = read_header(path)
    if header.format_version != FORMAT_VERSION:
        log.info("%s: format %d, read as %d", path, header.format_version, FORMAT_VERSION)
    if header.kind not in kinds:
        raise CheckpointError(
            f"{path}: found a checkpoint of kind '{header.kind}', need "
            f"{' or '.join(repr(kind) for kind in kinds)}."
        )
    tensors = _read_tensors(path)
    if any(name.startswith("image_encoder.") for name in tensors):
        log.info("%s: its image encoder is of before and left out; train an image reader", path)
    try:
        return _model(path, header, tensors)
    except (KeyError, IndexError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: found tensors that do not fit its header ({_first_line(error)}). The file is "
            "damaged; copy it again."
        ) from error


def _model(path: Path, header: Header, tensors: dict[str, Tensor]) -> Model:
    location = _unpack_location(tensors, header.label_table, header.shape)
    prior: Prior
    locator = image_reader = None
    if header.vae is None:
        center, basis = _unpacked("prior.center", tensors), _unpacked("prior.basis", tensors)
        needed = (len(location.groups), location.cells.numel())
        if tuple(center.shape) != needed or tuple(basis.shape[1:]) != needed:
            raise ValueError(f"a basis that is not of {needed} groups and cells")
        prior = LinearPrior(location, center, basis)
    else:
        prior = LabelVAE(location, header.vae, is_variational=header.kind == "vae")
        if header.detail_flow is not None:
            prior.add_detail_flow(header.detail_flow)
        _load_weights(prior, tensors, "prior.", path)
    prior.density = _density(header, prior, tensors)
    if header.locator is not None:
        locator = Locator(len(header.label_table.written), header.locator)
        _load_weights(locator, tensors, "locator.", path)
        locator.requires_grad_(False).eval()
    if header.reader is not None:
        space = ReaderSpace.of(location, intensity_classes(header.label_table, header.intensity))
        image_reader = ImageReader(space.num_inputs, len(location.groups), header.reader)
        _load_weights(image_reader, tensors, "image_reader.", path)
        image_reader.requires_grad_(False).eval()
    prior.requires_grad_(False).eval()
    return Model(header, prior, locator, image_reader, sha256_of(path))


def _density(header: Header, prior: Prior, tensors: dict[str, Tensor]) -> Density:
    """p(z) as the file has it; N(0, I) where it keeps nothing of it."""
    names = [name for name in tensors if name.startswith(_DENSITY)]
    if not names and header.density == "normal":
        return standard_normal()
    density = Density(**{name.removeprefix(_DENSITY): _unpacked(name, tensors) for name in names})
    sizes, num_led = density.center.shape, density.directions.shape[0]
    if (sizes and sizes[0] != prior.num_latents) or num_led not in (0, prior.num_coarse):
        raise ValueError(f"a density that is not of {prior.num_latents} numbers")
    return density


def _write(path: Path, header: Header, tensors: dict[str, Tensor]) -> None:
    """Header, tensors and a digest of both."""
    text = header.model_copy(update={"format_version": FORMAT_VERSION}).model_dump_json()
    metadata = {METADATA_KEY: text, DIGEST_KEY: digest_of(text, tensors)}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors, which are those that were written; a file of before has no digest to say so."""
    metadata = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: found no safetensors file ({_first_line(error)}), need a checkpoint written "
            "by seg-prior."
        ) from error
    digest = metadata.get(DIGEST_KEY)
    if digest is not None and digest != digest_of(metadata[METADATA_KEY], tensors):
        raise CheckpointError(
            f"{path}: found another header or other tensors than were written; the file is "
            "damaged. Copy it again."
        )
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _today(name: str) -> str:
    """Of a weight, which files of before call otherwise."""
    return name.replace("decoder.spell.", "decoder.detail_to_logits.")


def _load_weights(
    module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path
) -> None:
    own = [name for name in tensors if name.startswith(prefix) and not name.endswith(_STEP)]
    state = {_today(name.removeprefix(prefix)): _unpacked(name, tensors) for name in own}
    state |= {k: v for k, v in module.state_dict().items() if k.startswith("location.")}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: found weights of another network, need those of this seg-prior's. Train it "
            "again or install the seg-prior that wrote it."
        ) from error


def _packed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Under its name: half precision; large matrices of what reads in eight bits, with row steps.

    A row is what one output channel weighs; its step is a 127th of its largest weight.
    """
    tensor = tensor.detach().cpu().float().contiguous()
    is_large = tensor.ndim > 1 and tensor.numel() >= _LEAST_PACKED
    if not is_large or not name.startswith(_PACKED):
        return {name: tensor.half()}
    step = tensor.flatten(1).abs().amax(1).clamp_min(1e-8) / 127
    code = (tensor / step.view(-1, *[1] * (tensor.ndim - 1))).round().to(torch.int8)
    return {name: code, name + _STEP: step}


def _unpacked(name: str, tensors: dict[str, Tensor]) -> Tensor:
    """What `_packed` stored, float32."""
    value = tensors[name].float()
    step = tensors.get(name + _STEP)
    return value if step is None else value * step.view(-1, *[1] * (value.ndim - 1))


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
