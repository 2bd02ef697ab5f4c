"""Settings from a YAML file, or a message that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from seg_prior.errors import ConfigError

_MAX_BYTES = 1_000_000


def read_yaml(file: Path) -> Any:
    """What a YAML file holds.

    Raises:
        ConfigError: The file is missing, too large, no YAML, or uses aliases.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such file, need a YAML file of settings. Check the path.")
    if file.stat().st_size > _MAX_BYTES:
        raise ConfigError(f"{file}: found more than {_MAX_BYTES} bytes, need a file of settings.")
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{file}: {line}not YAML ({error.problem}); mend the line.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: not text in UTF-8, need a YAML file of settings.") from error
    except Exception as error:  # what the loader makes of odd dates, keys and depths
        raise ConfigError(
            f"{file}: not a YAML file of settings ({type(error).__name__}); mend it."
        ) from error


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: settings need none, and a few lines of them unfold to any size."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias, write the value", mark)
        return super().compose_node(parent, index)
