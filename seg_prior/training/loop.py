"""The one training loop: both models, one CPU, one GPU or many."""

from __future__ import annotations

import atexit
import io
import json
import logging
import math
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from seg_prior.checkpoints.digest import digest_of_state
from seg_prior.checkpoints.request import Request
from seg_prior.config.optim import OptimConfig
from seg_prior.core.progress import progress
from seg_prior.errors import ConfigError
from seg_prior.files import atomic_write
from seg_prior.io.tables import read_table, write_table

LAST = "last.pt"
RESTART = 0.3
"""Of the learning rate, where training goes on after a pause."""
Losses = Mapping[str, Tensor]


@dataclass(frozen=True)
class Run:
    """Where a training runs and leaves its traces.

    Attributes:
        folder: Holds `last.pt` (resume state) and `log.csv`.
        device: cpu, cuda or cuda:N.
        request: All that the result depends on; the state of another request is refused.
    """

    folder: Path
    device: str
    request: Request | None = None


def train(
    model: nn.Module,
    losses_of: Callable[[nn.Module, Any, int], Losses],
    dataset: Dataset[Any],
    config: OptimConfig,
    run: Run,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    pause: int | None = None,
) -> None:
    """Minimise the mean over subjects of `losses_of(...)["loss"]` with AdamW.

    Sample n is drawn at step n // batch_size whatever the number of processes, and all randomness
    lives in the dataset, so a stop and a second call with the same arguments ends in the same
    weights as no stop, and N processes see what one would.

    Args:
        model: Trained in place; its device is the run's.
        losses_of: (model, batch, step) -> named means over the batch; "loss" is minimised.
        dataset: Item n is a pure function of n; at least steps x batch_size items.
        config: Steps, rate, precision.
        run: Folder, device. A `last.pt` in the folder is resumed.
        validate: Called every `config.validate_every` steps; its values join the log.
        pause: After so many steps the rate has come down once, `validate` is called for the last
            time, and the rate rises anew, to RESTART of what it was; after all of them if None.

    Raises:
        ConfigError: The batch does not divide among the processes, or the folder holds the state
            of another request.
    """
    fabric = _fabric(run.device, config.precision)
    fabric.launch()
    if fabric.world_size > 1:
        # Threads of a group that is still open at exit abort the process now and then.
        atexit.register(_leave_group)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    judged_until = config.steps if pause is None else pause
    last = run.folder / LAST
    first_step = _resume(last, model, optimizer, run.request)
    log = _Log(run.folder / "log.csv", first_step, enabled=fabric.is_global_zero)
    batches = _batches(dataset, config, first_step, fabric)
    numbers: Iterable[int] = range(first_step, config.steps)
    told = ""
    if fabric.is_global_zero:
        numbers = progress(
            numbers,
            logging.getLogger(__name__),
            "steps",
            total=config.steps,
            first=first_step,
            told=lambda: told,
        )
    for step in numbers:
        for group in wrapped_optimizer.param_groups:
            group["lr"] = learning_rate(step, config, pause)
        wrapped.train()
        losses = losses_of(wrapped, next(batches), step)
        fabric.backward(losses["loss"])
        fabric.clip_gradients(wrapped, wrapped_optimizer, max_norm=config.max_grad_norm)
        wrapped_optimizer.step()
        wrapped_optimizer.zero_grad()
        done = step + 1
        is_last = done == config.steps
        is_judged = validate is not None and (
            done == judged_until or (done < judged_until and done % config.validate_every == 0)
        )
        if done % config.log_every == 0 or is_judged or is_last:
            values = {name: float(fabric.all_reduce(v.detach())) for name, v in losses.items()}
            if validate is not None and is_judged:
                wrapped.eval()
                with torch.inference_mode():
                    values |= validate(model)
            log.write(done, values)
            told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if (done % config.save_every == 0 or is_last) and fabric.is_global_zero:
            _save(last, model, optimizer, done, run.request)
    fabric.barrier()
    model.eval()


def forget(folder: Path) -> None:
    """Remove the state of a training whose model is written: nobody shall go on from it."""
    (folder / LAST).unlink(missing_ok=True)


