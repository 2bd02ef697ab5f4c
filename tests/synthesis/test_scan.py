"""A synthetic scan: its truth lies where its intensities do, whatever its axes and pose."""

import numpy as np
import pytest

from seg_prior.config.synthesis import AugmentConfig
from seg_prior.core.grid import apply_affine
from seg_prior.core.volume import Volume
from seg_prior.synthesis.anatomies import AlignedLabelMap, generator_of
from seg_prior.synthesis.scan import SyntheticScan, centered, synthetic_scan
from seg_prior.synthesis.sources import Sources
from tests.models import toy
from tests.synthesis.test_render import PLAIN
from tests.synthesis.toy_head import AGEING, SKIN, head, head_sources

STILL = AugmentConfig(
    rotation_sd_deg=0, shear_sd=0, log_scale_sd=0, shift_sd_mm=0, warp_sd_mm=(0, 0), flip=False
)
STRIPPED = PLAIN.model_copy(update={"views": {"rim": 1}})
TYPICAL = np.array([0.0, 0.4, 0.9, 0.4, 0.6], dtype=np.float32)
SOURCES = Sources.of(toy.table().ids.tolist(), toy.table(), TYPICAL)


@pytest.fixture
def label_map() -> AlignedLabelMap:
    ids = toy.table().ids[toy.label_map().numpy()]
    return centered(Volume(ids, toy.grid(), source="<toy>"), SOURCES)


def scan_of(
    label_map: AlignedLabelMap, seed: int = 0, augment: AugmentConfig = STILL
) -> SyntheticScan:
    return synthetic_scan(label_map, SOURCES, 2.0, augment, STRIPPED, generator_of(seed, 0))


def test_every_label_has_one_intensity_and_outside_is_zero(label_map: AlignedLabelMap) -> None:
    scan = scan_of(label_map)
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
    scan = scan_of(label_map)
    voxel_mm3 = scan.volume.grid.voxel_volume_mm3
    assert voxel_mm3 == pytest.approx(8.0, rel=1e-6)
    for label in (toy.SHELL, toy.CORE):
        true_mm3 = int((toy.label_map() == label).sum()) * toy.SPACING_MM**3
        assert (scan.indices == label).sum() * voxel_mm3 == pytest.approx(true_mm3, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_left_stays_left_of_right(label_map: AlignedLabelMap, seed: int) -> None:
    mirrored = STILL.model_copy(update={"flip": True})
    for augment in (STILL, mirrored):
        scan = scan_of(label_map, seed, augment)
        x = {
            label: apply_affine(scan.volume.grid.affine, np.argwhere(scan.indices == label))[:, 0]
            for label in (toy.LEFT, toy.RIGHT)
        }
        assert x[toy.LEFT].mean() < x[toy.RIGHT].mean()


def test_seeds_decide_and_axes_vary(label_map: AlignedLabelMap) -> None:
    again, other = scan_of(label_map, 1), scan_of(label_map, 2)
    assert np.array_equal(scan_of(label_map, 1).volume.data, again.volume.data)
    signs = {
        tuple(np.sign(scan_of(label_map, n).volume.grid.affine[:3, :3].diagonal()).tolist())
        for n in range(6)
    }
    assert len(signs) > 1
    assert not np.allclose(again.volume.grid.affine, other.volume.grid.affine)


def test_a_view_with_the_head_holds_all_of_it() -> None:
    """An aged head: skin is shown where the view has it, and counts as background."""
    sources = head_sources()
    label_map = centered(head(), sources)
    shown = {}
    for view in ("zeroed", "inside"):
        config = PLAIN.model_copy(update={"views": {view: 1}, "ageing": AGEING})
        scan = synthetic_scan(label_map, sources, 4.0, STILL, config, generator_of(0, 0))
        shown[view] = (scan.volume.data > 0) & (scan.indices == 0)
    num_skin = int((sources.ids[label_map.indices.numpy()] == SKIN).sum()) / 8  # at 4 mm, not 2
    assert shown["zeroed"].sum() > 0.6 * num_skin
    assert shown["inside"].sum() < 0.3 * num_skin
