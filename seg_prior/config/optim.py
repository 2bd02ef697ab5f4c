"""How a network is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seg_prior.config.base import FrozenModel


class OptimConfig(FrozenModel):
    """How a network is trained: AdamW with a linear warm-up and a cosine."""

    steps: int = Field(2000, gt=0)
    """Of the optimiser."""
    batch_size: int = Field(1, gt=0)
    """Subjects in one step, over all processes together."""
    learning_rate: float = Field(1e-3, gt=0)
    """At its highest, after the warm-up."""
    warmup_steps: int = Field(100, ge=0)
    """Over which the rate rises from 0."""
    weight_decay: float = 0.01
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm (losses are in nats per voxel)."""
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    """32-true, or bf16-mixed (about twice as fast where the hardware knows bfloat16)."""
    num_workers: int = Field(1, ge=0)
    """Processes that make samples beside the one that trains."""
    log_every: int = Field(20, gt=0)
    """Steps."""
    validate_every: int = Field(500, gt=0)
    """Steps."""
    save_every: int = Field(250, gt=0)
    """Steps."""
