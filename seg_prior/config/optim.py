"""How a network is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seg_prior.config.base import FrozenModel

MAX_STEPS = 10**8


class OptimConfig(FrozenModel):
    """How a network is trained: AdamW with a linear warm-up and a cosine."""

    steps: int = Field(2000, gt=0, le=MAX_STEPS)
    """Of the optimiser."""
    batch_size: int = Field(1, gt=0, le=4096)
    """Subjects in one step, over all processes together."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """At its highest, after the warm-up."""
    warmup_steps: int = Field(100, ge=0, le=MAX_STEPS)
    """Over which the rate rises from 0."""
    weight_decay: float = Field(0.01, ge=0, le=1)
    """Of AdamW."""
    max_grad_norm: float = Field(1.0, gt=0, le=1e6)
    """Gradients are scaled down to this norm (losses are in nats per voxel)."""
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    """32-true, or bf16-mixed (about twice as fast where the hardware knows bfloat16)."""
    num_workers: int = Field(1, ge=0, le=256)
    """Processes that make samples beside the one that trains."""
    log_every: int = Field(20, gt=0, le=MAX_STEPS)
    """Steps."""
    validate_every: int = Field(500, gt=0, le=MAX_STEPS)
    """Steps."""
    save_every: int = Field(250, gt=0, le=MAX_STEPS)
    """Steps."""
