"""A data set prepared for training and scoring: headers mended, subjects dealt to three roles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.config import AdaptConfig
from seg_prior.core.grid import Grid
from seg_prior.core.volume import Volume
from seg_prior.errors import ConfigError
from seg_prior.files import write_json, write_text
from seg_prior.io.find import find_images, find_label_maps, participant_of, scan_key
from seg_prior.io.nifti import read_label_map, read_volume, write_volume

ROLES = ("maps", "images", "scored")


@dataclass(frozen=True)
class Dataset:
    """Files by role; no subject has two roles.

    Attributes:
        maps: Label maps that the prior learns from.
        images: Unlabelled images that the Gaussians and the encoder learn from.
        scored: Images that results are scored on.
        references: Label maps of those.
        lists: Role -> .txt list of its files, `references` included.
    """

    maps: tuple[Path, ...]
    images: tuple[Path, ...]
    scored: tuple[Path, ...]
    references: tuple[Path, ...]
    lists: dict[str, Path]


def prepare(config: AdaptConfig) -> Dataset:
    """Find the files, mend headers where the config says how, deal the subjects, write the lists.

    Raises:
        ConfigError: There are no files, or too few subjects for three roles.
    """
    images = find_images([config.data / config.images])
    labels = find_label_maps([config.data / config.labels])
    if config.header_spacing_mm is not None:
        folder = config.out / "mended"
        images = [_mended(path, folder, config.header_spacing_mm, False) for path in images]
        labels = [_mended(path, folder, config.header_spacing_mm, True) for path in labels]
    label_of = {scan_key(path): path for path in labels}
    people = {participant_of(path) for path in images if scan_key(path) in label_of}
    role_of = deal(people, config.shares, config.scored)
    scored = [path for path in images if role_of.get(participant_of(path)) == "scored"]
    unlabelled = [path for path in images if role_of.get(participant_of(path)) == "images"]
    # A subject without an image has nothing to score: its map can only teach.
    maps = [path for path in labels if role_of.get(participant_of(path), "maps") == "maps"]
    files = {
        "maps": maps,
        "images": unlabelled,
        "scored": scored,
        "references": [label_of[scan_key(path)] for path in scored],
    }
    lists = {}
    config.out.mkdir(parents=True, exist_ok=True)
    for name, paths in files.items():
        lists[name] = config.out / f"{name}.txt"
        write_text(lists[name], "".join(f"{path.resolve()}\n" for path in paths))
    write_json(config.out / "split.json", role_of)
    return Dataset(**{name: tuple(paths) for name, paths in files.items()}, lists=lists)


def deal(
    people: Collection[str], shares: tuple[float, float, float], scored: Collection[str] = ()
) -> dict[str, str]:
    """Subject -> role, by the sorted names: each goes to the role furthest behind its share.

    Neighbours in the order, often alike in age or scanner, thus go to different roles.

    Args:
        people: Their names.
        shares: Of the three roles.
        scored: Who is scored, if that is settled; the others are dealt to the first two roles.

    Raises:
        ConfigError: A role with a share gets nobody, or a scored subject is not there.
    """
    absent = sorted(set(scored) - set(people))
    if absent:
        raise ConfigError(
            f"scored: found no image and label map of '{absent[0]}'. Correct the name."
        )
    names = sorted(set(people) - set(scored))
    role_of = dict.fromkeys(scored, "scored")
    wanted = np.array([*shares[:2], 0.0 if scored else shares[2]])
    wanted = wanted / wanted.sum()
    given = np.zeros(len(ROLES))
    for count, name in enumerate(names, start=1):
        role = int((wanted * count - given).argmax())
        given[role] += 1
        role_of[name] = ROLES[role]
    empty = [role for role, n, share in zip(ROLES, given, wanted, strict=True) if share and not n]
    if empty:
        raise ConfigError(
            f"shares: found {len(names)} subjects with image and label map, too few to give any "
            f"to '{empty[0]}'. Add subjects, or give the role a larger share."
        )
    return role_of


def _mended(
    path: Path, folder: Path, spacing_mm: tuple[float, float, float], is_label: bool
) -> Path:
    """A copy with the spacing that the header should have; voxels and directions stay."""
    target = folder / path.name
    if not target.exists():
        volume = read_label_map(path) if is_label else read_volume(path)
        affine = volume.grid.affine.copy()
        affine[:3, :3] *= np.array(spacing_mm) / volume.grid.spacing_mm
        # Without a header: the old one would bring its spacing back.
        like: Volume = replace(volume, grid=Grid(volume.grid.shape, affine), header=None)
        write_volume(target, volume.data, like)
    return target
