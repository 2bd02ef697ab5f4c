"""Settings laid over settings, key by key, as one config."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

from seg_prior.config.base import RENAMED, misfit, renamed

Config = TypeVar("Config", bound=BaseModel)
Settings = Mapping[str, Any]


def merged(config: type[Config], *layers: Settings) -> Config:
    """The defaults of a model under layers of nested keys, of which the last has the last word.

    Raises:
        ValidationError: What comes of them does not fit; `fault` says it in one line.
    """
    found = _defaults(config)
    for layer in layers:
        found = _over(found, layer, config)
    return config.model_validate(found)


def fault(error: ValidationError, config: type[BaseModel]) -> str:
    """The first fault pydantic found, in one line that begins with the key."""
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    key = ".".join(loc)
    if first["type"] == "missing":
        return f"{key}: found nothing; name it on the command line or in a config file."
    if first["type"] != "extra_forbidden":
        return f"{key}: {misfit(first)}"
    if loc[-1] in RENAMED:
        return f"{key}: {renamed(loc[-1])}"
    known = _keys(config, loc[:-1])
    likely = difflib.get_close_matches(loc[-1], known, n=1)
    remedy = f"Did you mean '{likely[0]}'?" if likely else f"Known are {', '.join(known)}."
    return f"{key}: unknown key. {remedy}"


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a field holds a nested model."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _defaults(config: type[BaseModel]) -> dict[str, Any]:
    """The keys that need not be given; nested models as mappings, so that one key can change."""
    defaults = {
        name: field.get_default()
        for name, field in config.model_fields.items()
        if not field.is_required()
    }
    return {
        name: value.model_dump() if isinstance(value, BaseModel) else value
        for name, value in defaults.items()
    }


def _over(lower: Settings, upper: Settings, config: type[BaseModel]) -> dict[str, Any]:
    """`upper` over `lower`, key by key of nested models; any other value is replaced whole."""
    both = dict(lower)
    for name, value in upper.items():
        field = config.model_fields.get(name)
        if field and is_model(field.annotation) and isinstance(value, Mapping):
            value = _over(both.get(name, {}), value, field.annotation)
        both[name] = value
    return both


def _keys(config: type[BaseModel], loc: list[str]) -> list[str]:
    """Names of the fields of a nested model."""
    for part in loc:
        nested = config.model_fields[part].annotation
        assert is_model(nested)
        config = nested
    return list(config.model_fields)
