"""The command line: parse, call the stage, turn errors into one line and an exit code.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_origin

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from seg_prior import __version__
from seg_prior.cli.commands import (
    COMMANDS,
    Command,
    Failures,
    Show,
)
from seg_prior.cli.settings import descriptions, partial, resolve
from seg_prior.config.base import misfit
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.config.labels import LabelFormat
from seg_prior.errors import ConfigError, SegPriorError

DONE, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str]) -> int:
    """Run one command; its exit code.

    0 done, 1 some subjects failed, 2 the request was wrong, 130 interrupted at the keyboard.
    """
    try:
        code = build_app()(
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


def build_app() -> App:
    """The parser with every command."""
    app = App(
        name="seg-prior",
        help="Segment 3-D biomedical volumes with an anatomical prior learned from label maps.",
        help_format="plaintext",
        version=__version__,
        suppress_keyboard_interrupt=False,
        # `--labels a b c` is one list; an empty one needs no flag of its own.
        default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    )
    for command in COMMANDS:
        _add(app, command)
    example = "seg-prior info prior.safetensors"
    app.command(
        _info,
        name="info",
        usage="seg-prior info FILE [--json]",
        help="Show what a checkpoint holds.",
        help_epilogue=f"Example:\n{example}",
    )
    app.command(
        _labels,
        name="labels",
        usage="seg-prior labels [MODEL] [--format FORMAT] [--out FILE]",
        help="Show a model's label table, in the form of another program.",
        help_epilogue="Example:\nseg-prior labels --format freesurfer --out lut.txt",
    )
    return app


def place(paths: Sequence[Path], command: Command) -> dict[str, Path | list[Path]]:
    """The fields that the paths of a command line fill; none where there are no paths.

    Raises:
        ConfigError: There are too few of them or too many.
    """
    if not paths:
        return {}
    names = command.operands.split()
    spare = len(paths) - len(names)
    if spare < 0 or (spare > 0 and "..." not in command.operands):
        raise ConfigError(
            f"{command.name}: found {len(paths)} {'path' if len(paths) == 1 else 'paths'}, "
            f"{paths[0]} the first, need {command.operands.upper()}. "
            f"See seg-prior {command.name} --help."
        )
    left = list(paths)
    placed: dict[str, Path | list[Path]] = {}
    for name in names:
        if name.endswith("..."):
            placed[name.removesuffix("...")], left = left[: spare + 1], left[spare + 1 :]
        else:
            placed[name] = left.pop(0)
    return placed


def _add(app: App, command: Command) -> None:
    """Give the parser one command: operands, a flag for every other field, and two of its own."""
    operands = command.operands.replace("...", "").split()

    def is_flag(name: str, annotation: Any) -> bool:
        return name not in operands and get_origin(annotation) is not dict

    def call(*paths: Path, flags: Any = None, config: Any = None, dry_run: Any = False) -> int:
        given = {} if flags is None else flags.model_dump(exclude_unset=True)
        return _run(command, config, given | place(paths, command), dry_run)

    texts = descriptions(command.config)
    about = " ".join(f"{name.upper()}: {texts[name]}" for name in operands)
    # The flags are known only now, so the signature that the parser reads is written by hand.
    call.__annotations__ = {
        "paths": Annotated[Path, Parameter(help=about)],
        "flags": Annotated[partial(command.config, is_flag) | None, Parameter(name="*")],
        "config": Annotated[Path | None, Parameter(help="YAML of settings; flags override it.")],
        "dry_run": Annotated[
            bool,
            Parameter(help="Print the settings and the files, and do nothing.", negative=()),
        ],
    }
    needed = [name for name, field in command.config.model_fields.items() if field.is_required()]
    usage = ["seg-prior", command.name, command.operands.upper()]
    usage += [f"--{name} {name.upper()}" for name in needed if name not in operands]
    app.command(
        call,
        name=command.name,
        usage=" ".join([*usage, "[FLAGS]"]),
        help=command.summary,
        help_epilogue=f"Example:\n{command.example}",
    )


def _run(command: Command, file: Path | None, given: dict[str, Any], is_dry: bool) -> int:
    settings = resolve(command.config, file, given)
    if is_dry:
        from seg_prior.cli import dry_run

        print(dry_run.describe(settings))
        return DONE
    return _tell_failures(command.run(settings, _show_of(settings)))


def _info(
    file: Annotated[Path, Parameter(help="A checkpoint.")],
    /,
    *,
    json: Annotated[bool, Parameter(help="As one JSON object.", negative=())] = False,
) -> int:
    from seg_prior.commands import info

    info.run(file, json)
    return DONE


def _labels(
    model: Annotated[Path, Parameter(help="A checkpoint of any kind.")] = BRAIN_MODEL,
    /,
    *,
    format: Annotated[LabelFormat, Parameter(help="Whose form the table has.")] = "bids",
    out: Annotated[Path | None, Parameter(help="A file to write; else it is shown.")] = None,
) -> int:
    from seg_prior.commands import labels

    labels.run(model, format, out)
    return DONE


def _show_of(settings: Any) -> Show:
    """Where a stage speaks to: standard output line by line, or nowhere."""
    # Of the processes that torchrun starts, one speaks.
    if settings.quiet or os.environ.get("RANK", "0") != "0":
        return lambda line: None
    return lambda line: print(line, flush=True)


def _wrong_usage(error: CycloptsError) -> str:
    """What is wrong with a command line that cannot be parsed."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error)
    first = cause.errors()[0]
    flag = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    return f"--{flag}: {misfit(first)}"


def _tell_failures(failures: Failures) -> int:
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
