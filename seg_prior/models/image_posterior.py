"""p(s | x) under a label prior: what q(z | s) encodes of an image, like a label map."""

from __future__ import annotations

from torch import Tensor

from seg_prior.models import em, likelihood
from seg_prior.models.likelihood import IntensityClasses

EM_ROUNDS = 12
EM_STRIDE = 5
"""Every fifth voxel is plenty to fit a handful of Gaussians; odd, so that cells are met evenly."""


def posterior_through(
    log_prior: Tensor, image: Tensor, observed: Tensor, classes: IntensityClasses
) -> Tensor:
    """p(s | x) under a label prior and Gaussians fitted by EM.

    It is a function of the image alone, and the same for any contrast that separates the same
    classes: an affine or inverted intensity scale leaves it as it is.

    Args:
        log_prior: (1, L, V) or (B, L, V): of the atlas, or log f(z).
        image, observed: (B, H, V).
        classes: Which Gaussians there are.

    Returns:
        (B, L, V) probabilities; those of the label prior where nothing is observed.
    """
    # A location prior's lies in memory voxel by voxel, and all that follows would be slow.
    some_prior = log_prior[:, :, ::EM_STRIDE].contiguous().expand(image.shape[0], -1, -1)
    prior_of_class = likelihood.class_prior(some_prior, classes)
    some, some_observed = image[..., ::EM_STRIDE], observed[..., ::EM_STRIDE]
    fitted = em.fit_anew(some, some_observed, prior_of_class, classes, EM_ROUNDS)
    return likelihood.responsibilities(log_prior, image, observed, fitted)
