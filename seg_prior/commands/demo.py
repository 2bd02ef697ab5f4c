"""`demo`: nothing in; both stages trained on synthetic heads, new heads segmented and scored."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seg_prior.commands import make_phantoms, segment, train_encoder, train_prior
from seg_prior.config.networks import ReaderConfig, VAEConfig
from seg_prior.config.optim import OptimConfig
from seg_prior.config.runtime import RuntimeConfig
from seg_prior.files import Files

if TYPE_CHECKING:
    from seg_prior.commands.make_phantoms import PhantomFiles
    from seg_prior.evaluation.comparison import Method

SUMMARY = "Train both stages on synthetic heads and segment new ones, in minutes."
EXAMPLE = "seg-prior demo seg-prior-demo/"
OPERANDS = "out"
log = logging.getLogger(__name__)


class Config(RuntimeConfig):
    """`demo`: nothing in, both stages trained and judged on synthetic heads out."""

    out: Path = Path("seg-prior-demo")
    """Folder to write to."""
    brain: bool = False
    """Segment a real brain with the package's model instead: the ICBM template of nilearn."""
    browser: bool = True
    """Open the brain's report in a browser; without a screen its path is all that is told."""


class Size(NamedTuple):
    """How much the demo does.

    Attributes:
        num_maps, num_new: Heads of the label maps, and heads to segment; no head is in both.
        num_synthetic: Scans that the image reader learns from.
        spacing_mm, prior_spacing_mm: Of label maps and scans, and of prior space.
        prior_steps, reader_steps: Of label VAE and image reader.
    """

    num_maps: int
    num_new: int
    num_synthetic: int
    spacing_mm: float
    prior_spacing_mm: float
    prior_steps: int
    reader_steps: int


FULL = Size(40, 5, 40, 4.0, 4.0, 800, 200)
VAE = VAEConfig(latent_channels=8, widths=(16, 32, 64), num_blocks=1)
READER = ReaderConfig(widths=(16, 24, 32, 32), num_blocks=(1, 1, 1, 1))


ATLAS_EM, READ = "atlas + EM", "VAE + image reader"


class DemoResult(NamedTuple):
    """What the demo measured and wrote.

    Attributes:
        dice: Method -> mean Dice over structures of each new head.
        pictures: One for each new head.
    """

    dice: dict[str, list[float]]
    pictures: tuple[Path, ...]


def files(config: Config) -> Files:
    """What `run` writes; it reads nothing."""
    from seg_prior.checkpoints.provenance import training_files

    if config.brain:
        return segment.files(_brain(config))
    out = config.out
    heads = [file for heads in _heads(config, FULL) for file in make_phantoms.files(heads).writes]
    logs = [out / "prior", out / "model"]
    new = [out / f"sub-{number:03d}_phantom" for number in range(1, FULL.num_new + 1)]
    results = [base.with_name(base.name + end) for base in new for end in ("_dseg.nii.gz", ".png")]
    models = [out / f"{kind}.safetensors" for kind in ("atlas", "pca", "prior", "model")]
    trained = [file for folder in logs for file in training_files(folder)]
    return Files([], [*heads, *trained, *results], signed=models)


def run(config: Config, size: Size = FULL) -> DemoResult:
    """Make heads, train, segment new heads with every method, print Dice, write pictures.

    Raises:
        ConfigError: The folder holds a demo of another seed.
        ExtraError: A brain is asked for, and nilearn is not installed.
    """
    from seg_prior.api import Segmenter
    from seg_prior.core.device import start
    from seg_prior.evaluation.comparison import MIXTURE, compare, describe
    from seg_prior.io.label_tables import read_label_table
    from seg_prior.io.read import read_volume
    from seg_prior.io.write import write_volume

    if config.brain:
        return _segment_brain(config)
    began = time.perf_counter()
    # On tensors this small a second thread takes more time than it gives.
    config = config.model_copy(update={"threads": config.threads or 1})
    start(config)
    maps, new = make_heads(config, size)
    made = "made %d label maps and %d new scans, all of different heads"
    log.info(made, size.num_maps, size.num_new)
    models = _train(config, size, maps)
    segmenters = {kind: Segmenter.load(path, device=config.device) for kind, path in models.items()}
    table = read_label_table(maps.label_table)
    results, pictures = [], []
    for image, reference in zip(new.images, new.label_maps, strict=True):
        base = config.out / image.name.removesuffix(".nii.gz")
        pictures.append(base.with_name(f"{base.name}.png"))
        result = compare(image, reference, methods(), segmenters, table, pictures[-1])
        label_map = table.ids[result.label_maps[READ]]
        write_volume(base.with_name(f"{base.name}_dseg.nii.gz"), label_map, read_volume(image))
        results.append(result.dice)
    dice = {name: [of_head[name] for of_head in results] for name in results[0]}
    for line in describe(dice, READ, (MIXTURE, ATLAS_EM), time.perf_counter() - began):
        log.info(line)
    log.info("pictures, label maps and checkpoints are in %s", config.out)
    return DemoResult(dice, tuple(pictures))


