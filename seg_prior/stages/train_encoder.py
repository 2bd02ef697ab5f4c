"""`train-encoder`: a prior and unlabelled scans in, a model that reads scans out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from seg_prior.checkpoint import Model, load_model, save_model
from seg_prior.config import TrainEncoderConfig
from seg_prior.conform.chain import conform
from seg_prior.errors import ConfigError
from seg_prior.header import Header
from seg_prior.inference.map_estimate import EM_ROUNDS, Observation, fit_intensities
from seg_prior.models.image_encoder import ImageEncoder, posterior_through
from seg_prior.models.label_vae import LabelVAE, one_hot
from seg_prior.models.likelihood import IntensityClasses, intensity_classes
from seg_prior.models.objective import (
    kl_between_normals,
    kl_to_standard_normal,
    log_prob_of_image,
)
from seg_prior.report.curves import draw_log
from seg_prior.stages import runtime
from seg_prior.stages.align import align_label_maps
from seg_prior.stages.inputs import find_images
from seg_prior.stages.reader import atlas_of, is_stripped
from seg_prior.training.datasets import (
    Anatomies,
    RandomAnatomies,
    SampledAnatomies,
    generator_of,
)
from seg_prior.training.loop import Run, train
from seg_prior.training.painting import PaintedAnatomies
from seg_prior.volume import read_volume


def run(config: TrainEncoderConfig, show: Callable[[str], None] = print) -> Header:
    """Pre-train q(z | x) on painted label maps, adapt it to the scans, write the model.

    Raises:
        SegPriorError: An input does not fit.
    """
    runtime.check_checkpoint_name(config.out)
    if not config.images and not config.synthetic_only:
        raise ConfigError("images: found none; name scans, or ask for --synthetic-only.")
    device = runtime.start(config)
    model = load_model(config.prior, kinds=("prior", "model"))
    assert isinstance(model.prior, LabelVAE)
    vae = model.prior.to(device)
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    encoder = model.image_encoder or ImageEncoder(vae)
    encoder.requires_grad_(True)
    folder = config.out.with_suffix("")
    request = runtime.request_of(config) + model.sha256
    pretrain(
        config, model, encoder, classes, Run(folder / "pretrain", device, config.quiet, request)
    )
    show(f"pre-trained on {config.pretrain.steps * config.pretrain.batch_size} painted images")
    num_scans = 0
    if not config.synthetic_only:
        scans, are_stripped = conform_scans(config, model, device, show)
        num_scans = len(scans)
        adapt(
            config,
            vae,
            encoder,
            scans,
            replace(classes, is_stripped=are_stripped),
            Run(folder / "adapt", device, config.quiet, request),
        )
        show(f"adapted to {num_scans} scans")
    header = model.header.model_copy(update={"kind": "model"})
    header = runtime.signed(header, "train-encoder", config, num_scans)
    if runtime.is_first_process():
        save_model(config.out, header, vae, encoder, model.locator)
        show(f"wrote {config.out} ({config.out.stat().st_size / 1e6:.1f} MB)")
    return header


def pretrain(
    config: TrainEncoderConfig,
    model: Model,
    encoder: ImageEncoder,
    classes: IntensityClasses,
    run: Run,
) -> None:
    """Make q(z | painted x) cover q(z | s): no image-label pair of a real subject is used."""
    vae = model.prior
    assert isinstance(vae, LabelVAE)
    anatomies = _anatomies(config, model)
    location = model.location
    painted = PaintedAnatomies(
        anatomies,
        location.on_cpu(),
        classes,
        config.paint,
    )
    on_device = classes.to(run.device)

    def losses_of(network: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        image, observed, label_map = batch
        with torch.no_grad():
            read = posterior_through(location.log_prob[None], image, observed, on_device)
            target = vae.encode(one_hot(label_map, location.num_labels))
        mean, log_var = network(read, location)
        loss = kl_between_normals(mean, log_var, *target).mean() / image.shape[2]
        return {"loss": loss, "mean_error": (mean - target[0]).square().mean()}

    train(encoder, losses_of, painted, config.pretrain, run)
    draw_log(run.folder)


def _anatomies(config: TrainEncoderConfig, model: Model) -> Anatomies:
    """What images are painted from: augmented label maps, or draws from the prior itself."""
    length = config.pretrain.steps * config.pretrain.batch_size
    if config.labels:
        return RandomAnatomies(
            align_label_maps(find_images(config.labels), model),
            model.header.grid,
            model.location.voxels.cpu(),
            model.header.label_table.partner,
            config.augment,
            0,
            config.seed,
            length,
        )
    vae = load_model(config.prior).prior  # a copy that stays on the CPU
    assert isinstance(vae, LabelVAE)
    return SampledAnatomies(vae, config.seed, length)


def adapt(
    config: TrainEncoderConfig,
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
            intensities = fit_intensities(log_prior, seen, EM_ROUNDS)
        num_voxels = image.shape[2]
        image_term = log_prob_of_image(log_prior, image, observed, intensities, config.likelihood)
        nll = -image_term.mean() / num_voxels
        kl = kl_to_standard_normal(mean, log_var).sum(1).mean() / num_voxels
        return {"loss": nll + kl, "nll": nll, "kl": kl}

    train(encoder, losses_of, dataset, config.adapt, run)
    draw_log(run.folder)


def conform_scans(
    config: TrainEncoderConfig, model: Model, device: str, show: Callable[[str], None]
) -> tuple[list[tuple[Tensor, Tensor]], bool]:
    """Every scan in prior space, (1, V) image and (1, V) observed; and whether all are stripped."""
    atlas = atlas_of(model, device)
    scans, are_stripped = [], True
    paths = find_images(config.images)
    for path in tqdm(paths, desc="register", disable=True if config.quiet else None):
        volume = read_volume(path)
        conformed = conform([volume], atlas, config.n4, config.seed)
        for warning in conformed.registration.warnings:
            show(f"{path}: {warning}")
        pair = torch.cat([conformed.image, conformed.observed])[None]
        image, observed = model.location.gather(pair.to(model.location.voxels.device))[0].cpu()
        scans.append((image[None], observed[None]))
        are_stripped &= is_stripped(conformed, model.location)
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
