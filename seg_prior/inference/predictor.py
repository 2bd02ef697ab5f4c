"""A loaded model, and how it reads what has been registered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack
from weakref import WeakValueDictionary

import torch
from pydantic import ValidationError
from torch import Tensor

from seg_prior.checkpoints.calibration import Calibration
from seg_prior.checkpoints.file import Model, load_model
from seg_prior.config.base import misfit
from seg_prior.config.inference import (
    BRAIN_MODEL,
    InferenceConfig,
    ReadingConfig,
    Refine,
)
from seg_prior.core.device import autocast, cpu_threads, find_device
from seg_prior.core.labels import LabelTable
from seg_prior.core.sides import left_right_pairs
from seg_prior.errors import CheckpointError, ConfigError
from seg_prior.inference.amortized import read, refine_schedule
from seg_prior.inference.atlas import atlas_of
from seg_prior.inference.correction import FinePrior, correct, offset_of
from seg_prior.inference.posterior import LogPrior, NativeVoxels, log_joints
from seg_prior.inference.refine import (
    SHARPNESS,
    MapEstimate,
    Observation,
    fit_intensities,
    refine_latent,
)
from seg_prior.models.likelihood import IntensityClasses, channel_weight, intensity_classes
from seg_prior.models.location import LocationPrior, rows_of_log_prior
from seg_prior.models.reader_input import FineImage
from seg_prior.registration.groupwise import find_landmarks
from seg_prior.registration.laterality import is_mirrored
from seg_prior.registration.pipeline import Atlas, RegisteredScan

MAX_BACKGROUND = 0.1
"""Of what is in view, by the atlas, where a stripped image is taken to show hardly any background.
Brains and mice have 0.04 to 0.06, a fetal brain in a generous mask 0.25."""


class Settings(TypedDict, total=False):
    """What `Segmenter.load` takes beside the model; as in `config.ReadingConfig`."""

    output: Literal["posterior", "prior"]
    frame: int | None
    refine: Refine
    inference: InferenceConfig
    device: str
    threads: int
    seed: int


@dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded model, its prior where networks run.

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

    def __repr__(self) -> str:
        name, kind = self.config.model.name, self.model.header.kind
        what = f"{kind}, {len(self.label_table) - 1} labels, {self.atlas.grid.size}"
        return f"{type(self).__name__}({name}: {what}, {self.device})"

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
        with cpu_threads(config.threads):
            device = find_device(config.device)
            model = load_model(config.model)
            classes = intensity_classes(model.header.label_table, model.header.intensity)
            atlas = atlas_of(model, device)
            model.prior.to(device)
            if model.image_reader is not None:
                model.image_reader.to(device)
            found = cls(model, classes.to(device), atlas, device, config)
        _LIVING[_key_of(cls, config, model.sha256)] = found
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled is where the model lies, not the model: a result that travels stays small."""
        config = self.config.model_copy(update={"model": self.config.model.absolute()})
        return _again, (type(self), config, self.model.sha256)

    @property
    def num_threads(self) -> int:
        """CPU threads; 0 leaves the choice to torch."""
        return self.config.threads

    @property
    def calibration(self) -> Calibration | None:
        """What the model has measured of itself, reading scans as it usually does.

        None where nobody has run `calibrate`, and for the outline of the prior alone.
        """
        return None if self.config.output == "prior" else self.model.header.calibration

    @property
    def temperature(self) -> float:
        """What the log odds of the best label are divided by; 1 without a calibration."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    @property
    def has_detail(self) -> bool:
        """Whether z says more than where structures lie."""
        return self.model.prior.num_coarse < self.model.prior.num_latents

    @cached_property
    def is_mirrored(self) -> bool:
        """Whether what its labels call left lies on the right of its prior."""
        table, location = self.label_table, self.model.location
        pairs = left_right_pairs(table)
        if not pairs:
            return False
        mean_map = location.likeliest_group.cpu().numpy()
        marks = find_landmarks(mean_map, self.model.header.grid.affine, table.is_structure)
        return is_mirrored(marks, pairs)

    @property
    def label_table(self) -> LabelTable:
        """The labels of results."""
        return self.model.header.label_table.written

    def decode(self, z: Tensor, cells: Tensor | None = None) -> Tensor:
        """(1, K) -> (1, L, V) log f(z), or (1, L, 8 N) at N chosen cells of the mask."""
        with autocast(self.device):
            return self.model.prior.decode(z, cells)

    def observe(self, registered: RegisteredScan) -> Observation:
        """The image on the voxels of the anatomy mask."""
        location, fine = self.model.location, None
        if registered.fine is not None:
            image, observed = (each.to(self.device) for each in registered.fine)
            ignored = registered.fine_ignored
            fine = FineImage(image, observed, None if ignored is None else ignored.to(self.device))
        return Observation(
            location.gather(registered.image[None].to(self.device)),
            channel_weight(location.gather(registered.observed[None].to(self.device))),
            replace(self.classes, is_stripped=is_stripped(registered, location)),
            fine,
        )

    def infer(self, seen: Observation) -> MapEstimate:
        """z of q(z | x), climbed on this image's ELBO; f(z) corrected by what a network sees."""
        model, location, config = self.model, self.model.location, self.config

        def encode(soft_labels: Tensor, is_coarse: bool) -> tuple[Tensor, Tensor]:
            with autocast(self.device):
                mean, log_var = model.prior.encode(soft_labels, is_coarse)
            return mean.float(), log_var.float()

        allowed = refine_schedule(config.refine, self.has_detail, model.image_reader is not None)
        atlas, num_coarse = location.log_prob[None], model.prior.num_coarse
        with torch.no_grad():
            mean, log_var = read(encode, self.decode, seen, atlas, num_coarse, allowed.num_readings)
        found = refine_latent(
            self.decode, model.prior.log_prob, seen, mean, allowed.num_steps, config.inference
        )
        found = replace(found, log_var=log_var)
        if model.image_reader is None or seen.fine is None:
            return found
        offset = offset_of(model.header.offset, self.label_table, location, found.log_prior)
        prior = rows_of_log_prior(found.log_prior[0].half(), location)
        found = replace(found, log_prior=prior.rows[:-1].T[None])  # the other half is given free
        correction = correct(
            model.image_reader, location, seen.fine, prior, found.intensities, offset
        )
        log_prior = found.log_prior.clone(memory_format=torch.contiguous_format)
        log_prior = correction.corrected(log_prior, location)
        intensities = fit_intensities(log_prior, seen, SHARPNESS)
        return replace(found, log_prior=log_prior, intensities=intensities, correction=correction)

    def prior_rows(self, estimate: MapEstimate) -> LogPrior:
        """log f of an estimate, or what a network has made of it, to be read between voxels."""
        if estimate.correction is not None:
            assert self.model.image_reader is not None
            return FinePrior(self.model.image_reader, self.model.location, estimate.correction)
        return rows_of_log_prior(estimate.log_prior[0], self.model.location)

    def joints(
        self, registered: RegisteredScan, estimate: MapEstimate, voxels: NativeVoxels
    ) -> Iterator[Tensor]:
        """(n, G) log joints of one block of the scan's voxels after the other; of the prior if
        asked."""
        location = self.model.location
        return log_joints(
            self.prior_rows(estimate),
            location,
            voxels,
            registered.native.flatten(1),
            registered.native_observed.flatten(1),
            estimate.intensities if self.config.output == "posterior" else None,
            self.model.header.intensity.likelihood_power if self.has_detail else 1.0,
        )


