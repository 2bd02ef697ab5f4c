"""p(detail | coarse): what the detail of an anatomy looks like, over all its cells together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_prior.config.networks import DetailFlowConfig
from seg_prior.core.device import autocast
from seg_prior.models.blocks import ResidualBlock, at_cells, channels_last, coarser
from seg_prior.models.location import LocationPrior

NUM_STEPS = 8
"""From noise to detail."""
LEAST_SD = 0.05
"""Of a channel of the detail about what is expected: one that never moves is not blown up."""


class DetailFlow(nn.Module):
    """A flow from independent noise to detail that fits the coarse part and itself.

    With e ~ N(0, I), m the code of the labels that the coarse part alone expects, and a slope a and
    a standard deviation s of each channel,

        detail = b (a m + s y(1)),    dy/dt = v(y, t, m),    y(0) = e.

    v is a network over the neighbourhood of every cell. Of label maps, whose detail is x, it has
    learned the mean of (x - a m) / s - e where y = (1 - t) e + t (x - a m) / s is seen: flow
    matching (Lipman et al. 2023). The gain b is fitted to draws afterwards.

    The context of a cell is m and, so that the network knows where it is, the code of the labels
    that the location prior expects: 2 F numbers, `LabelVAE.context`.

    Args:
        location: Where the N cells lie.
        num_channels: F.
        config: Form of the network.
    """

    gain: Tensor
    slope: Tensor
    sd: Tensor
    cells: Tensor

    def __init__(
        self, location: LocationPrior, num_channels: int, config: DetailFlowConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.num_channels = num_channels
        self.half_shape = coarser(location.shape, 2)
        self.register_buffer("cells", location.cells, persistent=False)
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("slope", torch.ones(num_channels))
        self.register_buffer("sd", torch.ones(num_channels))
        width, fine = config.width, config.fine_width
        self.stem = nn.Conv3d(3 * num_channels, width, 2, stride=2)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(config.num_blocks))
        self.at_time = nn.Linear(3, width * config.num_blocks)
        self.to_cells = nn.ConvTranspose3d(width, fine, 2, stride=2)
        self.fine_blocks = nn.ModuleList(ResidualBlock(fine) for _ in range(config.num_fine_blocks))
        if config.num_fine_blocks:
            self.lift = nn.Linear(3 * num_channels, fine)
            self.at_time_fine = nn.Linear(3, fine * config.num_fine_blocks)
        self.mix = nn.Linear(3 * num_channels + fine, 2 * fine)
        self.head = nn.Linear(2 * fine, num_channels)
        # Step zero is the best guess that looks at each number alone.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        channels_last(self)

    def fit_scale(self, detail: Tensor, context: Tensor) -> None:
        """Slope and standard deviation of each channel, by least squares over maps and cells.

        Args:
            detail: (M, N, F) of M label maps.
            context: (M, N, 2 F), theirs.
        """
        detail, expected = detail.flatten(0, 1), self._expected(context).flatten(0, 1)
        self.slope.copy_((detail * expected).mean(0) / expected.square().mean(0).clamp_min(1e-6))
        rest = detail - self.slope * expected
        self.sd.copy_(rest.square().mean(0).sqrt().clamp_min(LEAST_SD))

    def scaled(self, detail: Tensor, context: Tensor) -> Tensor:
        """y(1) of detail (..., N, F) in its context (..., N, 2 F)."""
        return (detail - self.slope * self._expected(context)) / self.sd

    @torch.no_grad()
    def draw(self, noise: Tensor, context: Tensor) -> Tensor:
        """From noise to detail.

        Args:
            noise: (B, N, F) of N(0, I).
            context: (B, N, 2 F).

        Returns:
            (B, N, F).
        """
        y = noise
        with autocast(noise.device.type):
            for step in range(NUM_STEPS):
                time = y.new_full((len(y),), step / NUM_STEPS)
                half = y + self(y, time, context) * (0.5 / NUM_STEPS)
                y = y + self(half, time + 0.5 / NUM_STEPS, context) / NUM_STEPS
        out: Tensor = self.gain * (self.slope * self._expected(context) + self.sd * y)
        return out

    def forward(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """The velocity v.

        Args:
            noisy: (B, N, F) y.
            time: (B,) in [0, 1], t.
            context: (B, N, 2 F).

        Returns:
            (B, N, F).
        """
        # Were y(1) and e independent numbers of unit variance, k y would be the best guess of
        # y(1) - e, and what it leaves would have the variance 1 / norm^2.
        t = time[:, None, None]
        norm = (t.square() + (1 - t).square()).sqrt()
        seen = torch.cat([noisy / norm, context], dim=2)
        moments = torch.stack([time, time.square(), (1 - time).square()], dim=1)
        features = self.stem(self._scatter(seen))
        features = _at_time(self.blocks, features, self.at_time(moments))
        fine = self.to_cells(F.silu(features))
        if self.fine_blocks:
            fine = fine + self._scatter(self.lift(seen).to(fine.dtype))
            fine = F.silu(_at_time(self.fine_blocks, fine, self.at_time_fine(moments)))
        around = at_cells(fine, self.cells)
        rest = self.head(F.silu(self.mix(torch.cat([seen, around], dim=2))))
        out: Tensor = (2 * t - 1) / norm.square() * noisy + rest.float() / norm
        return out

    def _expected(self, context: Tensor) -> Tensor:
        return context[..., : self.num_channels]

    def _scatter(self, rows: Tensor) -> Tensor:
        """(B, N, C) -> (B, C, D/2, H/2, W/2), channels last in memory, 0 outside the mask."""
        grid = rows.new_zeros(len(rows), math.prod(self.half_shape), rows.shape[2])
        grid[:, self.cells] = rows
        return grid.transpose(1, 2).reshape(len(rows), -1, *self.half_shape)


def _at_time(blocks: nn.ModuleList, x: Tensor, biases: Tensor) -> Tensor:
    """Blocks one after the other, each told of the time by what is added to its channels first.

    Args:
        blocks: n residual blocks of C channels.
        x: (B, C, D, H, W).
        biases: (B, n C).
    """
    for block, bias in zip(blocks, biases.chunk(len(blocks), dim=1), strict=True):
        x = block(x + bias[:, :, None, None, None])
    return x
