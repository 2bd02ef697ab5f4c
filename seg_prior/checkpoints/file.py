"""A model in one safetensors file: weights, configuration, label table, grid, provenance."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

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
from seg_prior.checkpoints.packing import (
    STEP,
    pack_location,
    packed,
    unpack_location,
    unpacked,
)
from seg_prior.errors import CheckpointError
from seg_prior.files import atomic_write, sha256_of
from seg_prior.models.density import Density, standard_normal
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.linear import LinearPrior
from seg_prior.models.location import LocationPrior
from seg_prior.models.locator import Locator
from seg_prior.models.neighbours import Neighbours
from seg_prior.models.prior import Prior
from seg_prior.models.reader_input import ReaderSpace

log = logging.getLogger(__name__)
_FIELD, _FLOW = "prior.coarse_field.", "prior.detail_flow."
_NEIGHBOURS = "prior.neighbours.repulsion"
_DENSITY = "density."


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
    tensors = pack_location(prior.location)
    for name, tensor in prior.state_dict().items():
        if not name.startswith("location."):
            tensors |= packed(f"prior.{name}", tensor)
    if not prior.density.is_standard:
        for name, tensor in prior.density.named_buffers():
            tensors |= packed(f"{_DENSITY}{name}", tensor)
    networks = {"locator": locator, "image_reader": image_reader}
    for prefix, network in networks.items():
        if network is not None:
            for name, tensor in network.state_dict().items():
                tensors |= packed(f"{prefix}.{name}", tensor)
    _write(path, header, tensors)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put a calibration into a checkpoint that exists; its weights stay bit for bit.

    Raises:
        CheckpointError: As `read_header`.
    """
    header = read_header(path)
    header = header.model_copy(update={"calibration": calibration})
    _write(path, header, _read_tensors(path))


def write_draws(path: Path, out: Path, prior: LabelVAE) -> None:
    """A checkpoint with another field of the coarse part, flow of the detail and repulsion of
    neighbours, which draws are made with; all else stays bit for bit.

    Args:
        path: Checkpoint of an autoencoder.
        out: Where to write it; may be the same.
        prior: That autoencoder, with what it draws by.

    Raises:
        CheckpointError: As `read_header`.
    """
    flow = prior.detail_flow
    header = read_header(path).model_copy(update={"detail_flow": flow and flow.config})
    of_draws = (_FIELD, _FLOW, _NEIGHBOURS)
    kept = {k: v for k, v in _read_tensors(path).items() if not k.startswith(of_draws)}
    for name, tensor in prior.state_dict().items():
        if f"prior.{name}".startswith(of_draws):
            kept |= packed(f"prior.{name}", tensor)
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
    location = unpack_location(tensors, header.label_table, header.shape)
    prior: Prior
    locator = image_reader = None
    if header.vae is None:
        center, basis = unpacked("prior.center", tensors), unpacked("prior.basis", tensors)
        needed = (len(location.groups), location.cells.numel())
        if tuple(center.shape) != needed or tuple(basis.shape[1:]) != needed:
            raise ValueError(f"a basis that is not of {needed} groups and cells")
        prior = LinearPrior(location, center, basis)
    else:
        prior = LabelVAE(location, header.vae, is_variational=header.kind == "vae")
        if any(name.startswith(_FIELD) for name in tensors):
            # One of before has no directions, and a flow of before no gain.
            nothing = torch.zeros(0, prior.num_coarse)
            prior.add_coarse_field(len(tensors.setdefault(f"{_FIELD}directions", nothing)))
        if header.detail_flow is not None:
            prior.add_detail_flow(header.detail_flow)
            tensors.setdefault(f"{_FLOW}gain", torch.ones(()))
    if _NEIGHBOURS in tensors:
        prior.neighbours = _neighbours(location, tensors)
    if isinstance(prior, LabelVAE):
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


def _neighbours(location: LocationPrior, tensors: dict[str, Tensor]) -> Neighbours:
    repulsion, num_groups = unpacked(_NEIGHBOURS, tensors), len(location.groups)
    if repulsion.shape != (num_groups, num_groups):
        raise ValueError(f"a repulsion of neighbours that is not of {num_groups} labels")
    return Neighbours(repulsion)


def _density(header: Header, prior: Prior, tensors: dict[str, Tensor]) -> Density:
    """p(z) as the file has it; N(0, I) where it keeps nothing of it."""
    names = [name for name in tensors if name.startswith(_DENSITY)]
    if not names and header.density == "normal":
        return standard_normal()
    density = Density(**{name.removeprefix(_DENSITY): unpacked(name, tensors) for name in names})
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
    own = [name for name in tensors if name.startswith(prefix) and not name.endswith(STEP)]
    state = {_today(name.removeprefix(prefix)): unpacked(name, tensors) for name in own}
    state |= {k: v for k, v in module.state_dict().items() if k.startswith("location.")}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: found weights of another network, need those of this seg-prior's. Train it "
            "again or install the seg-prior that wrote it."
        ) from error
