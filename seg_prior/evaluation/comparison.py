"""Several methods on one scan with a reference: Dice, a picture, and what they say in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_prior.config.inference import Refine
from seg_prior.core.labels import LabelTable
from seg_prior.evaluation.dice_table import dice_of_structures, mean_dice, mean_sd_n
from seg_prior.evaluation.mixture_baseline import cluster_intensities
from seg_prior.inference.prediction import Prediction
from seg_prior.inference.predictor import Predictor
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.registration.pipeline import register_scan
from seg_prior.report.overlay import Panel, write_overlay

MIXTURE = "Gaussian mixture"


class Method(NamedTuple):
    """A way to read a scan: with which checkpoint, and how."""

    name: str
    model: str
    refine: Refine
    output: Literal["posterior", "prior"] = "posterior"


class Comparison(NamedTuple):
    """One scan, read by every method.

    Attributes:
        label_maps: Method -> (I, J, K) label indices.
        dice: Method -> mean Dice over structures; the mixture without anatomy comes first.
    """

    label_maps: dict[str, NDArray[np.integer]]
    dice: dict[str, float]


def compare(
    image: Path,
    reference: Path,
    methods: Sequence[Method],
    predictors: Mapping[str, Predictor],
    table: LabelTable,
    picture: Path,
) -> Comparison:
    """Read one scan with every method, score and draw the results.

    Args:
        image, reference: The scan and its label map, on one grid.
        methods: In the order of the picture.
        predictors: Of the models that methods name; all share one prior space, so that one
            registration serves them all.
        table: Of all models.
        picture: A PNG to write.
    """
    volume, known = read_volume(image), read_label_map(reference)
    truth = table.remap(known.data, known.source)
    first = predictors[methods[0].model]
    registered = register_scan([volume], first.atlas, seed=first.config.seed)
    found: dict[str, NDArray[np.integer]] = {MIXTURE: cluster_intensities(volume, table, truth)}
    for method in methods:
        loaded = predictors[method.model]
        asked = loaded.config.model_copy(update={"refine": method.refine, "output": method.output})
        result = Prediction.of(replace(loaded, config=asked), volume, (), registered, {})
        found[method.name] = table.remap(result.label_map, method.name)
    dice = {
        name: mean_dice(dice_of_structures(indices, truth, table), table)
        for name, indices in found.items()
    }
    panels = [Panel("scan", volume.grid, volume.data)]
    panels += [
        Panel(f"{name}: Dice {dice[name]:.2f}", volume.grid, volume.data, indices)
        for name, indices in found.items()
    ]
    panels.append(Panel("reference", volume.grid, volume.data, truth))
    write_overlay(picture, panels, table, num_columns=2)
    return Comparison(found, dice)


def describe(
    dice: Mapping[str, Sequence[float]], ours: str, rivals: Sequence[str], seconds: float
) -> list[str]:
    """A table of Dice, and in words whether a method was worth it.

    Args:
        dice: Method -> mean Dice of each scan.
        ours, rivals: Which method is compared with which.
        seconds: That all of it took.
    """
    lines = [f"Dice over structures, mean ± sd (n) over new heads, after {seconds:.0f} s:"]
    for name, values in dice.items():
        lines.append(f"  {name:18} {mean_sd_n(values)}")
    lines.append(f"({MIXTURE}: named by the reference, which no other method sees)")
    for rival in rivals:
        pairs = list(zip(dice[ours], dice[rival], strict=True))
        gain = sum(mine - theirs for mine, theirs in pairs) / len(pairs)
        wins = sum(mine > theirs for mine, theirs in pairs)
        verdict = "beats" if gain > 0 else "DOES NOT beat"
        lines.append(
            f"{ours} {verdict} {rival}: {gain:+.3f}, better on {wins} of {len(pairs)} heads"
        )
    return lines
