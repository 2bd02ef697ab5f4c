"""Synthetic heads whose anatomy, intensities, bias field and pose are known.

A head is a shell around a folded cortex around a core, with a ventricle and a stem on the midline
and two pairs of nuclei. Outer shell and ventricle, core and stem, cortex and lateral nuclei share
an intensity class each: a mixture of intensities cannot tell them apart, their place can. Large
ventricles come with thin cortex and small medial nuclei, so the anatomy has something to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from seg_prior.core.grid import Affine, Grid, apply_affine
from seg_prior.core.labels import BACKGROUND, Label, LabelTable
from seg_prior.core.volume import Volume

Array = NDArray[np.float64]

# Ids have gaps, so that nothing works by taking an id for an index.
SHELL, CORTEX, CORE, VENTRICLE, STEM = 10, 20, 30, 40, 50
LEFT_MEDIAL, RIGHT_MEDIAL, LEFT_LATERAL, RIGHT_LATERAL = 61, 62, 71, 72

FIELD_OF_VIEW_MM = (144.0, 168.0, 144.0)
_HEAD_RADII_MM = (56.0, 66.0, 54.0)
_NUM_WAVES = 6


@dataclass(frozen=True)
class Anatomy:
    """The shape of one head; left and right are mirror images about x = 0.

    Every factor is standard normal over subjects, clipped at +-2, and 0 for the mean head.

    Attributes:
        size: Scale of the whole head.
        length: Longer and narrower heads.
        atrophy: A large ventricle and shell, a thin cortex, small medial nuclei pushed outwards.
        medial, lateral: Size of the nuclei.
        tilt: Forward lean of the stem.
        fold_phases: (3,) where the folds of the cortex lie, in radians; uniform over subjects.
    """

    size: float
    length: float
    atrophy: float
    medial: float
    lateral: float
    tilt: float
    fold_phases: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A scan of a synthetic head with everything that made it.

    Attributes:
        image: float32, in arbitrary units: bias * (class mean + class sd * white noise), the
            class means blurred at tissue borders.
        label_map: uint8 ids of `phantom_label_table`, on the image's grid.
        anatomy: The head before its warp.
        class_means, class_sds: Intensity class -> mean and noise before the bias field.
        bias: (I, J, K) > 0, smooth; its logarithm has mean 0 over the volume.
        world_from_anatomy: (4, 4), rotation and shift in millimetres.
    """

    image: Volume
    label_map: Volume
    anatomy: Anatomy
    class_means: dict[str, float]
    class_sds: dict[str, float]
    bias: NDArray[np.float32]
    world_from_anatomy: Affine


def phantom_label_table() -> LabelTable:
    """The ten labels of a phantom, background included, in five intensity classes."""
    rows = (
        (BACKGROUND, "Background", "background", BACKGROUND),
        (SHELL, "Outer-Shell", "fluid", SHELL),
        (CORTEX, "Cortex", "grey", CORTEX),
        (CORE, "Core", "white", CORE),
        (VENTRICLE, "Ventricle", "fluid", VENTRICLE),
        (STEM, "Stem", "white", STEM),
        (LEFT_MEDIAL, "Left-Medial-Nucleus", "nucleus", RIGHT_MEDIAL),
        (RIGHT_MEDIAL, "Right-Medial-Nucleus", "nucleus", LEFT_MEDIAL),
        (LEFT_LATERAL, "Left-Lateral-Nucleus", "grey", RIGHT_LATERAL),
        (RIGHT_LATERAL, "Right-Lateral-Nucleus", "grey", LEFT_LATERAL),
    )
    labels = [
        Label(
            id=label_id,
            name=name,
            source_ids=(label_id,),
            intensity_class=intensity_class,
            partner_id=partner_id,
            is_structure=label_id not in (BACKGROUND, SHELL),
        )
        for label_id, name, intensity_class, partner_id in rows
    ]
    return LabelTable(labels=tuple(labels))


def make_phantom(seed: int, spacing_mm: float = 3.0) -> Phantom:
    """The head number `seed`, scanned.

    The same seed gives the same head, pose and contrast at every spacing.

    Args:
        seed: >= 0; one head and one scan of it.
        spacing_mm: Mean edge of a voxel. The three edges differ by up to +-15 %; 3 mm gives about
            48 x 56 x 48 voxels, in any order and direction of the axes.
    """
    shape_rng, pose_rng, grid_rng, contrast_rng, noise_rng = np.random.default_rng(seed).spawn(5)
    anatomy = _draw_anatomy(shape_rng)
    world_from_anatomy = _draw_pose(pose_rng)
    grid = _draw_grid(grid_rng, spacing_mm, world_from_anatomy[:3, 3])

    world_mm = apply_affine(grid.affine, np.indices(grid.shape).reshape(3, -1).T)
    anatomy_from_world = np.asarray(np.linalg.inv(world_from_anatomy), dtype=np.float64)
    head_mm = apply_affine(anatomy_from_world, world_mm)
    label_ids = anatomy_label_ids(anatomy, _warp(shape_rng, head_mm)).reshape(grid.shape)

    table = phantom_label_table()
    class_names, class_of_label = table.classes()
    classes = np.array(class_of_label)[table.remap(label_ids, "<phantom>")]
    means, sds = _draw_contrast(contrast_rng)
    bias = _draw_bias(contrast_rng, head_mm).reshape(grid.shape)
    image = bias * _paint(classes, means, sds, noise_rng)
    return Phantom(
        image=Volume(image.astype(np.float32), grid, source=f"<phantom {seed}>"),
        label_map=Volume(label_ids, grid, source=f"<phantom {seed}>"),
        anatomy=anatomy,
        class_means=dict(zip(class_names, means.tolist(), strict=True)),
        class_sds=dict(zip(class_names, sds.tolist(), strict=True)),
        bias=bias.astype(np.float32),
        world_from_anatomy=world_from_anatomy,
    )


