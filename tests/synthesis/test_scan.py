"""A painted scan: its truth lies where its intensities do, whatever its axes and pose."""

import numpy as np
import pytest
import torch

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.core.grid import apply_affine
from seg_prior.synthesis.anatomies import AlignedLabelMap, generator_of
from seg_prior.synthesis.scan import (
    CONTRASTS,
    PaintedScan,
    centered,
    paint_scan,
    shade,
)
from tests.models import toy
from tests.synthesis.test_render import PLAIN

STILL = AugmentConfig(
    rotation_sd_deg=0, shear_sd=0, log_scale_sd=0, shift_sd_mm=0, warp_sd_mm=(0, 0), flip=False
)
STRIPPED = PLAIN.model_copy(update={"stripped_share": 1.0})
TYPICAL = torch.tensor([0.0, 0.4, 0.9, 0.4, 0.6])


@pytest.fixture
def label_map() -> AlignedLabelMap:
    return centered(toy.label_map(), toy.grid())


def paint(label_map: AlignedLabelMap, seed: int = 0, augment: AugmentConfig = STILL) -> PaintedScan:
    rng = generator_of(seed, 0)
    return paint_scan(label_map, TYPICAL, toy.table(), 2.0, augment, STRIPPED, rng)


def test_every_label_has_one_intensity_and_outside_is_zero(label_map: AlignedLabelMap) -> None:
    scan = paint(label_map)
    data, indices = scan.volume.data, scan.indices
    assert data.shape == indices.shape
    for label in range(1, toy.NUM_LABELS):
        values = data[(indices == label) & (data > 0)]
        assert values.size
        assert np.ptp(values) < 1e-2
    far = data[indices == 0]
    assert (far == 0).mean() > 0.9
    assert (data[indices == toy.CORE] > 0).all()


def test_a_still_anatomy_keeps_its_volume(label_map: AlignedLabelMap) -> None:
    scan = paint(label_map)
    voxel_mm3 = scan.volume.grid.voxel_volume_mm3
    assert voxel_mm3 == pytest.approx(8.0, rel=1e-6)
    for label in (toy.SHELL, toy.CORE):
        true_mm3 = int((toy.label_map() == label).sum()) * toy.SPACING_MM**3
        assert (scan.indices == label).sum() * voxel_mm3 == pytest.approx(true_mm3, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_left_stays_left_of_right(label_map: AlignedLabelMap, seed: int) -> None:
    mirrored = STILL.model_copy(update={"flip": True})
    for augment in (STILL, mirrored):
        scan = paint(label_map, seed, augment)
        x = {
            label: apply_affine(scan.volume.grid.affine, np.argwhere(scan.indices == label))[:, 0]
            for label in (toy.LEFT, toy.RIGHT)
        }
        assert x[toy.LEFT].mean() < x[toy.RIGHT].mean()


def test_seeds_decide_and_axes_vary(label_map: AlignedLabelMap) -> None:
    again, other = paint(label_map, 1), paint(label_map, 2)
    assert np.array_equal(paint(label_map, 1).volume.data, again.volume.data)
    signs = {
        tuple(np.sign(paint(label_map, n).volume.grid.affine[:3, :3].diagonal()).tolist())
        for n in range(6)
    }
    assert len(signs) > 1
    assert not np.allclose(again.volume.grid.affine, other.volume.grid.affine)


def test_contrasts_are_what_they_say() -> None:
    typical = torch.linspace(0, 1, 11)
    shades = {name: shade(typical, name, generator_of(0, 3)) for name in CONTRASTS}
    assert (shades["straight"].diff() > 0).all()
    assert (shades["inverted"].diff() < 0).all()
    assert 3 <= int(shades["tent"].argmax()) <= 8
    for values in shades.values():
        assert 0 <= float(values.min()) < float(values.max()) <= 1
