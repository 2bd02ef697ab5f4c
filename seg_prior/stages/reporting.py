"""What the report of a scan shows, gathered from its segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seg_prior.inference.posterior import log_joints, summarise
from seg_prior.report.scan import NOT_MEASURED, Gaussian, ScanReport, StructureVolume
from seg_prior.stages.segmenter import Segmentation


def report_of(
    result: Segmentation, sidecar: Mapping[str, Any], files: Sequence[str]
) -> ScanReport:
    """Gather what the page of one scan shows.

    Args:
        result: The scan, read.
        sidecar: What is recorded of the run.
        files: Names of the files written beside the page.
    """
    table = result.segmenter.label_table
    return ScanReport(
        name=Path(result.volume.source).name,
        grid=result.volume.grid,
        image=result.volume.data,
        label_map=_indices(result, result.summary.best),
        entropy=result.entropy,
        prior_map=_indices(result, _prior_labels(result)),
        intensities=result.conformed.native.flatten()[result.voxels.index.cpu()].numpy(),
        gaussians=_gaussians(result),
        table=table,
        volumes=tuple(
            StructureVolume(
                index,
                volume.hard_mm3,
                volume.soft_mm3,
                None
                if volume.low_mm3 is None or volume.high_mm3 is None
                else (volume.low_mm3, volume.high_mm3),
                None,
                volume.touches_edge,
            )
            for index, volume in enumerate(result.volumes, start=1)
        ),
        verdict=NOT_MEASURED,
        checks=(),
        warnings=result.warnings,
        files=tuple(files),
        facts=_facts(result),
        provenance=sidecar,
    )


def _indices(result: Segmentation, best: torch.Tensor) -> NDArray[np.uint8]:
    """(N,) labels at the voxels that can hold anatomy -> (I, J, K), background elsewhere."""
    whole = torch.zeros(result.conformed.native.numel(), dtype=torch.uint8)
    whole[result.voxels.index.cpu()] = best.cpu()
    return whole.view(result.volume.grid.shape).numpy()


def _prior_labels(result: Segmentation) -> torch.Tensor:
    """(N,) most probable label of the location prior, where registration laid it."""
    location = result.segmenter.model.location
    image = result.conformed.native.flatten().to(result.voxels.index.device)[result.voxels.index]
    joints = log_joints(location.log_prob[None], location, result.voxels, image, None)
    return summarise(joints).best


def _gaussians(result: Segmentation) -> tuple[Gaussian, ...]:
    """The fitted Gaussians, each with its share of the voxels that can hold anatomy."""
    intensities, table = result.estimate.intensities, result.segmenter.label_table
    classes = intensities.classes
    soft = np.array([volume.soft_mm3 for volume in result.volumes])
    soft /= result.summary.best.numel() * result.volume.grid.voxel_volume_mm3
    share_of_label = np.concatenate([[max(1 - soft.sum(), 0.0)], soft])
    assert share_of_label.size == len(table)
    share_of_class = np.bincount(classes.class_of_label.cpu().numpy(), share_of_label)
    return tuple(
        Gaussian(
            classes.names[int(c)],
            float(intensities.mean[0, m]),
            float(intensities.var[0, m].sqrt()),
            float(intensities.log_weight[0, m].exp()) * float(share_of_class[int(c)]),
        )
        for m, c in enumerate(classes.class_of_component)
    )


def _facts(result: Segmentation) -> dict[str, str]:
    """What a reader looks up first."""
    grid, segmenter = result.volume.grid, result.segmenter
    shape = " × ".join(map(str, grid.shape))
    spacing = " × ".join(f"{edge:.3g}" for edge in grid.spacing_mm)
    return {
        "Scan": result.volume.source,
        "Grid": f"{shape} voxels of {spacing} mm",
        "Model": f"{segmenter.config.model.name}, sha256 {segmenter.model.sha256[:12]}…",
        "Computed in": f"{sum(result.seconds.values()):.0f} s on {segmenter.device}",
    }
