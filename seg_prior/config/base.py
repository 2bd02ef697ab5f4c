"""What every config is: frozen, without unknown keys, and plain about what does not fit."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails


class FrozenModel(BaseModel):
    """A model that is not changed once it is there, and refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_SHOWN_CHARACTERS = 60


def misfit(error: ErrorDetails) -> str:
    """What was found at a key and what was needed, without the key."""
    found = repr(error["input"])
    if len(found) > _SHOWN_CHARACTERS:
        found = found[: _SHOWN_CHARACTERS - 3] + "..."
    return f"found {found}, {error['msg'].replace('Input should be', 'need', 1)}."
