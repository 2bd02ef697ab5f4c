"""`train-encoder`: a prior and unlabelled scans in, a model that reads scans out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from seg_prior.checkpoints.file import load_model, save_model
from seg_prior.checkpoints.header import Header
from seg_prior.checkpoints.provenance import check_checkpoint_name, request_of, signed
from seg_prior.config.commands import TrainEncoderConfig
from seg_prior.core.device import is_first_process, start
from seg_prior.errors import ConfigError
from seg_prior.models.image_encoder import ImageEncoder
from seg_prior.models.label_vae import LabelVAE
from seg_prior.models.likelihood import intensity_classes
from seg_prior.training.encoder import adapt, conform_scans, pretrain
from seg_prior.training.loop import Run


def run(config: TrainEncoderConfig, show: Callable[[str], None] = print) -> Header:
    """Pre-train q(z | x) on painted label maps, adapt it to the scans, write the model.

    Raises:
        SegPriorError: An input does not fit.
    """
    check_checkpoint_name(config.out)
    if not config.images and not config.synthetic_only:
        raise ConfigError("images: found none; name scans, or ask for --synthetic-only.")
    device = start(config)
    model = load_model(config.prior, kinds=("prior", "model"))
    assert isinstance(model.prior, LabelVAE)
    vae = model.prior.to(device)
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    encoder = model.image_encoder or ImageEncoder(vae)
    encoder.requires_grad_(True)
    folder = config.out.with_suffix("")
    request = request_of(config) + model.sha256
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
    header = signed(header, "train-encoder", config, num_scans)
    if is_first_process():
        save_model(config.out, header, vae, encoder, model.locator)
        show(f"wrote {config.out} ({config.out.stat().st_size / 1e6:.1f} MB)")
    return header
