"""Where a registration begins: the most telling of many poses, looked at once."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from seg_prior.core.grid import Affine
from seg_prior.registration.pyramid import Level

View = Literal["stripped", "crop", "whole"]
"""What an image shows: an organ whose surroundings were cut away, a crop, or more."""

# Turns about each axis; and in a whole image, whose middle says little about
# the anatomy's, shifts along each axis in sizes. A crop shows too little for such a search.
_TURNS_DEG = (-24, 0, 24)
_SHIFTS = (-0.45, -0.3, -0.15, 0, 0.15, 0.3, 0.45)  # a head was missed with steps of 0.25
_NUM_CLIMBED, _NUM_ODD_CLIMBED = 6, 3
_LEAST_ODD = 0.6
"""Of what the most telling turn of a few degrees tells: a quarter turn that tells less is no start.
Where a header is right they tell 0.3 to 0.5 of it, and none has ever won."""


def starting_poses(coarse: Level, view: View, size_mm: float) -> list[tuple[Affine, bool]]:
    """The most telling poses of a lattice, and whether they contradict the header's orientation."""
    if view == "crop":
        pose = np.eye(4)
        pose[:3, 3] = coarse.native.grid.center_mm - coarse.prior.center_mm
        return [(pose, False)]
    shifts_mm, scale = np.zeros((1, 3)), 1.0
    if view == "stripped":
        scale = float(np.cbrt(coarse.native.volume_mm3)) / size_mm
    else:
        shifts_mm = np.array(list(itertools.product(_SHIFTS, repeat=3))) * size_mm
    starts: list[tuple[Affine, bool]] = []
    least = 0.0
    for is_odd, turns, count in (
        (False, _small_turns(), _NUM_CLIMBED),
        (True, _quarter_turns(), _NUM_ODD_CLIMBED),
    ):
        best = []
        for turn in turns:
            poses = np.tile(np.eye(4), (len(shifts_mm), 1, 1))
            poses[:, :3, :3] = scale * turn
            center_mm = coarse.native.center_mm - scale * turn @ coarse.prior.center_mm
            poses[:, :3, 3] = center_mm + shifts_mm
            information = coarse.information(poses)
            best.append((float(information.max()), poses[information.argmax()]))
        best.sort(key=lambda scored: -scored[0])
        starts += [(pose, is_odd) for told, pose in best[:count] if told >= least]
        least = _LEAST_ODD * best[0][0]
    return starts


def _small_turns() -> list[NDArray[np.float64]]:
    """27 rotations: each angle about each axis, one axis after the other."""
    turns = []
    for angles in itertools.product(np.deg2rad(_TURNS_DEG), repeat=3):
        turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *angles)
        turns.append(np.reshape(turn.GetMatrix(), (3, 3)))
    return turns


def _quarter_turns() -> list[NDArray[np.float64]]:
    """The 23 rotations that take the axes onto each other, the identity left out."""
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.linalg.det(turn) > 0 and not np.array_equal(turn, np.eye(3)):
                turns.append(turn)
    return turns
