"""Label maps in a common frame, and the prior that is learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_prior.config.training import PriorConfig
from seg_prior.core.grid import MIRROR, Grid
from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import LabelsError
from seg_prior.io.find import find_label_maps, scan_key
from seg_prior.io.label_tables import label_table_from_ids, read_label_table
from seg_prior.io.nifti import read_label_map
from seg_prior.metrics.overlap import dice_by_id, nan_mean
from seg_prior.models.label_vae import LabelVAE, fit_residual_pca, one_hot
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.linear import LinearPrior, fit_atlas
from seg_prior.models.location import LocationPrior, location_prior
from seg_prior.models.objective import kl_to_standard_normal, log_prob_of_labels
from seg_prior.models.prior import Prior
from seg_prior.registration import groupwise, label_alignment
from seg_prior.synthesis.anatomies import (
    AlignedLabelMap,
    RandomAnatomies,
    sample_labels,
    some_cells,
)
from seg_prior.training.curves import draw_log
from seg_prior.training.holdout import held_out
from seg_prior.training.loop import Run, train
from seg_prior.training.losses import stage1_losses
from seg_prior.training.prior_space import check_partners, prior_grid, remarks_on

ACTIVE_NATS = 0.05
"""A latent dimension with less KL than this, on average, is unused."""


@dataclass(frozen=True, eq=False)
class Anatomies:
    """Label maps in a common frame.

    Attributes:
        names: Subjects of the training maps.
        training, held_out: The maps.
        table: Their labels.
        grid: Prior space.
        residual_mm: Of each training map's centroids after alignment.
        remarks: What a person should know of the maps, one line each.
        radius_mm: Root mean square radius of the mean anatomy.
    """

    names: tuple[str, ...]
    training: tuple[AlignedLabelMap, ...]
    held_out: tuple[AlignedLabelMap, ...]
    table: LabelTable
    grid: Grid
    residual_mm: tuple[float, ...]
    radius_mm: float
    remarks: tuple[str, ...] = ()


def align(labels: Sequence[Path], label_table: Path | None, config: PriorConfig) -> Anatomies:
    """Read the maps and bring them to a common frame; held-out maps have no say in it."""
    paths = find_label_maps(labels)
    volumes = [read_label_map(path) for path in paths]
    table = _label_table(label_table, volumes)
    intensity_classes(table, config.intensity)  # a wrong class is said before the long work
    indices = [table.remap(volume.data, volume.source) for volume in volumes]
    for volume, index in zip(volumes, indices, strict=True):
        if not table.is_structure[index].any():
            raise LabelsError(f"{volume.source}: found background only, need a label map.")
    landmarks = [
        groupwise.find_landmarks(index, volume.grid.affine, table.is_structure)
        for index, volume in zip(indices, volumes, strict=True)
    ]
    check_partners(landmarks, table, label_table)
    out = held_out([scan_key(path) for path in paths], config.holdout)
    kept = [n for n in range(len(paths)) if n not in out]
    fitted = groupwise.fit_group([landmarks[n] for n in kept], table.partner)
    moves = dict(zip(kept, fitted.prior_from_native, strict=True))
    moves |= {n: groupwise.fit_affine(landmarks[n], fitted.reference) for n in out}
    if table.is_structure.sum() < label_alignment.MIN_LANDMARKS:
        points = [
            label_alignment.draw_points(index, volume.grid.affine, table.is_structure, config.seed)
            for index, volume in zip(indices, volumes, strict=True)
        ]
        order = range(len(paths))
        sharpened = label_alignment.sharpen(
            points,
            [moves[n] for n in order],
            [n not in out for n in order],
            fitted.reference.radius_mm,
            len(table),
        )
        moves = dict(zip(order, sharpened, strict=True))
    maps = {
        n: AlignedLabelMap(torch.from_numpy(indices[n]), volumes[n].grid, moves[n]) for n in moves
    }
    return Anatomies(
        tuple(scan_key(paths[n]) for n in kept),
        tuple(maps[n] for n in kept),
        tuple(maps[n] for n in sorted(out)),
        table,
        prior_grid(config, [volumes[n].source for n in kept], [maps[n] for n in kept], table),
        fitted.residual_mm,
        fitted.reference.radius_mm,
        remarks_on(volumes, landmarks, table),
    )


def fit_location(anatomies: Anatomies) -> LocationPrior:
    """Label frequency of the training maps, and of their mirror images where there are sides."""
    table, grid = anatomies.table, anatomies.grid
    frequency = torch.zeros(len(table), *grid.shape)
    views = _views(anatomies)
    for labels in views:
        frequency.scatter_add_(0, labels[None].long(), torch.ones(1, *grid.shape))
    return location_prior(frequency / len(views), table.groups)


def measure(prior: Prior, anatomies: Anatomies, atlas: LinearPrior) -> dict[str, Any]:
    """How the prior reconstructs the held-out maps, or the training maps where none are.

    Returns:
        subjects (held-out or training), dice of the reconstruction and of the atlas (mean over
        structures, then over maps), nll in nats per voxel, kl in nats, and the mean KL of every
        latent dimension as sorted quantiles; active_units of num_latents.
    """
    maps = anatomies.held_out or anatomies.training
    rows: list[dict[str, float]] = []
    kl_of_dimension = torch.zeros(prior.num_latents, device=prior.location.voxels.device)
    with torch.inference_mode():
        for label_map in maps:
            voxels = prior.location.voxels
            labels = sample_labels(label_map, anatomies.grid).flatten()[voxels.cpu()]
            labels = labels.to(voxels.device)
            mean, log_var = prior.encode(one_hot(labels[None], len(anatomies.table)))
            kl = kl_to_standard_normal(mean, log_var)[0]
            kl_of_dimension += kl / len(maps)
            log_prior = prior.location.log_by_group(prior.decode(mean))
            log_atlas = prior.location.log_by_group(atlas.decode(mean[:, :0]))
            known = prior.location.group_of_label[labels.long()]
            rows.append(
                {
                    "dice": _dice(log_prior, known, anatomies.table.written),
                    "atlas_dice": _dice(log_atlas, known, anatomies.table.written),
                    "nll": -float(log_prob_of_labels(log_prior, known[None])) / labels.numel(),
                    "kl": float(kl.sum()),
                }
            )
    means: dict[str, Any] = {name: nan_mean([row[name] for row in rows]) for name in rows[0]}
    quantiles = [0.0, 0.25, 0.5, 0.75, 1.0] if prior.num_latents else []
    return means | {
        "subjects": "held out" if anatomies.held_out else "training",
        "num_subjects": len(maps),
        "num_latents": prior.num_latents,
        "active_units": int((kl_of_dimension > ACTIVE_NATS).sum()),
        "kl_quantiles": [float(kl_of_dimension.quantile(q)) for q in quantiles],
    }


def train_vae(
    config: PriorConfig, anatomies: Anatomies, location: LocationPrior, run: Run
) -> LabelVAE:
    """The VAE, trained on random anatomies."""
    vae = LabelVAE(location, config.vae)
    if config.vae.detail_channels:
        vae.init_detail(
            fit_residual_pca(location, _flat_maps(anatomies, location), config.vae.detail_channels)
        )
    optim = config.optim
    dataset = RandomAnatomies(
        anatomies.training,
        anatomies.grid,
        location.voxels,
        anatomies.table.partner,
        config.augment,
        vae.num_latents,
        config.seed,
        optim.steps * optim.batch_size,
    )
    atlas = fit_atlas(location)
    train(
        vae,
        lambda model, batch, step: stage1_losses(
            model,
            location,
            batch,
            min(1.0, step / max(1, config.kl_warmup_steps)) ** 2,
            some_cells(location, config.decoded_share, config.seed, step),
        ),
        dataset,
        optim,
        run,
        lambda model: _validate(model, anatomies, atlas),
    )
    draw_log(run.folder)
    return vae


def _validate(model: nn.Module, anatomies: Anatomies, atlas: LinearPrior) -> dict[str, float]:
    assert isinstance(model, LabelVAE)
    report = measure(model, anatomies, atlas)
    return {f"val_{name}": report[name] for name in ("dice", "nll", "kl", "active_units")}


def _label_table(path: Path | None, volumes: Sequence[Volume]) -> LabelTable:
    occurring = {int(i) for volume in volumes for i in np.unique(volume.data)}
    if path is not None:
        return read_label_table(path, occurring)
    return label_table_from_ids(occurring)


def _views(anatomies: Anatomies) -> list[Tensor]:
    """Each training map on the prior grid, and its mirror image where there are sides."""
    views = [sample_labels(m, anatomies.grid) for m in anatomies.training]
    if anatomies.table.has_sides:
        mirror = torch.from_numpy(MIRROR)
        partner = torch.from_numpy(anatomies.table.partner).to(torch.uint8)
        mirrored = (sample_labels(m, anatomies.grid, mirror) for m in anatomies.training)
        views += [partner[labels.long()] for labels in mirrored]
    return views


def _flat_maps(anatomies: Anatomies, location: LocationPrior) -> list[Tensor]:
    """(V,) label indices of every view."""
    return [labels.flatten()[location.voxels] for labels in _views(anatomies)]


def soft_maps(anatomies: Anatomies, location: LocationPrior) -> list[Tensor]:
    """(L, V) one-hot labels of every training map, and of its mirror image if it has sides."""
    flat = _flat_maps(anatomies, location)
    return [one_hot(labels[None], len(anatomies.table))[0] for labels in flat]


def _dice(log_prior: Tensor, labels: Tensor, table: LabelTable) -> float:
    """Mean Dice over the structures present."""
    found = dice_by_id(log_prior[0].argmax(0).cpu().numpy(), labels.cpu().numpy())
    return nan_mean([value for index, value in found.items() if table.is_structure[index]])
