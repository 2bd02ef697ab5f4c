"""A digest of tensors, by which damage to a file of them is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def digest_of(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a text and of every tensor with its name, type and shape, in hexadecimal."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def digest_of_state(state: Mapping[str, Any]) -> str:
    """The same of nested mappings and lists that hold tensors, numbers and text."""
    leaves = dict(_leaves(state, ""))
    tensors = {key: value for key, value in leaves.items() if isinstance(value, Tensor)}
    rest = {key: value for key, value in leaves.items() if key not in tensors}
    return digest_of(repr(sorted(rest.items())), tensors)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(part, f"{key}/{name}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{key}/{number}")
    else:
        yield key, value
