"""What `segment` writes: names, label maps, probabilities, volumes, and the sidecar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_prior.stages import runtime
from seg_prior.stages.segmenter import Segmentation
from seg_prior.volume import stem, whole_file, write_volume


class Extras(NamedTuple):
    """Files to write beside the label map and its sidecar."""

    posteriors: bool = False
    entropy: bool = False
    volumes: bool = False


def save(result: Segmentation, folder: Path) -> list[Path]:
    """Write label map, volumes and sidecar to a folder, named after the scan."""
    source = result.volume.source
    name = "image" if source.startswith("<") else stem(Path(source))
    return write(result, folder / f"{name}_dseg.nii.gz", Extras(volumes=True))


def write(result: Segmentation, target: Path, extras: Extras) -> list[Path]:
    """Write the label map, what else was asked for, and last the sidecar that names them all."""
    table, volume = result.segmenter.label_table, result.volume
    base = target.with_name(stem(target).removesuffix("_dseg"))
    files = [target]
    write_volume(target, result.label_map, volume)
    if extras.entropy:
        files.append(base.with_name(f"{base.name}_entropy.nii.gz"))
        write_volume(files[-1], result.entropy, volume)
    if extras.posteriors:
        for name, probability in zip(table.names[1:], result.posteriors(), strict=True):
            files.append(base.with_name(f"{base.name}_label-{name}_probseg.nii.gz"))
            write_volume(files[-1], probability, volume)
    if extras.volumes:
        files.append(base.with_name(f"{base.name}_volumes.tsv"))
        _write_volumes(files[-1], result)
    sidecar = target.with_name(f"{stem(target)}.json")
    files.append(sidecar)
    with whole_file(sidecar) as temporary:
        content = describe(result) | {"files": [f.name for f in files]}
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return files


def describe(result: Segmentation) -> dict[str, Any]:
    """The sidecar: a run that can explain itself."""
    segmenter, estimate = result.segmenter, result.estimate
    intensities, registration = estimate.intensities, result.conformed.registration
    gaussians = [
        {
            "class": segmenter.classes.names[int(c)],
            "mean": float(intensities.mean[0, m]),
            "var": float(intensities.var[0, m]),
            "weight": float(intensities.log_weight[0, m].exp()),
        }
        for m, c in enumerate(segmenter.classes.class_of_component)
    ]
    return {
        "source": result.volume.source,
        "model": str(segmenter.config.model),
        "model_sha256": segmenter.model.sha256,
        "config": segmenter.config.model_dump(mode="json"),
        "provenance": runtime.provenance(),
        "seconds": {name: round(value, 3) for name, value in result.seconds.items()},
        "registration": {
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
            "verdict": result.quality.verdict,
            "findings": [finding._asdict() for finding in result.quality.findings],
            "measures": result.quality.measures,
            "volume_z": result.quality.volume_z,
        },
        "intensities": gaussians,
        "warnings": list(result.warnings),
    }


def _write_volumes(path: Path, result: Segmentation) -> None:
    """One row a label; the scan's verdict stands in each, so that tables can be joined.

    `n/a` where the model has no calibration.
    """
    columns = ("id", "name", "volume_mm3", "posterior_volume_mm3", "low_mm3", "high_mm3", "z")
    lines = ["\t".join((*columns, "quality"))]
    for v in result.volumes:
        z = result.quality.volume_z.get(v.name)
        figures = [_figure(n, 1) for n in (v.hard_mm3, v.soft_mm3, v.low_mm3, v.high_mm3)]
        row = [str(v.id), v.name, *figures, _figure(z, 2), result.quality.verdict]
        lines.append("\t".join(row))
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _figure(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"
