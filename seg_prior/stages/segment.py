"""`segment`: a scan in, a label map on the scan's own grid out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from seg_prior.config import ReadingConfig, SegmentConfig
from seg_prior.errors import ConfigError, SegPriorError
from seg_prior.stages import outputs, runtime
from seg_prior.stages.inputs import find_images
from seg_prior.stages.segmenter import Segmenter
from seg_prior.volume import SUFFIXES, stem


@dataclass(frozen=True)
class Outcome:
    """What became of a request: files written, and (file, message) of those that failed."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def run(config: SegmentConfig, show: Callable[[str], None] = print) -> Outcome:
    """Segment every scan; one that fails does not stop the others.

    Raises:
        SegPriorError: The request itself does not fit, or the only scan failed.
    """
    images = find_images(config.images)
    targets = plan(images, config.out)
    runtime.start(config)
    extras = outputs.Extras(config.posteriors, config.entropy, config.volumes)
    reading = {name: getattr(config, name) for name in ReadingConfig.model_fields}
    segmenter = Segmenter.of(ReadingConfig(**reading))
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    is_silent = True if config.quiet else None  # None: silent when not a terminal
    for image, target in tqdm(list(zip(images, targets, strict=True)), disable=is_silent):
        try:
            result = segmenter.segment(image)
            written += outputs.write(result, target, extras)
        except SegPriorError as error:
            if len(images) == 1:
                raise
            failed.append((image, str(error)))
        else:
            if result.quality.verdict != "PASS":
                show(f"{image}: {result.quality.line}")
            for warning in result.volume.warnings:
                show(f"{image}: {warning}")
    return Outcome(tuple(written), tuple(failed))


def plan(images: list[Path], out: Path) -> list[Path]:
    """The label map to write for each image.

    Raises:
        ConfigError: Several images and one file, or two images of one name.
    """
    if out.name.lower().endswith(SUFFIXES):
        if len(images) > 1:
            raise ConfigError(f"{out}: found {len(images)} scans and one file, need a folder.")
        return [out]
    targets = [out / f"{stem(image)}_dseg.nii.gz" for image in images]
    repeated = {target.name for target in targets if targets.count(target) > 1}
    if repeated:
        raise ConfigError(f"{out}: two scans would both be written to {min(repeated)}; rename one.")
    return targets