def methods() -> list[Method]:
    """The rows of the table below the mixture: which checkpoint reads the scan, and how."""
    from seg_prior.evaluation.comparison import Method

    return [
        Method("atlas argmax", "atlas", "0", "prior"),
        Method(ATLAS_EM, "atlas", "0"),
        Method("PCA + refinement", "pca", "full"),
        Method("VAE, one pass", "prior", "0"),
        Method("VAE + refinement", "prior", "full"),
        Method(READ, "model", "0"),
    ]


def _brain(config: Config) -> segment.Config:
    """What `segment` is asked for."""
    from seg_prior.io.example import brain_template

    return segment.Config(
        images=[brain_template()],
        out=config.out,
        volumes=True,
        report=True,
        **_runtime(config),
    )


def _segment_brain(config: Config) -> DemoResult:
    """Segment the ICBM template, print some volumes beside those expected, open the page."""
    from seg_prior.io.example import TEMPLATE_MM3
    from seg_prior.io.tables import read_table
    from seg_prior.report.browser import open_page

    segment.run(_brain(config))
    [page] = config.out.glob("*icbm152*_report.html")
    table = page.with_name(page.name.replace("_report.html", "_volumes.tsv"))
    found = {row["name"]: float(row["volume_mm3"]) for row in read_table(table)}
    log.info("%-28s %10s %10s", "mm3", "here", "expected")
    for name, expected_mm3 in TEMPLATE_MM3.items():
        log.info("%-28s %10.0f %10.0f", name, found[name], expected_mm3)
    is_open = config.browser and open_page(page)
    log.info("%s %s", "opened" if is_open else "open in a browser:", page.resolve().as_uri())
    return DemoResult({}, (page,))


def make_heads(config: Config, size: Size) -> list[PhantomFiles]:
    """Heads of label maps, and new ones; no head is in both.

    The air of the scans is set to 0, as if a tool had cut out the head.
    """
    with _warnings_only():
        folders = [make_phantoms.run(heads) for heads in _heads(config, size)]
    _strip(folders[1])
    return folders


def _heads(config: Config, size: Size) -> list[make_phantoms.Config]:
    """What `make-phantoms` is asked for, folder by folder."""
    numbers = {"maps": size.num_maps, "new": size.num_new}
    return [
        make_phantoms.Config(
            out=config.out / name, num=num, seed=2 * config.seed + n, spacing_mm=size.spacing_mm
        )
        for n, (name, num) in enumerate(numbers.items())
    ]


def prior_settings(config: Config, size: Size, maps: PhantomFiles, kind: str) -> dict[str, Any]:
    """What `train-prior` is asked for."""
    return {
        "labels": list(maps.label_maps),
        "out": config.out / f"{'prior' if kind == 'vae' else kind}.safetensors",
        "label_table": maps.label_table,
        "kind": kind,
        "spacing_mm": size.prior_spacing_mm,
        "num_components": min(19, size.num_maps - 1),
        "kl_warmup_steps": size.prior_steps // 4,
        "holdout_share": 0,  # the new heads are scored
        "vae": VAE,
        "optim": _optim(size.prior_steps, 3e-3),
    } | _runtime(config)


def _runtime(config: Config) -> dict[str, Any]:
    """What every stage is told of where and how to run."""
    return {name: getattr(config, name) for name in RuntimeConfig.model_fields}


def _optim(steps: int, learning_rate: float) -> OptimConfig:
    return OptimConfig(
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=steps // 20,
        precision="32-true",
        num_workers=0,  # a head is drawn in 3 ms, and a process takes seconds to start
        validate_every=max(1, steps),
        save_every=max(1, steps),
    )


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Of what other commands say, what a person should worry about."""
    talk = logging.getLogger("seg_prior")
    before = talk.level
    talk.setLevel(max(talk.getEffectiveLevel(), logging.WARNING))
    try:
        yield
    finally:
        talk.setLevel(before)


def _strip(heads: PhantomFiles) -> None:
    """Air becomes 0 in every scan."""
    import numpy as np

    from seg_prior.io.read import read_label_map, read_volume
    from seg_prior.io.write import write_volume

    for image, label_map in zip(heads.images, heads.label_maps, strict=True):
        volume, labels = read_volume(image), read_label_map(label_map)
        write_volume(image, np.where(labels.data > 0, volume.data, 0.0), volume)


def _train(config: Config, size: Size, maps: PhantomFiles) -> dict[str, Path]:
    """Kind -> checkpoint, of every kind that a method reads with."""
    for kind in ("atlas", "pca", "vae"):
        settings = prior_settings(config, size, maps, kind)
        with _warnings_only():
            train_prior.run(train_prior.Config.model_validate(settings))
    log.info("trained the priors: atlas, PCA and label VAE")
    settings = {
        "labels": list(maps.label_maps),
        "prior": config.out / "prior.safetensors",
        "out": config.out / "model.safetensors",
        "scans": size.num_synthetic,
        "network": READER,
        "patches": {"side": 24, "num_voxels": 4000},
        "optim": _optim(size.reader_steps, 3e-3),
    }
    with _warnings_only():
        train_encoder.run(train_encoder.Config.model_validate(settings | _runtime(config)))
    log.info("trained the image reader, on %d synthetic scans", size.num_synthetic)
    return {kind: config.out / f"{kind}.safetensors" for kind in ("atlas", "pca", "prior", "model")}
