"""Where and how a command runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from seg_prior.config.base import EXPERT, FrozenModel


class RuntimeConfig(FrozenModel):
    """Where and how a command runs."""

    device: Annotated[str, EXPERT] = "auto"
    """Run networks on cpu, cuda or cuda:N; auto is a GPU if there is one."""
    threads: Annotated[int, EXPERT] = Field(0, ge=0, le=1024)
    """Use so many CPU threads; 0 leaves the choice to torch, and 1 repeats bit for bit."""
    seed: Annotated[int, EXPERT] = Field(0, ge=0, lt=2**63)
    """Draw everything random from this seed."""