def anatomy_label_ids(anatomy: Anatomy, points_mm: Array) -> NDArray[np.uint8]:
    """The structure at each point of a head.

    Args:
        anatomy: Shape of the head.
        points_mm: (N, 3), right, anterior and superior of the middle of the head.

    Returns:
        (N,) ids of `phantom_label_table`.
    """
    x, y, z = points_mm.T
    side = np.abs(x)
    depth = _depth(anatomy, side, y, z)
    one, two, three = anatomy.fold_phases
    # Ripples in [-1, 1], about 25 mm from crest to crest, at another place in every head.
    folds = np.sin(0.25 * side + 0.12 * z + one) * np.sin(0.26 * y - 0.08 * side + two)
    folds *= np.cos(0.15 * z + three)
    # Between the two halves the shell dips in from above, as a fissure.
    fissure = 0.45 * np.exp(-((x / 4.0) ** 2)) * np.clip((z - 15.0) / 25.0, 0.0, 1.0)
    cortex_depth = 0.1 + 0.02 * anatomy.atrophy + 0.04 * folds + fissure
    core_depth = cortex_depth + 0.16 - 0.02 * anatomy.atrophy + 0.1 * folds

    ids = np.zeros(x.shape, dtype=np.uint8)
    ids[depth > 0] = SHELL
    ids[depth > cortex_depth] = CORTEX
    ids[depth > core_depth] = CORE
    # What is painted later lies on top: the ventricle pushes into the nuclei beside it.
    lateral = _lateral_nucleus(anatomy, side, y, z) & (depth > cortex_depth)
    ids[lateral] = np.where(x < 0, LEFT_LATERAL, RIGHT_LATERAL)[lateral]
    ids[_stem(anatomy, x, y, z) & (depth > 0)] = STEM
    medial = _medial_nucleus(anatomy, side, y, z)
    ids[medial] = np.where(x < 0, LEFT_MEDIAL, RIGHT_MEDIAL)[medial]
    ids[_ventricle(anatomy, side, y, z)] = VENTRICLE
    return ids


def _depth(anatomy: Anatomy, side: Array, y: Array, z: Array) -> Array:
    """1 in the middle of the head, 0 on its surface, negative outside."""
    scale = 1 + 0.04 * anatomy.size
    radius_x, radius_y, radius_z = (scale * radius for radius in _HEAD_RADII_MM)
    radius_y *= 1 + 0.03 * anatomy.length
    # Wider behind than in front: an egg, whose back and front a registration can tell apart.
    width = radius_x * (1 - 0.03 * anatomy.length) * (1 - 0.1 * y / radius_y)
    return np.asarray(1 - np.sqrt((side / width) ** 2 + (y / radius_y) ** 2 + (z / radius_z) ** 2))


def _ventricle(anatomy: Anatomy, side: Array, y: Array, z: Array) -> NDArray[np.bool_]:
    """Two horns that meet on the midline, arched over the medial nuclei."""
    scale = math.exp(0.26 * anatomy.atrophy)
    arch_z = 13.0 - 0.012 * y**2
    return _ellipsoid(side - 7, y + 4, z - arch_z, (7.5, 29.0, 7.0), scale)


def _medial_nucleus(anatomy: Anatomy, side: Array, y: Array, z: Array) -> NDArray[np.bool_]:
    """An egg beside and below the ventricle."""
    scale = math.exp(0.1 * anatomy.medial - 0.08 * anatomy.atrophy)
    center_x = 13.0 + 1.5 * anatomy.atrophy
    return _ellipsoid(side - center_x, y + 2, z - 1, (9.0, 16.0, 11.0), scale)


def _lateral_nucleus(anatomy: Anatomy, side: Array, y: Array, z: Array) -> NDArray[np.bool_]:
    """An egg inside the cortex and touching it."""
    scale = math.exp(0.16 * anatomy.lateral)
    return _ellipsoid(side - 36, y - 6, z + 10, (9.0, 16.0, 11.0), scale)


