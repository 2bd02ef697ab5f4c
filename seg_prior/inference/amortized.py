"""q(z | x): first where structures lie, read through the atlas; then their detail, through that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from seg_prior.config.inference import Refine
from seg_prior.inference.refine import Observation
from seg_prior.models.image_posterior import posterior_through

COARSE_SHARE = 0.75
"""Of the coarse part of z that is kept: a posterior of an image is surer of its labels than a label
map seen through the same blur would be, and q(z | s) moves structures too far for it."""


class RefineSchedule(NamedTuple):
    """What one image may cost.

    Attributes:
        num_readings: Of the detail; 0 where z has none.
        num_steps: Of the climb.
    """

    num_readings: int
    num_steps: int


def refine_schedule(
    refine: Refine | None, has_detail: bool, has_reader: bool = False
) -> RefineSchedule:
    """Readings and steps of a wish; None is what pays (docs/benchmark.md).

    A prior with detail is read again and again, and the climb hardly betters that; a prior without
    is climbed. An image reader has learned from one reading what it leaves open.
    """
    if refine is None:
        refine = "0" if has_reader else "fast" if has_detail else "full"
    if has_detail:
        return {
            "0": RefineSchedule(1, 0),
            "fast": RefineSchedule(3, 0),
            "full": RefineSchedule(3, 30),
        }[refine]
    return {
        "0": RefineSchedule(0, 0),
        "fast": RefineSchedule(0, 10),
        "full": RefineSchedule(0, 30),
    }[refine]


def read(
    encode: Callable[[Tensor, bool], tuple[Tensor, Tensor]],
    decode: Callable[[Tensor], Tensor],
    seen: Observation,
    atlas: Tensor,
    num_coarse: int,
    num_readings: int,
) -> tuple[Tensor, Tensor]:
    """Mean and log variance of q(z | x).

    The label encoder reads the posterior of the labels as if it were a label map. Of an image that
    is explained by the atlas this tells where structures lie, but fine borders are blurred by the
    atlas' own: the detail is read from the posterior under f(z) as far as z is known.

    Args:
        encode: (1, L, V) label probabilities, and whether only the coarse part is asked for ->
            mean, log_var, (1, K) each.
        decode: (1, K) -> (1, L, V) log f(z).
        seen: The image.
        atlas: (1, L, V) log p_loc.
        num_coarse: How many of the K numbers, the first, say where structures lie.
        num_readings: Of the others; at least 1 if there are others.
    """

    def encode_image(log_prior: Tensor, is_coarse: bool) -> tuple[Tensor, Tensor]:
        posterior = posterior_through(log_prior, seen.image, seen.observed, seen.classes)
        del log_prior  # as large as the posterior
        return encode(posterior, is_coarse)

    mean, log_var = encode_image(atlas, num_readings > 0)
    if mean.shape[1] == num_coarse:
        return mean, log_var
    mean = torch.cat([COARSE_SHARE * mean[:, :num_coarse], 0 * mean[:, num_coarse:]], dim=1)
    for _ in range(num_readings):
        again, log_var_again = encode_image(decode(mean), False)
        mean = torch.cat([mean[:, :num_coarse], again[:, num_coarse:]], dim=1)
        log_var = torch.cat([log_var[:, :num_coarse], log_var_again[:, num_coarse:]], dim=1)
    return mean, log_var
