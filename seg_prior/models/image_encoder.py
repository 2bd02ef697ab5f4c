"""q(z | x): an image is read as the atlas explains it, then encoded like a label map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seg_prior.models import likelihood
from seg_prior.models.label_vae import LabelEncoder, LabelVAE
from seg_prior.models.likelihood import Intensities, IntensityClasses
from seg_prior.models.location import CELL, LocationPrior, by_cell

EM_ROUNDS = 12
EM_STRIDE = 5
"""Every fifth voxel is plenty to fit a handful of Gaussians; odd, so that cells are met evenly."""


def fit_some(
    log_prior: Tensor, image: Tensor, observed: Tensor, classes: IntensityClasses, rounds: int
) -> Intensities:
    """EM from the moments of the image under a label prior (B, L, V), on some of the voxels."""
    prior_of_class = likelihood.class_prior(log_prior[:, :, ::EM_STRIDE], classes)
    some, some_observed = image[:, ::EM_STRIDE], observed[:, ::EM_STRIDE]
    first = likelihood.start(some, some_observed, prior_of_class, classes)
    return likelihood.fit(some, some_observed, prior_of_class, first, rounds)


def read_through_atlas(
    location: LocationPrior,
    image: Tensor,
    observed: Tensor,
    classes: IntensityClasses,
) -> tuple[Tensor, Intensities]:
    """p(s | x) under the location prior and Gaussians fitted by EM, and the Gaussians.

    It is a function of the image alone, and the same for any contrast that separates the same
    classes: an affine or inverted intensity scale leaves it as it is.

    Args:
        location: The location prior.
        image, observed: (B, V).
        classes: Which Gaussians there are.

    Returns:
        (B, L, V) probabilities, p_loc where nothing is observed; and the fit.
    """
    log_prior = location.log_prob[None].expand(image.shape[0], -1, -1)
    fitted = fit_some(log_prior, image, observed, classes, EM_ROUNDS)
    return likelihood.responsibilities(log_prior, image, observed, fitted), fitted


class ImageEncoder(nn.Module):
    """The network of q(z | x), on the atlas posterior of an image and the image itself.

    It has the label encoder's form and starts from its weights: a crisp posterior already reads
    like a label map, and training has to learn only what the atlas gets wrong.
    """

    def __init__(self, vae: LabelVAE) -> None:
        super().__init__()
        self.network = LabelEncoder(vae.location, vae.config)
        self.network.load_state_dict(vae.encoder.state_dict())
        self.stem_image = nn.Linear(2 * CELL, vae.config.widths[0])
        # Step zero reads the atlas posterior alone.
        nn.init.zeros_(self.stem_image.weight)
        nn.init.zeros_(self.stem_image.bias)

    def forward(
        self, posterior: Tensor, image: Tensor, observed: Tensor, location: LocationPrior
    ) -> tuple[Tensor, Tensor]:
        """mean, log_var of q(z | x), each (B, K).

        Args:
            posterior: (B, L, V), from `read_through_atlas`.
            image, observed: (B, V).
            location: Where the V voxels lie.
        """
        seen = by_cell(torch.stack([image * observed, observed], dim=1))  # (B, V/8, 2*8)
        mean, log_var = self.network(posterior, location, self.stem_image(seen))
        return mean, log_var
