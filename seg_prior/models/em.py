"""Expectation maximisation of the Gaussians of images under a label prior."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from seg_prior.models.likelihood import Intensities, IntensityClasses, log_density
from seg_prior.models.runs import summed

PRIOR_VOXELS = 20.0
"""Weight, in voxels, of what is taken for granted; it keeps empty classes finite."""
MIXING_ROUNDS = 6
"""Of EM over the weights of each class."""
VAR_FLOOR = 1e-4
"""Smallest variance of a Gaussian, relative to the variance of the whole image."""


def start(
    image: Tensor,
    observed: Tensor,
    prior_of_class: Tensor,
    classes: IntensityClasses,
) -> Intensities:
    """First guess: the classes of a tie have the moments of the image under their prior.

    Components of one tie are spread over its mean +- one deviation.

    Args:
        image, observed: (B, H, V).
        prior_of_class: (B, C, V), from `class_prior`.
        classes: Which Gaussians to start.
    """
    tie_of_component = classes.tie_of_component
    prior_of_tie = summed(prior_of_class, classes.tie_of_class, len(classes.ties))
    count = torch.einsum("btv,bhv->bht", prior_of_tie, observed) + 1e-6
    center = _center(image, observed)
    x = (image - center) * observed
    mean = torch.einsum("btv,bhv->bht", prior_of_tie, x) / count
    var = torch.einsum("btv,bhv->bht", prior_of_tie, x.square()) / count - mean.square()
    mean, var = mean + center, var.clamp_min(0)
    offset = torch.zeros(tie_of_component.numel(), device=image.device)
    for t in range(len(classes.ties)):
        members = (tie_of_component == t).nonzero().flatten()
        if members.numel() > 1:
            offset[members] = torch.linspace(-1, 1, members.numel(), device=image.device)
    mean, var = mean[..., tie_of_component], var[..., tie_of_component]
    var = var + _floor(image, observed)
    own = classes.draws_from.to(image.dtype)
    log_weight = (own / own.sum(1, keepdim=True)).log()
    return Intensities(
        mean + offset * var.sqrt(), var, log_weight.expand(image.shape[0], -1, -1), classes
    )


def fit(
    image: Tensor,
    observed: Tensor,
    prior_of_class: Tensor,
    intensities: Intensities,
    rounds: int,
    sharpness: float = 1.0,
) -> Intensities:
    """Expectation maximisation over mean, var and weights with the label prior held fixed.

    n_m = sum_j r_jm,  mean_m = sum r x / n_m,  var_m = sum r (x - mean_m)^2 / n_m, each with a
    conjugate prior worth `PRIOR_VOXELS` voxels at the current mean and at the variance of the
    image divided by 16, so that an empty class neither divides by zero nor collapses.

    The Gaussians of a tie are fitted under weights that its classes have in common; each class
    finds its own weights at the end, as far as `PRIOR_VOXELS` of the common ones let it. Fitted
    together, the Gaussians follow the weights, and painted and real brains lose 0.002 Dice.

    Args:
        image, observed: (B, H, V).
        prior_of_class: (B, C, V), from `class_prior`.
        intensities: Where to start.
        rounds: EM rounds, >= 0; none leave everything as it is.
        sharpness: Power of the shares that ties have in a voxel, >= 1, before they are normalised
            again and summed. Above 1 a voxel counts more for the tie that has most of it, so mixed
            tissue, which no Gaussian stands for, widens those of two ties less; infinity would be
            classification EM [CeleuxGovaert1992].
    """
    if not rounds:
        return intensities
    floor = _floor(image, observed)
    typical_var = floor / VAR_FLOOR / 16
    classes = intensities.classes
    tie_of_component = classes.tie_of_component
    is_seen = (observed > 0).any(1, keepdim=True).to(image.dtype)
    prior_of_class = prior_of_class.clamp_min(1e-8) * classes.log_in_view.exp()[:, None]
    prior_of_tie = summed(prior_of_class, classes.tie_of_class, len(classes.ties))
    log_prior = prior_of_tie.log()[:, tie_of_component]
    # Sums of squares keep their digits only around the image's own mean.
    center = _center(image, observed)
    x, fitted = image - center, replace(intensities, mean=intensities.mean - center)
    # What is summed: each channel's voxels, their x and x^2, and whether anything was seen.
    sums_of = torch.cat([observed, observed * x, observed * x.square(), is_seen], dim=1)
    class_size = (prior_of_class * is_seen).sum(2, keepdim=True)
    weight = _within_ties((class_size * intensities.log_weight.exp()).sum(1), classes)
    for _ in range(rounds):
        # A log density is linear in the same terms: both steps of EM are products of matrices.
        factors = torch.cat([_of_terms(fitted), weight.log()[:, None]], dim=1)
        r = torch.softmax(torch.baddbmm(log_prior, factors.mT, sums_of), dim=1)
        if sharpness != 1:
            r = r * _sharpened(r, classes, sharpness)
        sums = sums_of @ r.mT  # (B, 3 H + 1, M)
        count, sum_x, sum_xx = sums[:, :-1].chunk(3, dim=1)
        mean = (sum_x + PRIOR_VOXELS * fitted.mean) / (count + PRIOR_VOXELS)
        squares = sum_xx - 2 * mean * sum_x + count * mean.square()
        var = (squares.clamp_min(0) + PRIOR_VOXELS * typical_var) / (count + PRIOR_VOXELS)
        fitted = replace(fitted, mean=mean, var=var.clamp_min(floor))
        weight = _within_ties(sums[:, -1], classes)
    common = classes.draws_from * weight[:, None]
    log_weight = common.log()
    if len(classes.ties) < len(classes.names):
        density = log_density(x, observed, fitted)
        log_weight = _own_weights(density, prior_of_class, is_seen, common).log()
    return replace(fitted, mean=fitted.mean + center, log_weight=log_weight)


def _of_terms(intensities: Intensities) -> Tensor:
    """(B, 3 H, M) what 1, x and x^2 of each channel count in the log density of each component."""
    mean, var = intensities.mean, intensities.var
    constant = -0.5 * ((2 * math.pi * var).log() + mean.square() / var)
    return torch.cat([constant, mean / var, -0.5 / var], dim=1)


def _within_ties(seen: Tensor, classes: IntensityClasses) -> Tensor:
    """(B, M) voxels of each component -> its share of those of its tie, each with one more."""
    total = seen.new_zeros(seen.shape[0], len(classes.ties))
    total.index_add_(1, classes.tie_of_component, seen + 1)
    return (seen + 1) / total[:, classes.tie_of_component]


def _sharpened(r: Tensor, classes: IntensityClasses, sharpness: float) -> Tensor:
    """(B, M, V): what r of each component is multiplied by where its tie's share is sharpened."""
    of_tie = summed(r, classes.tie_of_component, len(classes.ties))
    factor = of_tie.pow(sharpness - 1)
    factor = factor / (factor * of_tie).sum(1, keepdim=True)
    return factor.index_select(1, classes.tie_of_component)


