"""What the training loop draws: sample number n is a pure function of the seed and n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.core.grid import Affine, Grid
from seg_prior.models.location import LocationPrior
from seg_prior.synthesis.deformation import random_bend


@dataclass(frozen=True, eq=False)
class AlignedLabelMap:
    """A label map in its own voxels, and the way to prior space.

    Attributes:
        indices: (I, J, K) uint8 label indices, or int16 indices of sources.
        grid: Its native grid.
        prior_from_native: (4, 4), world mm -> world mm.
    """

    indices: Tensor
    grid: Grid
    prior_from_native: Affine


def sample_labels(
    label_map: AlignedLabelMap,
    prior_grid: Grid,
    transform: Tensor | None = None,
    displacement: Tensor | None = None,
) -> Tensor:
    """The label map on the prior grid, nearest neighbour, background outside its field of view.

    Args:
        label_map: What to sample.
        prior_grid: (D, H, W).
        transform: (4, 4) applied to prior-space positions first; identity if None.
        displacement: (3, D, H, W) in prior voxels, added before it; none if None.

    Returns:
        (D, H, W), as the map's indices are.
    """
    world = torch.eye(4, dtype=torch.float64) if transform is None else transform
    native_from_prior = (
        torch.from_numpy(np.linalg.inv(label_map.prior_from_native @ label_map.grid.affine))
        @ world
        @ torch.from_numpy(prior_grid.affine)
    ).float()
    axes = [torch.arange(n, dtype=torch.float32) for n in prior_grid.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    if displacement is not None:
        index = index + displacement
    native = native_from_prior[:3, :3] @ index.flatten(1) + native_from_prior[:3, 3:]
    native = native.round_().long()
    sizes = torch.tensor(label_map.grid.shape)[:, None]
    inside = ((native >= 0) & (native < sizes)).all(0)
    native = native.clamp_(min=torch.zeros_like(sizes), max=sizes - 1)
    labels = label_map.indices[native[0], native[1], native[2]]
    return torch.where(inside, labels, 0).view(prior_grid.shape)


class RandomAnatomies(Dataset[tuple[Tensor, Tensor]]):
    """Augmented label maps on the voxels of the anatomy mask.

    Args:
        maps: The training label maps.
        prior_grid: Where they meet.
        voxels: (V,) flat indices of the anatomy mask.
        partner: (L,) index of the other side's label.
        config: Spread of the augmentation.
        num_latents: K; every anatomy comes with its own standard normal noise.
        seed, length: Item n depends on (seed, n) alone.
        later, since: The label maps of item number `since` and all that follow; `maps` to the end
            if None.
    """

    def __init__(
        self,
        maps: Sequence[AlignedLabelMap],
        prior_grid: Grid,
        voxels: Tensor,
        partner: NDArray[np.int64],
        config: AugmentConfig,
        num_latents: int,
        seed: int,
        length: int,
        later: Sequence[AlignedLabelMap] | None = None,
        since: int = 0,
    ) -> None:
        self.maps = maps
        self.later = later
        self.since = since
        self.prior_grid = prior_grid
        self.voxels = voxels
        self.partner = torch.from_numpy(partner)
        self.config = config
        self.num_latents = num_latents
        self.seed = seed
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        """(V,) uint8 label indices, and (K,) noise."""
        generator = generator_of(self.seed, item)
        maps = self.maps if self.later is None or item < self.since else self.later
        choice = int(torch.randint(len(maps), (1,), generator=generator))
        has_sides = bool((self.partner != torch.arange(self.partner.numel())).any())
        bend = random_bend(self.prior_grid, self.config, has_sides, generator)
        labels = sample_labels(maps[choice], self.prior_grid, bend.transform, bend.warp)
        labels = labels.flatten()[self.voxels]
        if bend.is_flipped:
            labels = self.partner[labels.long()].to(torch.uint8)
        return labels, torch.randn(self.num_latents, generator=generator)


def some_cells(location: LocationPrior, share: float, seed: int, step: int) -> Tensor | None:
    """(N,) a random share of the cells of the anatomy mask, other ones at every step.

    None for all of them. A function of seed and step alone, so that all processes draw the same.
    """
    if share == 1:
        return None
    order = torch.randperm(location.cells.numel(), generator=generator_of(seed, step))
    chosen = order[: max(1, round(share * order.numel()))]
    # Neighbours in memory are read faster.
    return chosen.sort().values.to(location.cells.device)


def generator_of(seed: int, item: int) -> torch.Generator:
    """A generator for one sample; neighbouring seeds and items give unrelated streams."""
    entropy = np.random.SeedSequence([seed, item]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy) & (2**63 - 1))
