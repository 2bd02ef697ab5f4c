"""A head in ids of FreeSurfer's kind: white matter around ventricle and nucleus, cortex, fluid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_prior.config.synthesis import AgeingConfig, Growth
from seg_prior.core.grid import Grid
from seg_prior.core.labels import Label, LabelTable
from seg_prior.core.volume import Volume
from seg_prior.synthesis.sources import Sources

AIR, WHITE, CORTEX, VENTRICLE, CAUDATE, FLUID, LESION, SKIN = 0, 2, 3, 4, 11, 24, 25, 502
SHAPE = (48, 48, 48)
SPACING_MM = 2.0

AGEING = AgeingConfig(
    aged_share=1.0,
    growth=(
        Growth(ids=(VENTRICLE,), border_mm=5.0, reach_mm=6.0),
        Growth(ids=(CAUDATE,), border_mm=-1.0, reach_mm=4.0),
    ),
    size_sd=0.0,
    cortex={CORTEX: WHITE},
    fluid=FLUID,
    lesions={WHITE: LESION},
    lesion_sources=(VENTRICLE,),
)


def head_table() -> LabelTable:
    """Lesions count as white matter, skin as a kind of background."""
    rows = (
        (AIR, (AIR,), "background", False),
        (WHITE, (WHITE, LESION), "wm", True),
        (CORTEX, (CORTEX,), "cortex", True),
        (VENTRICLE, (VENTRICLE,), "csf", True),
        (CAUDATE, (CAUDATE,), "caudate", True),
        (FLUID, (FLUID,), "csf", False),
        (SKIN, (SKIN,), "background-soft", False),
    )
    labels = [
        Label(
            id=id_,
            name=f"label {id_}",
            source_ids=sources,
            intensity_class=intensity_class,
            partner_id=id_,
            is_structure=is_structure,
        )
        for id_, sources, intensity_class, is_structure in rows
    ]
    return LabelTable(labels=tuple(labels))


def head_sources() -> Sources:
    """All ids."""
    typical = np.array([0.0, 1.0, 0.65, 0.15, 0.75, 0.15], dtype=np.float32)
    ids = (AIR, WHITE, CORTEX, VENTRICLE, CAUDATE, FLUID, LESION, SKIN)
    return Sources.of(ids, head_table(), typical)


def head_grid() -> Grid:
    """World 0 lies in the middle."""
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(SHAPE) - 1) / 2
    return Grid(SHAPE, affine)


def head_ids() -> NDArray[np.int32]:
    """(48, 48, 48) concentric shells; the caudate lies beside the ventricle."""
    i, j, k = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    radius = np.sqrt(i[:, None, None] ** 2 + j[None, :, None] ** 2 + k[None, None, :] ** 2)
    ids = np.full(SHAPE, AIR, dtype=np.int32)
    for reach, id_ in ((22.5, SKIN), (19.5, FLUID), (18, CORTEX), (15, WHITE), (5, VENTRICLE)):
        ids[radius < reach] = id_
    beside = np.sqrt((i[:, None, None] - 8) ** 2 + j[None, :, None] ** 2 + k[None, None, :] ** 2)
    ids[(beside < 4) & (ids == WHITE)] = CAUDATE
    return ids


def head() -> Volume:
    """As read from a file."""
    return Volume(head_ids(), head_grid(), source="<head>")
