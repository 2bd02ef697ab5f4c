"""Subjects in three roles: who teaches anatomy, who teaches intensities, who is scored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seg_prior.core.grid import Grid
from seg_prior.errors import ConfigError
from seg_prior.io.find import participant_of, scan_key
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.io.write import write_volume

ROLES = ("maps", "images", "scored")


@dataclass(frozen=True)
class Subjects:
    """Files by role; no subject has two roles.

    Attributes:
        maps: Label maps that the prior learns from.
        images: Unlabelled images that Gaussians and locator learn from.
        scored: Images that results are scored on.
        references: Label maps of those.
        role_of: Subject -> role, of all who have both an image and a label map.
    """

    maps: tuple[Path, ...]
    images: tuple[Path, ...]
    scored: tuple[Path, ...]
    references: tuple[Path, ...]
    role_of: dict[str, str]

    def lists(self, folder: Path) -> dict[Path, tuple[Path, ...]]:
        """The .txt list of each kind of file in a folder, and what stands in it."""
        kinds = ("maps", "images", "scored", "references")
        return {folder / f"{kind}.txt": getattr(self, kind) for kind in kinds}


def divide(
    images: Sequence[Path],
    labels: Sequence[Path],
    shares: tuple[float, float, float],
    scored: Collection[str] = (),
) -> Subjects:
    """Deal the files to the roles by their names alone.

    Raises:
        ConfigError: As `deal`, or two files of one kind have one name.
    """
    for paths in (images, labels):
        _check_names(paths)
    label_of = {scan_key(path): path for path in labels}
    people = {participant_of(path) for path in images if scan_key(path) in label_of}
    role_of = deal(people, shares, scored)
    is_scored = [path for path in images if role_of.get(participant_of(path)) == "scored"]
    with_map = [path for path in is_scored if scan_key(path) in label_of]
    return Subjects(
        # A subject without an image has nothing to score: its map can only teach.
        maps=tuple(p for p in labels if role_of.get(participant_of(p), "maps") == "maps"),
        images=tuple(p for p in images if role_of.get(participant_of(p), "images") == "images"),
        scored=tuple(with_map),
        references=tuple(label_of[scan_key(path)] for path in with_map),
        role_of=role_of,
    )


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


def mended(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Where the copies with a mended header lie."""
    _check_names(paths)
    return [folder / path.name for path in paths]


def mend(
    paths: Sequence[Path], folder: Path, spacing_mm: tuple[float, float, float], is_label: bool
) -> list[Path]:
    """Write copies with the spacing that headers should have; voxels and directions stay.

    Raises:
        ConfigError: Two files have one name.
        SegPriorError: A file cannot be read.
    """
    targets = mended(paths, folder)
    for path, target in zip(paths, targets, strict=True):
        volume = read_label_map(path) if is_label else read_volume(path)
        affine = volume.grid.affine.copy()
        affine[:3, :3] *= np.array(spacing_mm) / volume.grid.spacing_mm
        # Without a header: the old one would bring its spacing back.
        like = replace(volume, grid=Grid(volume.grid.shape, affine), header=None)
        write_volume(target, volume.data, like)
    return targets


def _check_names(paths: Sequence[Path]) -> None:
    """Files of one name, in two folders, would be taken for one scan."""
    first: dict[str, Path] = {}
    for path in paths:
        if path.name in first:
            raise ConfigError(
                f"{path}: found the name of {first[path.name]}, need a name of its own for each "
                "file. Rename one of them."
            )
        first[path.name] = path