def learning_rate(step: int, config: OptimConfig, pause: int | None = None) -> float:
    """Linear warm-up, then half a cosine down to zero; after a pause another one, lower."""
    end = config.steps if pause is None else pause
    if step >= end:
        done = (step - end) / max(1, config.steps - end)
        return RESTART * config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, end - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _fabric(device: str, precision: str) -> Any:
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(
        logging.WARNING
    )  # it greets on stderr
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cpu":
        accelerator, devices = "cpu", world
    else:
        accelerator = "cuda"
        _, _, index = device.partition(":")
        devices = [int(index)] if index and world == 1 else world  # type: ignore[assignment]
    strategy = "ddp" if world > 1 else "auto"
    return Fabric(accelerator=accelerator, devices=devices, strategy=strategy, precision=precision)


def _batches(
    dataset: Dataset[Any], config: OptimConfig, first_step: int, fabric: Any
) -> Iterator[Any]:
    """This process's share of every global batch, in order from `first_step`."""
    if config.batch_size % fabric.world_size:
        raise ConfigError(
            f"batch_size: found {config.batch_size}, need a multiple of {fabric.world_size}, the "
            "number of processes. Choose another --optim.batch-size."
        )
    share = config.batch_size // fabric.world_size
    order = [
        step * config.batch_size + fabric.global_rank * share + n
        for step in range(first_step, config.steps)
        for n in range(share)
    ]
    loader = DataLoader(
        dataset,
        batch_size=share,
        sampler=order,
        num_workers=config.num_workers,
        pin_memory=fabric.device.type == "cuda",
    )
    return iter(fabric.setup_dataloaders(loader, use_distributed_sampler=False))


def _save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    request: Request | None,
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "request": json.dumps(request.record() if request else {}),
    }
    state["sha256"] = digest_of_state(state)
    content = io.BytesIO()  # what torch says of a full disk names neither
    torch.save(state, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, request: Request | None
) -> int:
    """Load what `_save` wrote, if it is there; the number of steps done."""
    if not path.exists():
        return 0
    state = _read_state(path)
    other = request.difference(_recorded(state)) if request else ""
    if other:
        raise ConfigError(
            f"{path}: found the state of another training (other {other}), need one of this "
            "request. Delete it to start afresh, or choose another --out."
        )
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(_damaged(path, error)) from error


def _read_state(path: Path) -> dict[str, Any]:
    """What `_save` wrote, if nothing has changed it since; of before, it has no digest."""
    try:
        state = dict(torch.load(path, weights_only=True, map_location="cpu"))
        digest = state.pop("sha256", None)
        if digest is not None and digest != digest_of_state(state):
            raise ValueError("other numbers than were written")
    except Exception as error:  # unpickling damaged bytes raises whatever it meets
        raise ConfigError(_damaged(path, error)) from error
    return state


def _recorded(state: Mapping[str, Any]) -> dict[str, Any]:
    """The request of a state; empty of a training that kept none."""
    try:
        return dict(json.loads(state["request"]))
    except (KeyError, ValueError, TypeError):
        return {}


def _damaged(path: Path, error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if isinstance(error, pickle.UnpicklingError):  # torch advises to run what the file holds
        text = "not as it was written"
    return (
        f"{path}: found a damaged state of a training ({text}), need it whole. Delete it to start "
        "afresh, or choose another --out."
    )


class _Log:
    """A CSV of named values by step; rows after the resumed step are dropped."""

    def __init__(self, path: Path, first_step: int, enabled: bool) -> None:
        self.path = path
        self.enabled = enabled
        self.rows: list[dict[str, str]] = []
        if enabled and path.exists() and first_step > 0:
            self.rows = [row for row in read_table(path) if int(row["step"]) <= first_step]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if not self.enabled:
            return
        self.rows.append({"step": str(step)} | {k: f"{v:.6g}" for k, v in values.items()})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        rows = [[row.get(column) for column in columns] for row in self.rows]
        write_table(self.path, columns, rows)
