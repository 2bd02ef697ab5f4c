"""One or several Gaussians per intensity class: density, responsibilities, closed-form fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seg_prior.config import IntensityConfig
from seg_prior.errors import LabelsError
from seg_prior.labels import LabelTable

PRIOR_VOXELS = 20.0
"""Weight, in voxels, of the prior that keeps empty classes finite."""
VAR_FLOOR = 1e-4
"""Smallest variance of a Gaussian, relative to the variance of the whole image."""
LOG_OUTLIER = -3.0
"""Log share of a class that may have any intensity at all: a vessel, a lesion, a voxel of mixed
tissue lies many deviations from all Gaussians, and the widest would take it, wherever it is."""
LOG_LEFT = -2.0
"""Log of the share of background that stripping leaves in view."""


@dataclass(frozen=True, eq=False)
class IntensityClasses:
    """Which Gaussians there are.

    Attributes:
        names: C class names; the first is background's.
        class_of_label: (L,).
        class_of_component: (M,).
        is_stripped: Whether background was cut away, so that what is in view is hardly any. What is
            out of view remains unknown: the knife takes fluid and cortex as well.
    """

    names: tuple[str, ...]
    class_of_label: Tensor
    class_of_component: Tensor
    is_stripped: bool = False

    def to(self, device: str) -> IntensityClasses:
        """The same on another device."""
        return replace(
            self,
            class_of_label=self.class_of_label.to(device),
            class_of_component=self.class_of_component.to(device),
        )

    @property
    def log_in_view(self) -> Tensor:
        """(C,) log probability that a voxel of each class is in the field of view."""
        log_share = torch.zeros(len(self.names), device=self.class_of_label.device)
        if self.is_stripped:
            log_share[0] = LOG_LEFT
        return log_share


@dataclass(frozen=True, eq=False)
class Intensities:
    """The Gaussians of B images of H channels (contrasts), M components.

    Channels are independent given the component.

    Attributes:
        mean, var: (B, H, M); var > 0.
        log_weight: (B, M); weights sum to one within a class.
        classes: Which class each component and each label belongs to.
    """

    mean: Tensor
    var: Tensor
    log_weight: Tensor
    classes: IntensityClasses


def intensity_classes(table: LabelTable, config: IntensityConfig) -> IntensityClasses:
    """The classes of a label table after ties, and how many Gaussians each has.

    Raises:
        LabelsError: A tie or a number of components names a class that does not exist.
    """
    names, class_of_label = table.classes(config.ties)
    unknown = set(config.components) - set(names)
    if unknown:
        raise LabelsError(
            f"components: found class '{min(unknown)}', need one of {', '.join(sorted(names))}."
        )
    class_of_component = [
        c for c, name in enumerate(names) for _ in range(config.components.get(name, 1))
    ]
    return IntensityClasses(
        tuple(names), torch.tensor(class_of_label), torch.tensor(class_of_component)
    )


def channel_weight(observed: Tensor) -> Tensor:
    """How much each channel says at a voxel: 1 / sqrt(n) where n are observed, 0 where it is not.

    Given the label, channels are not independent: they share partial volume and lesions. Taken at
    full weight they overrule the prior, and a Gaussian of a small class ends in what fits no other.

    Args:
        observed: (B, H, V), 0 or 1.
    """
    return observed * observed.sum(dim=1, keepdim=True).clamp_min(1).rsqrt()


def log_density(image: Tensor, observed: Tensor, intensities: Intensities) -> Tensor:
    """log w_m + sum_h o_hv log N(x_hv; mean_hm, var_hm) of every component, o what is observed.

    Args:
        image, observed: (B, H, V); observed is 0 or 1, or what `channel_weight` makes of it, here
            and in all that follows.
        intensities: The Gaussians.

    Returns:
        (B, M, V), in nats.
    """
    density = intensities.log_weight[..., None]
    for h in range(image.shape[1]):
        x, mean, var = image[:, h, None], intensities.mean[:, h], intensities.var[:, h]
        log_scale = -0.5 * (var.log() + math.log(2 * math.pi))[..., None]
        log_normal = log_scale - 0.5 * (x - mean[..., None]).square() / var[..., None]
        density = density + log_normal * observed[:, h, None]
    return density


def log_likelihood(image: Tensor, observed: Tensor, intensities: Intensities) -> Tensor:
    """log p(x_v | s_v = l): (B, H, V) -> (B, L, V), in nats; not normalised over labels.

    Zero where no channel is observed.
    """
    by_class = class_log_likelihood(image, observed, intensities)
    return by_class[:, intensities.classes.class_of_label]


def class_log_likelihood(image: Tensor, observed: Tensor, intensities: Intensities) -> Tensor:
    """log p(x_v, in view | class c): (B, H, V) -> (B, C, V).

    The Gaussians of the class, its outliers, and whether it would be seen at all. EM fits the
    Gaussians without the outliers, which would cost it the tails.
    """
    density = log_density(image, observed, intensities)
    classes = intensities.classes
    num_classes = len(classes.names)
    is_seen = (observed > 0).any(dim=1)
    outlier = _log_outlier(observed, intensities)
    out = density.new_empty(density.shape[0], num_classes, density.shape[2])
    for c, log_share in enumerate(classes.log_in_view):
        gaussians = torch.logsumexp(density[:, classes.class_of_component == c], dim=1)
        out[:, c] = (torch.logaddexp(gaussians, outlier) + log_share) * is_seen
    return out


def _log_outlier(observed: Tensor, intensities: Intensities) -> Tensor:
    """(B, V) log density of outliers, uniform over the intensities that the Gaussians span."""
    reach = 2 * intensities.var.sqrt()
    span = (intensities.mean + reach).amax(2) - (intensities.mean - reach).amin(2)
    return LOG_OUTLIER - torch.einsum("bhv,bh->bv", observed, span.log())


def class_prior(log_prior: Tensor, classes: IntensityClasses) -> Tensor:
    """Prior probability of every intensity class: (B, L, V) log f -> (B, C, V)."""
    batch, _, num_voxels = log_prior.shape
    out = log_prior.new_zeros(batch, len(classes.names), num_voxels)
    return out.index_add_(1, classes.class_of_label, log_prior.exp())


def start(
    image: Tensor,
    observed: Tensor,
    prior_of_class: Tensor,
    classes: IntensityClasses,
) -> Intensities:
    """First guess: every class has the moments of the image under its prior.

    Components of one class are spread over its mean +- one deviation.

    Args:
        image, observed: (B, H, V).
        prior_of_class: (B, C, V), from `class_prior`.
        classes: Which Gaussians to start.
    """
    class_of_component = classes.class_of_component
    count = torch.einsum("bcv,bhv->bhc", prior_of_class, observed) + 1e-6
    center = _center(image, observed)
    x = (image - center) * observed
    mean = torch.einsum("bcv,bhv->bhc", prior_of_class, x) / count
    var = torch.einsum("bcv,bhv->bhc", prior_of_class, x.square()) / count - mean.square()
    mean, var = mean + center, var.clamp_min(0)
    offset = torch.zeros(class_of_component.numel(), device=image.device)
    log_weight = torch.zeros_like(offset)
    for c in range(prior_of_class.shape[1]):
        members = (class_of_component == c).nonzero().flatten()
        if members.numel() > 1:
            offset[members] = torch.linspace(-1, 1, members.numel(), device=image.device)
            log_weight[members] = -math.log(members.numel())
    mean, var = mean[..., class_of_component], var[..., class_of_component]
    var = var + _floor(image, observed)
    return Intensities(
        mean + offset * var.sqrt(), var, log_weight.expand(image.shape[0], -1), classes
    )


def fit(
    image: Tensor,
    observed: Tensor,
    prior_of_class: Tensor,
    intensities: Intensities,
    rounds: int,
) -> Intensities:
    """Expectation maximisation over mean, var and weights with the label prior held fixed.

    n_m = sum_j r_jm,  mean_m = sum r x / n_m,  var_m = sum r (x - mean_m)^2 / n_m, each with a
    conjugate prior worth `PRIOR_VOXELS` voxels at the current mean and at the variance of the
    image divided by 16, so that an empty class neither divides by zero nor collapses.

    Args:
        image, observed: (B, H, V).
        prior_of_class: (B, C, V), from `class_prior`.
        intensities: Where to start.
        rounds: EM rounds, >= 0.
    """
    floor = _floor(image, observed)
    typical_var = floor / VAR_FLOOR / 16
    class_of_component = intensities.classes.class_of_component
    log_prior = prior_of_class.clamp_min(1e-8).log() + intensities.classes.log_in_view[:, None]
    log_prior = log_prior[:, class_of_component]
    # Sums of squares keep their digits only around the image's own mean.
    center = _center(image, observed)
    x, fitted = image - center, replace(intensities, mean=intensities.mean - center)
    is_seen = (observed > 0).any(1, keepdim=True).to(x.dtype)
    # What is summed: each channel's voxels, their x and x^2, and whether anything was seen.
    sums_of = torch.cat([observed, observed * x, observed * x.square(), is_seen], dim=1)
    for _ in range(rounds):
        r = torch.softmax(log_density(x, observed, fitted) + log_prior, dim=1)
        sums = torch.einsum("bmv,bhv->bhm", r, sums_of)
        count, sum_x, sum_xx = sums[:, :-1].chunk(3, dim=1)
        seen = sums[:, -1]
        mean = (sum_x + PRIOR_VOXELS * fitted.mean) / (count + PRIOR_VOXELS)
        squares = sum_xx - 2 * mean * sum_x + count * mean.square()
        var = (squares.clamp_min(0) + PRIOR_VOXELS * typical_var) / (count + PRIOR_VOXELS)
        total = seen.new_zeros(seen.shape[0], prior_of_class.shape[1])
        total.index_add_(1, class_of_component, seen + 1)
        log_weight = torch.log((seen + 1) / total[:, class_of_component])
        fitted = replace(fitted, mean=mean, var=var.clamp_min(floor), log_weight=log_weight)
    return replace(fitted, mean=fitted.mean + center)


def fit_anew(
    image: Tensor,
    observed: Tensor,
    prior_of_class: Tensor,
    classes: IntensityClasses,
    rounds: int,
) -> Intensities:
    """`fit` from `start`, for what nothing is known of yet; arguments as theirs."""
    first = start(image, observed, prior_of_class, classes)
    return fit(image, observed, prior_of_class, first, rounds)


def responsibilities(
    log_prior: Tensor, image: Tensor, observed: Tensor, intensities: Intensities
) -> Tensor:
    """r: the posterior p(s_v | x_v), (B, L, V); the prior itself where nothing is observed."""
    return torch.softmax(log_prior + log_likelihood(image, observed, intensities), dim=1)


def _center(image: Tensor, observed: Tensor) -> Tensor:
    """(B, H, 1) mean of the observed voxels."""
    count = observed.sum(2, keepdim=True).clamp_min(1)
    return (image * observed).sum(2, keepdim=True) / count


def _floor(image: Tensor, observed: Tensor) -> Tensor:
    """(B, H, 1) smallest variance allowed."""
    return VAR_FLOOR * _center((image - _center(image, observed)).square(), observed) + 1e-12
