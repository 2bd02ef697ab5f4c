"""Synthetic scans as a prior reads them, kept in files: what an image reader learns from."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from seg_prior.config.synthesis import AugmentConfig, SynthesisConfig, View
from seg_prior.core.progress import progress
from seg_prior.errors import ConfigError
from seg_prior.files import atomic_write, sha256_of, write_text
from seg_prior.inference.predictor import MAX_BACKGROUND, Predictor
from seg_prior.inference.refine import Observation, fit_intensities
from seg_prior.models.label_vae import one_hot
from seg_prior.models.likelihood import channel_weight
from seg_prior.models.location import LocationPrior
from seg_prior.models.reader_input import FineImage, ReaderSpace, moments
from seg_prior.registration.intensity import normalise
from seg_prior.synthesis.ageing import sample_anatomy, with_hidden_fluid
from seg_prior.synthesis.anatomies import AlignedLabelMap, generator_of
from seg_prior.synthesis.contrast import sample_contrast
from seg_prior.synthesis.fields import happens
from seg_prior.synthesis.render import render
from seg_prior.synthesis.sources import Sources
from seg_prior.synthesis.view import WITH_HEAD, sample_view
from seg_prior.training.align import align_sources

_LOWEST_LOG = -12.0
_STEPS = 255
_TRUE_SHARE = 0.98
"""Of the true label; the rest is the atlas's, so that no class is empty."""
_MADE_OF = "made_of.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spread:
    """Of the synthetic scans.

    Attributes:
        augment: Of the anatomies.
        synthesis: Of their looks.
        seed: Scan number n is a function of it and n.
    """

    augment: AugmentConfig
    synthesis: SynthesisConfig
    seed: int = 0


class Reading(NamedTuple):
    """A synthetic scan, what it shows, and what a prior makes of it.

    Attributes:
        image: (2 D, 2 H, 2 W) float16, normalised intensity at half of prior space's spacing.
        in_view: (2 D, 2 H, 2 W) bool.
        labels: (2 D, 2 H, 2 W) uint8, labels of results.
        log_prior: (G, V) uint8, log f(z) from 0 to -12 in 255 steps.
        scale: (2,) mean and deviation where anatomy is expected.
        mean, var: (2, 1, M) Gaussians fitted under f(z), and under the true labels.
        log_weight: (2, C, M) of them.
        is_stripped: Bool, whether background was cut away.
        is_aged: Bool, whether the anatomy was aged.
    """

    image: Tensor
    in_view: Tensor
    labels: Tensor
    log_prior: Tensor
    scale: Tensor
    mean: Tensor
    var: Tensor
    log_weight: Tensor
    is_stripped: Tensor
    is_aged: Tensor


@dataclass(frozen=True, eq=False)
class ReadingMaker:
    """Makes readings.

    Attributes:
        predictor: The prior without an image reader, which reads a scan once.
        maps: Label maps in the frame of the prior.
        sources: What their indices mean.
        spread: Of the scans.
    """

    predictor: Predictor
    maps: Sequence[AlignedLabelMap]
    sources: Sources
    spread: Spread

    @classmethod
    def load(cls, labels: Sequence[Path], prior: Path, spread: Spread) -> ReadingMaker:
        """Of label maps, as `find_label_maps` gives them, and a checkpoint."""
        predictor = Predictor.load(prior, refine="0", device="cpu")
        predictor = replace(predictor, model=replace(predictor.model, image_reader=None))
        maps, sources = align_sources(labels, predictor.model, spread.synthesis)
        return cls(predictor, maps, sources, spread)

    def make(self, number: int) -> Reading:
        """Draw an anatomy and a scan of it, and read it."""
        sources, config = self.sources, self.spread.synthesis
        generator = generator_of(self.spread.seed, number)
        label_map = self.maps[int(torch.randint(len(self.maps), (1,), generator=generator))]
        # The age is drawn here, because who learns wants to know it.
        is_aged = happens(config.ageing.aged_share, generator)
        ageing = config.ageing.model_copy(update={"aged_share": float(is_aged)})
        grid = self.predictor.model.header.grid.halved()
        augment, spacing_mm = self.spread.augment, float(grid.spacing_mm[0])
        anatomy = sample_anatomy(label_map, sources, grid, augment, ageing, generator)
        look = sample_contrast(sources, config, generator)
        seen = with_hidden_fluid(anatomy, sources, spacing_mm, config.ageing, generator)
        data = render(seen, sources, look, spacing_mm, config, generator)
        in_view, view = sample_view(anatomy, sources, grid, config, generator)
        image = normalise(data, in_view, f"<synthetic scan {number}>")
        return self._read(image, in_view, sources.label[anatomy], view, is_aged)

    def _read(
        self,
        image: NDArray[np.float32],
        in_view: NDArray[np.bool_],
        labels: NDArray[np.uint8],
        view: View,
        is_aged: bool,
    ) -> Reading:
        """As the product reads a scan that lies in prior space."""
        location, classes = self.predictor.model.location, self.predictor.classes
        fine = FineImage(torch.from_numpy(image)[None], torch.from_numpy(in_view)[None].float())
        coarse, observed = pooled(fine.image[0], fine.weight[0])
        gathered = location.gather(observed[None, None])
        seen = Observation(
            location.gather(coarse[None, None]),
            channel_weight(gathered),
            replace(classes, is_stripped=_is_stripped(view, gathered[0, 0] > 0, location)),
        )
        truth = torch.from_numpy(labels)
        with torch.no_grad():
            estimate = self.predictor.infer(seen)
            of_truth = fit_intensities(self._true_prior(truth), seen)
        fits = (estimate.intensities, of_truth)
        return Reading(
            fine.image[0].half(),
            fine.weight[0] > 0,
            truth,
            packed(location.log_by_group(estimate.log_prior)[0]),
            torch.stack(moments(ReaderSpace.of(location, classes), fine)),
            torch.cat([fit.mean for fit in fits]),
            torch.cat([fit.var for fit in fits]),
            torch.cat([fit.log_weight for fit in fits]),
            torch.tensor(seen.classes.is_stripped),
            torch.tensor(is_aged),
        )

    def _true_prior(self, labels: Tensor) -> Tensor:
        """(1, L, V) log of the true labels, of one of the eight parts of each voxel."""
        location = self.predictor.model.location
        some = labels[::2, ::2, ::2].flatten()[location.voxels]
        first = torch.tensor([group[0] for group in location.groups])
        true = one_hot(first[some.long()][None], location.num_labels)
        return (_TRUE_SHARE * true + (1 - _TRUE_SHARE) * location.log_prob.exp()[None]).log()


