"""What a person asked for: defaults, a YAML file over them, flags over that, as one config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from seg_prior.config.base import EXPERT
from seg_prior.config.merge import Config, Settings, fault, is_model, merged
from seg_prior.errors import ConfigError

EVERYDAY_FLAGS = Group.create_ordered("Everyday flags")
EXPERT_FLAGS = Group.create_ordered("Expert flags")
"""Those of fields that are marked `EXPERT`, and of nested models."""

_EXPERT_FLAG = Parameter(group=EXPERT_FLAGS)


def resolve(config: type[Config], file: Path | None, flags: Settings) -> Config:
    """The config of a command; a flag overrides the file, which overrides the default.

    Args:
        config: The command's model.
        file: YAML of nested keys of the model; paths in it are relative to its folder.
        flags: The same keys, as a person gave them at the command line.

    Raises:
        ConfigError: The file does not fit (`read_settings`), or a required key stands nowhere.
    """
    from_file = {} if file is None else read_settings(file, config)
    try:
        return merged(config, from_file, flags)
    except ValidationError as error:
        told = fault(error, config)
        # Single values of the file fit, or it would not have been read; together they may not.
        is_of_file = bool(set(error.errors()[0]["loc"][:1]) & set(from_file))
        raise ConfigError(f"{file}: {told}" if is_of_file else told) from error


def read_settings(file: Path, config: type[BaseModel]) -> dict[str, Any]:
    """The keys a YAML file sets, of the types the config gives them; an empty file sets none.

    Raises:
        ConfigError: The file is missing or no YAML; a key is unknown or its value does not fit.
    """
    from seg_prior.io.settings_file import read_yaml

    found = read_yaml(file)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"{file}: found a {type(found).__name__}, need keys and values: 'key: value' lines."
        )
    try:
        settings = partial(config).model_validate(found).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise ConfigError(f"{file}: {fault(error, config)}") from error
    return {key: _in_folder(value, file.parent) for key, value in settings.items()}


def partial(
    config: type[BaseModel],
    keep: Callable[[str, Any], bool] = lambda name, annotation: True,
    defaults: BaseModel | None = None,
) -> type[BaseModel]:
    """The same model with nothing required.

    Which keys somebody set is `model_dump(exclude_unset=True)` of an instance.

    Args:
        config: A command's model.
        keep: (name, annotation) of a field -> whether it stays; a nested model goes with the last
            of its fields.
        defaults: Where the defaults of a nested model come from; its own if None.
    """
    fields: dict[str, Any] = {}
    # Keys of the model's own before those of its bases: what matters most comes first in --help.
    for name in sorted(config.model_fields, key=lambda name: _depth(name, config)):
        field = config.model_fields[name]
        if not keep(name, field.annotation):
            continue
        annotation: Any = field.annotation
        default = None if field.is_required() else field.get_default()
        if defaults is not None:
            default = getattr(defaults, name)
        if is_model(annotation):
            annotation = partial(annotation, keep, default)
            if not annotation.model_fields:
                continue
            fields[name] = (Annotated[annotation, _EXPERT_FLAG], annotation())
        else:
            if field.is_required():
                annotation = annotation | None
            # A tuple of one type and its bounds, which is what Annotated takes.
            marks = (_EXPERT_FLAG,) if EXPERT in field.metadata else ()
            bounds = (*field.metadata, *marks)
            bounded = Annotated[(annotation, *bounds)] if bounds else annotation
            text = help_of(config, name) + (" Required." if field.is_required() else "")
            fields[name] = (bounded, Field(default, description=text))
    # Without docstrings: what a reader of --help needs stands in the fields by now.
    settings = ConfigDict(**config.model_config | {"use_attribute_docstrings": False})
    model: type[BaseModel] = create_model(
        config.__name__, __config__=settings, __doc__="", **fields
    )
    return model


def help_of(config: type[BaseModel], name: str) -> str:
    """The line under a field."""
    return " ".join((config.model_fields[name].description or "").split())


def _depth(name: str, config: type[BaseModel]) -> int:
    """How many classes up a field was declared."""
    owners = (name in getattr(base, "__annotations__", {}) for base in config.__mro__)
    return next(depth for depth, is_owner in enumerate(owners) if is_owner)


def _in_folder(value: Any, folder: Path) -> Any:
    """Paths, also those of a list, as seen from a folder; absolute ones and `~` stay theirs."""
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, list):
        return [_in_folder(item, folder) for item in value]
    return value
