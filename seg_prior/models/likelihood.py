"""One or several Gaussians per intensity class: density and responsibilities; fitted in `em`.

Classes that are tied share their Gaussians, and each mixes them in its own way: a caudate is gray
like cortex, but hardly has its darkest voxels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_prior.config.intensity import IntensityConfig
from seg_prior.core.labels import LabelTable
from seg_prior.errors import LabelsError
from seg_prior.models.runs import in_runs, summed

LOG_OUTLIER = -3.0
"""Log share of a class that may have any intensity at all: a vessel, a lesion, a voxel of mixed
tissue lies many deviations from all Gaussians, and the widest would take it, wherever it is."""
LOG_LEFT = -2.0
"""Log of the share of background that stripping leaves in view."""
NUM_TABULATED = 16384
"""Intensities at which the likelihood of one contrast is tabulated."""


@dataclass(frozen=True, eq=False)
class IntensityClasses:
    """Which Gaussians there are.

    Attributes:
        names: C class names.
        is_outside: (C,) bool, which classes are background or kinds of it.
        class_of_label: (L,).
        ties: T names of sets of classes that share Gaussians; a class that is tied to no other is
            one by itself.
        tie_of_class: (C,).
        tie_of_component: (M,).
        is_stripped: Whether what is outside was cut away, so that what is in view is hardly any of
            it. What is out of view remains unknown: the knife takes fluid and cortex as well.
    """

    names: tuple[str, ...]
    is_outside: Tensor
    class_of_label: Tensor
    ties: tuple[str, ...]
    tie_of_class: Tensor
    tie_of_component: Tensor
    is_stripped: bool = False

    def to(self, device: str) -> IntensityClasses:
        """The same on another device."""
        return replace(
            self,
            is_outside=self.is_outside.to(device),
            class_of_label=self.class_of_label.to(device),
            tie_of_class=self.tie_of_class.to(device),
            tie_of_component=self.tie_of_component.to(device),
        )

    @property
    def draws_from(self) -> Tensor:
        """(C, M) bool, which Gaussians a class mixes."""
        return self.tie_of_class[:, None] == self.tie_of_component

    @property
    def log_in_view(self) -> Tensor:
        """(C,) log probability that a voxel of each class is in the field of view."""
        return (LOG_LEFT if self.is_stripped else 0.0) * self.is_outside.float()


@dataclass(frozen=True, eq=False)
class Intensities:
    """The Gaussians of B images of H channels (contrasts), M components.

    Channels are independent given the component.

    Attributes:
        mean, var: (B, H, M); var > 0.
        log_weight: (B, C, M); weights of a class sum to one, and are 0 but for its own Gaussians.
        classes: Which class each label belongs to, and which Gaussians each class mixes.
    """

    mean: Tensor
    var: Tensor
    log_weight: Tensor
    classes: IntensityClasses


def intensity_classes(table: LabelTable, config: IntensityConfig) -> IntensityClasses:
    """The classes of a label table, which are tied, and how many Gaussians each tie has.

    Raises:
        LabelsError: A tie or a number of components names a class that does not exist.
    """
    names, class_of_label = table.classes()
    ties, tie_of_label = table.classes(config.ties)
    unknown = set(config.components) - set(ties)
    if unknown:
        raise LabelsError(
            f"components: found class '{min(unknown)}', need one of {', '.join(sorted(ties))}."
        )
    first_label = [class_of_label.index(c) for c in range(len(names))]
    return IntensityClasses(
        tuple(names),
        torch.from_numpy(table.is_outside[first_label]),
        torch.tensor(class_of_label),
        tuple(ties),
        torch.tensor([tie_of_label[label] for label in first_label]),
        torch.tensor(
            [t for t, name in enumerate(ties) for _ in range(config.components.get(name, 1))]
        ),
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
    """sum_h o_hv log N(x_hv; mean_hm, var_hm) of every component, o what is observed.

    Args:
        image, observed: (B, H, V); observed is 0 or 1, or what `channel_weight` makes of it, here
            and in all that follows.
        intensities: The Gaussians.

    Returns:
        (B, M, V), in nats.
    """
    batch, num_channels, num_voxels = image.shape
    density = image.new_zeros(batch, intensities.mean.shape[2], num_voxels)
    for h in range(num_channels):
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
    for c, (log_share, own) in enumerate(zip(classes.log_in_view, classes.draws_from, strict=True)):
        mixed = density[:, own] + intensities.log_weight[:, c, own, None]
        gaussians = torch.logsumexp(mixed, dim=1)
        out[:, c] = (torch.logaddexp(gaussians, outlier) + log_share) * is_seen
    return out


def tabulated_class_log_likelihood(
    image: Tensor,
    observed: Tensor,
    intensities: Intensities,
    table: LikelihoodTable | None = None,
) -> Tensor:
    """`class_log_likelihood`, looked up in a table where there is one image of one contrast.

    Args:
        image, observed: (B, H, V); of one contrast, observed is 0 or 1.
        intensities: The Gaussians.
        table: That of the whole image, where this is a part of it.

    Returns:
        (B, C, V).
    """
    if image.shape[0] > 1 or image.shape[1] > 1 or image.shape[2] < NUM_TABULATED:
        return class_log_likelihood(image, observed, intensities)
    if table is None:
        table = LikelihoodTable.of(image, intensities)
    # A class at a time, whose numbers lie side by side, by long indices: ten times as fast as all
    # classes at once on a CPU.
    nearest = table.nearest(image[0, 0]).long()
    found = image.new_empty(1, table.rows.shape[1], image.shape[2])
    for own, out in zip(table.rows.T.contiguous(), found[0], strict=True):
        torch.index_select(own, 0, nearest, out=out)
    return found.mul_(observed)


def label_log_likelihood_of(
    image: Tensor, intensities: Intensities
) -> Callable[[Tensor, Tensor], Tensor]:
    """log p(x | s = l) of parts of an image: (H, n) values, (H, n) weights -> (n, L).

    Args:
        image: (H, V) all of it.
        intensities: Its Gaussians.
    """
    class_of_label = intensities.classes.class_of_label

    def direct(values: Tensor, weight: Tensor) -> Tensor:
        return log_likelihood(values[None], weight[None], intensities)[0].T

    if image.shape[0] > 1 or image.shape[1] < NUM_TABULATED:
        return direct
    table = LikelihoodTable.of(image, intensities)
    rows = table.rows[:, class_of_label]

    def looked_up(values: Tensor, weight: Tensor) -> Tensor:
        return F.embedding(table.nearest(values[0]), rows) * weight[0, :, None]

    return looked_up


@dataclass(frozen=True, eq=False)
class LikelihoodTable:
    """The likelihood of one contrast, which is a function of one number, at many of them.

    It is read at the nearest, which a fortieth of the smallest deviation allowed lies between.

    Attributes:
        rows: (NUM_TABULATED, C) log p(x | class).
        low, step: Of the intensities.
    """

    rows: Tensor
    low: Tensor
    step: Tensor

    @classmethod
    def of(cls, image: Tensor, intensities: Intensities) -> LikelihoodTable:
        """Over the range of an image."""
        low, high = (end.to(intensities.mean.device) for end in image.aminmax())
        step = (high - low).clamp_min(1e-6) / (NUM_TABULATED - 1)
        values = low + step * torch.arange(NUM_TABULATED, device=step.device)
        values = values[None, None]
        rows = class_log_likelihood(values, torch.ones_like(values), intensities)[0].T
        return cls(rows.contiguous(), low, step)

    def nearest(self, values: Tensor) -> Tensor:
        """(n,) the row of each of (n,) intensities, none of them beyond the image's."""
        return ((values - self.low) / self.step).round_().int()


