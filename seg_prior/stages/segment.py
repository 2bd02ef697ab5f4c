"""`segment`: a scan in, a label map on the scan's own grid out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from seg_prior.checkpoint import Model, load_model
from seg_prior.config import InferenceConfig, SegmentConfig
from seg_prior.conform.chain import Atlas, Conformed, conform
from seg_prior.errors import ConfigError, ImageError, SegPriorError
from seg_prior.inference.map_estimate import REFINE_STEPS, Estimate, Observation, climb
from seg_prior.inference.posterior import (
    NativeVoxels,
    Posterior,
    find_native_voxels,
    log_joints,
    summarise,
)
from seg_prior.models.image_encoder import atlas_posterior
from seg_prior.models.likelihood import IntensityClasses, intensity_classes
from seg_prior.models.location import LocationPrior
from seg_prior.stages import runtime
from seg_prior.stages.inputs import find_images
from seg_prior.volume import SUFFIXES, Volume, read_volume, stem, whole_file, write_volume


@dataclass(frozen=True, eq=False)
class Reader:
    """A loaded model, ready to read one scan after the other.

    Attributes:
        model: The checkpoint, its prior on the device.
        classes: Its Gaussians.
        atlas: Its prior as registration sees it.
        device: Where networks run.
    """

    model: Model
    classes: IntensityClasses
    atlas: Atlas
    device: str


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One scan, read.

    Attributes:
        label_map: (I, J, K) label ids on the scan's grid.
        conformed: The scan in both spaces.
        estimate: z, intensities and log prior.
        voxels, posterior: Where anatomy can be, and the posterior there.
        seconds: Wall time of each step.
        warnings: One line each.
    """

    label_map: NDArray[np.int32]
    conformed: Conformed
    estimate: Estimate
    voxels: NativeVoxels
    posterior: Posterior
    seconds: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a request: files written, and (file, message) of those that failed."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def run(config: SegmentConfig, show: Callable[[str], None] = print) -> Outcome:
    """Segment every scan; one that fails does not stop the others.

    Raises:
        SegPriorError: The request itself does not fit, or the only scan failed.
    """
    images = find_images(config.images)
    targets = plan(images, config.out)
    device = runtime.start(config)
    reader = load_reader(config.model, device)
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    for image, target in tqdm(list(zip(images, targets, strict=True)), disable=_is_silent(config)):
        try:
            volume = read_volume(image)
            result = segment_volume(reader, volume, config)
            written += write(result, volume, target, reader, config)
        except SegPriorError as error:
            if len(images) == 1:
                raise
            failed.append((image, str(error)))
        else:
            for warning in result.warnings:
                show(f"{image}: {warning}")
    return Outcome(tuple(written), tuple(failed))


def plan(images: list[Path], out: Path) -> list[Path]:
    """The label map to write for each image.

    Raises:
        ConfigError: Several images and one file, or two images of one name.
    """
    if out.name.lower().endswith(SUFFIXES):
        if len(images) > 1:
            raise ConfigError(f"{out}: found {len(images)} scans and one file, need a folder.")
        return [out]
    targets = [out / f"{stem(image)}_dseg.nii.gz" for image in images]
    repeated = {target.name for target in targets if targets.count(target) > 1}
    if repeated:
        raise ConfigError(f"{out}: two scans would both be written to {min(repeated)}; rename one.")
    return targets


def load_reader(path: Path, device: str) -> Reader:
    """Load a checkpoint and prepare what every scan needs of it."""
    model = load_model(path)
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    atlas = atlas_of(model)
    model.prior.to(device)
    if model.image_encoder is not None:
        model.image_encoder.to(device)
    return Reader(model, classes.to(device), atlas, device)


def atlas_of(model: Model) -> Atlas:
    """The prior as registration sees it: painted with typical intensities."""
    table, location = model.header.label_table, model.location
    names = list(dict.fromkeys(label.intensity_class for label in table.labels))
    paint = {name: n / len(names) for n, name in enumerate(names)} | model.header.intensity.typical
    values = torch.tensor([paint[label.intensity_class] for label in table.labels])
    probability = location.prob.cpu()
    pair = torch.stack([values @ probability, (probability[0] < 0.5).float()])[None]
    on_cpu = LocationPrior(location.log_prob.cpu(), location.cells.cpu(), location.shape)
    painted, anatomy = on_cpu.scatter(pair, 0.0)[0]
    return Atlas(painted.numpy(), anatomy.numpy() > 0, model.header.grid, model.header.pose_prior)


def segment_volume(
    reader: Reader, volume: Volume, config: SegmentConfig, conformed: Conformed | None = None
) -> Segmentation:
    """Register, encode, climb, and take the posterior at the scan's own voxels.

    Priors of the same label maps share a registration: `conformed` is another one's of this scan.
    """
    seconds: dict[str, float] = {}
    if conformed is None:
        with _timed(seconds, "conform"):
            conformed = conform(volume, reader.atlas, config.n4, config.seed)
    with _timed(seconds, "infer"):
        estimate = infer(reader, conformed, config.inference)
    with _timed(seconds, "posterior"):
        voxels = find_native_voxels(
            reader.model.location, reader.atlas.grid, conformed.moved, conformed.native_observed
        )
        if not voxels.index.numel():
            raise ImageError(
                f"{volume.source}: after registration no voxel lies in the model's anatomy. "
                "Is it an image of the organ that the model knows?"
            )
        joints = joints_of(reader, conformed, estimate, voxels, config.output)
        posterior = summarise(joints)
        indices = torch.zeros(conformed.native.numel(), dtype=torch.uint8)
        indices[voxels.index.cpu()] = posterior.best.cpu()
    label_map = reader.model.header.label_table.ids[indices.view(volume.grid.shape).numpy()]
    warnings = volume.warnings + conformed.registration.warnings
    return Segmentation(label_map, conformed, estimate, voxels, posterior, seconds, warnings)


