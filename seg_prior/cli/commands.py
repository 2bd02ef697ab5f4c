"""The commands: for each stage its config, its operands, its help, and how it is called.

They are imported when they are called: parsing and `--help` need none of what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from seg_prior.config.commands import (
    CalibrateConfig,
    CheckConfig,
    DemoConfig,
    EvaluateConfig,
    MakePhantomsConfig,
    ReconstructConfig,
    SampleConfig,
    SegmentConfig,
    TrainEncoderConfig,
    TrainLocatorConfig,
    TrainPriorConfig,
)

Show = Callable[[str], None]
Failures = Sequence[tuple[object, str]]
"""(subject, message) of what failed while the rest went on."""


class Command(NamedTuple):
    """A stage as a command.

    Attributes:
        name: As it is typed.
        config: Its fields are the flags, but for those that are operands and those that hold
            mappings, which only a file can set.
        operands: Fields that paths without a flag fill, in this order; one that ends in `...`
            takes what the others leave.
        summary: What it does.
        example: A line one can paste, broken with a backslash where it is longer than 80.
        run: Calls the stage; what failed while the rest went on.
    """

    name: str
    config: type[BaseModel]
    operands: str
    summary: str
    example: str
    run: Callable[[Any, Show], Failures]


def _train_prior(config: TrainPriorConfig, show: Show) -> Failures:
    from seg_prior.commands import train_prior

    train_prior.run(config, show)
    return ()


def _train_encoder(config: TrainEncoderConfig, show: Show) -> Failures:
    from seg_prior.commands import train_encoder

    train_encoder.run(config, show)
    return ()


def _train_locator(config: TrainLocatorConfig, show: Show) -> Failures:
    from seg_prior.commands import train_locator

    train_locator.run(config, show)
    return ()


def _calibrate(config: CalibrateConfig, show: Show) -> Failures:
    from seg_prior.commands import calibrate

    calibrate.run(config, show)
    return ()


def _segment(config: SegmentConfig, show: Show) -> Failures:
    from seg_prior.commands import segment

    outcome = segment.run(config, show)
    show(f"wrote {len(outcome.written)} files")
    return outcome.failed


def _evaluate(config: EvaluateConfig, show: Show) -> Failures:
    from seg_prior.commands import evaluate

    return evaluate.run(config, show).failures


def _sample(config: SampleConfig, show: Show) -> Failures:
    from seg_prior.commands import sample

    sample.run(config, show)
    return ()


def _reconstruct(config: ReconstructConfig, show: Show) -> Failures:
    from seg_prior.commands import reconstruct

    return reconstruct.run(config, show).failed


def _make_phantoms(config: MakePhantomsConfig, show: Show) -> Failures:
    from seg_prior.commands import make_phantoms

    files = make_phantoms.run(config.out, config.num, config.seed, config.spacing_mm)
    show(f"wrote {len(files.images)} scans and their label maps to {config.out}")
    return ()


def _demo(config: DemoConfig, show: Show) -> Failures:
    from seg_prior.commands import demo

    demo.run(config, show)
    return ()


def _check(config: CheckConfig, show: Show) -> Failures:
    from seg_prior.commands import check

    report = check.run(config, show)
    return [("check", line) for line in report.problems]


COMMANDS = (
    Command(
        "check",
        CheckConfig,
        "labels...",
        "Look at label maps and scans before training, and propose a config.",
        "seg-prior check maps/ --images scans/ --out checked/",
        _check,
    ),
    Command(
        "train-prior",
        TrainPriorConfig,
        "labels...",
        "Learn an anatomical prior from label maps.",
        "seg-prior train-prior maps/ --label-table labels.tsv --out prior.safetensors",
        _train_prior,
    ),
    Command(
        "train-encoder",
        TrainEncoderConfig,
        "images...",
        "Teach a prior to read scans, from painted label maps and from unlabelled scans.",
        "seg-prior train-encoder scans/ --labels maps/ \\\n"
        "    --prior prior.safetensors --out model.safetensors",
        _train_encoder,
    ),
    Command(
        "train-locator",
        TrainLocatorConfig,
        "images...",
        "Teach a prior where its organ lies in scans of one kind, from unlabelled ones.",
        "seg-prior train-locator scans/ --prior prior.safetensors \\\n"
        "    --out located.safetensors",
        _train_locator,
    ),
    Command(
        "calibrate",
        CalibrateConfig,
        "model labels...",
        "Teach a model how far to trust it: intervals of volumes, quality control.",
        "seg-prior calibrate model.safetensors maps/",
        _calibrate,
    ),
    Command(
        "segment",
        SegmentConfig,
        "images... out",
        "Segment scans, each on its own grid.",
        "seg-prior segment scan.nii.gz scan_dseg.nii.gz --model model.safetensors",
        _segment,
    ),
    Command(
        "evaluate",
        EvaluateConfig,
        "pred ref",
        "Score label maps against their references: Dice, surface distances, volumes.",
        "seg-prior evaluate results/ 'maps/*_dseg.nii.gz' --out scores.csv",
        _evaluate,
    ),
    Command(
        "sample",
        SampleConfig,
        "model out",
        "Draw anatomies from a prior.",
        "seg-prior sample prior.safetensors samples/ --num 6",
        _sample,
    ),
    Command(
        "reconstruct",
        ReconstructConfig,
        "model labels...",
        "Encode label maps, decode them, and say how much is lost.",
        "seg-prior reconstruct prior.safetensors maps/ --out reconstructions/",
        _reconstruct,
    ),
    Command(
        "demo",
        DemoConfig,
        "out",
        "Train both stages on synthetic heads and segment new ones, in minutes.",
        "seg-prior demo seg-prior-demo/",
        _demo,
    ),
    Command(
        "make-phantoms",
        MakePhantomsConfig,
        "out",
        "Make scans of synthetic heads with known labels.",
        "seg-prior make-phantoms heads/ --num 20",
        _make_phantoms,
    ),
)
