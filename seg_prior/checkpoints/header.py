"""What a checkpoint says of itself, read without its weights and without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seg_prior.checkpoints.calibration import Calibration
from seg_prior.config.base import misfit
from seg_prior.config.intensity import IntensityConfig
from seg_prior.config.networks import (
    DetailFlowConfig,
    LocatorConfig,
    OffsetConfig,
    ReaderConfig,
    VAEConfig,
)
from seg_prior.core.grid import Grid
from seg_prior.core.labels import LabelTable
from seg_prior.core.pose_prior import PosePrior
from seg_prior.errors import CheckpointError

FORMAT_VERSION = 3
METADATA_KEY = "seg_prior"
DIGEST_KEY = "seg_prior_sha256"
Kind = Literal["atlas", "pca", "ae", "vae", "swae"]
DensityKind = Literal["normal", "mixture", "kde"]

Row = Annotated[
    tuple[Annotated[float, Field(ge=-1e7, le=1e7)], ...], Field(min_length=4, max_length=4)
]
Side = Annotated[int, Field(ge=2, le=4096, multiple_of=2)]

_MAX_BYTES = 100_000_000  # what safetensors allows


class Header(BaseModel):
    """What a checkpoint says of itself, stored as JSON.

    Attributes:
        format_version: Of the file; 2 is read as 3, which is what is written.
        kind: atlas (no latent), pca (linear latent), or a label autoencoder: ae, vae or swae.
        density: p(z), which is N(0, I) in files of before.
        shape, affine: Prior grid.
        label_table: The labels in index order.
        intensity: Classes, ties and Gaussians of the likelihood.
        vae: Form of the label autoencoder; None for atlas and pca.
        detail_flow: Form of the network that draws detail; None where there is none.
        pose_prior: Where in an image the anatomy lies; None where scans are cut in any way.
        locator: Form of the network that sees the anatomy in an image; None where there is none.
        reader: Form of the network that corrects f(z) by the image; None where there is none.
        offset: What is added to what that network says; None where there is none.
        training: The resolved configuration of the stage that wrote the file.
        provenance: Versions, subjects, dates; for people.
        reference: Figures of held-out or training subjects; for people.
        calibration: What a new result is judged by; None where nobody has run `calibrate`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format_version: int = Field(ge=2, le=FORMAT_VERSION)
    kind: Kind
    density: DensityKind = "normal"
    shape: tuple[Side, Side, Side]
    affine: tuple[Row, ...] = Field(min_length=4, max_length=4)
    label_table: LabelTable
    intensity: IntensityConfig
    vae: VAEConfig | None
    detail_flow: DetailFlowConfig | None = None
    pose_prior: PosePrior | None = None
    locator: LocatorConfig | None = None
    reader: ReaderConfig | None = None
    offset: OffsetConfig | None = None
    training: dict[str, Any]
    provenance: dict[str, Any]
    reference: dict[str, Any]
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _has_boxes_for_voxels(self) -> Self:
        stretch = np.linalg.svd(np.array(self.affine)[:3, :3], compute_uv=False)
        is_box = float(stretch[2]) > 1e-6 and float(stretch[0]) < 1e4
        if not is_box or list(self.affine[3]) != [0.0, 0.0, 0.0, 1.0]:
            raise ValueError("its affine makes no voxels of the prior grid")
        return self

    @property
    def grid(self) -> Grid:
        """The prior grid."""
        return Grid(self.shape, np.array(self.affine))


def read_header(path: Path) -> Header:
    """The header of a checkpoint.

    Raises:
        CheckpointError: The file is missing, not a checkpoint of this package, or of a version
            that this package does not read.
    """
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path}: found a safetensors file of another program, need one written by seg-prior."
        )
    strange = set(metadata) - {METADATA_KEY, DIGEST_KEY}
    if strange:
        raise CheckpointError(
            f"{path}: found {min(strange)!r} beside its header. The file is damaged; copy it again."
        )
    try:
        found = dict(json.loads(metadata[METADATA_KEY]))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its header is not JSON ({error}). The file is damaged; copy it again."
        ) from error
    if found.get("format_version") not in (2, FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: found checkpoint version {found.get('format_version')}, need "
            f"{FORMAT_VERSION} or 2. Train it again or install the matching seg-prior."
        )
    try:
        return Header.model_validate(_today(found))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its header does not fit ({error}). The file is damaged; copy it again."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] or ("affine",))
        raise CheckpointError(
            f"{path}: its header does not fit: {key}: {misfit(first)} The file is damaged or of "
            "another seg-prior."
        ) from error


def _today(header: dict[str, Any]) -> dict[str, Any]:
    """A header of before, in the words of now."""
    if header["format_version"] == 2:
        header = _from_2(header)
    # A vae_encoder had an image encoder, which nothing reads any more.
    return header | {"kind": "vae"} if header["kind"] == "vae_encoder" else header


def _from_2(header: dict[str, Any]) -> dict[str, Any]:
    """A header of format 2 as format 3 has it: other words, and a place for the calibration."""
    kinds = {"prior": "vae", "model": "vae"}
    reference, intensity = dict(header["reference"]), dict(header["intensity"])
    if "evidence" in intensity:
        intensity["likelihood_power"] = intensity.pop("evidence")
    return header | {
        "kind": kinds.get(header["kind"], header["kind"]),
        "intensity": intensity,
        "calibration": reference.pop("calibration", None),
        "reference": reference,
    }


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file: eight bytes of length, then JSON.

    The safetensors library reads it, too, but only together with numpy's or torch's tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, need a checkpoint. Check the path.")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_MAX_BYTES, path.stat().st_size):
                raise ValueError("header too large")
            raw = file.read(length)
            begin = 8 + length
        content = dict(json.loads(raw))
        metadata = {str(k): str(v) for k, v in dict(content.pop("__metadata__", {})).items()}
        ends = [int(entry["data_offsets"][1]) for entry in content.values()]
    except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: found no safetensors file ({error}), need a checkpoint written by seg-prior."
        ) from error
    if path.stat().st_size != begin + max(ends, default=0):
        raise CheckpointError(
            f"{path}: found no safetensors file (its size is not what its header says), need a "
            "checkpoint written by seg-prior."
        )
    return metadata
