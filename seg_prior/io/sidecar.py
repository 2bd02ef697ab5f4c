"""JSON files that say who wrote what stands beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from seg_prior import __version__

GENERATED_BY = {"GeneratedBy": [{"Name": "seg-prior", "Version": __version__}]}
"""What every JSON file of ours says of itself, in the words of BIDS."""


def read_json(path: Path | str) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read()
        try:
            found = from_json(raw)  # in half the time of `json`, without names that are no UTF-8
        except ValueError:
            found = json.loads(raw.decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_ours(path: Path | str) -> dict[str, Any]:
    """The object in a JSON file that this program wrote; empty where there is none."""
    found = read_json(path)
    return found if is_ours(found) else {}


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object says that this program wrote it."""
    makers = content.get("GeneratedBy")
    if not isinstance(makers, list):
        return False
    return any(isinstance(maker, dict) and maker.get("Name") == "seg-prior" for maker in makers)
