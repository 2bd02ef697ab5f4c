"""What `segment` writes of one scan: label map, probabilities, volumes, and the sidecar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_prior.checkpoints.provenance import provenance
from seg_prior.config.output import OutputOptions
from seg_prior.core.freesurfer import intracranial_ids
from seg_prior.core.volume import Volume
from seg_prior.files import sha256_of, staging, write_json, writing
from seg_prior.inference.departure import DEPARTURE_FIELDS, departure_map
from seg_prior.inference.label_volumes import LabelVolume
from seg_prior.inference.prediction import Prediction
from seg_prior.io import bids
from seg_prior.io.formats.nifti import write_series
from seg_prior.io.label_formats import write_label_table
from seg_prior.io.sidecar import GENERATED_BY, read_json
from seg_prior.io.tables import write_table
from seg_prior.io.write import write_volume
from seg_prior.output import space_files
from seg_prior.output.intensities import write_intensities
from seg_prior.output.layout import VOLUME_COLUMNS, files_of, plan_outputs
from seg_prior.output.ownership import (
    EARLIER,
    REPLACED,
    Scan,
    check_replaceable,
    is_as_recorded,
)
from seg_prior.output.sides import Written
from seg_prior.quality.verdict import Quality

INTRACRANIAL = (
    "all labels inside the skull together: brain, ventricles and the CSF around it, "
    "as far as the scan shows them"
)


class _Found(NamedTuple):
    """What the files are made of: a result, what it is worth, and the labels they have."""

    result: Prediction
    quality: Quality
    written: Written


def target_in(folder: Path, volume: Volume) -> Path:
    """The label map in a folder, named after the scan; `image` where that never was a file."""
    image = "image" if volume.source.startswith("<") else volume.source
    (target,) = plan_outputs([image], folder, is_bids=False)
    return Path(target)


def write(
    result: Prediction,
    quality: Quality,
    target: Path,
    options: OutputOptions,
    request: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write the files of one scan, as `Segmentation.write` says.

    The old ones stay until all of the new ones are whole.
    """
    files = files_of(target, options)
    scan = Scan.of(result.volume, (request or {}).get("image_sha256"))
    before = read_json(files["sidecar"])
    check_replaceable(files, before, scan, overwrite)
    with staging(target) as folder:
        data = {kind: file for kind, file in files.items() if kind != "sidecar"}
        found = _Found(result, quality, Written.of(result, options.merge_sides))
        for kind, file in data.items():
            _WRITERS[kind](found, folder / file.name)
        sums = {file.name: sha256_of(folder / file.name) for file in data.values()}
        about = describe(result, quality, options)
        about |= {"image": scan._asdict(), "request": request}
        about |= {"files": {file.name: sums.get(file.name) for file in files.values()}}
        _put_in_place(folder, files["sidecar"], list(data.values()), about, before)
    return list(files.values())


def _put_in_place(
    folder: Path, sidecar: Path, files: list[Path], about: dict[str, Any], before: dict[str, Any]
) -> None:
    """Rename what is ready; a run killed between two names can be told, and is completed."""
    old = {file.name: sha256_of(file) for file in files if file.exists()}
    earlier = {
        name: sha256_of(sidecar.with_name(name))
        for name in (before.get(EARLIER, {}) | before.get("files", {}))
        if name not in about["files"] and is_as_recorded(sidecar.with_name(name), before)
    }
    about |= {EARLIER: earlier} if earlier else {}
    with writing(sidecar):
        write_json(sidecar, about | {REPLACED: old})
        for file in files:
            (folder / file.name).replace(file)
        write_json(sidecar, about)


def describe(result: Prediction, quality: Quality, options: OutputOptions) -> dict[str, Any]:
    """The sidecar: a run that can explain itself."""
    predictor, estimate = result.predictor, result.estimate
    intensities, registration = estimate.intensities, result.registered.registration
    classes = intensities.classes
    gaussians = [
        {
            "tie": classes.ties[int(t)],
            "mean": intensities.mean[0, :, m].tolist(),  # one for each contrast
            "var": intensities.var[0, :, m].tolist(),
            "weights": {  # in the mixture of each class that shares it
                classes.names[c]: float(intensities.log_weight[0, c, m].exp())
                for c in (classes.tie_of_class == t).nonzero().flatten().tolist()
            },
        }
        for m, t in enumerate(classes.tie_of_component)
    ]
    fields = _bids_fields("Label map: the most probable label of each voxel")
    images = [Path(one.source) for one in (result.volume, *result.contrasts)]
    sources = bids.sources_of(images)
    fields |= {"Sources": sources} if sources else {}
    return (
        (fields if options.bids else {})
        | GENERATED_BY
        | {
            "source": result.volume.source,
            "contrasts": [contrast.source for contrast in result.contrasts],
            "model": str(predictor.config.model),
            "model_sha256": predictor.model.sha256,
            "config": predictor.config.model_dump(mode="json"),
            "provenance": provenance(),
            "seconds": {name: round(value, 3) for name, value in result.seconds.items()},
            "registration": {
                "view": registration.view,
                "prior_from_native": registration.prior_from_native.tolist(),
                "mutual_information": registration.mutual_information,
                "overlap": None if np.isnan(registration.overlap) else registration.overlap,
            },
            "elbo": estimate.elbo,
            "refinement": {
                "steps": len(estimate.trace) - 1,
                "first": estimate.trace[0],
                "last": estimate.trace[-1],
            },
            "quality": {
                "verdict": quality.verdict,
                "findings": [finding._asdict() for finding in quality.findings],
                "measures": quality.measures,
                "volume_z": quality.volume_z,
            },
            "intracranial": _intracranial(result),
            "ignored_voxels": result.registered.num_ignored,
            "intensities": gaussians,
            "warnings": list(result.warnings),
        }
    )


