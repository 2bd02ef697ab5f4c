"""Affine registration of an image of any contrast to what the prior expects: native -> prior space.

The image is turned, shifted and scaled until it tells as much as possible about the expected
image: first many poses at a glance, then Mattes mutual information [Mattes2003] from coarse to
fine. Lengths are shares of the anatomy's size, so that a mouse is registered like a man.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid
from seg_prior.io.itk import (
    affine_from_itk,
    affine_to_itk,
    from_itk,
    one_thread,
    point_to_itk,
    to_itk,
)
from seg_prior.registration.pose_search import PoseGuide, cross_entropy_search, select_pose
from seg_prior.registration.pyramid import (
    Level,
    Mask,
    PyramidImage,
    entropy,
    native_image,
    prior_image,
    pyramid_levels,
)
from seg_prior.registration.resample import resample
from seg_prior.registration.starts import View, starting_poses

# How far around the anatomy the sides are compared, in sizes. Around a stripped organ both are
# empty, which tells its outline; a crop shows of the anatomy little else than its outline; in a
# whole head the surround is a rind of skull and skin that would be taken for the outline.
_MARGIN = {"stripped": 1 / 14, "crop": 1 / 7, "whole": 0.0}

_NUM_REFINED = 2
_ODD_MARGIN = 0.8  # a start against the header's orientation must be this clearly better

# Where the finest level looks: structures deep inside lie alike in everybody, folds do not.
# Measured on 13 brains: Dice of the moved atlas 0.662 against 0.643 with every voxel.
_DEEP_SHARE, _SURFACE_SHARE = 0.3, 0.05
_BINS = 32

_LEAST_SHARE_STRIPPED = 0.75
"""Of a field of view that is anatomy, where the rest of the head was cut away: a defaced head in
zeros has 0.6 at most by a network that has seen synthetic heads alone, a stripped brain 0.9."""

_UNSEEN = "registration is doubtful: the locator sees hardly any of the anatomy in the image"
_MIN_OVERLAP = 0.85
_MIN_SHARE_TOLD = 0.08
_MIN_REACHED = 0.6
_SCALES = (0.7, 1.4)
# Beyond these nothing was aligned. Right ones tell 0.29 or more of stripped brains; noise tells
# 0.002, a heart laid on a brain 0.04, a mouse laid on a brain is a tenth of its size.
_LEAST_TOLD, _LEAST_REACHED, _POSSIBLE_SCALES = 0.02, 0.2, (0.4, 2.5)


@dataclass(frozen=True, eq=False)
class Registration:
    """Where an image lies in prior space.

    Attributes:
        view: What the image was taken to show.
        prior_from_native: (4, 4), world mm -> world mm.
        mutual_information: Nats per voxel of the prior's anatomy (and its surround, unless the
            image is much larger); a voxel that the image does not reach counts as no information.
        overlap: Dice of the moved field of view with the prior's anatomy if the image is
            stripped, else NaN.
        warnings: What makes the fit doubtful, one line each.
        failure: What shows that nothing was aligned; None if something was.
    """

    view: View
    prior_from_native: Affine
    mutual_information: float
    overlap: float
    warnings: tuple[str, ...]
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """Where a network sees the anatomy.

    Attributes:
        prior_from_native: (4, 4), world mm -> world mm; right within a few mm.
        share: Of the field of view that is anatomy: most of a stripped brain, a third of a head.
    """

    prior_from_native: Affine
    share: float


Find = Callable[[NDArray[np.float32], Mask, Grid], Found | None]
"""(I, J, K) image and field of view, their grid -> where the anatomy is seen, if it is."""


def register(
    image: NDArray[np.float32],
    observed: Mask,
    grid: Grid,
    expected: NDArray[np.float32],
    prior_grid: Grid,
    anatomy: Mask,
    seed: int,
    guide: PoseGuide | None = None,
    find: Find | None = None,
) -> Registration:
    """The affine that lays an image on the prior.

    Found are turns of up to 40 degrees and sizes from about 0.7 to 1.4, wherever the header puts
    the image, and an orientation that it states wrongly by quarter turns; never a reflection,
    which no intensity betrays. A crop, an unstripped image smaller than the prior's grid, must
    have the anatomy near its middle and the right way up. With a pose prior an unstripped image
    is looked for where the prior expects it, and nowhere else. One thread, the same bits for the
    same seed.

    Args:
        image: (I, J, K) on `grid`, any contrast; not constant.
        observed: (I, J, K), the field of view.
        grid: Native grid, any invertible affine.
        expected: (D, H, W) on `prior_grid`, the prior's expected intensity, >= 0, 0 outside.
        prior_grid: The prior's grid.
        anatomy: (D, H, W), the voxels of the prior that are not background.
        seed: Chooses the voxels that are looked at.
        guide: What else leads to the pose, if the field of view is that of the label maps.
        find: A network that sees the anatomy in any field of view; a whole image is searched from
            there, too, and one whose surroundings were cut away along another outline is told.
    """
    anatomy_mm3 = float(anatomy.sum()) * prior_grid.voxel_volume_mm3
    size_mm = float(np.cbrt(anatomy_mm3))
    prior = prior_image(expected, prior_grid, anatomy)
    native = native_image(image, observed, grid, anatomy_mm3)
    view = _view(native, prior_grid)
    found = find(image, observed, grid) if find is not None else None
    if found is not None and (view != "stripped" or found.share < _LEAST_SHARE_STRIPPED):
        native, view = replace(native, is_stripped=False), "whole"
    if guide is not None and view != "stripped":
        fine, _, _ = pyramid_levels(prior, native, size_mm, _MARGIN["crop"] * size_mm)
        located = guide.locate(image, observed, grid, seed) if guide.locate else None
        pose = cross_entropy_search(fine, guide.prior, grid.center_mm, seed, located)
        if guide.pose_path:
            pose = select_pose(fine, guide.pose_path(image, observed, grid, pose, seed), located)
        judged = _judge(fine, view, pose, is_odd=False)
        if guide.locate is None or located is not None:
            return judged
        return replace(judged, warnings=(*judged.warnings, _UNSEEN))
    fine, medium, coarse = pyramid_levels(prior, native, size_mm, _MARGIN[view] * size_mm)

    climbed = []
    starts = starting_poses(coarse, view, size_mm)
    if found is not None and view == "whole":
        starts.append((np.asarray(np.linalg.inv(found.prior_from_native)), False))
    for start, is_odd in starts:
        pose = _climb(coarse, start, sitk.Euler3DTransform())
        margin = _ODD_MARGIN if is_odd else 1.0
        climbed.append((margin * _information(coarse, pose), is_odd, pose))
    climbed.sort(key=lambda scored: -scored[0])
    refined = []
    for _, is_odd, rigid in climbed[:_NUM_REFINED]:
        pose = _climb(medium, rigid, sitk.AffineTransform(3))
        refined.append((_information(medium, pose), is_odd, pose))
    _, is_odd, pose = max(refined, key=lambda scored: scored[0])
    finest = fine if view == "crop" else _weight_interior(fine, seed)
    pose = _climb(finest, pose, sitk.AffineTransform(3))
    return _judge(fine, view, pose, is_odd)


def _view(native: PyramidImage, prior_grid: Grid) -> View:
    """What the image shows: the stripped organ, a crop no larger than the prior, or more."""
    if native.is_stripped:
        return "stripped"
    prior_mm3 = math.prod(prior_grid.shape) * prior_grid.voxel_volume_mm3
    return "crop" if native.volume_mm3 < prior_mm3 else "whole"


def _climb(level: Level, start: Affine, change: sitk.Transform) -> Affine:
    """The pose of locally highest Mattes mutual information, a `change` away from the start."""
    spacing_mm = float(level.prior.grid.spacing_mm[0])
    values, is_known = level.native.known()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(to_itk(level.near, level.prior.grid))
    method.SetMetricMovingMask(to_itk(is_known, level.native.grid))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=spacing_mm / 2,
        minStep=spacing_mm / 500,
        numberOfIterations=200,
        gradientMagnitudeTolerance=1e-6,  # the default stops far from the top
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetMovingInitialTransform(affine_to_itk(start))
    change.SetCenter(point_to_itk(level.prior.center_mm))
    method.SetInitialTransform(change, inPlace=True)
    expected = to_itk(level.prior.pair[0], level.prior.grid)
    try:
        with one_thread():
            method.Execute(expected, to_itk(values, level.native.grid))
    except RuntimeError:  # too little of the image is in reach of the start
        return start
    return start @ affine_from_itk(change)


def _information(level: Level, native_from_prior: Affine) -> float:
    return float(level.information(native_from_prior[None])[0])


def _weight_interior(level: Level, seed: int) -> Level:
    """The level comparing its deepest voxels, and few of the others."""
    anatomy = to_itk(level.prior.pair[1] > 0.5, level.prior.grid)
    depth, _ = from_itk(
        sitk.SignedMaurerDistanceMap(anatomy, insideIsPositive=True, squaredDistance=False)
    )
    is_deep = depth >= np.quantile(depth[depth > 0], 1 - _DEEP_SHARE)
    is_drawn = np.random.default_rng(seed).random(depth.shape) < _SURFACE_SHARE
    return replace(level, near=is_deep | (level.near & is_drawn))


def _judge(level: Level, view: View, native_from_prior: Affine, is_odd: bool) -> Registration:
    """The registration, with what is doubtful about it."""
    joint, (reached,) = level.joint(native_from_prior[None])
    information = _information(level, native_from_prior)
    possible = float(entropy(joint.sum(2))[0])
    told = information / possible if possible > 0 else 0.0  # one intensity in view tells nothing
    scales = np.linalg.svd(native_from_prior[:3, :3], compute_uv=False)
    prior_from_native: Affine = np.asarray(np.linalg.inv(native_from_prior), dtype=np.float64)
    overlap = _overlap(level, prior_from_native) if level.native.is_stripped else float("nan")
    told_text = f"the image tells only {told:.0%} of the expected image"
    reached_text = f"the image shows only {reached:.0%} of the prior's anatomy"
    size_text = f"the anatomy is {scales[-1]:.2f} to {scales[0]:.2f} times the prior's size"
    doubts = [
        (is_odd, "the header's orientation seems wrong, another one fits far better"),
        (overlap < _MIN_OVERLAP, f"Dice of the image's and the prior's outline is {overlap:.2f}"),
        (told < _MIN_SHARE_TOLD, told_text),
        (reached < _MIN_REACHED, reached_text),
        (_are_beyond(scales, _SCALES), size_text),
    ]
    failures = [
        (reached < _LEAST_REACHED, reached_text),
        (told < _LEAST_TOLD, told_text),
        (_are_beyond(scales, _POSSIBLE_SCALES), size_text),
    ]
    failure = next((text for is_so, text in failures if is_so), None)
    warnings = tuple(f"registration is doubtful: {text}" for is_so, text in doubts if is_so)
    return Registration(view, prior_from_native, information, overlap, warnings, failure)


def _are_beyond(scales: NDArray[np.floating], bounds: tuple[float, float]) -> bool:
    """Whether the smallest or the largest scale is out of bounds."""
    return bool(scales.min() < bounds[0] or scales.max() > bounds[1])


def _overlap(level: Level, prior_from_native: Affine) -> float:
    """Dice of the moved field of view and the prior's anatomy."""
    native, prior = level.native, level.prior
    moved = Grid(native.grid.shape, prior_from_native @ native.grid.affine)
    weight = resample(torch.from_numpy(native.pair[1:]), moved, prior.grid).numpy()[0]
    both = float(((weight > 0.5) & (prior.pair[1] > 0.5)).sum()) * prior.grid.voxel_volume_mm3
    native_mm3 = native.volume_mm3 * abs(float(np.linalg.det(prior_from_native[:3, :3])))
    return 2 * both / (native_mm3 + prior.volume_mm3)
