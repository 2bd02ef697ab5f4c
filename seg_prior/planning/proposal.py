"""Settings proposed from a data set's fingerprint, and Gaussians from its unlabelled images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from seg_prior.inference.predictor import Predictor
from seg_prior.inference.refine import EM_ROUNDS, Observation
from seg_prior.io.read import read_volume
from seg_prior.models import em, likelihood
from seg_prior.models.cells import CELL
from seg_prior.models.likelihood import Intensities, IntensityClasses
from seg_prior.planning.fingerprint import Fingerprint
from seg_prior.registration.pipeline import register_scan

MAX_VOXELS = 350_000
"""Of the box around the anatomy on the prior grid: ten to twenty minutes of training on a core."""
MAX_GAUSSIANS = 6
MIN_GAIN_NATS = 0.01
"""A further Gaussian must raise the held-out log likelihood by so much per voxel."""
DETAIL_CHANNELS = 16
"""Of z, that are proposed for any organ."""
LIKELIHOOD_POWER = 0.5
"""Where every structure has Gaussians of its own, many share one intensity. Chosen on images that
are not scored: a mouse gains 0.014; 18 hippocampi, 6 hearts and a fetal brain move by 0.001."""

log = logging.getLogger(__name__)

_MAX_EXTENT_RATIO = 1.2  # of images to label maps that are cut alike


def propose_prior(print_: Fingerprint) -> dict[str, object]:
    """Settings of `train-prior`, in the form of its config.

    The spacing is the finest in-plane one that keeps the box around the anatomy below
    `MAX_VOXELS`; lengths of the augmentation are shares of that box.
    """
    boxes = np.array([one.box_mm for one in print_.maps])
    box_mm = np.median(boxes, axis=0)
    longest_mm = float(box_mm.max())
    finest_mm = float(np.median([one.grid.spacing_mm.min() for one in print_.maps]))
    spacing_mm = max(finest_mm, float(np.cbrt(box_mm.prod() / MAX_VOXELS)))
    num_voxels = box_mm.prod() / spacing_mm**3
    widths = [16, 32, 64] if num_voxels < 2e5 else [32, 48, 80]
    return {
        "spacing_mm": _rounded(spacing_mm),
        "margin_mm": _rounded(0.04 * longest_mm),
        "pose": "as_maps" if _is_cut_alike(print_) else "any",
        "kl_warmup_steps": 200,
        "decoded_share": _rounded(float(np.clip(1e5 / num_voxels, 0.25, 1))),
        "num_components": min(19, len(print_.maps) - 1),
        "vae": {"detail_channels": DETAIL_CHANNELS, "widths": widths, "num_blocks": 1},
        "augment": {
            "shift_sd_mm": _rounded(0.01 * longest_mm),
            "warp_knots_mm": [_rounded(0.25 * longest_mm), _rounded(0.1 * longest_mm)],
            "warp_sd_mm": [_rounded(0.02 * longest_mm), _rounded(0.01 * longest_mm)],
        },
        "optim": {"steps": 1000, "warmup_steps": 50, "num_workers": 0},
    }


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _is_cut_alike(print_: Fingerprint) -> bool:
    """Whether images have the label maps' field of view and show more than the stripped organ."""
    usable = [one for one in print_.images if one.grid is not None]
    if not usable or np.mean([one.is_stripped for one in usable]) > 0.5:
        return False
    images, maps = (
        np.median([np.sort(grid.shape * grid.spacing_mm) for grid in grids], axis=0)
        for grids in (
            [one.grid for one in usable if one.grid is not None],
            [one.grid for one in print_.maps],
        )
    )
    ratio = images / maps
    return bool(ratio.max() < _MAX_EXTENT_RATIO and ratio.min() > 1 / _MAX_EXTENT_RATIO)


def propose_intensity(predictor: Predictor, images: Sequence[Path]) -> dict[str, object]:
    """Gaussians of the background and typical intensities, from unlabelled images.

    Each image is registered to the atlas. Its Gaussians are fitted on every other cell of voxels
    and judged on the cells between: the background gets the smallest number whose held-out log
    likelihood is within `MIN_GAIN_NATS` of the next larger one's.

    Args:
        predictor: Of kind atlas.
        images: Not those that results will be scored on.
    """
    gains, means = [], []
    for path in images:
        config = predictor.config
        registered = register_scan([read_volume(path)], predictor.atlas, config.seed)
        seen = predictor.observe(registered)
        fits = [
            _held_out(predictor, seen, _with_background(seen.classes, count))
            for count in range(1, MAX_GAUSSIANS + 1)
        ]
        gains.append([held_out for held_out, _ in fits])
        means.append(_class_means(fits[2][1]))
    nats = np.mean(gains, axis=0)
    is_enough = np.append(np.diff(nats) < MIN_GAIN_NATS, True)
    count = int(is_enough.argmax()) + 1
    told = ", ".join(f"{n} {value:.3f}" for n, value in enumerate(nats, start=1))
    log.info("held-out nats/voxel by number of background Gaussians: %s; taken: %d", told, count)
    classes = predictor.classes
    is_inside = ~classes.is_outside.cpu().numpy()
    painted = _spread(np.mean(means, axis=0)[is_inside])
    inside = [name for name, kept in zip(classes.names, is_inside, strict=True) if kept]
    return {
        "components": {classes.ties[0]: count},
        "typical": {classes.names[0]: 0.0} | dict(zip(inside, painted, strict=True)),
        "likelihood_power": LIKELIHOOD_POWER,
    }


def _with_background(classes: IntensityClasses, count: int) -> IntensityClasses:
    others = classes.tie_of_component[classes.tie_of_component > 0]
    background = torch.zeros(count, dtype=others.dtype)
    return replace(classes, tie_of_component=torch.cat([background, others]))


def _held_out(
    predictor: Predictor, seen: Observation, classes: IntensityClasses
) -> tuple[float, Intensities]:
    """Mean log likelihood of the odd cells under Gaussians fitted to the even ones."""
    log_prior = predictor.model.location.log_prob[None]
    cell = torch.arange(seen.image.shape[2]) // CELL
    fitted_on, judged_on = (cell % 2 == 0, cell % 2 == 1)
    prior = likelihood.class_prior(log_prior, classes)
    pair = seen.image[..., fitted_on], seen.observed[..., fitted_on]
    fitted = em.fit_anew(*pair, prior[..., fitted_on], classes, EM_ROUNDS)
    kept = seen.image[..., judged_on], seen.observed[..., judged_on]
    density = likelihood.class_log_likelihood(*kept, fitted)
    evidence = torch.logsumexp(density + prior[..., judged_on].clamp_min(1e-8).log(), dim=1)
    weight = seen.observed[:, 0, judged_on]
    return float((evidence * weight).sum() / weight.sum().clamp_min(1)), fitted


def _class_means(intensities: Intensities) -> list[float]:
    """Mean intensity of each class, over its Gaussians."""
    means: list[float] = (intensities.log_weight[0].exp() @ intensities.mean[0, 0]).tolist()
    return means


def _spread(means: np.ndarray) -> list[float]:
    """Structures' means between 0.2 and 1, so that none is painted as the surround, which is 0."""
    low, high = means.min(), means.max()
    scaled = 0.2 + 0.8 * (means - low) / max(high - low, 1e-6)
    return [round(float(value), 2) for value in scaled]
