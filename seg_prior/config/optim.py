"""How a network is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seg_prior.config.base import FrozenModel


class OptimConfig(FrozenModel):
    """How a network is trained.

    Attributes:
        steps, batch_size: Optimiser steps, and subjects in one (over all processes together).
        learning_rate, warmup_steps, weight_decay: AdamW with a linear warm-up and a cosine.
        max_grad_norm: Gradients are scaled down to this norm (losses are in nats per voxel).
        precision: 32-true, or bf16-mixed (about twice as fast where the hardware knows bfloat16).
        num_workers: Processes that make samples beside the one that trains.
        log_every, validate_every, save_every: In steps.
    """

    steps: int = Field(2000, gt=0)
    batch_size: int = Field(1, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(100, ge=0)
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    num_workers: int = Field(1, ge=0)
    log_every: int = Field(20, gt=0)
    validate_every: int = Field(500, gt=0)
    save_every: int = Field(250, gt=0)
