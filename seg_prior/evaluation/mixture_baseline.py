"""The Gaussian mixture without anatomy: what intensities alone can tell.

It has no prior, so there is no checkpoint of it; it is the baseline that every prior must beat.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seg_prior.core.labels import LabelTable
from seg_prior.core.volume import Volume
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume
from seg_prior.models import em, likelihood
from seg_prior.models.likelihood import Intensities, IntensityClasses
from seg_prior.registration.intensity import normalise, observed

EM_ROUNDS = 100
MAX_FITTED_VOXELS = 50_000


def run(image: Path, reference: Path, label_table: Path, out: Path) -> None:
    """Cluster a scan, name the clusters by its reference, write a label map.

    Raises:
        SegPriorError: A file does not fit.
    """
    volume, table = read_volume(image), read_label_table(label_table).written
    known = read_label_map(reference)
    indices = cluster_intensities(volume, table, table.remap(known.data, known.source))
    write_volume(out, table.ids[indices], volume)


def cluster_intensities(
    volume: Volume, table: LabelTable, reference: NDArray[np.integer]
) -> NDArray[np.uint8]:
    """Label indices of a scan from intensity alone, with names that only an oracle knows.

    One Gaussian for each intensity class of the table is fitted to the observed voxels, and every
    voxel goes to its likeliest Gaussian. A Gaussian is then called after the label it overlaps
    most with IN THE REFERENCE: it flatters this baseline, which could not name anything.

    Args:
        volume: The scan.
        table: How many Gaussians there are.
        reference: (I, J, K) label indices of this very scan.

    Returns:
        (I, J, K); background where nothing was observed.

    Raises:
        ImageError: The scan is constant.
    """
    in_view = observed(volume.data)
    values = torch.from_numpy(normalise(volume.data, in_view, volume.source)[in_view])[None, None]
    fitted = fit_mixture(values, len(table.classes()[0]))
    density = likelihood.log_density(values, torch.ones_like(values), fitted)[0]
    component = (density + fitted.log_weight[0, 0, :, None]).argmax(0).numpy()
    overlap = np.zeros((density.shape[0], len(table)), dtype=np.int64)
    np.add.at(overlap, (component, reference[in_view]), 1)
    indices = np.zeros(volume.grid.shape, dtype=np.uint8)
    indices[in_view] = overlap.argmax(axis=1)[component]
    return indices


def fit_mixture(values: torch.Tensor, num_components: int) -> Intensities:
    """Means, variances and weights of a mixture of Gaussians, by EM from evenly spread means.

    Args:
        values: (1, 1, V) intensities; evenly spaced ones are fitted where there are very many.
        num_components: M.
    """
    some = values[..., :: 1 + values.shape[2] // MAX_FITTED_VOXELS]
    # One class of M Gaussians, which is certain everywhere: the prior says nothing.
    classes = IntensityClasses(
        ("any",),
        torch.zeros(1, dtype=torch.bool),
        torch.zeros(1, dtype=torch.long),
        ("any",),
        torch.zeros(1, dtype=torch.long),
        torch.zeros(num_components, dtype=torch.long),
    )
    certain, everywhere = torch.ones_like(some), torch.ones_like(some)
    return em.fit_anew(some, everywhere, certain, classes, EM_ROUNDS)
