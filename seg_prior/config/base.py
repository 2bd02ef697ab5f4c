"""What every config is: frozen, without unknown keys, and plain about what does not fit."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails

Id = Annotated[int, Field(ge=0, lt=2**31)]
"""A value of label maps."""
Share = Annotated[float, Field(ge=0, le=1)]
EXPERT = "expert"
"""Marks a field, in its `Annotated`, whose flag few people need: `--help` shows it apart."""
RENAMED = {"volume": "frame", "offset_nats": "offset.nats"}
"""What keys were called in older configs -> what they are called now."""


class FrozenModel(BaseModel):
    """A model that is not changed once it is there, and refuses keys that it does not know.

    The line under a field is its help.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


_SHOWN_CHARACTERS = 60


def misfit(error: ErrorDetails) -> str:
    """What was found at a key and what was needed, without the key."""
    if isinstance(error["input"], dict) and error["type"] == "value_error":  # keys that disagree
        return f"{error['msg'].removeprefix('Value error, ')}."
    if error["type"] == "extra_forbidden" and error["loc"][-1] in RENAMED:
        return renamed(str(error["loc"][-1]))
    found = ascii(error["input"]) if "control char" in error["msg"] else repr(error["input"])
    if len(found) > _SHOWN_CHARACTERS:
        found = found[: _SHOWN_CHARACTERS - 3] + "..."
    text = error["msg"].removeprefix("Value error, ")
    return f"found {found}, {text.replace('Input should be', 'need', 1)}."


def renamed(key: str) -> str:
    """What is said of a key that has another name now."""
    return f"found a setting that is called {RENAMED[key]} now. Rename it."
