"""Label maps in a common frame, and the prior that is learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seg_prior.config.training import PriorConfig
from seg_prior.core.grid import MIRROR, Grid
from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.errors import LabelsError
from seg_prior.io.find import find_label_maps, participant_of, scan_key
from seg_prior.io.label_tables import label_table_from_ids, read_label_table
from seg_prior.io.read import read_label_map
from seg_prior.models.density_fit import Codes
from seg_prior.models.label_vae import one_hot
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.linear import LinearPrior, fit_atlas, fit_components
from seg_prior.models.location import LocationPrior, location_prior
from seg_prior.models.prior import Prior
from seg_prior.registration import groupwise, label_alignment
from seg_prior.synthesis.anatomies import AlignedLabelMap, sample_labels
from seg_prior.training.holdout import drawn, held_out
from seg_prior.training.prior_space import check_partners, prior_grid, remarks_on


@dataclass(frozen=True, eq=False)
class Anatomies:
    """Label maps in a common frame.

    Attributes:
        names, held_out_names: Subjects of the training maps, and of the others.
        training, held_out: The maps.
        table: Their labels.
        grid: Prior space.
        residual_mm: Of each training map's centroids after alignment.
        radius_mm: Root mean square radius of the mean anatomy.
        is_lent: Whether held-out maps are kept out only until they have been measured.
        remarks: What a person should know of the maps, one line each.
    """

    names: tuple[str, ...]
    held_out_names: tuple[str, ...]
    training: tuple[AlignedLabelMap, ...]
    held_out: tuple[AlignedLabelMap, ...]
    table: LabelTable
    grid: Grid
    residual_mm: tuple[float, ...]
    radius_mm: float
    is_lent: bool
    remarks: tuple[str, ...] = ()

    def together(self) -> Anatomies:
        """With the lent maps among those for training."""
        if not self.is_lent:
            return self
        return replace(
            self,
            names=self.names + self.held_out_names,
            held_out_names=(),
            training=self.training + self.held_out,
            held_out=(),
            is_lent=False,
        )


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
    names = [scan_key(path) for path in paths]
    is_lent = not config.holdout
    out = (
        drawn(names, config.holdout_share, config.seed)
        if is_lent
        else held_out(names, config.holdout)
    )
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
        tuple(names[n] for n in kept),
        tuple(names[n] for n in sorted(out)),
        tuple(maps[n] for n in kept),
        tuple(maps[n] for n in sorted(out)),
        table,
        prior_grid(config, [volumes[n].source for n in kept], [maps[n] for n in kept], table),
        fitted.residual_mm,
        fitted.reference.radius_mm,
        is_lent and bool(out),
        remarks_on(volumes, landmarks, table),
    )


def fit_linear(config: PriorConfig, anatomies: Anatomies) -> LinearPrior:
    """The prior of kind atlas or pca; of few maps as many components as they have."""
    location = fit_location(anatomies)
    if config.kind == "atlas":
        return fit_atlas(location)
    maps = [one_hot(m[None], len(anatomies.table))[0] for m in flat_maps(anatomies, location)]
    return fit_components(location, maps, min(config.num_components, len(maps) - 1))


def fit_location(anatomies: Anatomies) -> LocationPrior:
    """Label frequency of the training maps, and of their mirror images where there are sides."""
    table, grid = anatomies.table, anatomies.grid
    frequency = torch.zeros(len(table), *grid.shape)
    views = _views(anatomies)
    for labels in views:
        frequency.scatter_add_(0, labels[None].long(), torch.ones(1, *grid.shape))
    return location_prior(frequency / len(views), table.groups)


def codes_of(prior: Prior, anatomies: Anatomies, seed: int) -> Codes:
    """What the prior's encoder says of every view of the training maps."""
    generator = torch.Generator().manual_seed(seed)
    means, draws, device = [], [], prior.location.voxels.device
    with torch.inference_mode():
        for labels in flat_maps(anatomies, prior.location):
            mean, log_var = prior.encode(one_hot(labels[None].to(device), len(anatomies.table)))
            mean, sd = mean.float().cpu(), torch.exp(log_var.float().cpu() / 2)
            means.append(mean)
            draws.append(mean + sd * torch.randn(mean.shape, generator=generator))
    people = people_of_views(anatomies)
    return Codes(torch.cat(means), torch.cat(draws), people, prior.num_coarse)


def people_of_views(anatomies: Anatomies) -> list[str]:
    """Whose each of `flat_maps` is."""
    people = [participant_of(Path(name)) for name in anatomies.names]
    return (2 if anatomies.table.has_sides else 1) * people


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


def flat_maps(anatomies: Anatomies, location: LocationPrior) -> list[Tensor]:
    """(V,) label indices of every view."""
    return [labels.flatten()[location.voxels] for labels in _views(anatomies)]
