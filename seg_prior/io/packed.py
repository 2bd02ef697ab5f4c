"""Bytes of image files: what a header claims is held against what there is, checksums are read."""

from __future__ import annotations

import zlib
from pathlib import Path

from seg_prior.errors import ImageError
from seg_prior.io.stored import first_line

MAX_INFLATION = 1032
"""So many bytes at most come of one that deflate has packed (RFC 1951: 258 bytes from 2 bits)."""
_CHUNK_BYTES = 1 << 20
_ANY_HEADER = 32 + zlib.MAX_WBITS
"""For zlib: a stream of gzip or of its own, whichever there is."""


def check_claim(path: Path, end: int, num_bytes: int, is_packed: bool) -> None:
    """Refuse a header that promises more than its file can hold, before memory is taken.

    Args:
        path: Told in the message.
        end: Where its last voxel ends, in bytes.
        num_bytes: Size of the file.
        is_packed: By deflate.

    Raises:
        ImageError: It does.
    """
    most = num_bytes * MAX_INFLATION if is_packed else num_bytes
    if end > most:
        holds = f"{most} bytes at most, packed" if is_packed else f"{most} bytes"
        raise ImageError(
            f"{path}: its header promises {end} bytes, the file holds {holds}; it is truncated "
            "or damaged. Copy or convert it again."
        )


def check_packed(path: Path, start: int, num_bytes: int) -> None:
    """Unpack a stream of gzip or zlib to its end, where its checksum stands, and keep nothing.

    Args:
        path: The file.
        start: Where the stream begins in it.
        num_bytes: What the header promises to come of it.

    Raises:
        ImageError: It is damaged, truncated, or holds less.
    """
    stream, num_found = zlib.decompressobj(_ANY_HEADER), 0
    try:
        with path.open("rb") as file:
            file.seek(start)
            while not stream.eof:
                chunk = stream.unconsumed_tail or file.read(_CHUNK_BYTES)
                num_found += len(stream.decompress(chunk, _CHUNK_BYTES))
                if not chunk:
                    raise ValueError("they end too early")
        if num_found < num_bytes:
            raise ValueError(f"{num_found} bytes came of them, {num_bytes} are promised")
    except (zlib.error, ValueError) as error:
        raise ImageError(
            f"{path}: found packed bytes that are damaged ({first_line(error)}). Copy it again."
        ) from error