def _stem(anatomy: Anatomy, x: Array, y: Array, z: Array) -> NDArray[np.bool_]:
    """A rod from the middle of the head down to its surface, leaning forward as it goes up."""
    center_y = -12.0 + (0.35 + 0.1 * anatomy.tilt) * (z + 30)
    return _ellipsoid(x, y - center_y, z + 36, (10.0, 11.0, 27.0))


def _ellipsoid(
    x: Array, y: Array, z: Array, radii_mm: tuple[float, float, float], scale: float = 1.0
) -> NDArray[np.bool_]:
    rx, ry, rz = radii_mm
    return np.asarray((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2 < scale**2)


def _draw_anatomy(rng: Generator) -> Anatomy:
    size, length, atrophy, medial, lateral, tilt = np.clip(rng.standard_normal(6), -2, 2).tolist()
    one, two, three = rng.uniform(0, 2 * np.pi, 3).tolist()
    return Anatomy(size, length, atrophy, medial, lateral, tilt, (one, two, three))


def _warp(rng: Generator, points_mm: Array) -> Array:
    """Points moved by a sum of plane waves: smooth, and too gentle to fold space."""
    directions = rng.standard_normal((_NUM_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wavelengths_mm = rng.uniform(80, 160, (_NUM_WAVES, 1))
    phases = rng.uniform(0, 2 * np.pi, _NUM_WAVES)
    # 6 waves * 1.2 sqrt(3) mm * 2 pi / 80 mm = 0.98 < 1: no point overtakes another.
    amplitudes_mm = rng.uniform(-1.2, 1.2, (_NUM_WAVES, 3))
    waves = np.sin(points_mm @ (2 * np.pi / wavelengths_mm * directions).T + phases)
    return np.asarray(points_mm + waves @ amplitudes_mm)


def _draw_pose(rng: Generator) -> Affine:
    """Rotated by up to 15 degrees about each axis, shifted by up to 10 mm along each."""
    pose = np.eye(4)
    pose[:3, :3] = _rotation(np.radians(rng.uniform(-15, 15, 3)))
    pose[:3, 3] = rng.uniform(-10, 10, 3)
    return pose


def _draw_grid(rng: Generator, spacing_mm: float, head_center_mm: Array) -> Grid:
    """An oblique, anisotropic lattice around the head, its axes in any order and direction."""
    order = rng.permutation(3)
    directions = np.eye(3)[:, order] * rng.choice([-1.0, 1.0], 3)
    directions = _rotation(np.radians(rng.uniform(-8, 8, 3))) @ directions
    edges_mm = spacing_mm * rng.uniform(0.85, 1.15, 3)
    i, j, k = np.ceil(np.array(FIELD_OF_VIEW_MM)[order] / edges_mm).astype(int).tolist()
    affine = np.eye(4)
    affine[:3, :3] = directions * edges_mm
    center_mm = head_center_mm + rng.uniform(-4, 4, 3)
    affine[:3, 3] = center_mm - affine[:3, :3] @ ((np.array([i, j, k]) - 1) / 2)
    return Grid((i, j, k), affine)


def _draw_contrast(rng: Generator) -> tuple[Array, Array]:
    """(5,) mean and sd of each class; air, the first, is darkest, the tissues in any order."""
    gain = math.exp(rng.uniform(math.log(0.3), math.log(30)))
    means = np.append(10.0, rng.permutation([60.0, 95.0, 130.0, 165.0]) + rng.uniform(-5, 5, 4))
    return gain * means, gain * np.append(3.0, rng.uniform(5, 9, 4))


def _draw_bias(rng: Generator, head_mm: Array) -> Array:
    """(N,) exp of a quadratic that strays from 0 by 0.1 to 0.3 within the volume."""
    x, y, z = head_mm.T / 70.0
    terms = np.stack([x, y, z, x * y, y * z, z * x, x**2, y**2, z**2], axis=1)
    log_bias = terms @ rng.standard_normal(9)
    log_bias -= log_bias.mean()
    return np.asarray(np.exp(rng.uniform(0.1, 0.3) * log_bias / np.abs(log_bias).max()))


def _paint(classes: NDArray[np.int_], means: Array, sds: Array, rng: Generator) -> Array:
    """The class means, mixed where tissues meet within a voxel, and noise."""
    mixed = means[classes]
    neighbour = rng.uniform(0.05, 0.15)
    for axis in range(3):  # round the edges too, where all is air
        beside = np.roll(mixed, 1, axis) + np.roll(mixed, -1, axis)
        mixed = (1 - 2 * neighbour) * mixed + neighbour * beside
    return np.asarray(mixed + sds[classes] * rng.standard_normal(classes.shape))


def _rotation(vector_rad: Array) -> Array:
    """(3, 3), about the direction of a small (3,) vector by its length (Cayley's formula)."""
    x, y, z = vector_rad / 2
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.solve(np.eye(3) - skew, np.eye(3) + skew)
