"""How draws are learned from label maps, once there is an autoencoder of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from seg_prior.config.networks import DetailFlowConfig
from seg_prior.config.optim import OptimConfig
from seg_prior.core.device import num_processes
from seg_prior.models.coarse_field import fit_coarse_field, gain_of_left_out
from seg_prior.models.density_fit import LEAST_PEOPLE
from seg_prior.models.label_vae import LabelVAE, one_hot
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.training.curves import draw_log
from seg_prior.training.loop import Run, train

OPTIM = OptimConfig(learning_rate=2e-3, warmup_steps=20, num_workers=0, save_every=100)
"""But for steps and batch."""
CELLS_A_STEP = 20_000
"""Label maps of small organs make up a batch of so many cells, at the cost of one large map."""
NUM_GAUGED, MAX_LOG2_GAIN, GAIN_ROUNDS = 8, 2.0, 6
"""Label maps that tell the gain, at most, how far it may lie from 1, and halvings of that range."""
FLOW = DetailFlowConfig(num_fine_blocks=2)
"""Form of a flow that is learned today."""
log = logging.getLogger(__name__)
Item = tuple[Tensor, Tensor, Tensor, Tensor]


class MapCodes(NamedTuple):
    """What is learned from of a label map.

    Attributes:
        coarse: (K',) mean of the coarse part.
        detail: (N, F) mean of the detail.
        context: (N, 2 F) of that coarse part.
        num_faces: Between voxels of unlike labels of results.
    """

    coarse: Tensor
    detail: Tensor
    context: Tensor
    num_faces: int


def fit_draws(
    vae: LabelVAE,
    label_maps: Iterable[Tensor],
    people: Sequence[str],
    steps: int,
    seed: int,
    run: Run,
) -> None:
    """Give an autoencoder the field of the coarse part, and the flow of the detail, of label maps.

    Nothing else of it changes. Without channels of detail, or steps, there is no flow; of fewer
    than LEAST_PEOPLE no field: how blocks go together is not to be seen in so few.

    Args:
        vae: On the run's device.
        label_maps: (V,) label indices each; seen one at a time.
        people: Whose each map is.
        steps: Of the optimiser of the flow.
        seed: Of the network, the order of maps and their noise.
        run: Of the flow: folder and device.
    """
    codes = [codes_of(vae, labels) for labels in label_maps]
    if len(set(people)) >= LEAST_PEOPLE:
        coarse = torch.stack([one.coarse for one in codes])
        shape = vae.decoder.latent_shape
        vae.coarse_field = fit_coarse_field(coarse, shape).to(vae.location.voxels.device)
        gain = gain_of_left_out(coarse, shape, people)
        log.info("coarse part of draws: blocks together gain %+.0f nats over each alone", gain)
    if vae.encoder.detail is not None and steps:
        _fit_flow(vae, codes, steps, seed, run)
        some = min(NUM_GAUGED, len(codes))
        _fit_gain(vae, [codes[n * len(codes) // some] for n in range(some)], seed)


def _fit_flow(vae: LabelVAE, codes: Sequence[MapCodes], steps: int, seed: int, run: Run) -> None:
    torch.manual_seed(seed)
    flow = vae.add_detail_flow(FLOW).to(vae.location.voxels.device)
    details = torch.stack([one.detail for one in codes])
    flow.fit_scale(details, torch.stack([one.context for one in codes]))
    seen = [(flow.scaled(one.detail, one.context).half(), one.context.half()) for one in codes]
    processes = num_processes()
    batch_size = processes * max(1, CELLS_A_STEP // (processes * vae.location.cells.numel()))
    dataset = Noised(seen, seed, steps * batch_size)
    vae.requires_grad_(False)
    flow.requires_grad_(True)
    optim = OPTIM.model_copy(update={"steps": steps, "batch_size": batch_size})
    train(flow, flow_losses, dataset, optim, run)
    draw_log(run.folder)


@torch.no_grad()
def _fit_gain(vae: LabelVAE, codes: Sequence[MapCodes], seed: int) -> None:
    """Let draws at the coarse parts of label maps have as many faces as these, by bisection.

    The means of q that the flow has learned from are shrunk, so that reconstructions are smoother
    than maps; and a flow that has learned little draws rougher ones.
    """
    flow, location = vae.detail_flow, vae.location
    assert flow is not None
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for one in codes:
        coarse = one.coarse[None].to(location.voxels.device)
        noise = torch.randn(1, vae.num_latents - vae.num_coarse, generator=generator).to(coarse)
        drawn.append((coarse, vae.detail_of(coarse, noise)))

    def faces_with(log2_gain: float) -> int:
        decoded = (vae.decode(torch.cat([c, 2**log2_gain * d], dim=1)) for c, d in drawn)
        return sum(num_faces(location.map_of(location.log_by_group(f))) for f in decoded)

    wanted = sum(one.num_faces for one in codes)
    log2_gain, step = 0.0, MAX_LOG2_GAIN / 2
    for _ in range(GAIN_ROUNDS):
        log2_gain += step if faces_with(log2_gain) < wanted else -step
        step /= 2
    flow.gain.fill_(2**log2_gain)
    log.info("detail of draws: times %.3g, for borders as rough as those of label maps", flow.gain)


def num_faces(label_map: Tensor) -> int:
    """Faces between voxels of unlike labels in (D, H, W)."""
    return sum(int((label_map.diff(dim=axis) != 0).sum()) for axis in range(3))


@torch.no_grad()
def codes_of(vae: LabelVAE, labels: Tensor) -> MapCodes:
    """Of (V,) label indices, on the CPU.

    The coarse part is the mean of q(z | s): a draw of q would shift every block by itself, which
    anatomies do not do.
    """
    labels = labels.to(vae.location.voxels.device)
    mean, _ = vae.encode(one_hot(labels[None], vae.location.num_labels))
    coarse, detail = mean[:, : vae.num_coarse], mean[0, vae.num_coarse :]
    groups = vae.location.group_of_label[labels.long()]
    faces = num_faces(vae.location.scatter(groups[None, None], 0)[0, 0])
    if vae.encoder.detail is None:
        return MapCodes(coarse[0].cpu(), torch.zeros(0), torch.zeros(0), faces)
    rows = detail.view(vae.decoder.detail_shape).T
    return MapCodes(coarse[0].cpu(), rows.cpu(), vae.context(coarse)[0].cpu(), faces)


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
