"""Whose a file is: what a result may replace, and which scan it is of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_prior.core.volume import Volume
from seg_prior.errors import ConfigError
from seg_prior.files import absolute, sha256_of
from seg_prior.io.sidecar import is_ours

REPLACED = "replaced"
"""Key of a sidecar while the files that it names are being put in place: hashes of the old ones."""
EARLIER = "earlier_files"
"""Key of a sidecar for files of requests before, which the last one did not ask for."""


GENERATOR = b'<meta name="generator" content="seg-prior">'
"""What a page of ours has at its beginning."""


class Scan(NamedTuple):
    """What tells one scan from another; its content, wherever a copy of it lies.

    Attributes:
        path: Where it lay, if it was a file.
        sha256: Of the bytes of its files, if they are known.
        voxels_sha256: Of voxels and affine, if they have been read.
    """

    path: str | None
    sha256: str | None = None
    voxels_sha256: str | None = None

    @classmethod
    def of(cls, volume: Volume, sha256: str | None = None) -> Scan:
        """One that has been read, from a file or not."""
        path = None if volume.source.startswith("<") else str(absolute(Path(volume.source)))
        digest = hashlib.sha256(np.ascontiguousarray(volume.data).data)
        digest.update(f"{volume.grid.shape} {volume.grid.affine.tolist()}".encode())
        return cls(path, sha256, digest.hexdigest())

    def is_same(self, recorded: Mapping[str, Any]) -> bool:
        """Whether a sidecar tells of the same content."""
        return any(
            mine is not None and mine == recorded.get(name)
            for name, mine in (("sha256", self.sha256), ("voxels_sha256", self.voxels_sha256))
        )


def check_replaceable(
    files: Mapping[str, Path], found: Mapping[str, Any], scan: Scan | None, overwrite: bool
) -> None:
    """Refuse to replace what no run wrote, what was changed since, or the result of another scan.

    OUT forgotten, the last scan stands there; OUT the folder of the scans, perhaps what a person
    drew; one OUT for two folders, another scan's result.

    Args:
        files: To be written, as `layout.files_of` has them.
        found: The sidecar that stands there; empty if none does.
        scan: Whose result it will be; None where that cannot be read.
        overwrite: Replace the result of the file at the same place as it was before.

    Raises:
        ConfigError: There is such a file.
    """
    target, sidecar = files["label_map"], files["sidecar"]
    known = found if _is_record(found) else {}
    for file in (target, *files.values()):
        if file != sidecar and file.exists() and not is_as_recorded(file, known):
            raise ConfigError(
                f"{file}: found a file that segment did not write, or that was changed since, need "
                "a place for the result. Name OUT last, after the scans, or delete the file."
            )
    if sidecar.exists() and not _is_record(found):
        raise ConfigError(
            f"{sidecar}: found a file that segment did not write, need its place for what tells of "
            f"{target.name}. Name another OUT."
        )
    recorded = found.get("image", {})
    if not found or scan is None or scan.is_same(recorded):
        return
    is_at_same_place = scan.path is not None and scan.path == recorded.get("path")
    if is_at_same_place and overwrite:
        return
    whose = f"the result of {recorded.get('path') or 'another scan'}"
    if is_at_same_place:
        raise ConfigError(
            f"{target}: found {whose} as it was before, need leave to replace it. Say --overwrite, "
            "or name another OUT."
        )
    raise ConfigError(
        f"{target}: found {whose}, need a place for that of {scan.path or 'this one'}. "
        "Name another OUT, or both scans at once."
    )


def check_page(path: Path) -> None:
    """Refuse to replace a page that this program did not write.

    Raises:
        ConfigError: There is one.
    """
    if path.exists() and not (path.is_file() and GENERATOR in path.read_bytes()[:4096]):
        raise ConfigError(
            f"{path}: found a file that seg-prior did not write, need a place for the page. "
            "Name another, or rename it."
        )


def _is_record(sidecar: Mapping[str, Any]) -> bool:
    """Whether a JSON object tells of a label map of ours."""
    return is_ours(sidecar) and all(
        isinstance(sidecar.get(key), dict) for key in ("image", "files")
    )


def is_as_recorded(file: Path, sidecar: Mapping[str, Any]) -> bool:
    """Whether a file is there and holds what a sidecar says was written to it."""
    known = [sidecar.get(key, {}).get(file.name) for key in ("files", REPLACED, EARLIER)]
    return any(known) and file.is_file() and sha256_of(file) in known
