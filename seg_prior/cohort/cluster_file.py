"""A YAML file that says what batch jobs of a cluster are like, for dask-jobqueue."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from seg_prior.config.base import FrozenModel, misfit
from seg_prior.errors import ConfigError, ExtraError
from seg_prior.io.settings_file import read_yaml

_SUBMIT = {"slurm": "sbatch", "pbs": "qsub"}


class ClusterFile(FrozenModel):
    """Batch jobs; each is one worker, which does one scan after the other."""

    kind: Literal["slurm", "pbs"] = "slurm"
    """The batch system."""
    jobs: int = Field(ge=1, le=10000)
    """How many."""
    cores: int = Field(1, ge=1, le=1024)
    """Of a job, all for the one scan that it works on."""
    memory: str = Field("4GB", pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$")
    """Of a job."""
    walltime: str | None = None
    """Of a job, as the batch system writes it."""
    queue: str | None = None
    """Or partition."""
    account: str | None = None
    """Who pays."""
    directives: tuple[str, ...] = ()
    """Further lines at the head of the job's script, without their #SBATCH."""
    prologue: tuple[str, ...] = ()
    """Commands before the worker starts, such as one that activates an environment."""


def read_cluster_file(file: Path) -> ClusterFile:
    """The batch jobs that a file describes.

    Raises:
        ConfigError: It is not there, no YAML, or a key is wrong.
    """
    found = read_yaml(file)
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: found no keys, need at least `jobs: N`.")
    try:
        return ClusterFile.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        known = ", ".join(ClusterFile.model_fields)
        more = f" Keys are {known}." if fault["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{file}: {key}: {misfit(fault)}{more}") from error


@contextmanager
def started_jobs(name: Path, file: ClusterFile) -> Iterator[Any]:
    """A cluster of these jobs, which are cancelled in the end.

    Raises:
        ConfigError: The command that submits jobs is not here.
        ExtraError: dask-jobqueue is not installed.
    """
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ExtraError(
            f"{name}: found no dask-jobqueue, need it for batch jobs. "
            "Run: pip install 'seg-prior[cluster]'"
        ) from error
    command = _SUBMIT[file.kind]
    if shutil.which(command) is None:
        raise ConfigError(
            f"{name}: found no command {command}, need it to submit jobs of {file.kind}. "
            "Run this where jobs are submitted."
        )
    kinds = {"slurm": dask_jobqueue.SLURMCluster, "pbs": dask_jobqueue.PBSCluster}
    cluster = kinds[file.kind](
        cores=file.cores,
        processes=1,
        memory=file.memory,
        walltime=file.walltime,
        queue=file.queue,
        account=file.account,
        job_extra_directives=list(file.directives),
        job_script_prologue=list(file.prologue),
        worker_extra_args=["--nthreads", "1"],
        silence_logs="error",
        scheduler_options={"dashboard_address": ":0"},  # 8787 may be another's
    )
    with cluster:
        cluster.scale(jobs=file.jobs)
        yield cluster
