"""`train-encoder`: a prior and unlabelled scans in, a model that reads scans out."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seg_prior.config.training import EncoderConfig
from seg_prior.errors import ConfigError
from seg_prior.files import Files

if TYPE_CHECKING:
    from seg_prior.checkpoints.header import Header

SUMMARY = (
    "Teach a prior to read scans, from synthetic scans of label maps and from unlabelled scans."
)
EXAMPLE = (
    "seg-prior train-encoder scans/ --labels maps/ \\\n"
    "    --prior prior.safetensors --out model.safetensors"
)
OPERANDS = "images..."
log = logging.getLogger(__name__)


class Config(EncoderConfig):
    """`train-encoder`: unlabelled images and a prior in, a model that reads images out."""

    images: list[Path] = []
    """Unlabelled scans: files, folders, patterns or .txt lists. May be empty with
    `synthetic_only`."""
    prior: Path
    """Checkpoint of kind vae."""
    labels: list[Path]
    """Label maps that synthetic scans are made of."""
    out: Path
    """Checkpoint to write."""
    synthetic_only: bool = False
    """Stop after the synthetic scans."""


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    from seg_prior.checkpoints.provenance import training_files
    from seg_prior.io.find import find_images, find_label_maps

    folder = config.out.with_suffix("")
    reads = [config.prior, *find_label_maps(config.labels)]
    writes = training_files(folder / "pretrain")
    if not config.synthetic_only:
        reads += find_images(config.images)
        writes += training_files(folder / "adapt")
    return Files(reads, [*writes, config.out], signed=[config.out])


def run(config: Config) -> Header:
    """Pre-train q(z | x) on synthetic scans, adapt it to the scans, write the model.

    Raises:
        SegPriorError: An input does not fit.
    """
    from seg_prior.checkpoints.file import load_model, save_model
    from seg_prior.checkpoints.header import read_header
    from seg_prior.checkpoints.provenance import check_checkpoint_name, signed
    from seg_prior.checkpoints.request import Request, is_trained
    from seg_prior.core.device import is_first_process, start
    from seg_prior.models.image_encoder import ImageEncoder
    from seg_prior.models.label_vae import LabelVAE
    from seg_prior.models.likelihood import intensity_classes
    from seg_prior.training.encoder import adapt, conform_scans, pretrain
    from seg_prior.training.loop import Run, forget

    check_checkpoint_name(config.out)
    if not config.images and not config.synthetic_only:
        raise ConfigError("images: found none; name scans, or ask for --synthetic-only.")
    request = Request.of(config, files(config).reads)
    if is_trained(config.out, "train-encoder", request):
        log.info("%s is finished, of the same prior, scans and settings", config.out)
        return read_header(config.out)
    device = start(config)
    model = load_model(config.prior, kinds=("vae", "vae_encoder"))
    assert isinstance(model.prior, LabelVAE)
    vae = model.prior.to(device)
    classes = intensity_classes(model.header.label_table, model.header.intensity)
    encoder = model.image_encoder or ImageEncoder(vae)
    encoder.requires_grad_(True)
    folder = config.out.with_suffix("")
    first = Run(folder / "pretrain", device, request)
    pretrain(config, model, config.labels, encoder, classes, first)
    num_synthetic = config.pretrain.steps * config.pretrain.batch_size
    log.info("pre-trained on %d synthetic scans", num_synthetic)
    num_scans = 0
    if not config.synthetic_only:
        scans, are_stripped = conform_scans(config.images, config, model, device)
        num_scans = len(scans)
        classes = replace(classes, is_stripped=are_stripped)
        adapt(config, vae, encoder, scans, classes, Run(folder / "adapt", device, request))
        log.info("adapted to %d scans", num_scans)
    header = model.header.model_copy(update={"kind": "vae_encoder"})
    header = signed(header, "train-encoder", config, num_scans, request.record())
    if is_first_process():
        save_model(config.out, header, vae, encoder, model.locator)
        for stage in ("pretrain", "adapt"):
            forget(folder / stage)
        log.info("wrote %s (%.1f MB)", config.out, config.out.stat().st_size / 1e6)
    return header
