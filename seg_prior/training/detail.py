"""How the flow of the detail is learned from label maps, once there is an autoencoder of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from seg_prior.config.networks import DetailFlowConfig
from seg_prior.config.optim import OptimConfig
from seg_prior.core.device import num_processes
from seg_prior.models.label_vae import LabelVAE, one_hot
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.training.curves import draw_log
from seg_prior.training.loop import Run, train

OPTIM = OptimConfig(learning_rate=2e-3, warmup_steps=20, num_workers=0, save_every=100)
"""But for steps and batch."""
CELLS_A_STEP = 20_000
"""Label maps of small organs make up a batch of so many cells, at the cost of one large map."""
Item = tuple[Tensor, Tensor, Tensor, Tensor]


def fit_detail_flow(
    vae: LabelVAE, label_maps: Iterable[Tensor], steps: int, seed: int, run: Run
) -> None:
    """Give an autoencoder the flow of the detail of label maps; nothing else of it changes.

    Args:
        vae: With channels of detail; on the run's device.
        label_maps: (V,) label indices each; seen one at a time.
        steps: Of the optimiser.
        seed: Of the network, the order of maps and their noise.
        run: Folder and device.
    """
    torch.manual_seed(seed)
    flow = vae.add_detail_flow(DetailFlowConfig()).to(vae.location.voxels.device)
    generator = torch.Generator().manual_seed(seed)
    pairs = [codes_of(vae, labels, generator) for labels in label_maps]
    flow.fit_scale(*(torch.stack(part) for part in zip(*pairs, strict=True)))
    seen = [(flow.scaled(x, context).half(), context.half()) for x, context in pairs]
    processes = num_processes()
    batch_size = processes * max(1, CELLS_A_STEP // (processes * vae.location.cells.numel()))
    dataset = Noised(seen, seed, steps * batch_size)
    vae.requires_grad_(False)
    flow.requires_grad_(True)
    optim = OPTIM.model_copy(update={"steps": steps, "batch_size": batch_size})
    train(flow, flow_losses, dataset, optim, run)
    draw_log(run.folder)


@torch.no_grad()
def codes_of(vae: LabelVAE, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(V,) label indices -> (N, F) the mean of its detail, (N, 2 F) the context of a coarse part.

    The coarse part is a draw of q(z | s): those of all maps together are spread as p(z) is, which
    their means are not.
    """
    device = vae.location.voxels.device
    mean, log_var = vae.encode(one_hot(labels[None].to(device), vae.location.num_labels))
    noise = torch.randn(1, vae.num_coarse, generator=generator).to(device)
    num_coarse = vae.num_coarse
    coarse = mean[:, :num_coarse] + torch.exp(log_var[:, :num_coarse] / 2) * noise
    detail = mean[0, num_coarse:].view(vae.decoder.detail_shape).T
    return detail.cpu(), vae.context(coarse)[0].cpu()


class Noised(Dataset[Item]):
    """A label map's detail, its context, noise, and how far the flow has come.

    Args:
        pairs: Scaled detail (N, F) and context (N, 2 F) of every label map.
        seed, length: Item n depends on (seed, n) alone.
    """

    def __init__(self, pairs: list[tuple[Tensor, Tensor]], seed: int, length: int) -> None:
        self.pairs, self.seed, self.length = pairs, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> Item:
        """Scaled detail (N, F), context (N, 2 F), noise (N, F), and time, a number in [0, 1]."""
        generator = generator_of(self.seed, item)
        target, context = self.pairs[int(torch.randint(len(self.pairs), (1,), generator=generator))]
        noise = torch.randn(target.shape, generator=generator)
        return target.float(), context.float(), noise, torch.rand((), generator=generator)


def flow_losses(flow: nn.Module, batch: Any, step: int) -> Mapping[str, Tensor]:
    """Mean squared error of the velocity; 1 is the best guess that looks at each number alone."""
    target, context, noise, time = batch
    t = time[:, None, None]
    error = flow((1 - t) * noise + t * target, time, context) - (target - noise)
    return {"loss": (error.square() * (t.square() + (1 - t).square())).mean()}
