"""The climb: z by gradient, intensities in closed form, on the ELBO of one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seg_prior.config.inference import InferenceConfig
from seg_prior.inference.correction import Correction
from seg_prior.models import em, likelihood
from seg_prior.models.cells import of_cells
from seg_prior.models.image_posterior import EM_STRIDE
from seg_prior.models.likelihood import Intensities, IntensityClasses
from seg_prior.models.objective import log_prob_of_image
from seg_prior.models.reader_input import FineImage


@dataclass(frozen=True, eq=False)
class Observation:
    """One image in prior space, on the V voxels of the anatomy mask.

    Attributes:
        image: (1, H, V) normalised intensity of each contrast.
        observed: (1, H, V), how much each says: above 0 inside its field of view.
        classes: Which Gaussians there are.
        fine: The image as a network looks at it; None where none does.
    """

    image: Tensor
    observed: Tensor
    classes: IntensityClasses
    fine: FineImage | None = None

    def at(self, cells: Tensor) -> Observation:
        """What is seen at N chosen cells of the mask."""
        image, observed = (of_cells(each, cells) for each in (self.image, self.observed))
        return Observation(image, observed, self.classes)


@dataclass(frozen=True, eq=False)
class MapEstimate:
    """What the climb found.

    Attributes:
        z: (1, K).
        intensities: The fitted Gaussians.
        log_prior: (1, L, V) log f(z), or what a network has made of it, half precision.
        elbo: log p(x | z) + log p(z) of the result, in nats, up to the constant of p(z).
        trace: What was climbed, before every step and at the end.
        log_var: (1, K) log variance of q(z | x) around z; None where nothing encoded the image.
        correction: What the network has added to log f(z); None where there is none.
    """

    z: Tensor
    intensities: Intensities
    log_prior: Tensor
    elbo: float
    trace: tuple[float, ...]
    log_var: Tensor | None = None
    correction: Correction | None = None


EM_ROUNDS, LAST_ROUNDS = 20, 2
"""On some of the voxels of a large anatomy, and then on all."""
MANY_VOXELS = 100_000
"""Of an anatomy of which some tell what all would."""


SHARPNESS = 1.5
"""Of EM under what a network has made of log f(z), which knows borders better than f(z) does."""


def fit_intensities(log_prior: Tensor, seen: Observation, sharpness: float = 1.0) -> Intensities:
    """EM from the moments of the image under a label prior (1, L, V); sharpness as `em.fit`."""
    stride = EM_STRIDE if log_prior.shape[2] > MANY_VOXELS else 1
    return em.fit_anew(
        seen.image[..., ::stride],
        seen.observed[..., ::stride],
        likelihood.class_prior(log_prior[..., ::stride].float(), seen.classes),
        seen.classes,
        EM_ROUNDS + LAST_ROUNDS,
        sharpness,
    )


def refine_latent(
    decode: Callable[[Tensor], Tensor],
    log_prob: Callable[[Tensor], Tensor],
    seen: Observation,
    z: Tensor,
    num_steps: int,
    config: InferenceConfig,
) -> MapEstimate:
    """Maximise image_weight log p(x | z) + log p(z) by Adam, with an EM round inside every step.

    Args:
        decode: (1, K) -> (1, L, V) log f(z); differentiable.
        log_prob: (1, K) -> (1,) log p(z); differentiable.
        seen: The image.
        z: (1, K) where to start; K = 0 for a prior without latent, which leaves EM alone.
        num_steps: Of Adam; 0 takes z as it is.
        config: Rate, weight, likelihood.
    """
    with torch.no_grad():
        log_prior = decode(z)
        intensities = fit_intensities(log_prior, seen)
    if not z.shape[1]:
        num_steps = 0
    z = z.detach().clone().requires_grad_(num_steps > 0)
    optimizer = (
        torch.optim.Adam([z], lr=config.refine_rate, betas=(0.9, 0.9)) if num_steps else None
    )
    trace: list[float] = []
    for _ in range(num_steps):
        assert optimizer is not None
        log_prior = decode(z)
        with torch.no_grad():
            prior_of_class = likelihood.class_prior(log_prior, seen.classes)
            intensities = em.fit(seen.image, seen.observed, prior_of_class, intensities, rounds=1)
        image_term = log_prob_of_image(
            log_prior, seen.image, seen.observed, intensities, config.likelihood
        ).sum()
        objective = config.image_weight * image_term + log_prob(z).sum()
        optimizer.zero_grad()
        (-objective).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        trace.append(float(objective.detach()))
    with torch.no_grad():
        if num_steps:
            log_prior = decode(z)
            prior = likelihood.class_prior(log_prior, seen.classes)
            intensities = em.fit(seen.image, seen.observed, prior, intensities, LAST_ROUNDS)
        image_term = log_prob_of_image(
            log_prior, seen.image, seen.observed, intensities, config.likelihood
        ).sum()
        log_prob_z = log_prob(z).sum()
    trace.append(float(config.image_weight * image_term + log_prob_z))
    elbo = float(image_term + log_prob_z)
    return MapEstimate(z.detach(), intensities, log_prior, elbo, tuple(trace))
