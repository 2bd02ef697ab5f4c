"""Anatomies beyond the label maps: structures that grow or shrink, wide sulci, lesions."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from seg_prior.config.synthesis import AgeingConfig, AugmentConfig
from seg_prior.core.grid import Grid
from seg_prior.models.warp import integrate, to_unit
from seg_prior.synthesis.anatomies import AlignedLabelMap, sample_labels
from seg_prior.synthesis.deformation import random_bend
from seg_prior.synthesis.fields import Shape, happens, normal, smooth_field, uniform
from seg_prior.synthesis.sources import Sources

Anatomy = NDArray[np.int16]

COARSENING = 4
"""Voxels of velocities are so many times those of the anatomy that is displaced."""
_STRENGTHS = (0.3, 1.3)
_YOUTH = 1.5
"""Power of a uniform draw; above 1, the young are drawn more often."""
_SULCI_MM, _LESION_MM, _NEAR_MM = 25.0, 6.0, 12.0
_HIDDEN_SD_MM = 0.7
_REACHES = (0.0, 1.2)  # of the widening, from place to place
_LOADS = 0.04  # the smallest lesion load, in parts of the largest
_SAMPLED = 50  # every so many voxels of white matter tell a quantile


def named_ids(config: AgeingConfig) -> set[int]:
    """Every id that the config speaks of, so that it is a source."""
    ids = {i for growth in config.growth for i in growth.ids}
    for pairs in (config.cortex, config.lesions):
        ids |= set(pairs) | set(pairs.values())
    ids |= set(config.lesion_sources)
    return ids if config.fluid is None else ids | {config.fluid}


def sample_age(config: AgeingConfig, generator: torch.Generator) -> float:
    """0 for the young, else up to `max_age`."""
    if not happens(config.aged_share, generator):
        return 0.0
    return config.max_age * math.pow(uniform(0, 1, generator), _YOUTH)


def sample_anatomy(
    label_map: AlignedLabelMap,
    sources: Sources,
    grid: Grid,
    augment: AugmentConfig,
    config: AgeingConfig,
    generator: torch.Generator,
) -> Anatomy:
    """A random anatomy: a label map bent, mirrored in half of the draws, and aged.

    Args:
        label_map: Of indices of sources.
        sources: What they mean.
        grid: Isotropic, sides multiples of 4; where the anatomy is wanted.
        augment: Spread of the bend.
        config: Spread of ageing.
        generator: Of everything random.

    Returns:
        (D, H, W) indices of sources.
    """
    has_sides = bool((sources.partner != np.arange(len(sources))).any())
    bend = random_bend(grid, augment, has_sides, generator)
    spacing_mm = float(grid.spacing_mm[0])

    def looked_up(displacement: Tensor) -> Anatomy:
        anatomy = sample_labels(label_map, grid, bend.transform, displacement).numpy()
        return np.asarray(sources.partner[anatomy] if bend.is_flipped else anatomy)

    age = sample_age(config, generator)
    anatomy = looked_up(bend.warp)
    if config.growth:
        grown = growth_displacement(anatomy, sources, spacing_mm, config, age, generator)
        anatomy = looked_up(_after(bend.warp, grown / spacing_mm))
    return aged_tissue(anatomy, sources, spacing_mm, config, age, generator)


def growth_displacement(
    anatomy: Anatomy,
    sources: Sources,
    spacing_mm: float,
    config: AgeingConfig,
    age: float,
    generator: torch.Generator,
) -> Tensor:
    """Where to look, in an anatomy, for what lies at each voxel when it is of an age.

    Structures grow along the slope of their blurred indicator, each by a velocity of its own that
    is the same at all times, so tissue around them is pushed and pulled along, never torn.

    Args:
        anatomy: (D, H, W) indices of sources.
        sources: What they mean.
        spacing_mm: Of its voxels.
        config: Which structures, and how.
        age: 0 leaves what age explains as it is.
        generator: Of strengths; the same numbers are drawn whatever the anatomy.

    Returns:
        (3, D / 4, H / 4, W / 4), rounded up, in mm.
    """
    coarse_mm = COARSENING * spacing_mm
    velocity = np.zeros((3, *(-(-n // COARSENING) for n in anatomy.shape)), dtype=np.float32)
    for growth in config.growth:
        strength = age * uniform(*_STRENGTHS, generator) + config.size_sd * normal(generator)
        share = _shrunk(sources.are(growth.ids)[anatomy])
        soft = ndimage.gaussian_filter(share, growth.reach_mm / coarse_mm, truncate=3)
        slope = np.stack(np.gradient(soft)) if min(soft.shape) > 1 else np.zeros_like(velocity)
        steepest = float(np.sqrt((slope**2).sum(0)).max())
        if steepest > 1e-6:
            velocity += growth.border_mm * strength / steepest * slope
    return integrate(torch.from_numpy(velocity)[None] / coarse_mm)[0] * coarse_mm


def widen(
    anatomy: Anatomy,
    sources: Sources,
    spacing_mm: float,
    config: AgeingConfig,
    widening_mm: float,
    generator: torch.Generator,
) -> Anatomy:
    """Fluid grows into cortex, and cortex into the white matter below it, by up to 1.2 widenings.

    How far differs smoothly from place to place; cortex recedes by a part of what it loses.
    """
    if config.fluid is None or widening_mm <= 0:
        return anatomy
    field = smooth_field(_shape(anatomy), generator, 8, spacing_mm, _SULCI_MM).numpy()
    reach = np.clip(0.5 + 0.5 * field, *_REACHES) * widening_mm / spacing_mm
    returned = uniform(0.3, 1.0, generator)
    fluid = _position(sources, config.fluid)
    pairs = [(_position(sources, c), _position(sources, w)) for c, w in config.cortex.items()]
    out = anatomy.copy()
    for step in range(1, math.ceil(float(reach.max())) + 1):
        beside_fluid = _grown(out == fluid) & (reach > step - 0.5)
        for cortex, _ in pairs:
            out[beside_fluid & (out == cortex)] = fluid
        for cortex, white in pairs:
            recedes = (out == white) & (returned * reach > step - 0.5)
            out[recedes & _grown(out == cortex)] = cortex
    return out


def with_hidden_fluid(
    anatomy: Anatomy,
    sources: Sources,
    spacing_mm: float,
    config: AgeingConfig,
    generator: torch.Generator,
) -> Anatomy:
    """What a scanner sees of an anatomy whose label map closes thin sulci.

    People and programs draw cortex over sulci that are thinner than a voxel or two, and over its
    dark outer border. A network that never sees dark cortex takes all of it for fluid.
    """
    if config.fluid is None or not happens(config.hidden_share, generator):
        return anatomy
    beyond_mm = uniform(*config.hidden_beyond_mm, generator)
    field = smooth_field(_shape(anatomy), generator, 8, spacing_mm, _SULCI_MM).numpy()
    beyond = np.maximum(beyond_mm + _HIDDEN_SD_MM * field, spacing_mm) / spacing_mm
    near = sources.are(tuple(config.cortex.values()))[anatomy]
    is_hidden = sources.are(tuple(config.cortex))[anatomy]
    for step in range(1, math.ceil(float(beyond.max())) + 1):
        near = _grown(near)
        is_hidden &= ~(near & (beyond > step - 0.5))
    out = anatomy.copy()
    out[is_hidden] = _position(sources, config.fluid)
    return out


def add_lesions(
    anatomy: Anatomy,
    sources: Sources,
    spacing_mm: float,
    config: AgeingConfig,
    load: float,
    generator: torch.Generator,
) -> Anatomy:
    """Blobs of a share of white matter become lesions, most of them near `lesion_sources`."""
    shape = _shape(anatomy)
    height = smooth_field(shape, generator, 24, spacing_mm, _LESION_MM).numpy()
    share = _shrunk(sources.are(config.lesion_sources)[anatomy])
    near = ndimage.gaussian_filter(share, _NEAR_MM / (COARSENING * spacing_mm))
    if near.max() > 0:
        near = torch.from_numpy(near / near.max())[None, None]
        height = height + F.interpolate(near, size=shape, mode="trilinear")[0, 0].numpy()
    out = anatomy.copy()
    for white, lesion in config.lesions.items():
        is_white = anatomy == _position(sources, white)
        if is_white.any():
            level = np.quantile(height[is_white][::_SAMPLED], 1 - load)
            out[is_white & (height > level)] = _position(sources, lesion)
    return out


def aged_tissue(
    anatomy: Anatomy,
    sources: Sources,
    spacing_mm: float,
    config: AgeingConfig,
    age: float,
    generator: torch.Generator,
) -> Anatomy:
    """Sulci widened as an age has it, and lesions in a share of anatomies."""
    widening_mm = config.widening_mm * age * uniform(0.3, 1.0, generator)
    anatomy = widen(anatomy, sources, spacing_mm, config, widening_mm, generator)
    if config.lesions and happens(config.lesion_share, generator):
        load = config.max_lesion_load * uniform(_LOADS, 1.0, generator)
        anatomy = add_lesions(anatomy, sources, spacing_mm, config, load, generator)
    return anatomy


def _after(warp: Tensor, displacement: Tensor) -> Tensor:
    """(3, D, H, W) displacement by a coarse one (3, d, h, w), then from there by a warp."""
    coarse = F.avg_pool3d(warp[None], COARSENING, ceil_mode=True)
    shape = coarse.shape[2:]
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    place = to_unit(index + displacement[None] / COARSENING, shape).movedim(1, -1)
    there = F.grid_sample(coarse, place, padding_mode="border", align_corners=True)
    both = displacement[None] + there
    # Coarse voxels tile the fine grid, as in `random_warp`.
    size = warp.shape[1:]
    return F.interpolate(both, size=size, mode="trilinear", align_corners=False)[0]


def _position(sources: Sources, id_: int) -> int:
    return int(sources.index(np.array([id_]))[0])


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(D, H, W) -> share of the mask in blocks of 4 x 4 x 4; at the far ends, in what is left."""
    share = torch.from_numpy(mask.astype(np.float32))[None, None]
    return np.asarray(F.avg_pool3d(share, COARSENING, ceil_mode=True)[0, 0].numpy())


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its face neighbours."""
    out = mask.copy()
    for axis in range(3):
        ahead, behind = np.moveaxis(out, axis, 0), np.moveaxis(mask, axis, 0)
        ahead[1:] |= behind[:-1]
        ahead[:-1] |= behind[1:]
    return out


def _shape(anatomy: Anatomy) -> Shape:
    return (anatomy.shape[0], anatomy.shape[1], anatomy.shape[2])
