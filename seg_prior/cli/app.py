"""The command line: parse, call the command, turn errors into one line and an exit code.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_origin

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError
from pydantic import BaseModel, ValidationError

from seg_prior import __version__
from seg_prior.cli.settings import EVERYDAY_FLAGS, help_of, partial, resolve
from seg_prior.cli.talk import talking
from seg_prior.commands import NAMES
from seg_prior.config.base import RENAMED, misfit, renamed
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.files import Files

COMPLETION = "--install-completion"
_CONFIG_HELP = "Take settings from this YAML; flags override it."
DONE, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str]) -> int:
    """Run one command; its exit code.

    0 done, 1 some subjects failed, 2 the request was wrong, 130 interrupted at the keyboard.
    """
    try:
        code = build_app(*argv[:1])(
            list(argv), exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        return _tell(_wrong_usage(error), WRONG_REQUEST)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (SegPriorError, OSError) as error:  # OSError: a full disk, a folder without leave
        return _tell(str(error), WRONG_REQUEST)
    except KeyboardInterrupt:
        return _tell("interrupted.", INTERRUPTED)
    return code or DONE


def build_app(asked: str = "") -> App:
    """The parser of one command; of a name that is none, a parser that lists them all."""
    app = App(
        name="seg-prior",
        help="Segment 3-D biomedical volumes with an anatomical prior learned from label maps.",
        help_format="plaintext",
        version=__version__,
        suppress_keyboard_interrupt=False,
        group_parameters=EVERYDAY_FLAGS,
        # `--labels a b c` is one list; an empty one needs no flag of its own.
        default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    )
    app.register_install_completion_command(
        COMPLETION,
        help="Complete commands and flags of bash, zsh or fish with the tabulator from now on.",
    )
    if asked in NAMES or asked == COMPLETION:
        for name in (asked,) if asked in NAMES else NAMES:
            _add(app, name, load(name))
    else:
        for name in NAMES:
            app.command(App(name=name, help=load(name).SUMMARY))
    return app


def load(name: str) -> ModuleType:
    """The file of a command, as `seg_prior.commands` describes it."""
    return import_module(f"seg_prior.commands.{name.replace('-', '_')}")


def place(paths: Sequence[Path], name: str, operands: str) -> dict[str, Path | list[Path]]:
    """The fields that the paths of a command line fill; none where there are no paths.

    Raises:
        ConfigError: There are too few of them or too many.
    """
    if not paths:
        return {}
    names = operands.split()
    spare = len(paths) - len(names)
    if spare < 0 or (spare > 0 and "..." not in operands):
        raise ConfigError(
            f"{name}: found {len(paths)} {'path' if len(paths) == 1 else 'paths'}, "
            f"{paths[0]} the first, need {operands.upper()}. "
            f"See seg-prior {name} --help."
        )
    left = list(paths)
    placed: dict[str, Path | list[Path]] = {}
    for field in names:
        if field.endswith("..."):
            placed[field.removesuffix("...")], left = left[: spare + 1], left[spare + 1 :]
        else:
            placed[field] = left.pop(0)
    return placed


def _add(app: App, name: str, command: ModuleType) -> None:
    """Give the parser one command: operands, a flag for every other field, and four of its own."""
    operands = command.OPERANDS.replace("...", "").split()

    def is_flag(field: str, annotation: Any) -> bool:
        return field not in operands and get_origin(annotation) is not dict

    def call(
        *paths: Path,
        flags: Any = None,
        config: Any = None,
        dry_run: Any = False,
        verbose: Any = False,
        quiet: Any = False,
    ) -> int:
        given = {} if flags is None else flags.model_dump(exclude_unset=True)
        given |= place(paths, name, command.OPERANDS)
        settings = resolve(command.Config, given.pop("config", config), given)
        if dry_run:
            files = command.files(settings)
            print(foresee(settings, files))
            dead = [path for path in files.reads if not path.exists()]
            return _tell_failures([(path, f"{path}: no such file.") for path in dead])
        level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
        from seg_prior.output.guard import guarded

        with talking(level), guarded(command.files(settings)):
            result = command.run(settings)
        return _tell_failures(getattr(result, "failed", ()))

    about = " ".join(f"{field.upper()}: {_help_of(command, field)}" for field in operands)
    own = partial(command.Config, is_flag)
    # The flags are known only now, so the signature that the parser reads is written by hand.
    call.__annotations__ = {
        "paths": Annotated[Path, Parameter(help=about)],
        "flags": Annotated[own | None, Parameter(name="*", parse=bool(own.model_fields))],
        "config": Annotated[
            Path | None, Parameter(help=_CONFIG_HELP, parse="config" not in operands)
        ],
        "dry_run": _switch("Print the settings and the files, and do nothing."),
        "verbose": _switch("Say more while it works.", "-v"),
        "quiet": _switch("Say nothing but warnings.", "-q"),
    }
    app.command(
        call,
        name=name,
        usage=usage(name, command),
        help=command.SUMMARY,
        help_epilogue=f"Example:\n{command.EXAMPLE}",
    )


def _help_of(command: ModuleType, operand: str) -> str:
    return _CONFIG_HELP if operand == "config" else help_of(command.Config, operand)


def _switch(text: str, alias: str = "") -> Any:
    """A flag that is on where it is named."""
    return Annotated[bool, Parameter(help=text, negative=(), alias=alias or None)]


def foresee(settings: BaseModel, files: Files) -> str:
    """The settings as YAML that `--config` takes, and below it, as comments, the files.

    Raises:
        ConfigError: A file that the settings name does not exist.
    """
    import yaml

    for _, value in settings:
        if value in files.reads and not value.exists():
            raise ConfigError(f"{value}: no such file. Check the path.")
    lines = [yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip()]
    lines += [f"# reads {path}" for path in files.reads]
    lines += [f"# writes {path}" for path in (*files.writes, *files.signed)]
    return "\n".join(lines)


def usage(name: str, command: ModuleType) -> str:
    """How a command is called: operands, in brackets where it can do without, and what it needs."""
    fields = command.Config.model_fields
    operands = command.OPERANDS.replace("...", "").split()
    if operands == ["config"]:  # which may hold everything else
        return f"seg-prior {name} CONFIG [FLAGS]"
    needed = [key for key in fields if fields[key].is_required() and key not in operands]
    flags = [f"--{key} {key.upper()}" for key in needed]
    shown = [
        word.upper() if fields[word.removesuffix("...")].is_required() else f"[{word.upper()}]"
        for word in command.OPERANDS.split()
    ]
    return " ".join(["seg-prior", name, *shown, *flags, "[FLAGS]"])


def _wrong_usage(error: CycloptsError) -> str:
    """What is wrong with a command line that cannot be parsed."""
    cause = error.__cause__
    if isinstance(error, UnknownOptionError):
        key = (error.token.keyword or error.token.value).removeprefix("--")
        if key in RENAMED:
            return f"--{key}: {renamed(key)}"
    if not isinstance(cause, ValidationError):
        return str(error)
    first = cause.errors()[0]
    flag = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    return f"--{flag}: {misfit(first)}"


def _tell_failures(failures: Sequence[tuple[object, str]]) -> int:
    """A table of what failed, and the exit code."""
    if not failures:
        return DONE
    print(f"seg-prior: {len(failures)} failed:", file=sys.stderr)
    for _, message in failures:
        print(f"  {' '.join(message.split())}", file=sys.stderr)
    return SOME_FAILED


def _tell(message: str, code: int) -> int:
    """The message on one line of standard error; the exit code."""
    print(f"seg-prior: {' '.join(message.split())}", file=sys.stderr)
    return code
