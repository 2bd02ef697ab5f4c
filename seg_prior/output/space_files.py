"""Where a scan lies in prior space: the affine, and the scan there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from seg_prior.core.volume import Volume
from seg_prior.files import write_json
from seg_prior.inference.prediction import Prediction
from seg_prior.io.formats import strip_suffix
from seg_prior.io.sidecar import GENERATED_BY
from seg_prior.io.transforms import Place, write_itk_transform, write_lta
from seg_prior.io.write import write_volume
from seg_prior.registration.resample import resample_mean


def write_transform(result: Prediction, path: Path) -> None:
    """The affine as ITK and ANTs have it."""
    write_itk_transform(path, result.registered.registration.prior_from_native)


def write_transform_lta(result: Prediction, path: Path) -> None:
    """The affine as FreeSurfer has it."""
    scan = Place(Path(result.volume.source).name, result.volume.grid)
    prior = Place(result.predictor.config.model.name, result.predictor.atlas.grid)
    write_lta(path, result.registered.registration.prior_from_native, scan, prior)


def write_transform_sidecar(result: Prediction, path: Path) -> None:
    """Which way the transform goes, in both files."""
    content = {
        "Description": "Affine that takes an image from the scan's space to prior space.",
        "tfm": "ITK, LPS mm: point of prior space -> point of the scan, as resampling asks for it.",
        "lta": "FreeSurfer, RAS mm: point of the scan -> point of prior space.",
        "prior_from_native": result.registered.registration.prior_from_native.tolist(),
        "source": result.volume.source,
        "model_sha256": result.predictor.model.sha256,
    }
    write_json(path, content | GENERATED_BY)


def write_moved(result: Prediction, path: Path) -> None:
    """The scan's own intensities, averaged over each voxel of prior space; 0 beyond its view."""
    grid = result.predictor.atlas.grid
    image = torch.from_numpy(result.volume.data.astype(np.float32))[None]
    moved = resample_mean(image, result.registered.moved, grid)[0].numpy()
    write_volume(path, moved, Volume(moved, grid))


def write_moved_sidecar(result: Prediction, path: Path) -> None:
    """Names the image as ours, so that a folder of scans may hold it."""
    content = {
        "Description": "The scan, resampled to prior space; 0 where it shows nothing.",
        "SpatialReference": f"prior space of model {result.predictor.model.sha256}",
        "SkullStripped": result.registered.registration.view == "stripped",
        "source": result.volume.source,
        "files": {f"{strip_suffix(path)}.nii.gz": None},
    }
    write_json(path, content | GENERATED_BY)
