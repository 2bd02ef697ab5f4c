"""`atlas`: a checkpoint in, its location prior and labels as images out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from seg_prior.config.base import FrozenModel
from seg_prior.files import Files

SUMMARY = "Export a model's location prior and its labels as NIfTI."
EXAMPLE = "seg-prior atlas model.safetensors atlas/"
OPERANDS = "model out"
log = logging.getLogger(__name__)


class Config(FrozenModel):
    """`atlas`: a checkpoint in, its location prior and labels as images out."""

    model: Path
    """A checkpoint of any kind."""
    out: Path
    """Folder for the images, which lie in prior space."""


class AtlasFiles(NamedTuple):
    """What `run` writes."""

    probabilities: Path
    sidecar: Path
    labels: Path
    label_table: Path


def files(config: Config) -> Files:
    """What `run` reads and writes."""
    return Files([config.model], [*plan(config)])


def run(config: Config) -> AtlasFiles:
    """Write how often each label lies at each voxel of prior space, and the likeliest one there.

    Raises:
        CheckpointError: The file is missing, not a checkpoint, or of another version.
    """
    import numpy as np

    from seg_prior.checkpoints.file import load_model
    from seg_prior.core.volume import Volume
    from seg_prior.files import write_json
    from seg_prior.io.formats.nifti import write_series
    from seg_prior.io.label_formats import write_label_table
    from seg_prior.io.sidecar import GENERATED_BY
    from seg_prior.io.write import write_volume

    written = plan(config)
    model = load_model(config.model)
    header, location = model.header, model.location
    table = header.label_table.written
    prob = location.scatter(location.prob_of_group[None], 0.0)[0]
    prob[0] = 1 - prob[1:].sum(0)  # beyond the anatomy, background is certain
    space = Volume(np.zeros(header.shape, dtype=np.uint8), header.grid)
    write_series(written.probabilities, (one.numpy() for one in prob[1:]), len(table) - 1, space)
    content = {
        "Description": "Location prior: how often each label lies at a voxel, a volume a label.",
        "SpatialReference": f"prior space of model {model.sha256}",
        "LabelMap": table.names[1:],
        "ids": table.ids[1:].tolist(),
    }
    write_json(written.sidecar, content | GENERATED_BY)
    write_volume(written.labels, table.ids[prob.argmax(0).numpy()], space)
    write_label_table(table, "bids", written.label_table)
    log.info("%d labels on %s in %s", len(table), header.grid.size, config.out)
    return written


def plan(config: Config) -> AtlasFiles:
    """The files that `run` writes."""
    ends = ("probseg.nii.gz", "probseg.json", "dseg.nii.gz", "dseg.tsv")
    return AtlasFiles(*(config.out / f"tpl-prior_{end}" for end in ends))
