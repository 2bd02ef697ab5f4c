"""A scan of two boxes, on an oblique grid of uneven spacing, and what its page would show."""

from dataclasses import replace

import numpy as np

from seg_prior.core.grid import Grid
from seg_prior.core.labels import Label, LabelTable
from seg_prior.report.scan import (
    Check,
    Contrast,
    Gaussian,
    Range,
    ScanReport,
    StructureVolume,
)

NASTY = '<b>"scan" & ' r"'\</script>.nii.gz"


def toy_table() -> LabelTable:
    def label(id: int, name: str, partner: int, intensity: str) -> Label:
        return Label(
            id=id,
            name=name,
            source_ids=(id,),
            intensity_class=intensity,
            partner_id=partner,
            is_structure=id > 0,
        )

    return LabelTable(
        labels=(
            label(0, "Background", 0, "background"),
            label(17, "Left-Box<i>", 53, "box"),
            label(53, "Right-Box", 17, "box"),
        )
    )


def toy_grid() -> Grid:
    angle = 0.2
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.5, 2.0, 1.0])  # i runs to the left
    affine[:3, 3] = (40.0, -30.0, 10.0)
    return Grid((48, 36, 44), affine)


def toy_report(name: str = NASTY) -> ScanReport:
    """Both boxes 12 x 16 x 20 voxels, brighter than the noise around them."""
    rng = np.random.default_rng(0)
    grid = toy_grid()
    label_map = np.zeros(grid.shape, dtype=np.uint8)
    label_map[8:20, 10:26, 12:32] = 2
    label_map[28:40, 10:26, 12:32] = 1
    image = rng.normal(np.where(label_map > 0, 300.0, 100.0), 20.0)
    entropy = np.zeros(grid.shape, dtype=np.float32)
    entropy[20:28, 10:26, 12:32] = 0.5
    return ScanReport(
        name=name,
        grid=grid,
        image=image,
        label_map=label_map,
        entropy=entropy,
        prior_map=np.roll(label_map, 2, axis=1),
        contrasts=(
            Contrast(
                name,
                (image[4:44, 6:30, 8:36].ravel() / 300).astype(np.float32),
                (
                    Gaussian("background", 1 / 3, 0.07, 0.7),
                    Gaussian("box", 0.95, 0.07, 0.1),
                    Gaussian("box", 1.05, 0.07, 0.2),
                ),
            ),
        ),
        table=toy_table(),
        volumes=(
            StructureVolume(
                1, 11520.0, 11500.0, 11400.0, (11000.0, 12000.0), Range(9e3, 1e4, 1.2e4)
            ),
            StructureVolume(2, 11520.0, 11600.0, touches_edge=True),
        ),
        verdict="WARN",
        checks=(Check("size <of> it", "1.2", "0.8 to 1.1", "WARN"),),
        warnings=("what <script>alert(1)</script> says",),
        facts={"Scan": f"/folder/{name}"},
        provenance={"source": name},
    )


def large_report(num_times: int) -> ScanReport:
    """The same scan with each voxel so many times along i."""
    report = toy_report()
    affine = report.grid.affine @ np.diag([1 / num_times, 1, 1, 1])
    i, j, k = report.grid.shape
    arrays = {
        name: np.repeat(getattr(report, name), num_times, axis=0)
        for name in ("image", "label_map", "entropy", "prior_map")
    }
    return replace(report, grid=Grid((i * num_times, j, k), affine), **arrays)
