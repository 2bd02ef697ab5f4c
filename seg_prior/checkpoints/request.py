"""What a training depends on: so that neither its state nor its model is taken for another's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_prior import __version__
from seg_prior.checkpoints.header import read_header
from seg_prior.checkpoints.provenance import settings_of
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.errors import CheckpointError, ConfigError
from seg_prior.io.formats import content_sha256

_NOT_ASKED = {"device", "threads"}
_NUM_NAMED = 3


@dataclass(frozen=True)
class Request:
    """Settings, and the content of every input; where the inputs lie plays no part.

    Attributes:
        settings: Key with its dots -> value, as JSON has it.
        inputs: (path, SHA-256) in the order in which they count. The paths are for messages and
            are not recorded: file names may name people.
    """

    settings: Mapping[str, Any]
    inputs: tuple[tuple[Path, str], ...]

    @classmethod
    def of(cls, config: RuntimeConfig, inputs: Iterable[Path]) -> Request:
        """Of a stage's config and its files; who reads them says which are not there."""
        settings = {k: v for k, v in settings_of(config).items() if k not in _NOT_ASKED}
        return cls(
            {"seg_prior": __version__} | dict(_flat(settings)),
            tuple((path, content_sha256(path) if path.exists() else "") for path in inputs),
        )

    def record(self) -> dict[str, Any]:
        """What is kept of it, as JSON has it."""
        return {"settings": dict(self.settings), "inputs": [sha256 for _, sha256 in self.inputs]}

    def difference(self, found: Mapping[str, Any]) -> str:
        """What a recorded request had otherwise, named for a person; nothing where it is this one.

        Args:
            found: What `record` gave; empty of a training that kept none.
        """
        if not found:
            return "inputs that were not recorded"
        before, inputs = found.get("settings", {}), found.get("inputs", [])
        keys = sorted({*before, *self.settings})
        names = [key for key in keys if before.get(key) != self.settings.get(key)]
        now = [sha256 for _, sha256 in self.inputs]
        if sorted(now) == sorted(inputs):
            names += ["order of inputs"] if now != inputs else []
        elif len(now) != len(inputs):
            names.append(f"number of inputs ({len(inputs)}, now {len(now)})")
        else:
            pairs = zip(self.inputs, inputs, strict=True)
            changed = [str(path) for (path, sha256), was in pairs if sha256 != was]
            names.append(f"content of {', '.join(changed[:_NUM_NAMED])}")
        return ", ".join(names[:_NUM_NAMED]) + (", ..." if len(names) > _NUM_NAMED else "")


def is_trained(out: Path, stage: str, request: Request) -> bool:
    """Whether a checkpoint is there that a stage made of this very request.

    Raises:
        ConfigError: One is there that was made of another, or it is no checkpoint.
    """
    if not out.exists():
        return False
    try:
        made = read_header(out).provenance
    except CheckpointError as error:
        raise ConfigError(f"{error} Choose another --out, or delete it.") from error
    found = made if stage == "train-prior" else made.get(stage, {})
    other = request.difference(found.get("request", {}))
    if other:
        raise ConfigError(
            f"{out}: found a model of another training (other {other}), need a place for this one. "
            "Choose another --out, or delete it."
        )
    return True


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
