"""Native space to prior space in one go: field of view, scale, registration, resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_prior.core.grid import Grid
from seg_prior.core.memory import too_much
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.io.itk import one_thread
from seg_prior.registration.affine import Find, Registration, register
from seg_prior.registration.intensity import normalise, observed
from seg_prior.registration.pose_search import PoseGuide
from seg_prior.registration.pyramid import finest_spacing_mm
from seg_prior.registration.resample import block_means, resample_observed

MIN_OVERLAP = 0.5
"""Share of the first contrast's field of view that every other has to show."""
MAX_ANATOMIES = 1000
"""Volumes of the anatomy that a field of view may hold, or of itself in the anatomy: beyond,
searching it takes all memory, or there is nothing to see."""
BYTES_PER_VOXEL, BYTES_PER_VOXEL_MORE = 30, 20
"""What reading a scan takes at its peak: a voxel of its, and one of a further contrast."""


Pair = tuple[Tensor, Tensor]
"""(..., I, J, K) image, 0 where it was not observed, and bool, where it was."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """What registration compares an image with.

    Attributes:
        expected: (D, H, W) expected relative intensity, 0 outside the anatomy.
        anatomy: (D, H, W), where anatomy is likelier than background.
        grid: Prior space.
        guide: What leads to the anatomy's pose, if label maps say where in an image it lies.
        find: A network that sees the anatomy in any field of view, if there is one.
        is_read_finely: Whether a network looks at the image at half the spacing of prior space.
    """

    expected: NDArray[np.float32]
    anatomy: NDArray[np.bool_]
    grid: Grid
    guide: PoseGuide | None = None
    find: Find | None = None
    is_read_finely: bool = False


@dataclass(frozen=True, eq=False)
class RegisteredScan:
    """H contrasts of one subject in both spaces.

    Attributes:
        native, native_observed: (H, I, J, K) normalised intensity on the grid of the first, 0
            where not observed; and where it is, bool.
        moved: The native grid, carried to prior space by the registration.
        image, observed: (H, D, H', W) on the prior grid, float32; observed is 0 or 1.
        registration: How the first was carried, and all with it.
        fine: (H, 2 D, 2 H', 2 W) each, image and observed, bool, at half the spacing of prior
            space; None where no network looks at it.
        fine_ignored: (2 D, 2 H', 2 W) bool, on that grid, what a mask of missing data hides; None
            without a mask.
        in_view: (I, J, K) bool, where the label map is asked for: what any contrast has observed,
            and what a mask of missing data hides of the first.
    """

    native: Tensor
    native_observed: Tensor
    moved: Grid
    image: Tensor
    observed: Tensor
    registration: Registration
    fine: Pair | None
    fine_ignored: Tensor | None
    in_view: Tensor

    @property
    def num_ignored(self) -> int:
        """Voxels in view that a mask of missing data hides."""
        return int((self.in_view & ~self.native_observed.any(0)).count_nonzero())


@one_thread()
def register_scan(
    volumes: Sequence[Volume],
    atlas: Atlas,
    seed: int,
    ignored: NDArray[np.bool_] | None = None,
) -> RegisteredScan:
    """Bring a subject to prior space.

    Args:
        volumes: At least one; contrasts of one subject that their affines lay upon each other. The
            first is registered and lends its grid.
        atlas: The prior as registration sees it.
        seed: Of the registration.
        ignored: (I, J, K) on the grid of the first: missing data, in every contrast.

    Raises:
        ImageError: An image is constant, its field of view hardly meets that of the first, or the
            first cannot be aligned.
    """
    grids = [volume.grid for volume in volumes]
    _check_memory(volumes)
    pairs = [_normalised(volume, _on_grid(ignored, grids[0], volume)) for volume in volumes]
    for volume, (_, in_view) in zip(volumes, pairs, strict=True):
        _check_extent(volume, in_view, atlas)
    native, is_observed = _carry_all(pairs, grids, grids[0])
    _check_overlap(volumes, is_observed)
    registration = register(
        *_coarse_enough(pairs[0], grids[0], atlas),
        atlas.expected,
        atlas.grid,
        atlas.anatomy,
        seed,
        atlas.guide,
        atlas.find,
    )
    if registration.failure is not None:
        raise ImageError(
            f"{volumes[0].source}: cannot be aligned with the model's anatomy: "
            f"{registration.failure}. Does it show the organ that the model knows, and are the "
            "voxel sizes in its header right?"
        )
    moved = [Grid(grid.shape, registration.prior_from_native @ grid.affine) for grid in grids]
    here, halved = moved[0], atlas.grid.halved()
    asked = is_observed[0] if len(is_observed) == 1 else is_observed.any(0)  # no second copy
    fine = fine_ignored = None
    if ignored is not None:
        asked = asked | torch.from_numpy(ignored & observed(volumes[0].data))
        if atlas.is_read_finely:
            fine_ignored = _carry_mask(ignored, here, halved)
    if atlas.is_read_finely:
        fine = _carry_all(pairs, moved, halved)
        # A voxel of prior space is the mean of its eight parts.
        pairs, moved = list(zip(*fine, strict=True)), [halved] * len(pairs)
    image, in_view = _carry_all(pairs, moved, atlas.grid)
    return RegisteredScan(
        native, is_observed, here, image, in_view.float(), registration, fine, fine_ignored, asked
    )


def _on_grid(
    ignored: NDArray[np.bool_] | None, source: Grid, volume: Volume
) -> NDArray[np.bool_] | None:
    """A mask on the grid of a contrast; a voxel that is half in it is."""
    if ignored is None or source.same_as(volume.grid):
        return ignored
    return _carry_mask(ignored, source, volume.grid).numpy()


def _carry_mask(mask: NDArray[np.bool_], source: Grid, target: Grid) -> Tensor:
    """A mask on another grid; a voxel that is half in it is."""
    values = torch.from_numpy(mask)
    return _carry((values.float(), torch.ones_like(values)), source, target)[0] >= 0.5


def _normalised(volume: Volume, ignored: NDArray[np.bool_] | None) -> Pair:
    """Normalised intensity, and where it was observed; (I, J, K) each."""
    in_view = observed(volume.data)
    if ignored is not None:
        in_view &= ~ignored
        if not in_view.any():
            raise ImageError(
                f"{volume.source}: found nothing in view outside the mask of what to ignore, need "
                "some of it. The mask is above 0 where the scan shall be ignored; is it inverted?"
            )
    image = normalise(volume.data, in_view, volume.source)
    return torch.from_numpy(image), torch.from_numpy(in_view)


def _coarse_enough(
    pair: Pair, grid: Grid, atlas: Atlas
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Grid]:
    """An image, its field of view and its grid, averaged to half the voxels of the finest level."""
    finest_mm = finest_spacing_mm(atlas.anatomy, atlas.grid)
    sizes = np.maximum(1, finest_mm / 2 // grid.spacing_mm).astype(int)
    if (sizes == 1).all():
        return pair[0].numpy(), pair[1].numpy(), grid
    (total, share), coarse = block_means(pair, grid, sizes)
    is_observed = share >= 0.5
    image = torch.where(is_observed, total / share.clamp_min(0.5), 0.0)
    return image.numpy(), is_observed.numpy(), coarse


def _check_memory(volumes: Sequence[Volume]) -> None:
    """Refuse, before it is taken, more memory than there is."""
    num_voxels = [math.prod(volume.grid.shape) for volume in volumes]
    num_bytes = BYTES_PER_VOXEL * num_voxels[0] + BYTES_PER_VOXEL_MORE * sum(num_voxels[1:])
    refusal = too_much(num_bytes)
    if refusal:
        raise ImageError(
            f"{volumes[0].source}: found shape {volumes[0].grid.shape}, which {refusal}. "
            "Crop it, resample it to larger voxels, or use a machine with more memory."
        )


def _check_extent(volume: Volume, is_observed: Tensor, atlas: Atlas) -> None:
    """Refuse a field of view in which the anatomy would be a speck, or that is a speck itself."""
    seen_mm3 = int(is_observed.count_nonzero()) * volume.grid.voxel_volume_mm3
    anatomies = seen_mm3 / (float(atlas.anatomy.sum()) * atlas.grid.voxel_volume_mm3)
    thinnest_mm = float((volume.grid.spacing_mm * volume.grid.shape).min())
    of = " of the model's anatomy"
    least_mm = float(atlas.grid.spacing_mm.min())
    if anatomies > MAX_ANATOMIES:
        found, needed = f"{anatomies:.0f} times the size{of}", f"at most {MAX_ANATOMIES}"
    elif anatomies < 1 / MAX_ANATOMIES:
        found, needed = f"{anatomies:.1g} times the size{of}", f"at least {1 / MAX_ANATOMIES:g}"
    elif thinnest_mm < least_mm:
        found = f"{thinnest_mm:.2g} mm thin, less than a voxel{of}"
        needed = f"at least {least_mm:.2g} mm"
    else:
        return
    raise ImageError(
        f"{volume.source}: found a field of view {found}, need {needed}. "
        "Is it another organ, or are the voxel sizes in its header wrong?"
    )


def _check_overlap(volumes: Sequence[Volume], is_observed: Tensor) -> None:
    """Refuse a contrast that shows less than half of what the first shows; (H, I, J, K)."""
    for volume, in_view in zip(volumes[1:], is_observed[1:], strict=True):
        both = (in_view & is_observed[0]).count_nonzero()
        share = float(both / is_observed[0].count_nonzero())
        if share < MIN_OVERLAP:
            raise ImageError(
                f"{volume.source}: found {share:.0%} of the field of view of {volumes[0].source} "
                f"in its own, need {MIN_OVERLAP:.0%}. Are both of one subject, and does the header "
                "lay one upon the other? Register them first."
            )


def _carry_all(
    pairs: Sequence[Pair], sources: Sequence[Grid], target: Grid
) -> tuple[Tensor, Tensor]:
    """Images and fields of view of H contrasts on one grid: (H, *target.shape) each."""
    carried = [_carry(pair, source, target) for pair, source in zip(pairs, sources, strict=True)]
    if len(carried) == 1:  # a view: of a large scan there is no second copy
        ((image, in_view),) = carried
        return image[None], in_view[None]
    images, views = zip(*carried, strict=True)
    return torch.stack(images), torch.stack(views)


def _carry(pair: Pair, source: Grid, target: Grid) -> Pair:
    """An image and its field of view on another grid; a voxel that is half in view is observed."""
    if source.same_as(target):
        return pair
    image, share = resample_observed(*pair, source, target)
    is_observed = share >= 0.5
    return torch.where(is_observed, image, 0.0), is_observed
