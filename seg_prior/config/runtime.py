"""Where and how a command runs."""

from __future__ import annotations

from pydantic import Field

from seg_prior.config.base import FrozenModel


class RuntimeConfig(FrozenModel):
    """Where and how a command runs."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""
    threads: int = Field(0, ge=0, le=1024)
    """CPU threads; 0 leaves the choice to torch. One thread repeats bit for bit."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of everything random."""
