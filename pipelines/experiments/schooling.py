"""A training on a budget of minutes or steps, whose network is the mean of its last weights."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_prior.checkpoints.digest import digest_of_state
from seg_prior.errors import ConfigError
from seg_prior.files import atomic_write
from seg_prior.io.find import scan_key

LAST = "last.pt"
_LOWEST_RATE = 0.02  # of the highest
_BETAS = (0.9, 0.99)
log = logging.getLogger(__name__)
Losses = Mapping[str, Tensor]


@dataclass(frozen=True)
class Schooling:
    """How long a network learns, and how fast.

    Attributes:
        minutes, steps: What is spent first ends it; all stops together.
        learning_rate: Of AdamW, after the warm-up; then half a cosine.
        warmup_steps: Over which it rises from 0.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are scaled down to it.
        mean_decay: Of the running mean of the weights, per step.
        log_every, save_every: Steps.
    """

    minutes: float = math.inf
    steps: int = 10**8
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    mean_decay: float = 0.998
    log_every: int = 25
    save_every: int = 250

    def share_done(self, step: int, seconds: float) -> float:
        """Of the budget; 1 or more ends the training."""
        return max(step / self.steps, seconds / 60 / self.minutes)

    def rate(self, step: int, share_done: float) -> float:
        """Of a step."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * share_done))
        return self.learning_rate * warm * (_LOWEST_RATE + (1 - _LOWEST_RATE) * cosine)


@dataclass
class _State:
    """What a stop must not lose."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    mean: dict[str, Tensor]
    step: int = 0
    seconds: float = 0.0


def school(
    network: nn.Module,
    losses_of: Callable[[int, float], Losses],
    plan: Schooling,
    folder: Path,
    request: str,
) -> int:
    """Minimise `losses_of(step, share done)["loss"]`; the network ends as the mean of its weights.

    With a budget of steps alone, a stop and a second call end in the weights of no stop, as far as
    `losses_of` depends on its arguments alone. A larger budget goes on from where a smaller ended.

    Args:
        network: Trained in place, on the CPU.
        losses_of: Named losses of one step.
        plan: Budget and rates.
        folder: Holds `last.pt`, which is gone on from, and `log.csv`.
        request: What the state depends on but for the budget; a state of another is refused.

    Returns:
        Steps done, those of calls before included.

    Raises:
        ConfigError: `last.pt` is damaged or of another request.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(
        network.parameters(), plan.learning_rate, _BETAS, weight_decay=plan.weight_decay
    )
    state = _State(network, optimizer, _copied(network))
    _resume(folder / LAST, state, request)
    logged: list[dict[str, float]] = []
    network.train()
    last = time.monotonic()
    while (done := plan.share_done(state.step, state.seconds)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(state.step, done)
        logged.append(_one_step(state, losses_of(state.step, done), plan))
        now = time.monotonic()
        state.seconds, last = state.seconds + now - last, now
        if state.step % plan.log_every == 0:
            _write_log(folder / "log.csv", state, logged)
            logged = []
        if state.step % plan.save_every == 0:
            _save(folder / LAST, state, request)
    _save(folder / LAST, state, request)
    network.load_state_dict(state.mean)
    network.requires_grad_(False).eval()
    return state.step


def budget(minutes: float | None, steps: int | None, default_minutes: float) -> Schooling:
    """What was asked for; of neither minutes nor steps, a default of minutes."""
    if minutes is None:
        minutes = default_minutes if steps is None else math.inf
    return Schooling(minutes, 10**8 if steps is None else steps)


def without(paths: Sequence[Path], holdout: Sequence[str]) -> list[Path]:
    """Files but for those of subjects that are kept out.

    Raises:
        ConfigError: A subject is in no file, or none is left.
    """
    names = [scan_key(path) for path in paths]
    for name in set(holdout) - set(names):
        raise ConfigError(
            f"holdout: found {name!r}, need subjects of the label maps ({names[0]}, ...). "
            "Name others."
        )
    kept = [path for path, name in zip(paths, names, strict=True) if name not in holdout]
    if not kept:
        raise ConfigError("holdout: found every label map, need one to learn from. Name fewer.")
    return kept


def _one_step(state: _State, losses: Losses, plan: Schooling) -> dict[str, float]:
    """Of the optimiser; a step without finite loss and gradient leaves the weights as they are."""
    state.step += 1
    state.optimizer.zero_grad()
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["loss"]):
        log.warning("step %d: no finite loss, left out", state.step)
        return {}
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), plan.max_grad_norm)
    if not bool(torch.isfinite(norm)):
        log.warning("step %d: no finite gradient, left out", state.step)
        return {}
    state.optimizer.step()
    # The first steps are forgotten fast, so that a short training is not its own start.
    decay = min(plan.mean_decay, (1 + state.step) / (10 + state.step))
    for name, value in state.network.state_dict().items():
        state.mean[name].lerp_(value, 1 - decay)
    return values


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _write_log(path: Path, state: _State, logged: Sequence[Mapping[str, float]]) -> None:
    """A row of means, and a line for a person."""
    steps = [values for values in logged if values]
    if not steps:
        return
    means = {name: sum(v[name] for v in steps) / len(steps) for name in steps[-1]}
    row = {"step": str(state.step), "minutes": f"{state.seconds / 60:.2f}"}
    row |= {name: f"{value:.4g}" for name, value in means.items()}
    log.info("%s", ", ".join(f"{name} {value}" for name, value in row.items()))
    rows: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [r for r in csv.DictReader(file) if int(r["step"]) < state.step]
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows([*rows, row])


def _save(path: Path, state: _State, request: str) -> None:
    content: dict[str, Any] = {
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "mean": state.mean,
        "step": state.step,
        "seconds": state.seconds,
        "request": request,
    }
    content["sha256"] = digest_of_state(content)
    packed = io.BytesIO()
    torch.save(content, packed)
    with atomic_write(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def _resume(path: Path, state: _State, request: str) -> None:
    """Load what `_save` wrote, if it is there."""
    if not path.exists():
        return
    try:
        found = dict(torch.load(path, weights_only=True, map_location="cpu"))
        if found.pop("sha256") != digest_of_state(found):
            raise ValueError("other numbers than were written")
        other = found["request"]
        if other == request:
            state.network.load_state_dict(found["network"])
            state.optimizer.load_state_dict(found["optimizer"])
            state.mean = {name: value.clone() for name, value in found["mean"].items()}
            state.step, state.seconds = int(found["step"]), float(found["seconds"])
    except Exception as error:  # unpickling damaged bytes raises whatever it meets
        raise ConfigError(
            f"{path}: found a damaged state of a training ({type(error).__name__}), need it whole. "
            "Delete it to start afresh."
        ) from error
    if other != request:
        raise ConfigError(
            f"{path}: found the state of another training, need one of these maps and settings. "
            "Delete it to start afresh, or name another OUT."
        )
    log.info("%s: %d steps are done", path, state.step)