def _intracranial(result: Prediction) -> dict[str, Any] | None:
    """What the intracranial volume is the sum of, where the labels define it."""
    ids = intracranial_ids(result.predictor.label_table)
    return {"definition": INTRACRANIAL, "ids": list(ids)} if ids else None


def _bids_fields(description: str) -> dict[str, Any]:
    return {"Description": f"{description}.", "SpatialReference": "orig", "Manual": False}


def _write_entropy(found: _Found, path: Path) -> None:
    write_volume(path, found.result.entropy, found.result.volume)


def _write_departure(found: _Found, path: Path) -> None:
    """Of several contrasts one volume each."""
    departure, volume = departure_map(found.result), found.result.volume
    if len(departure) == 1:
        write_volume(path, departure[0], volume)
    else:
        write_series(path, departure, len(departure), volume)


def _write_departure_sidecar(found: _Found, path: Path) -> None:
    """What its numbers mean, and above which a voxel deserves a look."""
    fields = _bids_fields("How far each voxel departs from what the prior expects there")
    result = found.result
    contrasts = [Path(one.source).name for one in (result.volume, *result.contrasts)]
    write_json(path, fields | GENERATED_BY | DEPARTURE_FIELDS | {"contrasts": contrasts})


def _write_probabilities(found: _Found, path: Path) -> None:
    """In steps of 1 / 1024, exact in float32: finer ones only made the file ten times larger."""
    num = len(found.written.label_table) - 1
    rounded = (np.rint(probability * 1024) / 1024 for probability in found.written.posteriors())
    write_series(path, rounded, num, found.result.volume)


def _write_probabilities_sidecar(found: _Found, path: Path) -> None:
    """Which volume of the fourth axis is which label, as BIDS has it."""
    table = found.written.label_table
    fields = _bids_fields("Posterior probability of each label, one volume a label")
    write_json(
        path, fields | GENERATED_BY | {"LabelMap": table.names[1:], "ids": table.ids[1:].tolist()}
    )


def _write_volumes(found: _Found, path: Path) -> None:
    rows = (_volume_row(record, found.quality) for record in found.written.volumes)
    write_table(path, VOLUME_COLUMNS, rows)


def _volume_row(record: LabelVolume, quality: Quality) -> list[str]:
    shown = ["n/a" if size is None else f"{size:.1f}" for size in record.sizes_mm3]
    index = "n/a" if record.id is None else str(record.id)
    z = quality.volume_z.get(record.name)
    judged = ["n/a" if z is None else f"{z:.2f}", quality.verdict]
    return [index, record.name, *shown, str(record.touches_edge).lower(), *judged]


def _write_label_table(found: _Found, path: Path) -> None:
    write_label_table(found.written.label_table, "bids", path)


def write_report(result: Prediction, quality: Quality, path: Path) -> None:
    """Write the page of one scan, whole or not at all."""
    from seg_prior.output.scan_report import report_of
    from seg_prior.report.scan_page import write_scan_page

    write_scan_page(path, report_of(result, quality, describe(result, quality, OutputOptions())))


def _write_label_map(found: _Found, path: Path) -> None:
    written = found.written
    write_volume(path, written.label_map, found.result.volume, written.label_table)


def _of_result(write: Callable[[Prediction, Path], None]) -> Callable[[_Found, Path], None]:
    return lambda found, path: write(found.result, path)


_WRITERS: dict[str, Callable[[_Found, Path], None]] = {
    "entropy": _write_entropy,
    "departure": _write_departure,
    "departure_sidecar": _write_departure_sidecar,
    "probseg": _write_probabilities,
    "probseg_sidecar": _write_probabilities_sidecar,
    "volumes": _write_volumes,
    "intensities": lambda found, path: write_intensities(found.written, path),
    "label_table": _write_label_table,
    "report": lambda found, path: write_report(found.result, found.quality, path),
    "transform": _of_result(space_files.write_transform),
    "lta": _of_result(space_files.write_transform_lta),
    "transform_sidecar": _of_result(space_files.write_transform_sidecar),
    "moved": _of_result(space_files.write_moved),
    "moved_sidecar": _of_result(space_files.write_moved_sidecar),
    "label_map": _write_label_map,
}