def _log_outlier(observed: Tensor, intensities: Intensities) -> Tensor:
    """(B, V) log density of outliers, uniform over the intensities that the Gaussians span."""
    reach = 2 * intensities.var.sqrt()
    span = (intensities.mean + reach).amax(2) - (intensities.mean - reach).amin(2)
    return LOG_OUTLIER - torch.einsum("bhv,bh->bv", observed, span.log())


def class_prior(log_prior: Tensor, classes: IntensityClasses) -> Tensor:
    """Prior probability of every intensity class: (B, L, V) log f -> (B, C, V)."""
    return summed(log_prior.exp(), classes.class_of_label, len(classes.names))


def responsibilities(
    log_prior: Tensor, image: Tensor, observed: Tensor, intensities: Intensities
) -> Tensor:
    """r: the posterior p(s_v | x_v), (B, L, V); the prior itself where nothing is observed.

    One log prior holds for all images, or each has its own. Block by block: of a brain every array
    of all voxels and labels takes 50 MB.
    """
    by_class = tabulated_class_log_likelihood(image, observed, intensities)
    class_of_label = intensities.classes.class_of_label

    def posterior(some: slice) -> Tensor:
        joint = by_class[..., some].index_select(1, class_of_label) + log_prior[..., some]
        return torch.softmax(joint.contiguous(), dim=1)

    return in_runs(posterior, image.shape[2])
