"""From label maps alone to new scans, on real data: what the project is for."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seg_prior.cli.settings import resolve
from seg_prior.commands import segment, train_encoder, train_prior
from seg_prior.commands.segment import Config as SegmentConfig
from seg_prior.commands.train_encoder import Config as TrainEncoderConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.core.volume import Volume
from seg_prior.evaluation.mixture_baseline import fit_mixture
from seg_prior.io.read import read_label_map, read_volume
from seg_prior.models import likelihood
from seg_prior.registration.intensity import normalise, observed

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEG_PRIOR_DATA", ROOT.parent / "shared" / "data")) / "hippocampus"
NUM_MAPS, NUM_NEW = 25, 10
MIN_DICE = 0.66
RUNTIME = {"device": "cpu", "threads": 1, "seed": 0}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no folder {DATA}; set SEG_PRIOR_DATA"),
]


class Read(NamedTuple):
    """A scan that no training has seen, what a person drew on it, and what the model wrote."""

    scan: Volume
    reference: Volume
    result: Volume
    entropy: Volume
    sidecar: dict[str, Any]


@pytest.fixture(scope="module")
def hippocampi(tmp_path_factory: pytest.TempPathFactory) -> list[Read]:
    """Ten scans, read by a model of 25 label maps of other subjects."""
    folder = tmp_path_factory.mktemp("hippocampus")
    scans = sorted(DATA.glob("sub-*_T1w.nii.gz"))
    maps = [label_map_of(scan) for scan in scans[:NUM_MAPS]]
    new = scans[-NUM_NEW:]
    assert len(scans) >= NUM_MAPS + NUM_NEW
    prior, model = folder / "prior.safetensors", folder / "model.safetensors"
    asked = {"labels": maps, "out": prior} | RUNTIME
    train_prior.run(resolve(TrainPriorConfig, ROOT / "tests/hippocampus.yaml", asked))
    asked = {"labels": maps, "prior": prior, "out": model} | RUNTIME
    train_encoder.run(
        resolve(TrainEncoderConfig, ROOT / "tests/hippocampus_encoder.yaml", asked),
    )
    settings = {"images": new, "out": folder, "model": model, "entropy": True} | RUNTIME
    outcome = segment.run(SegmentConfig.model_validate(settings))
    assert outcome.failed == ()
    return [
        Read(
            read_volume(scan),
            read_label_map(label_map_of(scan)),
            read_label_map(result_of(scan, folder, "_dseg.nii.gz")),
            read_volume(result_of(scan, folder, "_entropy.nii.gz")),
            json.loads(result_of(scan, folder, "_dseg.json").read_text()),
        )
        for scan in new
    ]


def result_of(scan: Path, folder: Path, end: str) -> Path:
    return folder / scan.name.replace("_T1w.nii.gz", f"_space-T1w{end}")


def label_map_of(scan: Path) -> Path:
    return scan.with_name(scan.name.replace("_T1w.nii.gz", "_T1w_dseg.nii.gz"))


def dice(found: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    return float(2 * (found & known).sum() / (found.sum() + known.sum()))


def dice_of_best_cluster(scan: Volume, known: NDArray[np.bool_], num_clusters: int) -> float:
    """A Gaussian mixture of the scan, told by the reference which cluster is the hippocampus."""
    everywhere = observed(scan.data)
    values = torch.from_numpy(normalise(scan.data, everywhere)[everywhere])[None, None]
    mixture = fit_mixture(values, num_clusters)
    cluster = np.full(scan.grid.shape, -1)
    density = likelihood.log_density(values, torch.ones_like(values), mixture)[0]
    cluster[everywhere] = density.argmax(0).numpy()
    return max(dice(cluster == n, known) for n in range(num_clusters))


def test_a_result_is_finite_and_lies_on_its_scan_s_grid(hippocampi: list[Read]) -> None:
    for scan, reference, result, entropy, sidecar in hippocampi:
        for volume in (result, entropy):
            assert volume.grid.same_as(scan.grid)
        assert set(np.unique(result.data).tolist()) == {0, 1, 2}
        assert np.isfinite(entropy.data).all()
        assert 0 <= entropy.data.min() <= entropy.data.max() <= math.log(3) + 1e-3
        assert math.isfinite(sidecar["elbo"])
        # The crop shows about twenty times the hippocampus; so much of it must not be taken.
        volumes = (result.data > 0).sum() / (reference.data > 0).sum()
        assert 0.4 < volumes < 2.5


def test_new_hippocampi_are_found_from_other_subjects_label_maps(hippocampi: list[Read]) -> None:
    ours, mixtures = [], []
    for scan, reference, result, *_ in hippocampi:
        known = reference.data > 0
        ours.append(dice(result.data > 0, known))
        mixtures.append(max(dice_of_best_cluster(scan, known, num) for num in (3, 4, 5)))
    # Measured with seeds 0, 1 and 2: 0.71, 0.71, 0.73, and 0.73, 0.67, 0.72 where sums were rounded
    # otherwise; a training of ten seconds hangs on that.
    assert np.mean(ours) > MIN_DICE, np.round(ours, 2)
    assert all(our > mixture for our, mixture in zip(ours, mixtures, strict=True))
