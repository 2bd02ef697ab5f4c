"""The tasks of a request on the workers of a cluster, by Dask; its extra is `cluster`."""

from __future__ import annotations

import functools
import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from seg_prior import __version__
from seg_prior.api import Segmenter
from seg_prior.cohort.attempt import Attempt, Task, attempt, load
from seg_prior.cohort.cluster_file import read_cluster_file, started_jobs
from seg_prior.config.inference import ReadingConfig
from seg_prior.errors import ConfigError, ExtraError
from seg_prior.files import absolute
from seg_prior.output import cohort

Engine = Callable[[Iterable[Task]], Iterator[tuple[Task, Attempt]]]
"""Tasks -> each with what became of it, in the order in which they end."""

CONNECT_S, WORKER_S = 10, 60
"""How long a scheduler has to answer, and its first worker to come."""
_SPARE = 8  # tasks that lie ready beside those that are worked on; all would take memory
_FORMS = "need local:N, a .yaml of batch jobs, or the address of a Dask scheduler, tcp://host:port"
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def connected(cluster: str) -> Iterator[Engine]:
    """An engine of the workers of a cluster, as long as it lasts.

    Args:
        cluster: As `segment --cluster` takes it.

    Raises:
        ConfigError: It is none of these, its file is wrong, its scheduler is not there, or its
            workers have no seg-prior, or another.
        ExtraError: Dask is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise ExtraError(
            f"cluster: found no Dask, need it for {cluster}. Run: pip install 'seg-prior[cluster]'"
        ) from error
    with ExitStack() as stack:
        address, cores = _address(cluster, stack)
        try:
            client = stack.enter_context(distributed.Client(address, timeout=CONNECT_S))
        except (OSError, TimeoutError, ValueError) as error:
            raise ConfigError(
                f"cluster: found no scheduler at {cluster}, {_FORMS.removeprefix('need ')}. "
                "Is it still running, and can this machine reach it?"
            ) from error
        if not cluster.endswith((".yaml", ".yml")):  # batch jobs may wait for hours
            _check_workers(client, cluster)
        yield functools.partial(_attempts, client, cluster, cores)


def _address(cluster: str, stack: ExitStack) -> tuple[Any, int]:
    """What a client connects to, and how many cores one task has."""
    import distributed

    if match := re.fullmatch(r"local:([1-9]\d{0,3})", cluster):
        # Its nannies would kill what takes more than a share of the memory; we refuse by ourselves.
        local = distributed.LocalCluster(
            n_workers=int(match[1]),
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
        return stack.enter_context(local), 1
    if cluster.endswith((".yaml", ".yml")):
        file = read_cluster_file(Path(cluster))
        jobs: AbstractContextManager[Any] = started_jobs(Path(cluster), file)
        return stack.enter_context(jobs), file.cores
    if re.fullmatch(r"(tcp|tls)://\S+:\d+", cluster):
        return cluster, 1
    raise ConfigError(f"cluster: found '{cluster}', {_FORMS}.")


def _check_workers(client: Any, cluster: str) -> None:
    """Refuse a scheduler without workers, and workers that are not of this version."""
    try:
        client.wait_for_workers(1, timeout=WORKER_S)
    except TimeoutError as error:
        raise ConfigError(
            f"cluster: found no worker at {cluster} within {WORKER_S} s, need one. "
            "Start it with `dask worker`."
        ) from error
    versions = client.run(_version, on_error="return")
    for worker, version in versions.items():
        if version != __version__:
            found = version if isinstance(version, str) else f"none ({type(version).__name__})"
            raise _other_version(worker, found)


def _version() -> str:
    """Of the package of a worker."""
    return __version__


def _other_version(worker: str, found: str) -> ConfigError:
    return ConfigError(
        f"cluster: found seg-prior {found} at the worker {worker}, need {__version__}. "
        "Install this one there, or start its workers in this environment."
    )


def _attempts(
    client: Any, cluster: str, cores: int, tasks: Iterable[Task]
) -> Iterator[tuple[Task, Attempt]]:
    """An `Engine`: tasks go out as workers get free, so that a list of any length is no burden."""
    import distributed

    waiting = iter(tasks)
    running: dict[Any, Task] = {}
    ended = distributed.as_completed()
    try:
        while True:
            try:
                room = sum(client.nthreads().values()) + _SPARE - len(running)
                for task in itertools.islice(waiting, max(0, room)):
                    future = client.submit(_work, _elsewhere(task, cores), __version__, pure=False)
                    running[future] = task
                    ended.add(future)
                if not running:
                    return
                future = next(ended)
            except (OSError, RuntimeError, TimeoutError, CancelledError) as error:
                raise _gone(cluster) from error
            task = running.pop(future)
            yield task, _outcome(future, task, cluster)
    finally:
        for future in running:
            future.release()


def _outcome(future: Any, task: Task, cluster: str) -> Attempt:
    import distributed

    if future.status == "cancelled":
        raise _gone(cluster)
    try:
        found: Attempt = future.result()
    except distributed.KilledWorker as error:
        told = (
            f"{task.job.image}: found that {error.allowed_failures + 1} workers died over it. "
            "Does it take more memory than they have?"
        )
        if task.in_folder:
            cohort.note_failure(task.job, told)
        return Attempt(told=told)
    return found


def _gone(cluster: str) -> ConfigError:
    return ConfigError(
        f"cluster: the scheduler at {cluster} went away; what is finished stays. "
        "The same command does the rest."
    )


def _elsewhere(task: Task, cores: int) -> Task:
    """For a process in whatever folder, of so many cores."""
    job, config = task.job, task.job.config
    threads, model = config.threads or cores, absolute(config.model)
    return task._replace(
        job=job._replace(
            scan=str(absolute(job.image)),
            label_map=str(absolute(job.target)),
            contrasts=tuple(absolute(contrast) for contrast in job.contrasts),
            ignore=None if job.ignore is None else absolute(job.ignore),
            config=config.model_copy(update={"threads": threads, "model": model}),
        )
    )


def _work(task: Task, version: str) -> Attempt:
    """A task at a worker, one after the other: threads of a process share settings of torch."""
    if version != __version__:
        raise _other_version("that just came", __version__)
    with _ONE_AT_A_TIME:
        return attempt(task, _loaded(task.job.config.reading.model_dump_json()))


@functools.lru_cache(maxsize=1)
def _loaded(config: str) -> Segmenter:
    """The model of a worker."""
    return load(ReadingConfig.model_validate_json(config))
