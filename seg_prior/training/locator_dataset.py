"""Unlabelled scans with what a prior makes of them, in random poses and intensities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.inference.locator_likelihood import sight_grid
from seg_prior.inference.prediction import Prediction
from seg_prior.models.locator import standardised
from seg_prior.registration.resample import resample_mean, resample_observed
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.deformation import random_affine
from seg_prior.synthesis.fields import smooth_field

_TURN_SD_DEG, _LOG_SCALE_SD, _SHEAR_SD = 10.0, 0.1, 0.05
_SHIFT_SD = 0.06  # of the field of view
_LOG_GAMMA_SD, _BIAS_SD, _MAX_NOISE = 0.3, 0.2, 0.06
_BIAS_KNOTS = 3


class PseudoLabelledScan(NamedTuple):
    """A scan as a locator sees it, and as a prior explains it.

    Attributes:
        pair: (2, D, H, W) float16, normalised intensity and field of view.
        labels: (L, D, H, W) float16, posterior label probabilities.
    """

    pair: Tensor
    labels: Tensor


def pseudo_labelled(prediction: Prediction, spacing_mm: float) -> PseudoLabelledScan:
    """A scan and its posterior on the grid that the network sees it on."""
    grid, registered = prediction.volume.grid, prediction.registered
    seen_on = sight_grid(grid, spacing_mm)
    each = (
        resample_mean(torch.from_numpy(p)[None], grid, seen_on) for p in prediction.posteriors()
    )
    labels = with_background(torch.cat(list(each)))
    pair = resample_observed(registered.native[0], registered.native_observed[0], grid, seen_on)
    return PseudoLabelledScan(torch.stack(pair).half(), labels.half())


class RandomViews(Dataset[tuple[Tensor, Tensor]]):
    """Scans turned, sized and shifted at random, in random gamma, bias field and noise.

    Args:
        scans: On isotropic grids of one spacing; views have the median of their sides.
        seed, length: Item n depends on (seed, n) alone.
    """

    def __init__(self, scans: Sequence[PseudoLabelledScan], seed: int, length: int) -> None:
        self.scans = scans
        self.seed = seed
        self.length = length
        sizes = torch.tensor([scan.pair.shape[1:] for scan in scans])
        # A single wide scan must not make all steps as dear as it is.
        self.shape = tuple(sizes.median(dim=0).values.tolist())
        extent = float(sizes.double().mean())
        self.spread = AugmentConfig(
            rotation_sd_deg=_TURN_SD_DEG,
            log_scale_sd=_LOG_SCALE_SD,
            shear_sd=_SHEAR_SD,
            shift_sd_mm=_SHIFT_SD * extent,  # in voxels here, as all lengths
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        """(2, D, H, W) what a locator sees, and (L, D, H, W) label probabilities there."""
        generator = generator_of(self.seed, item)
        scan = self.scans[int(torch.randint(len(self.scans), (1,), generator=generator))]
        pair, labels = _moved(scan, random_affine(self.spread, generator).float(), self.shape)
        image = repaint(pair[0], generator)
        return standardised(image, pair[1]), labels


def repaint(image: Tensor, generator: torch.Generator) -> Tensor:
    """(D, H, W) in another gamma, bias field and noise; its usual range, 0 to 1, stays."""
    gamma = torch.exp(_LOG_GAMMA_SD * torch.randn(1, generator=generator))
    shape = (image.shape[0], image.shape[1], image.shape[2])
    field = smooth_field(shape, generator, _BIAS_KNOTS)
    noise = _MAX_NOISE * torch.rand(1, generator=generator)
    noise = noise * torch.randn(image.shape, generator=generator)
    return image.clamp_min(0) ** gamma * torch.exp(_BIAS_SD * field) + noise


def _moved(
    scan: PseudoLabelledScan, affine: Tensor, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Image and labels of a scan after a move about its middle, on a grid of another shape."""
    size = torch.tensor(scan.pair.shape[1:]).float()
    target = torch.tensor(shape).float()
    # From the target's unit cube (-1 to 1) to voxels from the middle, moved, to the scan's cube.
    theta = torch.diag(2 / size) @ affine[:3, :3] @ torch.diag(target / 2)
    shift = 2 * affine[:3, 3] / size
    theta = torch.cat([theta.flip(0, 1), shift.flip(0)[:, None]], dim=1)  # grid_sample's W, H, D
    where = F.affine_grid(theta[None], [1, 1, *shape], align_corners=False)
    image, observed = scan.pair.float()
    # Weighed by what was observed, so that the rim of the field of view is no darker.
    stacked = torch.cat([torch.stack([image * observed, observed]), scan.labels[1:].float()])
    moved = F.grid_sample(stacked[None], where, align_corners=False)[0]
    observed, structures = moved[1], moved[2:]
    image = moved[0] / observed.clamp_min(0.5)
    return torch.stack([image, observed]), with_background(structures)


def with_background(structures: Tensor) -> Tensor:
    """(L - 1, D, H, W) probabilities -> (L, D, H, W), background being what they leave."""
    return torch.cat([(1 - structures.sum(0, keepdim=True)).clamp_min(0), structures])
