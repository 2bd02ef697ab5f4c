"""Each term of each ELBO, one short function per equation; sums in nats, one per subject."""

from __future__ import annotations

import torch
from torch import Tensor

from seg_prior.models.likelihood import Intensities, tabulated_class_log_likelihood
from seg_prior.models.runs import runs


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL( N(mean, exp log_var) || N(0, I) ) of every latent dimension, >= 0.

    1/2 (mean^2 + var - 1 - log var) [Kingma2014, appendix B].

    Args:
        mean, log_var: (B, K).

    Returns:
        (B, K), not yet summed, so that unused dimensions can be counted.
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def log_prob_of_labels(log_prior: Tensor, label_map: Tensor) -> Tensor:
    """sum_j log f_{j, s_j}: the reconstruction term of stage 1.

    Args:
        log_prior: (B, L, V) log f.
        label_map: (B, V) label indices.

    Returns:
        (B,)
    """
    return log_prior.gather(1, label_map[:, None].long()).squeeze(1).sum(dim=1)


def log_prob_of_image(
    log_prior: Tensor,
    image: Tensor,
    observed: Tensor,
    intensities: Intensities,
    likelihood: str,
) -> Tensor:
    """The image term of stage 2, over observed voxels.

    `exact`: sum_j log sum_l f_jl N(x_j; l); its gradient in the logits is r - f.
    `jensen`: sum_j sum_l f_jl log N(x_j; l) <= exact, the bound of [Dalca2018].

    Args:
        log_prior: (B, L, V) log f.
        image: (B, H, V).
        observed: (B, H, V), above 0 inside the field of view; what lies outside is missing data.
        intensities: The Gaussians of these B images.
        likelihood: exact or jensen.

    Returns:
        (B,)
    """
    by_class = tabulated_class_log_likelihood(image, observed, intensities)
    class_of_label, found = intensities.classes.class_of_label, []
    for some in runs(image.shape[2]):
        log_prob = by_class[..., some].index_select(1, class_of_label)
        if likelihood == "exact":
            found.append(torch.logsumexp(log_prior[..., some] + log_prob, dim=1))
        else:
            found.append((log_prior[..., some].exp() * log_prob).sum(dim=1))
    return (torch.cat(found, dim=1) * (observed > 0).any(dim=1)).sum(dim=1)
