"""The network that reads scans: synthetic ones first, then unlabelled ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from seg_prior.checkpoints.file import Model
from seg_prior.config.training import EncoderConfig
from seg_prior.core.progress import progress
from seg_prior.inference.predictor import atlas_of, is_stripped
from seg_prior.inference.refine import Observation, fit_intensities
from seg_prior.io.find import find_images, find_label_maps
from seg_prior.io.nifti import read_volume
from seg_prior.models.image_encoder import ImageEncoder, posterior_through
from seg_prior.models.label_vae import LabelVAE, one_hot
from seg_prior.models.likelihood import IntensityClasses
from seg_prior.models.objective import kl_between_normals, kl_to_standard_normal, log_prob_of_image
from seg_prior.registration.pipeline import register_scan
from seg_prior.synthesis.ageing import sample_anatomy
from seg_prior.synthesis.anatomies import generator_of
from seg_prior.synthesis.contrast import sample_contrast
from seg_prior.synthesis.render import render
from seg_prior.synthesis.view import sample_view
from seg_prior.training.align import align_sources
from seg_prior.training.curves import draw_log
from seg_prior.training.loop import Run, train

log = logging.getLogger(__name__)


def pretrain(
    config: EncoderConfig,
    model: Model,
    labels: Sequence[Path],
    encoder: ImageEncoder,
    classes: IntensityClasses,
    run: Run,
) -> None:
    """Make q(z | synthetic x) cover q(z | s): no image-label pair of a real subject is used."""
    vae = model.prior
    assert isinstance(vae, LabelVAE)
    location = model.location
    synthetic = SyntheticScans(find_label_maps(labels), model, config)
    on_device = classes.to(run.device)

    def losses_of(network: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        image, observed, label_map = batch
        with torch.no_grad():
            read = posterior_through(location.log_prob[None], image, observed, on_device)
            target = vae.encode(one_hot(label_map, location.num_labels))
        mean, log_var = network(read, location)
        loss = kl_between_normals(mean, log_var, *target).mean() / image.shape[2]
        return {"loss": loss, "mean_error": (mean - target[0]).square().mean()}

    train(encoder, losses_of, synthetic, config.pretrain, run)
    draw_log(run.folder)


class SyntheticScans(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Synthetic scans on the voxels of the anatomy mask; item n depends on (seed, n) alone.

    Args:
        labels: Label maps.
        model: The prior whose frame they are brought to.
        config: Spread of the scans.
    """

    def __init__(self, labels: Sequence[Path], model: Model, config: EncoderConfig) -> None:
        self.maps, self.sources = align_sources(labels, model, config.synthesis)
        self.grid, self.voxels = model.header.grid, model.location.voxels.cpu()
        # Kinds of background count as one.
        first = np.array([group[0] for group in model.location.groups], dtype=np.uint8)
        self.label = first[self.sources.label]
        self.config = config

    def __len__(self) -> int:
        return self.config.pretrain.steps * self.config.pretrain.batch_size

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        """image (1, V), observed (1, V) 0 or 1, label_map (V,) uint8."""
        generator, config = generator_of(self.config.seed, item), self.config.synthesis
        label_map = self.maps[int(torch.randint(len(self.maps), (1,), generator=generator))]
        augment, ageing = self.config.augment, config.ageing
        anatomy = sample_anatomy(label_map, self.sources, self.grid, augment, ageing, generator)
        look = sample_contrast(self.sources, config, generator)
        spacing_mm = float(self.grid.spacing_mm[0])
        image = render(anatomy, self.sources, look, spacing_mm, config, generator)
        in_view, _ = sample_view(anatomy, self.sources, self.grid, config, generator)
        observed = torch.from_numpy(in_view).flatten()[None, self.voxels].float()
        seen = torch.from_numpy(image).flatten()[None, self.voxels] * observed
        return seen, observed, torch.from_numpy(self.label[anatomy]).flatten()[self.voxels]


def adapt(
    config: EncoderConfig,
    vae: LabelVAE,
    encoder: ImageEncoder,
    scans: Sequence[tuple[Tensor, Tensor]],
    classes: IntensityClasses,
    run: Run,
) -> None:
    """Maximise ELBO(x) of the scans over the encoder; the decoder is frozen."""
    location = vae.location
    length = config.adapt.steps * config.adapt.batch_size
    dataset = NoisyScans(scans, vae.num_latents, config.seed, length)
    on_device = classes.to(run.device)

    def losses_of(network: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        image, observed, noise = batch
        with torch.no_grad():
            read = posterior_through(location.log_prob[None], image, observed, on_device)
        mean, log_var = network(read, location)
        log_prior = vae.decode(mean + torch.exp(log_var / 2) * noise)
        with torch.no_grad():
            seen = Observation(image, observed, on_device)
            intensities = fit_intensities(log_prior, seen)
        num_voxels = image.shape[2]
        image_term = log_prob_of_image(log_prior, image, observed, intensities, config.likelihood)
        nll = -image_term.mean() / num_voxels
        kl = kl_to_standard_normal(mean, log_var).sum(1).mean() / num_voxels
        return {"loss": nll + kl, "nll": nll, "kl": kl}

    train(encoder, losses_of, dataset, config.adapt, run)
    draw_log(run.folder)


def conform_scans(
    images: Sequence[Path], config: EncoderConfig, model: Model, device: str
) -> tuple[list[tuple[Tensor, Tensor]], bool]:
    """Every scan in prior space, (1, V) image and (1, V) observed; and whether all are stripped."""
    atlas = atlas_of(model, device)
    scans, are_stripped = [], True
    paths = find_images(images)
    for path in progress(paths, log, "registered scans", total=len(paths), is_slow=True):
        volume = read_volume(path)
        registered = register_scan([volume], atlas, config.n4, config.seed)
        for warning in registered.registration.warnings:
            log.warning("%s: %s", path, warning)
        pair = torch.cat([registered.image, registered.observed])[None]
        image, observed = model.location.gather(pair.to(model.location.voxels.device))[0].cpu()
        scans.append((image[None], observed[None]))
        are_stripped &= is_stripped(registered, model.location)
    return scans, are_stripped


class NoisyScans(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Scans in random order, each with its own noise; item n depends on (seed, n) alone."""

    def __init__(
        self, scans: Sequence[tuple[Tensor, Tensor]], num_latents: int, seed: int, length: int
    ) -> None:
        self.scans = scans
        self.num_latents = num_latents
        self.seed = seed
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        """image (1, V), observed (1, V), noise (K,)."""
        generator = generator_of(self.seed, item)
        choice = int(torch.randint(len(self.scans), (1,), generator=generator))
        image, observed = self.scans[choice]
        return image, observed, torch.randn(self.num_latents, generator=generator)
