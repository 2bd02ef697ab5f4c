"""The result of a scan as data: label map, volumes, probabilities."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.device import cpu_threads, on_own_threads
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.inference.bias_field import BiasField, fit_bias_field
from seg_prior.inference.label_volumes import LabelVolume, intracranial_volume, label_volumes
from seg_prior.inference.posterior import NativeVoxels, Posterior, find_native_voxels, summarise
from seg_prior.inference.predictor import Predictor
from seg_prior.inference.refine import MANY_VOXELS, MapEstimate, Observation
from seg_prior.inference.remarks import remarks_of
from seg_prior.inference.uncertainty import (
    log_volume_spread,
    softened_entropy,
    softened_probability,
)
from seg_prior.registration.pipeline import RegisteredScan

_MANY_NUMBERS = 1 << 26
"""Probabilities that are taken at once where all are asked for, a quarter of a gigabyte."""
NUM_DRAWS = 4
"""Of z, for the spread of volumes."""
_CELLS_APART = 2
"""Of a large anatomy every second cell tells the spread, for half the time: what it loses is little
beside the noise of a few draws."""


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the wall time of what stands inside to `seconds`, under a name."""
    start = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one scan: data, and what follows from it without a judge or a file.

    Attributes:
        predictor: What made it.
        volume: The scan.
        contrasts: Its further images.
        registered: The scan in both spaces.
        seen: The scan on the voxels of prior space; observed once and carried along.
        estimate: z, intensities and log prior.
        voxels, summary: Where anatomy can be, and the posterior there.
        seconds: Wall time of each step.
        divided: The bias field that the intensities were divided by before they were read, if any.
    """

    predictor: Predictor
    volume: Volume
    contrasts: tuple[Volume, ...]
    registered: RegisteredScan
    seen: Observation
    estimate: MapEstimate
    voxels: NativeVoxels
    summary: Posterior
    seconds: dict[str, float]
    divided: BiasField | None = None

    def __repr__(self) -> str:
        labels = f"{len(self._labels) - 1} labels by {self.predictor.config.model.name}"
        num = len(self.warnings)
        noted = f", {num} warning{'s' if num > 1 else ''}" if num else ""
        return (
            f"{type(self).__name__}({self.volume.source}: {self.volume.grid.size}, {labels}{noted})"
        )

    @property
    def num_threads(self) -> int:
        """CPU threads of whatever is made of it; 0 leaves the choice to torch."""
        return self.predictor.num_threads

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        volume: Volume,
        contrasts: tuple[Volume, ...],
        registered: RegisteredScan,
        seconds: dict[str, float],
        divided: BiasField | None = None,
    ) -> Self:
        """Infer z and intensities, and take the posterior at the scan's own voxels.

        Args:
            predictor: Its prior has the space that the scan was registered to.
            volume, contrasts: What was registered.
            registered: That, in both spaces.
            seconds: Of the steps so far; gains those of the others.
            divided: What the first image was divided by before that.

        Raises:
            ImageError: No voxel lies in the anatomy.
        """
        with timed(seconds, "infer"):
            seen = predictor.observe(registered)
            estimate = predictor.infer(seen)
        with timed(seconds, "posterior"):
            location, grid = predictor.model.location, predictor.atlas.grid
            voxels = find_native_voxels(location, grid, registered.moved, registered.in_view)
            if not voxels.index.numel():
                raise ImageError(
                    f"{volume.source}: after registration no voxel lies in the model's anatomy. "
                    "Is it an image of the organ that the model knows?"
                )
            joints = predictor.joints(registered, estimate, voxels)
            summary = summarise(joints, len(predictor.label_table))
        # fmt: off
        return cls(
            predictor, volume, contrasts, registered, seen, estimate, voxels, summary, seconds,
            divided,
        )
        # fmt: on

    @cached_property
    @on_own_threads
    def bias_left(self) -> BiasField | None:
        """The field that the structures of the first image show, beside what was divided out."""
        table = self.predictor.label_table
        classes = np.where(table.is_structure, table.classes()[1], -1)
        return fit_bias_field(self.volume.data, self.label_indices, classes, self.divided)

    @property
    @on_own_threads
    def label_map(self) -> NDArray[np.int32]:
        """(I, J, K) label ids on the scan's grid."""
        return np.asarray(self.predictor.label_table.ids[self.label_indices])

    @cached_property
    @on_own_threads
    def label_indices(self) -> NDArray[np.uint8]:
        """(I, J, K) places of the labels in the label table, on the scan's grid."""
        return self.voxels.whole(self.summary.best).numpy()

    @property
    @on_own_threads
    def entropy(self) -> NDArray[np.float32]:
        """(I, J, K) entropy of the posterior, in nats; 0 where anatomy cannot be."""
        temperature = self.predictor.temperature
        summary = self.summary
        return self._whole(softened_entropy(summary.entropy, summary.confidence, temperature))

    @on_own_threads
    def posterior(self, label: str | int) -> NDArray[np.float32]:
        """(I, J, K) probability of one label, by its id or its name, upper or lower case.

        Raises:
            LabelsError: The model has no such label.
        """
        index = self.predictor.label_table.index_of(label)
        probability = self._softened(index, self._probabilities([index])[0])
        if index == 0:  # background is whatever no other label has
            return 1 - self._whole(1 - probability)
        return self._whole(probability)

    def posteriors(
        self, groups: Sequence[Sequence[int]] | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """(I, J, K) probability of every label but background, in the label table's order.

        Args:
            groups: Indices of the labels that are one each; each label by itself if None.
        """
        if groups is None:
            groups = [(index,) for index in range(1, len(self._labels))]
        num_labels = max(len(group) for group in groups)
        at_once = max(1, _MANY_NUMBERS // max(1, self.voxels.index.numel() * num_labels))
        for start in range(0, len(groups), at_once):
            part = groups[start : start + at_once]
            rows = iter(self._probabilities([index for group in part for index in group]))
            for group in part:
                with cpu_threads(self.num_threads):
                    each = [self._softened(index, next(rows)) for index in group]
                    whole = self._whole(torch.stack(each).sum(0))
                yield whole

    @cached_property
    @on_own_threads
    def soft_mm3(self) -> tuple[float, ...]:
        """(L,) posterior volume of every label, before its confidence is softened.

        Softened borders would make small structures larger: they have more outside than inside.
        """
        voxel_mm3 = self.volume.grid.voxel_volume_mm3
        return tuple((self.summary.mass * voxel_mm3).tolist())

    @cached_property
    @on_own_threads
    def volumes(self) -> tuple[LabelVolume, ...]:
        """One record for each label but background."""
        faces = [np.moveaxis(self.label_indices, axis, 0)[[0, -1]].ravel() for axis in range(3)]
        calibration = self.predictor.calibration
        return label_volumes(
            self.predictor.label_table,
            self.summary.best.cpu().numpy(),
            self.soft_mm3,
            self.volume.grid.voxel_volume_mm3,
            set(np.unique(np.concatenate(faces)).tolist()),
            calibration,
            None if calibration is None else self.log_volume_spread(NUM_DRAWS),
        )

    @on_own_threads
    def log_volume_spread(self, num_draws: int) -> NDArray[np.float64]:
        """(L,) deviation of each label's log posterior volume over draws of z from q(z | x)."""
        predictor, estimate = self.predictor, self.estimate
        assert estimate.log_var is not None
        location, correction = predictor.model.location, estimate.correction
        apart = _CELLS_APART if location.voxels.numel() > MANY_VOXELS else 1
        cells = torch.arange(0, len(location.cells), apart, device=location.cells.device)

        def decode(z: Tensor) -> Tensor:
            f = predictor.decode(z, cells)
            return f if correction is None else correction.corrected(f, location, cells)

        return log_volume_spread(
            decode,
            self.seen.at(cells),
            estimate.z,
            estimate.log_var,
            estimate.intensities,
            location,
            num_draws,
            predictor.config.seed,
        )

    @property
    @on_own_threads
    def background_probability(self) -> Tensor:
        """(N,) at the scan's voxels."""
        return self._probabilities([0])[0]

    @property
    @on_own_threads
    def intracranial(self) -> LabelVolume | None:
        """The labels inside the skull together; None where the labels do not define it."""
        return intracranial_volume(self.predictor.label_table, self.volumes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of this result, one line each."""
        return (*self.remarks, *self.registered.registration.warnings)

    @cached_property
    @on_own_threads
    def remarks(self) -> tuple[str, ...]:
        """Those that are no doubts of the registration, which quality control tells."""
        return remarks_of(
            self.predictor,
            (self.volume, *self.contrasts),
            self.divided,
            set(np.unique(self.summary.best.cpu().numpy()).tolist()),
        )

    @property
    def _labels(self) -> tuple[Any, ...]:
        return self.predictor.label_table.labels

    @on_own_threads
    def _probabilities(self, indices: Sequence[int]) -> Tensor:
        """Posterior probability of some labels, a row each, at the scan's N voxels."""
        joints = self.predictor.joints(self.registered, self.estimate, self.voxels)
        return torch.cat([torch.softmax(joint, dim=1).T[list(indices)] for joint in joints], dim=1)

    def _softened(self, index: int, probability: Tensor) -> Tensor:
        """Of (N,) probabilities of one label, what the model's calibration leaves."""
        summary, temperature = self.summary, self.predictor.temperature
        return softened_probability(
            probability, summary.best == index, summary.confidence, temperature
        )

    def _whole(self, values: Tensor) -> NDArray[np.float32]:
        """(N,) values at the voxels that can hold anatomy -> (I, J, K), 0 elsewhere."""
        return self.voxels.whole(values).numpy()