def _own_weights(
    density: Tensor, prior_of_class: Tensor, is_seen: Tensor, common: Tensor
) -> Tensor:
    """(B, C, M) weights of each class, by EM with the Gaussians held fixed.

    Args:
        density: (B, M, V) log density of every component.
        prior_of_class: (B, C, V).
        is_seen: (B, 1, V), 0 or 1.
        common: (B, C, M), where the weights start, and what pulls them as `PRIOR_VOXELS` voxels.
    """
    weight = common
    for _ in range(MIXING_ROUNDS):
        prior = torch.einsum("bcm,bcv->bmv", weight, prior_of_class)
        r = torch.softmax(density + prior.log(), dim=1)
        # Of a voxel's r, each class has the part that its prior had in the component's.
        seen = weight * torch.einsum("bmv,bcv->bcm", r / prior * is_seen, prior_of_class)
        weight = seen + PRIOR_VOXELS * common
        weight = weight / weight.sum(2, keepdim=True)
    return weight


def fit_anew(
    image: Tensor,
    observed: Tensor,
    prior_of_class: Tensor,
    classes: IntensityClasses,
    rounds: int,
    sharpness: float = 1.0,
) -> Intensities:
    """`fit` from `start`, for what nothing is known of yet; arguments as theirs."""
    first = start(image, observed, prior_of_class, classes)
    return fit(image, observed, prior_of_class, first, rounds, sharpness)


def _center(image: Tensor, observed: Tensor) -> Tensor:
    """(B, H, 1) mean of the observed voxels."""
    count = observed.sum(2, keepdim=True).clamp_min(1)
    return (image * observed).sum(2, keepdim=True) / count


def _floor(image: Tensor, observed: Tensor) -> Tensor:
    """(B, H, 1) smallest variance allowed."""
    return VAR_FLOOR * _center((image - _center(image, observed)).square(), observed) + 1e-12
