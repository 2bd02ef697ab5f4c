"""How a prior reconstructs label maps, beside the atlas, and what its latent costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seg_prior.core.labels import LabelTable
from seg_prior.metrics.overlap import dice_by_id, nan_mean
from seg_prior.models.label_vae import one_hot
from seg_prior.models.objective import kl_to_standard_normal, log_prob_of_labels
from seg_prior.models.prior import Prior
from seg_prior.synthesis.anatomies import AlignedLabelMap, sample_labels
from seg_prior.training.prior import Anatomies

ACTIVE_NATS = 0.05
"""A latent dimension with less KL than this, on average, is unused."""
COLLAPSED_SHARE = 0.01
"""A prior that uses a smaller share of its dimensions has collapsed."""
COPIED_DICE = 0.98
"""Of maps that were not learned from; from here on z says everything."""


def measure(prior: Prior, anatomies: Anatomies) -> dict[str, float]:
    """How the prior reconstructs the held-out maps, or the training maps where none are.

    Returns:
        dice and atlas_dice (mean over structures, then over maps); dice_sd over maps, if several;
        nll and atlas_nll, what the mean of q and the atlas leave, and kl, what z costs, in nats a
        voxel; active_units. The last two not where q is a point, whose cost is not finite.
    """
    maps = anatomies.held_out or anatomies.training
    rows: list[dict[str, float]] = []
    kl_of_dimension = torch.zeros(prior.num_latents)
    with torch.inference_mode():
        for labels in _on_voxels(maps, anatomies, prior):
            mean, log_var = prior.encode(one_hot(labels[None], len(anatomies.table)))
            kl = kl_to_standard_normal(mean, log_var)[0].cpu()
            kl_of_dimension += kl / len(maps)
            row = _fit(prior, prior.decode(mean), labels, anatomies.table)
            atlas = _fit(prior, prior.location.log_prob[None], labels, anatomies.table)
            row |= {f"atlas_{name}": value for name, value in atlas.items()}
            rows.append(row | {"kl": float(kl.sum()) / labels.numel()})
    means = {name: nan_mean([row[name] for row in rows]) for name in rows[0]}
    if len(rows) > 1:
        means["dice_sd"] = float(np.std([row["dice"] for row in rows], ddof=1))
    of_width = {"kl": means.pop("kl"), "active_units": float((kl_of_dimension > ACTIVE_NATS).sum())}
    return means | (of_width if np.isfinite(of_width["kl"]) else {})


def describe(report: Mapping[str, Any]) -> list[str]:
    """What a person should know of a report of `train-prior`."""
    after = ", trained in since" if report["is_trained_in"] else ""
    spread = f" ± {report['dice_sd']:.3f}" if "dice_sd" in report else ""
    num = report["num_subjects"]
    maps = f"{num} {report['subjects']} {'map' if num == 1 else 'maps'}"
    lines = [
        f"reconstruction of {maps}{after}: Dice "
        f"{report['dice']:.3f}{spread} (atlas {report['atlas_dice']:.3f}), "
        f"{report['nll']:.3f} nats a voxel are left (atlas {report['atlas_nll']:.3f})"
    ]
    if "kl" in report and report["num_latents"]:
        lines.append(
            f"latent: {report['active_units']:.0f} of {report['num_latents']} dimensions in use, "
            f"KL {report['kl']:.3f} nats a voxel"
        )
    return lines


def warnings_of(report: Mapping[str, Any]) -> list[str]:
    """What is wrong with a prior that measures like this."""
    found = []
    if report.get("active_units", report["num_latents"]) < COLLAPSED_SHARE * report["num_latents"]:
        found.append(
            "the latent has collapsed: the decoder ignores it. Train longer, or raise "
            "--kl-warmup-steps."
        )
    if report["subjects"] == "held out" and report["dice"] >= COPIED_DICE:
        cost = report["nll"] + report.get("kl", np.inf)
        if cost >= report["atlas_nll"]:
            paid = f"{cost:.3g}" if "kl" in report else "any number of"
            found.append(
                f"z can copy anything: Dice {report['dice']:.3f} of maps that were not learned "
                f"from, for {paid} nats a voxel where the atlas alone needs "
                f"{report['atlas_nll']:.3g}. It is a code and no prior. Lower "
                "--vae.latent-channels or --vae.detail-channels."
            )
    return found


def _on_voxels(
    maps: Sequence[AlignedLabelMap], anatomies: Anatomies, prior: Prior
) -> Iterable[Tensor]:
    """(V,) label indices of each map, on the prior's device."""
    voxels = prior.location.voxels
    for label_map in maps:
        labels = sample_labels(label_map, anatomies.grid).flatten()
        yield labels[voxels.cpu()].to(voxels.device)


def _fit(prior: Prior, log_prior: Tensor, labels: Tensor, table: LabelTable) -> dict[str, float]:
    """Mean Dice over the structures present, and nats a voxel, of (1, L, V) log f."""
    location = prior.location
    by_group, known = location.log_by_group(log_prior), location.group_of_label[labels.long()]
    found = dice_by_id(by_group[0].argmax(0).cpu().numpy(), known.cpu().numpy())
    is_structure = table.written.is_structure
    return {
        "dice": nan_mean([value for index, value in found.items() if is_structure[index]]),
        "nll": -float(log_prob_of_labels(by_group, known[None])) / labels.numel(),
    }