_LIVING: WeakValueDictionary[tuple[type[Predictor], str, str], Predictor] = WeakValueDictionary()
"""So that results that come back from other processes share the model that is here."""


def _key_of(
    kind: type[Predictor], config: ReadingConfig, sha256: str
) -> tuple[type[Predictor], str, str]:
    return kind, config.model_dump_json(exclude={"model"}), sha256


def _again(kind: type[Predictor], config: ReadingConfig, sha256: str) -> Predictor:
    """The predictor that was pickled: one that lives, or loaded anew.

    Raises:
        CheckpointError: Its model is not there any more, or another one is.
    """
    living = _LIVING.get(_key_of(kind, config, sha256))
    if living is not None:
        return living
    found = kind.of(config)
    if found.model.sha256 != sha256:
        raise CheckpointError(
            f"{config.model}: found another model than the result was made by, need that of "
            f"sha256 {sha256[:12]}. Put it back."
        )
    return found


def is_stripped(registered: RegisteredScan, location: LocationPrior) -> bool:
    """Whether background was cut away from an image, by its view and by the atlas."""
    observed = location.gather(registered.observed[None].to(location.log_prob.device))
    is_seen = (observed > 0).any(dim=1)[0]
    background = float(location.background[is_seen].mean())
    return registered.registration.view == "stripped" and background < MAX_BACKGROUND
