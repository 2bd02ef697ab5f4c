"""A loaded model that reads one scan after the other: the same for Python and the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from seg_prior.checkpoint import Model, load_model
from seg_prior.config import BRAIN_MODEL, InferenceConfig, ReadingConfig, Refine
from seg_prior.conform.chain import Atlas, Conformed, conform
from seg_prior.errors import ConfigError, ImageError, LabelsError
from seg_prior.grid import Affine
from seg_prior.inference.map_estimate import Estimate, Observation, climb
from seg_prior.inference.posterior import (
    NativeVoxels,
    Posterior,
    find_native_voxels,
    log_joints,
    summarise,
)
from seg_prior.inference.reading import budget, read
from seg_prior.inference.uncertainty import (
    credible_interval,
    log_volume_spread,
    softened_entropy,
    softened_probability,
)
from seg_prior.labels import LabelTable
from seg_prior.metrics.intracranial import intracranial_ids
from seg_prior.models.likelihood import IntensityClasses, channel_weight, intensity_classes
from seg_prior.models.location import LocationPrior
from seg_prior.stages import quality, runtime
from seg_prior.stages.calibration import Calibration, calibration_of
from seg_prior.stages.quality import Quality
from seg_prior.stages.settings import misfit
from seg_prior.volume import Image, Volume, as_volume

NUM_DRAWS = 4
"""Of z, for the spread of volumes."""


class Settings(TypedDict, total=False):
    """What `Segmenter.load` takes beside the model; as in `config.ReadingConfig`."""

    output: Literal["posterior", "prior"]
    n4: bool
    volume: int | None
    refine: Refine
    inference: InferenceConfig
    device: str
    threads: int
    seed: int


class LabelVolume(NamedTuple):
    """How big one label of a scan is.

    Attributes:
        id, name: Of the label table; a sum of labels has no id.
        hard_mm3: Of the voxels whose most probable label it is.
        soft_mm3: Its posterior probability, summed over voxels.
        low_mm3, high_mm3: 90 % credible interval; None where the model has no calibration.
        touches_edge: Whether it reaches an outer face of the image, so that a part may be missing.
    """

    id: int | None
    name: str
    hard_mm3: float
    soft_mm3: float
    low_mm3: float | None
    high_mm3: float | None
    touches_edge: bool


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A loaded model, ready to read one scan after the other.

    Attributes:
        model: The checkpoint, its prior on the device.
        classes: Its Gaussians.
        atlas: Its prior as registration sees it.
        device: Where networks run.
        config: How scans are read.
    """

    model: Model
    classes: IntensityClasses
    atlas: Atlas
    device: str
    config: ReadingConfig

    @classmethod
    def load(cls, model: str | Path | None = None, **settings: Unpack[Settings]) -> Self:
        """Load a checkpoint and prepare what every scan needs of it.

        Args:
            model: A checkpoint of any kind; None is the human brain model of the package.
            **settings: As `config.ReadingConfig` has them.

        Raises:
            CheckpointError: The file is not there or no checkpoint of this version.
            ConfigError: A setting or the device does not fit.
        """
        path = BRAIN_MODEL if model is None else Path(model)
        try:
            config = ReadingConfig(model=path, **settings)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(str(part) for part in fault["loc"])
            raise ConfigError(f"{key}: {misfit(fault)}") from error
        return cls.of(config)

    @classmethod
    def of(cls, config: ReadingConfig) -> Self:
        """As `load`, from a config."""
        device = runtime.find_device(config.device)
        model = load_model(config.model)
        classes = intensity_classes(model.header.label_table, model.header.intensity)
        atlas = atlas_of(model)
        model.prior.to(device)
        if model.image_encoder is not None:
            model.image_encoder.to(device)
        return cls(model, classes.to(device), atlas, device, config)

    @cached_property
    def calibration(self) -> Calibration | None:
        """What the model has measured of itself, reading scans as it usually does.

        None where nobody has run `calibrate`, and for the outline of the prior alone.
        """
        return None if self.config.output == "prior" else calibration_of(self.model.header)

    @property
    def temperature(self) -> float:
        """What the log odds of the best label are divided by; 1 without a calibration."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    @property
    def label_table(self) -> LabelTable:
        """The labels of the model."""
        return self.model.header.label_table

    def segment(
        self,
        image: Image | Volume,
        affine: Affine | None = None,
        contrasts: Sequence[Image | Volume] = (),
    ) -> Segmentation:
        """Register, encode, climb, and take the posterior at the scan's own voxels.

        Args:
            image: A path, a nibabel image, a Volume, or an (I, J, K) array with an affine.
            affine: (4, 4), voxel -> millimetres in RAS+, of an array.
            contrasts: Further images of the same subject, which their affines lay upon the first;
                any grids. The result lies on the grid of the first.

        Raises:
            ImageError: The image cannot be read, has no contrast, or shows none of the anatomy.
        """
        volume = _volume_of(image, affine, self.config.volume)
        further = tuple(_volume_of(contrast) for contrast in contrasts)
        seconds: dict[str, float] = {}
        with runtime.cpu_threads(self.config.threads):
            with _timed(seconds, "conform"):
                volumes = (volume, *further)
                conformed = conform(volumes, self.atlas, self.config.n4, self.config.seed)
            return self.read(volume, further, conformed, seconds)

    def read(
        self,
        volume: Volume,
        further: tuple[Volume, ...],
        conformed: Conformed,
        seconds: dict[str, float],
    ) -> Segmentation:
        """`segment`, of what has been registered to a prior of the same label maps.

        Args:
            volume, further: What was registered.
            conformed: That, in both spaces.
            seconds: Of the steps so far; gains those of the others.
        """
        with _timed(seconds, "infer"):
            estimate = infer(self, conformed, self.config.refine, self.config.inference)
        with _timed(seconds, "posterior"):
            voxels = find_native_voxels(
                self.model.location,
                self.atlas.grid,
                conformed.moved,
                conformed.native_observed.any(0),
            )
            if not voxels.index.numel():
                raise ImageError(
                    f"{volume.source}: after registration no voxel lies in the model's anatomy. "
                    "Is it an image of the organ that the model knows?"
                )
            summary = summarise(joints_of(self, conformed, estimate, voxels, self.config.output))
        return Segmentation(self, volume, further, conformed, estimate, voxels, summary, seconds)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One scan, read.

    Attributes:
        segmenter: What read it.
        volume: The scan.
        contrasts: Its further images.
        conformed: The scan in both spaces.
        estimate: z, intensities and log prior.
        voxels, summary: Where anatomy can be, and the posterior there.
        seconds: Wall time of each step.
    """

    segmenter: Segmenter
    volume: Volume
    contrasts: tuple[Volume, ...]
    conformed: Conformed
    estimate: Estimate
    voxels: NativeVoxels
    summary: Posterior
    seconds: dict[str, float]

    @cached_property
    def label_map(self) -> NDArray[np.int32]:
        """(I, J, K) label ids on the scan's grid."""
        indices = torch.zeros(self.volume.data.size, dtype=torch.uint8)
        indices[self.voxels.index.cpu()] = self.summary.best.cpu()
        ids = self.segmenter.label_table.ids[indices.view(self.volume.grid.shape).numpy()]
        return np.asarray(ids)

    @property
    def entropy(self) -> NDArray[np.float32]:
        """(I, J, K) entropy of the posterior, in nats; 0 where anatomy cannot be."""
        temperature = self.segmenter.temperature
        summary = self.summary
        return self._whole(softened_entropy(summary.entropy, summary.confidence, temperature))

    def posterior(self, label: str | int) -> NDArray[np.float32]:
        """(I, J, K) probability of one label, named by its name or id.

        Raises:
            LabelsError: The model has no such label.
        """
        table = self.segmenter.label_table
        known: list[Any] = table.names if isinstance(label, str) else table.ids.tolist()
        if label not in known:
            raise LabelsError(f"label: found {label!r}, need one of {', '.join(map(str, known))}.")
        index = known.index(label)
        probability = next(p for n, p in enumerate(self._probabilities()) if n == index)
        probability = self._softened(index, probability)
        if index == 0:  # background is whatever no other label has
            return 1 - self._whole(1 - probability)
        return self._whole(probability)

    def posteriors(self) -> Iterator[NDArray[np.float32]]:
        """(I, J, K) probability of every label but background, in the label table's order."""
        for index, probability in enumerate(self._probabilities()):
            if index > 0:
                yield self._whole(self._softened(index, probability))

    @cached_property
    def soft_mm3(self) -> tuple[float, ...]:
        """(L,) posterior volume of every label, before its confidence is softened.

        Softened borders would make small structures larger: they have more outside than inside.
        """
        voxel_mm3 = self.volume.grid.voxel_volume_mm3
        return tuple(float(p.double().sum()) * voxel_mm3 for p in self._probabilities())

    @cached_property
    def volumes(self) -> tuple[LabelVolume, ...]:
        """One record for each label but background."""
        voxel_mm3 = self.volume.grid.voxel_volume_mm3
        counts = np.bincount(self.summary.best.cpu().numpy(), minlength=len(self._labels))
        faces = [np.moveaxis(self.label_map, axis, 0)[[0, -1]].ravel() for axis in range(3)]
        at_edge = set(np.unique(np.concatenate(faces)).tolist())
        intervals = self._intervals()
        return tuple(
            LabelVolume(
                id=label.id,
                name=label.name,
                hard_mm3=int(counts[index]) * voxel_mm3,
                soft_mm3=self.soft_mm3[index],
                low_mm3=intervals[index][0],
                high_mm3=intervals[index][1],
                touches_edge=label.id in at_edge,
            )
            for index, label in enumerate(self._labels)
            if index > 0
        )

    @cached_property
    def quality(self) -> Quality:
        """What quality control says; `not measured` where the model has no calibration."""
        return quality.judge(quality.gather(self), self.segmenter.calibration)

    def log_volume_spread(self, num_draws: int) -> NDArray[np.float64]:
        """(L,) deviation of each label's log posterior volume over draws of z from q(z | x)."""
        segmenter, estimate = self.segmenter, self.estimate
        assert estimate.log_var is not None

        def decode(z: Tensor) -> Tensor:
            with runtime.autocast(segmenter.device):
                return segmenter.model.prior.decode(z)

        return log_volume_spread(
            decode,
            observe(segmenter, self.conformed),
            estimate.z,
            estimate.log_var,
            estimate.intensities,
            num_draws,
            segmenter.config.seed,
        )

    @property
    def background_probability(self) -> Tensor:
        """(N,) at the scan's voxels."""
        return next(self._probabilities())

    @property
    def intracranial(self) -> LabelVolume | None:
        """The labels inside the skull together; None where the labels do not define it."""
        ids = intracranial_ids(self.segmenter.label_table)
        inside = [volume for volume in self.volumes if volume.id in ids]
        if not inside:
            return None
        return LabelVolume(
            id=None,
            name="Intracranial-Volume",
            hard_mm3=sum(volume.hard_mm3 for volume in inside),
            soft_mm3=sum(volume.soft_mm3 for volume in inside),
            low_mm3=None,  # the ends of intervals do not add up
            high_mm3=None,
            touches_edge=any(volume.touches_edge for volume in inside),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of this result, one line each."""
        of_contrasts = (f"{one.source}: {text}" for one in self.contrasts for text in one.warnings)
        return (*self.volume.warnings, *of_contrasts, *self.conformed.registration.warnings)

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the label map, the volumes and the sidecar to a folder; the files.

        They are named after the scan's file, and `image` where it never was one.
        """
        from seg_prior.stages import outputs

        return tuple(outputs.save(self, Path(folder)))

    @property
    def _labels(self) -> tuple[Any, ...]:
        return self.segmenter.label_table.labels

    def _intervals(self) -> list[tuple[float, float] | tuple[None, None]]:
        """90 % credible interval of each label's volume, where the calibration has one."""
        calibration = self.segmenter.calibration
        if calibration is None:
            return [(None, None)] * len(self._labels)
        spread = self.log_volume_spread(NUM_DRAWS)
        errors = [calibration.volume_error.get(label.name) for label in self._labels]
        return [
            (None, None)
            if error is None
            else credible_interval(mm3, float(sd), error, calibration.quantile)
            for mm3, sd, error in zip(self.soft_mm3, spread, errors, strict=True)
        ]

    def _probabilities(self) -> Iterator[Tensor]:
        """(N,) posterior probability of one label after the other at the scan's voxels."""
        output = self.segmenter.config.output
        joints = joints_of(self.segmenter, self.conformed, self.estimate, self.voxels, output)
        for joint in joints:
            yield torch.exp(joint - self.summary.log_evidence)

    def _softened(self, index: int, probability: Tensor) -> Tensor:
        """Of (N,) probabilities of one label, what the model's calibration leaves."""
        summary, temperature = self.summary, self.segmenter.temperature
        return softened_probability(
            probability, summary.best == index, summary.confidence, temperature
        )

    def _whole(self, values: Tensor) -> NDArray[np.float32]:
        """(N,) values at the voxels that can hold anatomy -> (I, J, K), 0 elsewhere."""
        whole = torch.zeros(self.volume.data.size)
        whole[self.voxels.index.cpu()] = values.cpu()
        return whole.view(self.volume.grid.shape).numpy()


def typical_intensities(model: Model) -> NDArray[np.float32]:
    """(L,) relative intensity of every label; classes without a typical one are spread evenly."""
    labels, typical = model.header.label_table.labels, model.header.intensity.typical
    names = list(dict.fromkeys(label.intensity_class for label in labels))
    of_class = {name: n / len(names) for n, name in enumerate(names)} | typical
    return np.array([of_class[label.intensity_class] for label in labels], dtype=np.float32)


def atlas_of(model: Model) -> Atlas:
    """The prior as registration sees it: painted with typical intensities."""
    location = model.location
    values = torch.from_numpy(typical_intensities(model))
    probability = location.prob.cpu()
    pair = torch.stack([values @ probability, (probability[0] < 0.5).float()])[None]
    on_cpu = LocationPrior(location.log_prob.cpu(), location.cells.cpu(), location.shape)
    painted, anatomy = on_cpu.scatter(pair, 0.0)[0]
    return Atlas(painted.numpy(), anatomy.numpy() > 0, model.header.grid, model.header.pose_prior)


def observe(segmenter: Segmenter, conformed: Conformed) -> Observation:
    """The image on the voxels of the anatomy mask."""
    location = segmenter.model.location
    return Observation(
        location.gather(conformed.image[None].to(segmenter.device)),
        channel_weight(location.gather(conformed.observed[None].to(segmenter.device))),
        segmenter.classes,
    )


def infer(
    segmenter: Segmenter, conformed: Conformed, refine: Refine | None, config: InferenceConfig
) -> Estimate:
    """z of q(z | x), then climbed on this image's ELBO."""
    model, location = segmenter.model, segmenter.model.location
    seen = observe(segmenter, conformed)
    num_coarse = model.prior.num_coarse

    def decode(z: Tensor) -> Tensor:
        with runtime.autocast(segmenter.device):
            return model.prior.decode(z)

    def encode(soft_labels: Tensor) -> tuple[Tensor, Tensor]:
        with runtime.autocast(segmenter.device):
            if model.image_encoder is None:
                mean, log_var = model.prior.encode(soft_labels)
            else:
                mean, log_var = model.image_encoder(soft_labels, location)
        return mean.float(), log_var.float()

    allowed = budget(refine, has_detail=num_coarse < model.prior.num_latents)
    with torch.no_grad():
        mean, log_var = read(
            encode, decode, seen, location.log_prob[None], num_coarse, allowed.num_readings
        )
    found = climb(decode, seen, mean, allowed.num_steps, config)
    return replace(found, log_var=log_var)


def joints_of(
    segmenter: Segmenter,
    conformed: Conformed,
    estimate: Estimate,
    voxels: NativeVoxels,
    output: str,
) -> Iterator[Tensor]:
    """log joint of one label after the other at the scan's voxels; of the prior alone on demand."""
    where = voxels.index.cpu()
    image = conformed.native.flatten(1)[:, where].to(voxels.index.device)
    observed = conformed.native_observed.flatten(1)[:, where].to(voxels.index.device)
    weight = channel_weight(observed[None].float())[0]
    intensities = estimate.intensities if output == "posterior" else None
    location = segmenter.model.location
    return log_joints(estimate.log_prior, location, voxels, image, weight, intensities)


def _volume_of(
    image: Image | Volume, affine: Affine | None = None, index: int | None = None
) -> Volume:
    return image if isinstance(image, Volume) else as_volume(image, affine, index)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
