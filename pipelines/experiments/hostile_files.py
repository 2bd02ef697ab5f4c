"""Files made wrong on purpose, by seeded mutation of sound ones; all of them are small."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes], bytes]

_NUMBERS = [0, -1, 1, 7, 255, 32767, -32768, 2**31 - 1, -(2**31)]
_FLOATS = [0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 1e-3, 1e3, 0.1]
_SCALARS: list[Any] = [
    None,
    True,
    -1,
    0,
    10**9,
    -(10**30),
    1e308,
    "",
    "nan",
    "\u2028",
    "x" * 300,
    [],
    {},
    [[]],
    "../up",
]
_WORDS = ["-1", "1e308", ".nan", ".inf", "null", "[]", "{}", "'", "\t", "&a 1", "*a", "!!set", "0x"]
_CELLS = [
    "",
    "-1",
    "99999999999",
    "1.5",
    "nan",
    '"',
    "a\u2028b",
    "a\x07b",
    "\u0663",
    "x" * 300,
    "0",
]
_NIFTI1 = {  # offset -> struct code of the fields that decide what is read
    0: "i",
    40: "h",
    42: "h",
    44: "h",
    46: "h",
    48: "h",
    70: "h",
    72: "h",
    76: "f",
    80: "f",
    84: "f",
    88: "f",
    108: "f",
    112: "f",
    116: "f",
    123: "b",
    252: "h",
    254: "h",
    256: "f",
    260: "f",
    264: "f",
    280: "f",
    284: "f",
    292: "f",
    300: "f",
    312: "f",
    344: "i",
}


def bytes_changed(random: Random, raw: bytes) -> bytes:
    """Bits, blocks and ends, as disks and transfers damage them."""
    changed = bytearray(raw)
    place = random.randrange(len(raw))
    length = random.choice([1, 4, 64, 1024])
    kind = random.choice(["bit", "bit", "cut", "zeros", "noise", "twice", "gone", "tail"])
    if kind == "bit":
        changed[place] ^= 1 << random.randrange(8)
    elif kind == "cut":
        del changed[place:]
    elif kind == "zeros":
        changed[place : place + length] = bytes(len(changed[place : place + length]))
    elif kind == "noise":
        changed[place : place + length] = random.randbytes(len(changed[place : place + length]))
    elif kind == "twice":
        changed[place:place] = changed[place : place + length]
    elif kind == "gone":
        del changed[place : place + length]
    else:
        changed += random.randbytes(length)
    return bytes(changed)


def nifti_changed(random: Random, packed: bytes) -> bytes:
    """A field or two of the header, or some voxels; packed again, so that the checksum is right."""
    raw = bytearray(gzip.decompress(packed))
    for _ in range(random.choice([1, 1, 2, 3])):
        place = random.choice(list(_NIFTI1))
        code = _NIFTI1[place]
        if code == "f":
            value = struct.pack("<f", random.choice(_FLOATS))
        else:
            size = struct.calcsize(code)
            value = random.choice(_NUMBERS).to_bytes(8, "little", signed=True)[:size]
        raw[place : place + len(value)] = value
    if random.random() < 0.3:
        place = random.randrange(352, len(raw) - 64)
        raw[place : place + 64] = random.randbytes(64)
    return gzip.compress(bytes(raw), 1, mtime=0)


def text_changed(random: Random, raw: bytes) -> bytes:
    """Cells of a table, or lines of it."""
    lines = raw.decode().split("\n")
    for _ in range(random.choice([1, 1, 2])):
        row = random.randrange(len(lines) - 1)
        kind = random.choice(["cell", "cell", "cell", "line gone", "line twice", "tab gone"])
        if kind == "cell":
            cells = lines[row].split("\t")
            cells[random.randrange(len(cells))] = random.choice(_CELLS)
            lines[row] = "\t".join(cells)
        elif kind == "line gone":
            del lines[row]
        elif kind == "line twice":
            lines.insert(row, lines[row])
        else:
            lines[row] = lines[row].replace("\t", " ", 1)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def yaml_changed(random: Random, raw: bytes) -> bytes:
    """Values and keys of settings."""
    lines = raw.decode().split("\n")
    row = random.randrange(len(lines) - 1)
    key, _, _ = lines[row].partition(":")
    kind = random.choice(["value", "value", "value", "key", "depth", "indent", "line twice"])
    if kind == "value":
        lines[row] = f"{key}: {random.choice(_WORDS)}"
    elif kind == "key":
        lines[row] = lines[row].replace(key.strip(), key.strip() + random.choice("sx_ \u00e9"), 1)
    elif kind == "depth":
        lines[row] = f"{key}: " + "[" * 300 + "]" * 300
    elif kind == "indent":
        lines[row] = " " * random.randrange(1, 5) + lines[row]
    else:
        lines.insert(row, lines[row])
    return "\n".join(lines).encode()


def checkpoint_changed(random: Random, raw: bytes) -> bytes:
    """A value of the header that a checkpoint has in JSON, without the digest that would tell."""
    length = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8 : 8 + length])
    if random.random() < 0.2:  # the index of the tensors
        name = random.choice([key for key in head if key != "__metadata__"])
        head[name][random.choice(["dtype", "shape", "data_offsets"])] = random.choice(_SCALARS)
    else:
        content = json.loads(head["__metadata__"]["seg_prior"])
        _change_somewhere(random, content)
        head["__metadata__"] = {"seg_prior": json.dumps(content)}
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def _change_somewhere(random: Random, content: Any) -> None:
    """One value of nested mappings and lists becomes another, or is gone."""
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = random.choice(keys)
    if isinstance(content[key], dict | list) and content[key] and random.random() < 0.8:
        _change_somewhere(random, content[key])
    elif random.random() < 0.2:
        del content[key]
    else:
        content[key] = random.choice(_SCALARS)


_PACKED: tuple[Mutate, ...] = (nifti_changed, nifti_changed, bytes_changed)
_TABLE: tuple[Mutate, ...] = (text_changed, text_changed, bytes_changed)
_CHECKPOINT: tuple[Mutate, ...] = (checkpoint_changed, checkpoint_changed, bytes_changed)
_BYTES: tuple[Mutate, ...] = (bytes_changed,)

KINDS: dict[str, dict[str, tuple[Mutate, ...]]] = {
    "image": {
        "scan.nii.gz": _PACKED,
        "scan.nii": _BYTES,
        "scan.mgz": _BYTES,
        "scan.nrrd": _BYTES,
        "scan.mha": _BYTES,
    },
    "label map": {"map.nii.gz": _PACKED, "map.mgz": _BYTES},
    "table": {"labels.tsv": _TABLE, "dseg.tsv": _TABLE, "colours.txt": _TABLE},
    "config": {"settings.yaml": (yaml_changed, yaml_changed, bytes_changed)},
    "checkpoint": {"atlas.safetensors": _CHECKPOINT, "vae.safetensors": _CHECKPOINT},
}
"""Kind -> sound file of it -> what is done to it."""


def make(kind: str, number: int, seed: int, sound: Path, out: Path) -> Path:
    """The file of one number: the same for the same seed.

    Args:
        kind: One of `KINDS`.
        number: Of the file.
        seed: Of the campaign.
        sound: Folder of the sound files.
        out: Folder to write to.
    """
    random = Random(f"{seed} {kind} {number}")
    name = random.choice(list(KINDS[kind]))
    path = out / name
    change = random.choice(KINDS[kind][name])
    path.write_bytes(change(random, (sound / name).read_bytes()))
    return path
