"""One scan after the other, read by a loaded model: the same for Python and the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.device import cpu_threads
from seg_prior.core.freesurfer import intracranial_ids
from seg_prior.core.grid import Affine
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError, LabelsError
from seg_prior.inference.posterior import NativeVoxels, Posterior, find_native_voxels, summarise
from seg_prior.inference.prediction import NUM_DRAWS, LabelVolume
from seg_prior.inference.predictor import Reader, infer, joints_of, observe
from seg_prior.inference.refine import Estimate
from seg_prior.inference.uncertainty import (
    credible_interval,
    log_volume_spread,
    softened_entropy,
    softened_probability,
)
from seg_prior.io.nifti import Image, as_volume
from seg_prior.quality.measures import gather
from seg_prior.quality.verdict import Quality, judge
from seg_prior.registration.pipeline import Conformed, conform


class Segmenter(Reader):
    """A loaded model, ready to segment one scan after the other."""

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
        with cpu_threads(self.config.threads):
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
            estimate = infer(self, conformed)
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
            summary = summarise(joints_of(self, conformed, estimate, voxels))
        return Segmentation(self, volume, further, conformed, estimate, voxels, summary, seconds)


def _volume_of(
    image: Image | Volume, affine: Affine | None = None, index: int | None = None
) -> Volume:
    return image if isinstance(image, Volume) else as_volume(image, affine, index)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One scan, read.

    Attributes:
        reader: What read it.
        volume: The scan.
        contrasts: Its further images.
        conformed: The scan in both spaces.
        estimate: z, intensities and log prior.
        voxels, summary: Where anatomy can be, and the posterior there.
        seconds: Wall time of each step.
    """

    reader: Reader
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
        ids = self.reader.label_table.ids[indices.view(self.volume.grid.shape).numpy()]
        return np.asarray(ids)

    @property
    def entropy(self) -> NDArray[np.float32]:
        """(I, J, K) entropy of the posterior, in nats; 0 where anatomy cannot be."""
        temperature = self.reader.temperature
        summary = self.summary
        return self._whole(softened_entropy(summary.entropy, summary.confidence, temperature))

    def posterior(self, label: str | int) -> NDArray[np.float32]:
        """(I, J, K) probability of one label, named by its name or id.

        Raises:
            LabelsError: The model has no such label.
        """
        table = self.reader.label_table
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
    def qc(self) -> Quality:
        """What quality control says; `not measured` where the model has no calibration."""
        return judge(gather(self), self.reader.calibration)

    def log_volume_spread(self, num_draws: int) -> NDArray[np.float64]:
        """(L,) deviation of each label's log posterior volume over draws of z from q(z | x)."""
        reader, estimate = self.reader, self.estimate
        assert estimate.log_var is not None

        return log_volume_spread(
            reader.decode,
            observe(reader, self.conformed),
            estimate.z,
            estimate.log_var,
            estimate.intensities,
            reader.model.location,
            num_draws,
            reader.config.seed,
        )

    @property
    def background_probability(self) -> Tensor:
        """(N,) at the scan's voxels."""
        return next(self._probabilities())

    @property
    def intracranial(self) -> LabelVolume | None:
        """The labels inside the skull together; None where the labels do not define it."""
        ids = intracranial_ids(self.reader.label_table)
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
        from seg_prior.output import writers

        return tuple(writers.save(self, Path(folder)))

    @property
    def _labels(self) -> tuple[Any, ...]:
        return self.reader.label_table.labels

    def _intervals(self) -> list[tuple[float, float] | tuple[None, None]]:
        """90 % credible interval of each label's volume, where the calibration has one."""
        calibration = self.reader.calibration
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
        joints = joints_of(self.reader, self.conformed, self.estimate, self.voxels)
        for joint in joints:
            yield torch.exp(joint - self.summary.log_evidence)

    def _softened(self, index: int, probability: Tensor) -> Tensor:
        """Of (N,) probabilities of one label, what the model's calibration leaves."""
        summary, temperature = self.summary, self.reader.temperature
        return softened_probability(
            probability, summary.best == index, summary.confidence, temperature
        )

    def _whole(self, values: Tensor) -> NDArray[np.float32]:
        """(N,) values at the voxels that can hold anatomy -> (I, J, K), 0 elsewhere."""
        whole = torch.zeros(self.volume.data.size)
        whole[self.voxels.index.cpu()] = values.cpu()
        return whole.view(self.volume.grid.shape).numpy()
