"""Twenty inputs that quality control should not let pass, most made from good scans."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.io.read import read_volume

_ROWS = {"x": 0, "y": 1, "z": 2}
_TURN = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])

Case = tuple[str, Callable[[], Volume]]


def spoiled(data: Path) -> list[Case]:
    """(what is wrong, how to make it) of each."""
    brain = "brain_t1w/sub-{}_T1w.nii.gz".format
    whole, half = (0.0, 1.0), (0.0, 0.5)
    recipes: list[tuple[str, str, Callable[[Volume], Volume]]] = [
        ("header turned by 90 degrees", brain(1008), turned),
        ("header with y and z swapped", brain(1009), lambda v: _placed(v, _swapped(v))),
        ("header upside down, mirrored", brain(1010), lambda v: mirrored(v, "z")),
        ("header front to back, mirrored", brain(1011), lambda v: mirrored(v, "y")),
        ("header left to right, mirrored", brain(1012), lambda v: mirrored(v, "x")),
        ("header with slices twice as thick", brain(1013), _thick),
        ("one half of the head missing", brain(1014), lambda v: kept(v, half, whole, whole)),
        ("lower half of the head missing", brain(1008), lambda v: kept(v, whole, whole, (0.5, 1))),
        ("field of view of 40 mm", brain(1009), lambda v: middle(v, 40)),
        ("wrapped around by 40 %", brain(1010), _wrapped),
        ("noise, sd 0.3 of the 99th percentile", brain(1011), lambda v: noisy(v, 0.3)),
        ("noise, sd 1.0 of the 99th percentile", brain(1012), lambda v: noisy(v, 1.0)),
        ("bias field from 1/4 to 4", brain(1013), lambda v: _biased(v, np.log(4))),
        ("noise alone in the shape of a brain", brain(1014), _noise_alone),
        ("label map instead of the image", "brain_t1w/sub-1008_dseg.nii.gz", lambda v: v),
        ("blank", brain(1008), lambda v: _with(v, np.full(v.data.shape, 7.0))),
        ("fetal brain", "fetal/*_T2w.nii.gz", lambda v: v),
        ("mouse brain, scaled to a human's", "mouse/*_T2w.nii.gz", _larger),
        ("hippocampus, cut out", "hippocampus/*_T1w.nii.gz", lambda v: v),
        ("heart", "cardiac/*_bssfp.nii.gz", lambda v: v),
    ]
    return [
        (what, partial(_made, sorted(data.glob(pattern))[0], spoil))
        for what, pattern, spoil in recipes
    ]


def _made(file: Path, spoil: Callable[[Volume], Volume]) -> Volume:
    return spoil(read_volume(file))


def turned(scan: Volume) -> Volume:
    """The header, turned by 90 degrees about the left-right axis of the world."""
    return _placed(scan, _TURN @ scan.grid.affine)


def _swapped(scan: Volume) -> np.ndarray:
    return scan.grid.affine[[0, 2, 1, 3]]


def _thick(scan: Volume) -> Volume:
    return _placed(scan, scan.grid.affine @ np.diag([1, 1, 2, 1.0]))


def _larger(scan: Volume) -> Volume:
    return _placed(scan, np.diag([12, 12, 12, 1.0]) @ scan.grid.affine)


def _wrapped(scan: Volume) -> Volume:
    return _with(scan, np.roll(scan.data, int(0.4 * scan.data.shape[1]), axis=1))


def _with(scan: Volume, data: np.ndarray) -> Volume:
    return Volume(data, scan.grid, source=scan.source)


def _placed(scan: Volume, affine: np.ndarray) -> Volume:
    return Volume(scan.data, Grid(scan.grid.shape, affine), source=scan.source)


def mirrored(scan: Volume, axis: str) -> Volume:
    """The header, mirrored about the image's own middle."""
    affine, row = scan.grid.affine.copy(), _ROWS[axis]
    affine[row] *= -1
    affine[row, 3] += 2 * scan.grid.center_mm[row]
    return _placed(scan, affine)


def kept(scan: Volume, *shares: tuple[float, float]) -> Volume:
    """0 outside a share of the image along the world's x, y, z, as a cut field of view."""
    index = np.indices(scan.data.shape).reshape(3, -1)
    world = (scan.grid.affine[:3, :3] @ index + scan.grid.affine[:3, 3:]).reshape(
        3, *scan.data.shape
    )
    is_brain = scan.data > 0
    keep = np.ones(scan.data.shape, dtype=bool)
    for place, (low, high) in zip(world, shares, strict=True):
        first, last = place[is_brain].min(), place[is_brain].max()
        keep &= (place >= first + low * (last - first)) & (place <= first + high * (last - first))
    return _with(scan, np.where(keep, scan.data, 0))


def middle(scan: Volume, side_mm: float) -> Volume:
    """A cube around the middle of the brain."""
    half = np.round(side_mm / 2 / scan.grid.spacing_mm).astype(int)
    middle = np.argwhere(scan.data > 0).mean(axis=0).astype(int)
    start, stop = middle - half, middle + half
    cut = tuple(slice(x, y) for x, y in zip(start, stop, strict=True))
    return Volume(scan.data[cut], scan.grid.crop(start, stop), source=scan.source)


def noisy(scan: Volume, share: float) -> Volume:
    """With noise of a share of the 99th percentile, in view."""
    noise = np.random.default_rng(0).normal(size=scan.data.shape)
    noisy = np.abs(scan.data + share * np.percentile(scan.data[scan.data > 0], 99) * noise)
    return _with(scan, np.where(scan.data > 0, noisy, 0))


def _biased(scan: Volume, log_range: float) -> Volume:
    """Brighter by exp(log_range) in one corner than in the middle, as much darker in the other."""
    ramp = sum(np.ix_(*[np.linspace(-1 / 3, 1 / 3, n) for n in scan.data.shape]))
    return _with(scan, scan.data * np.exp(log_range * ramp))


def _noise_alone(scan: Volume) -> Volume:
    noise = np.random.default_rng(0).normal(1000.0, 100.0, scan.data.shape)
    return _with(scan, np.where(scan.data > 0, noise, 0))
