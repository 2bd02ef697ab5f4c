"""JSON files that say who wrote what stands beside them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import SchemaValidator, core_schema, from_json

from seg_prior import __version__

GENERATED_BY = {"GeneratedBy": [{"Name": "seg-prior", "Version": __version__}]}
"""What every JSON file of ours says of itself, in the words of BIDS."""


def read_json(path: Path | str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none.

    Args:
        path: The file.
        keys: Of the object, what is asked for, if not all; the rest costs less then.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read()
        try:
            # In half the time of `json` and less, without names that are no UTF-8.
            found = _picker(keys).validate_json(raw) if keys else from_json(raw)
        except ValueError:
            found = json.loads(raw.decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_ours(path: Path | str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same of a file that this program wrote."""
    found = read_json(path, keys and (*GENERATED_BY, *keys))
    return found if is_ours(found) else {}


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object says that this program wrote it."""
    makers = content.get("GeneratedBy")
    if not isinstance(makers, list):
        return False
    return any(isinstance(maker, dict) and maker.get("Name") == "seg-prior" for maker in makers)


@functools.cache
def _picker(keys: tuple[str, ...]) -> SchemaValidator:
    """What makes nothing of the other keys."""
    field = core_schema.typed_dict_field(core_schema.any_schema(), required=False)
    return SchemaValidator(core_schema.typed_dict_schema(dict.fromkeys(keys, field)))
