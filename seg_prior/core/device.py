"""What every command does first: choose the device, the threads and the precision."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch

from seg_prior.config.runtime import RuntimeConfig
from seg_prior.core.memory import keep_freed_memory
from seg_prior.errors import ConfigError


def start(config: RuntimeConfig) -> str:
    """Apply threads, seed and a way with memory to this process; the device as torch names it.

    Raises:
        ConfigError: The device does not exist here.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    keep_freed_memory()
    return find_device(config.device)


def find_device(name: str) -> str:
    """The device as torch names it.

    Raises:
        ConfigError: The device does not exist here.

    >>> find_device("cpu")
    'cpu'
    >>> find_device("tpu")
    Traceback (most recent call last):
        ...
    seg_prior.errors.ConfigError: device: found 'tpu', need auto, cpu, cuda or cuda:N.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cpu" and not index:
        return "cpu"
    if kind == "cuda" and (not index or index.isdecimal()):
        if int(index or 0) < torch.cuda.device_count():
            return name
        raise ConfigError(
            f"device: found '{name}', but torch sees {torch.cuda.device_count()} GPUs. "
            "Use --device cpu."
        )
    raise ConfigError(f"device: found '{name}', need auto, cpu, cuda or cuda:N.")


@contextmanager
def cpu_threads(num: int) -> Iterator[None]:
    """So many CPU threads while it lasts; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(num or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Threaded(Protocol):
    """What knows how many CPU threads it may use."""

    @property
    def num_threads(self) -> int:
        """0 leaves the choice to torch."""


S = TypeVar("S", bound=Threaded)
P = ParamSpec("P")
R = TypeVar("R")


def on_own_threads(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that runs on as many CPU threads as its object may use.

    Whatever a result makes later obeys as well: a pool of threads that was once started does not
    survive a fork, and who waits for it waits for ever.
    """

    @functools.wraps(method)
    def limited(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with cpu_threads(self.num_threads):
            return method(self, *args, **kwargs)

    return limited


def is_first_process() -> bool:
    """Whether this process writes; of those that torchrun starts, one does."""
    return os.environ.get("RANK", "0") == "0"


def num_processes() -> int:
    """Over which a training is spread: as many as torchrun starts, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def autocast(device: str) -> torch.autocast:
    """bfloat16 for networks where the hardware multiplies in it, float32 elsewhere.

    Everything with a logarithm (likelihoods, warps, sums over voxels) stays in float32.
    """
    if device == "cpu":
        knows_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast("cpu", torch.bfloat16, enabled=knows_bfloat16)
    return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported())
