"""Which labels seldom touch: a Markov random field over the six neighbours of a voxel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.models.cells import voxel_of
from seg_prior.models.location import LocationPrior

ROUNDS = 2
"""Over all voxels; after more, hardly a label changes."""


class Neighbours(nn.Module):
    """How draws make labels of f(z), beside what f says of each voxel alone.

        p(s | z) ~ prod_v f_v(s_v) prod_{u ~ v} exp R[s_u, s_v],    R <= 0

    over pairs of neighbours u, v. The product over voxels alone cannot say that white matter does
    not touch fluid where the cortex between them is a voxel thin. R is symmetric, 0 for a label and
    itself and for labels that need not be told, so that it moves borders and smooths none.

    Args:
        repulsion: (G, G) R in nats, of the labels of results.
    """

    repulsion: Tensor

    def __init__(self, repulsion: Tensor) -> None:
        super().__init__()
        self.register_buffer("repulsion", repulsion)

    def settle(self, log_by_group: Tensor, location: LocationPrior) -> Tensor:
        """A local maximum of p(s | z), from the likeliest label of every voxel alone.

        Iterated conditional modes (Besag 1986), on one half of a chessboard after the other.

        Args:
            log_by_group: (1, G, V) log f.
            location: Where the voxels lie.

        Returns:
            (D, H, W) uint8, 0 outside the anatomy mask.
        """
        log_prob = log_by_group[0]
        likeliest = log_prob.max(0).indices  # argmax takes four times as long on CPUs
        grid = F.pad(location.scatter(likeliest[None, None], 0)[0, 0], 6 * (1,))
        _, height, width = grid.shape
        place = voxel_of(location.voxels, location.shape) + 1
        is_odd = place.sum(1) % 2 == 1
        fields = [is_odd.nonzero()[:, 0], (~is_odd).nonzero()[:, 0]]
        here = (place[:, 0] * height + place[:, 1]) * width + place[:, 2]
        around = torch.tensor([1, width, height * width], device=here.device)
        around = torch.cat([around, -around])
        label = grid.view(-1)
        for field in ROUNDS * fields:
            own = label[here[field]]
            pushed = sum(self.repulsion[own, label[here[field] + step]] for step in around)
            # Elsewhere f has its way already.
            some = field[(pushed < 0) | (own != likeliest[field])]
            total = log_prob[:, some].T.contiguous().float()
            for step in around:
                total += self.repulsion[label[here[some] + step]]
            label[here[some]] = total.max(1).indices
        return grid[1:-1, 1:-1, 1:-1].to(torch.uint8)


def touching(label_map: Tensor, num_labels: int) -> Tensor:
    """(L, L) faces between voxels of two labels in a (D, H, W) map, symmetric; 0 of one label."""
    label_map = label_map.long()
    counts = torch.zeros(num_labels**2, device=label_map.device)
    for axis in range(3):
        first, second = label_map.narrow(axis, 0, label_map.shape[axis] - 1), label_map
        second = second.narrow(axis, 1, label_map.shape[axis] - 1)
        pairs = (first * num_labels + second).flatten()
        counts += torch.bincount(pairs, minlength=num_labels**2)
    faces = counts.view(num_labels, num_labels)
    return (faces + faces.T).fill_diagonal_(0)