def infer(reader: Reader, conformed: Conformed, config: InferenceConfig) -> Estimate:
    """z of q(z | x), then climbed on this image's ELBO."""
    model, location = reader.model, reader.model.location
    seen = Observation(
        location.gather(conformed.image[None, None].to(reader.device))[:, 0],
        location.gather(conformed.observed[None, None].to(reader.device))[:, 0],
        reader.classes,
    )

    def decode(z: Tensor) -> Tensor:
        with runtime.autocast(reader.device):
            return model.prior.decode(z)

    with torch.no_grad():
        read = atlas_posterior(location, seen.image, seen.observed, seen.classes)
        with runtime.autocast(reader.device):
            if model.image_encoder is None:
                mean, _ = model.prior.encode(read)
            else:
                mean, _ = model.image_encoder(read, location)
    vae = model.header.vae
    usual_steps = 0 if vae is not None and vae.detail_channels else REFINE_STEPS
    return climb(decode, seen, mean.float(), config, usual_steps)


def joints_of(
    reader: Reader, conformed: Conformed, estimate: Estimate, voxels: NativeVoxels, output: str
) -> Iterator[Tensor]:
    """log joint of one label after the other at the scan's voxels; of the prior alone on demand."""
    image = conformed.native.flatten().to(voxels.index.device)[voxels.index]
    intensities = estimate.intensities if output == "posterior" else None
    return log_joints(estimate.log_prior, reader.model.location, voxels, image, intensities)


def write(
    result: Segmentation, volume: Volume, target: Path, reader: Reader, config: SegmentConfig
) -> list[Path]:
    """Write the label map, what else was asked for, and last the sidecar that names them all."""
    table = reader.model.header.label_table
    base = target.with_name(stem(target).removesuffix("_dseg"))
    files = [target]
    write_volume(target, result.label_map, volume)
    if config.entropy:
        files.append(base.with_name(f"{base.name}_entropy.nii.gz"))
        write_volume(files[-1], _whole(result.posterior.entropy, result), volume)
    if config.posteriors or config.volumes:
        soft_mm3 = np.zeros(len(table))
        joints = joints_of(reader, result.conformed, result.estimate, result.voxels, config.output)
        for label, joint in enumerate(joints):
            probability = torch.exp(joint - result.posterior.log_evidence)
            soft_mm3[label] = float(probability.double().sum()) * volume.grid.voxel_volume_mm3
            if config.posteriors and label > 0:
                name = f"{base.name}_label-{table.names[label]}_probseg.nii.gz"
                files.append(base.with_name(name))
                write_volume(files[-1], _whole(probability, result), volume)
        if config.volumes:
            files.append(base.with_name(f"{base.name}_volumes.tsv"))
            _write_volumes(files[-1], result, volume, reader, soft_mm3)
    sidecar = target.with_name(f"{stem(target)}.json")
    files.append(sidecar)
    with whole_file(sidecar) as temporary:
        content = describe(result, volume, reader, config) | {"files": [f.name for f in files]}
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return files


def describe(
    result: Segmentation, volume: Volume, reader: Reader, config: SegmentConfig
) -> dict[str, Any]:
    """The sidecar: a run that can explain itself."""
    intensities, registration = result.estimate.intensities, result.conformed.registration
    gaussians = [
        {
            "class": reader.classes.names[int(c)],
            "mean": float(intensities.mean[0, m]),
            "var": float(intensities.var[0, m]),
            "weight": float(intensities.log_weight[0, m].exp()),
        }
        for m, c in enumerate(reader.classes.class_of_component)
    ]
    return {
        "source": volume.source,
        "model": str(config.model),
        "model_sha256": reader.model.sha256,
        "config": config.model_dump(mode="json"),
        "provenance": runtime.provenance(),
        "seconds": {name: round(value, 3) for name, value in result.seconds.items()},
        "registration": {
            "prior_from_native": registration.prior_from_native.tolist(),
            "mutual_information": registration.mutual_information,
            "overlap": None if np.isnan(registration.overlap) else registration.overlap,
        },
        "elbo": result.estimate.elbo,
        "refinement": {
            "steps": len(result.estimate.trace) - 1,
            "first": result.estimate.trace[0],
            "last": result.estimate.trace[-1],
        },
        "mean_entropy": float(result.posterior.entropy.mean()),
        "intensities": gaussians,
        "warnings": list(result.warnings),
    }


def _write_volumes(
    path: Path, result: Segmentation, volume: Volume, reader: Reader, soft_mm3: NDArray[np.float64]
) -> None:
    lines = ["id\tname\tvolume_mm3\tposterior_volume_mm3"]
    for label, soft in list(zip(reader.model.header.label_table.labels, soft_mm3, strict=True))[1:]:
        hard = int((result.label_map == label.id).sum()) * volume.grid.voxel_volume_mm3
        lines.append(f"{label.id}\t{label.name}\t{hard:.1f}\t{soft:.1f}")
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _whole(values: Tensor, result: Segmentation) -> NDArray[np.float32]:
    """(N,) values at the voxels that can hold anatomy -> (I, J, K), 0 elsewhere."""
    whole = torch.zeros(result.conformed.native.numel())
    whole[result.voxels.index.cpu()] = values.cpu()
    return whole.view(result.conformed.native.shape).numpy()


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _is_silent(config: SegmentConfig) -> bool | None:
    return True if config.quiet else None  # None: silent when not a terminal