def make_readings(
    labels: Sequence[Path], prior: Path, spread: Spread, folder: Path, num: int, workers: int = 0
) -> list[Path]:
    """Files of `num` readings; those that are there are kept.

    Args:
        labels: Label maps.
        prior: The checkpoint that reads.
        spread: Of the scans.
        folder: Where they lie; made if missing.
        num: How many.
        workers: Processes that make them, of one thread each; 0 makes them here.

    Raises:
        ConfigError: The folder holds readings of another prior, other maps or another spread.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(folder, made_of(labels, prior, spread))
    paths = [folder / f"{number:05d}.pt" for number in range(num)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    shown = partial(progress, log=log, what="synthetic scans", total=len(missing))
    if missing and workers == 0:
        maker = ReadingMaker.load(labels, prior, spread)
        for number in shown(missing):
            _write(maker, paths[number], number)
    elif missing:
        with ProcessPoolExecutor(
            workers, get_context("spawn"), _prepare, (labels, prior, spread)
        ) as pool:
            list(shown(pool.map(_make_one, [paths[n] for n in missing], missing)))
    return paths


def forget_readings(folder: Path) -> None:
    """Remove the readings of a training that is over."""
    shutil.rmtree(folder)


def load_reading(path: Path) -> Reading:
    """Of a file; its tensors are mapped, not read, until they are used."""
    return Reading(**torch.load(path, weights_only=True, mmap=True))


def packed(log_prior: Tensor) -> Tensor:
    """Log probabilities in a byte each."""
    return (log_prior.clamp(_LOWEST_LOG, 0) * (_STEPS / _LOWEST_LOG)).round().to(torch.uint8)


def unpacked(log_prior: Tensor) -> Tensor:
    """What `packed` kept, as float32."""
    return log_prior.float() * (_LOWEST_LOG / _STEPS)


def pooled(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over what is in view of each 2 x 2 x 2 voxels; observed where half of them are.

    Args:
        image: (2 D, 2 H, 2 W).
        weight: (2 D, 2 H, 2 W), 0 or 1.

    Returns:
        image, observed: (D, H, W) float32; the image is 0 where it is not observed.
    """
    pair = torch.stack([image * weight, weight])[None]
    total, share = F.avg_pool3d(pair, 2)[0]
    observed = (share >= 0.5).float()
    return observed * total / share.clamp_min(0.5), observed


def made_of(labels: Sequence[Path], prior: Path, spread: Spread) -> str:
    """All that readings depend on, as text."""
    return json.dumps(
        {
            "prior": sha256_of(prior),
            "labels": [sha256_of(path) for path in labels],
            "augment": spread.augment.model_dump(mode="json"),
            "synthesis": spread.synthesis.model_dump(mode="json"),
            "seed": spread.seed,
        },
        indent=1,
    )


_maker: ReadingMaker | None = None
"""Of a worker process, so that it loads the prior once."""


def _prepare(labels: Sequence[Path], prior: Path, spread: Spread) -> None:
    global _maker
    torch.set_num_threads(1)
    _maker = ReadingMaker.load(labels, prior, spread)


def _make_one(path: Path, number: int) -> None:
    assert _maker is not None
    _write(_maker, path, number)


def _write(maker: ReadingMaker, path: Path, number: int) -> None:
    with atomic_write(path) as temporary:
        torch.save(maker.make(number)._asdict(), temporary)


def _check_same(folder: Path, text: str) -> None:
    record = folder / _MADE_OF
    if not record.exists():
        write_text(record, text)
    elif record.read_text() != text:
        raise ConfigError(
            f"{folder}: found readings of another prior, other maps or another spread, need those "
            "asked for. Delete the folder to make them anew, or choose another --out."
        )


def _is_stripped(view: View, is_seen: Tensor, location: LocationPrior) -> bool:
    """As the predictor judges a registered scan."""
    background = float(location.background[is_seen].mean())
    return view not in WITH_HEAD and background < MAX_BACKGROUND
