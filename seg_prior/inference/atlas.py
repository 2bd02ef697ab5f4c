"""A prior as registration sees it: the image it expects, and what else leads to the pose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.checkpoints.file import Model
from seg_prior.core.device import autocast
from seg_prior.inference.finder import Finder
from seg_prior.inference.locator_likelihood import LocatorLikelihood
from seg_prior.inference.pose_likelihood import PoseLikelihood
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.locator import Locator
from seg_prior.registration.affine import Find
from seg_prior.registration.pipeline import Atlas
from seg_prior.registration.pose_search import PoseGuide


def typical_intensities(model: Model) -> NDArray[np.float32]:
    """Relative intensity of every label of results; classes without one are spread evenly."""
    labels, typical = model.header.label_table.written.labels, model.header.intensity.typical
    names = list(dict.fromkeys(label.intensity_class for label in labels))
    of_class = {name: n / len(names) for n, name in enumerate(names)} | typical
    return np.array([of_class[label.intensity_class] for label in labels], dtype=np.float32)


def atlas_of(model: Model, device: str) -> Atlas:
    """The prior as registration sees it: the image expected of typical intensities.

    Args:
        model: A checkpoint.
        device: Where its locator runs, if it has one.
    """
    location = model.location
    probability = location.prob_of_group
    values = torch.from_numpy(typical_intensities(model)).to(probability.device)
    pair = torch.stack([values @ probability, (probability[0] < 0.5).float()])[None]
    expected, anatomy = location.scatter(pair, 0.0)[0].cpu()
    return Atlas(
        expected.numpy(),
        anatomy.numpy() > 0,
        model.header.grid,
        guide=_guide_of(model, device),
        find=_find_of(model, device),
        is_read_finely=model.image_reader is not None,
    )


def _guide_of(model: Model, device: str) -> PoseGuide | None:
    """What a checkpoint knows of poses; its locator runs on the device, all else on the CPU."""
    header, locator = model.header, model.locator
    prior = header.pose_prior
    if prior is None:
        return None
    classes = intensity_classes(header.label_table, header.intensity)
    pose_path = PoseLikelihood(model.location.on_cpu(), header.grid, classes, prior).pose_path
    if locator is None:
        return PoseGuide(prior, pose_path)
    location = model.location.of_groups()
    see = _see_by(locator, device)
    seen = LocatorLikelihood(see, locator.config.spacing_mm, location, header.grid, prior)
    return PoseGuide(prior, pose_path, seen.locate)


def _find_of(model: Model, device: str) -> Find | None:
    """A locator without a pose prior has learned from heads in any pose; it finds by itself."""
    header, locator = model.header, model.locator
    if locator is None or header.pose_prior is not None:
        return None
    see, spacing_mm = _see_by(locator, device), locator.config.spacing_mm
    return Finder.of(see, spacing_mm, model.location, header.grid, header.label_table.written).find


def _see_by(locator: Locator, device: str) -> Callable[[Tensor], Tensor]:
    """(2, D, H, W) standardised image -> (G, D, H, W) log label probabilities on the CPU."""
    locator.to(device)

    def see(image: Tensor) -> Tensor:
        with torch.no_grad(), autocast(device):
            log_prob: Tensor = locator(image[None].to(device))
        return log_prob[0].cpu()

    return see
