"""The training loop: what it draws, what it writes, and that a stop leaves no trace."""

import csv
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from seg_prior.checkpoints.request import Request
from seg_prior.config.optim import OptimConfig
from seg_prior.errors import ConfigError
from seg_prior.models.label_vae import LabelVAE
from seg_prior.training.families import LOSSES
from seg_prior.training.loop import (
    RESTART,
    Run,
    _batches,
    forget,
    learning_rate,
    train,
)
from tests.training import two_processes

ROOT = Path(__file__).parents[2]
QUICK = OptimConfig(
    steps=7,
    batch_size=3,
    learning_rate=0.1,
    warmup_steps=0,
    weight_decay=0.0,
    precision="32-true",
    num_workers=0,
    log_every=2,
    validate_every=3,
    save_every=2,
)


class Numbers(Dataset[Tensor]):
    """Item n is n."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, item: int) -> Tensor:
        return torch.tensor([float(item)])


class Line(nn.Module):
    """a x + b, with a weight that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))
        self.offset = nn.Parameter(torch.tensor(0.0))
        self.fixed = nn.Parameter(torch.tensor(1.0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x + self.offset * self.fixed


class PowerCutError(Exception):
    """What stops a training."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def line_losses(model: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
    error = (model(batch / 10) - batch / 5 - 1).square().mean()
    return {"loss": error, "first": batch[0, 0]}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> dict[str, Tensor]:
    state = torch.load(folder / "last.pt", weights_only=True)
    return dict(state["model"])


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = OptimConfig(steps=110, warmup_steps=10, learning_rate=0.2)
    rates = [learning_rate(step, config) for step in range(110)]
    assert rates[:3] == pytest.approx([0.02, 0.04, 0.06])
    assert rates[9:11] == pytest.approx([0.2, 0.2])
    assert rates[60] == pytest.approx(0.1)
    assert rates[109] == pytest.approx(0.2 * 0.5 * (1 - 0.99950656), rel=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(3, OptimConfig(steps=5, warmup_steps=8, learning_rate=1.0)) == 0.5


def test_after_a_pause_the_rate_rises_once_more_and_falls_to_zero() -> None:
    config = OptimConfig(steps=130, warmup_steps=10, learning_rate=0.2)
    shorter = config.model_copy(update={"steps": 110})
    rates = [learning_rate(step, config, pause=110) for step in range(130)]
    assert rates[:110] == [learning_rate(step, shorter) for step in range(110)]
    assert rates[110] == pytest.approx(RESTART * 0.2)
    assert rates[110:] == sorted(rates[110:], reverse=True)
    assert rates[120] == pytest.approx(RESTART * 0.1)


def test_what_is_seen_after_a_pause_is_validated_no_more(tmp_path: Path) -> None:
    train(Line(), line_losses, Numbers(), QUICK, Run(tmp_path, "cpu"), lambda _: {"val": 1.0}, 5)
    assert [row["step"] for row in rows(tmp_path) if row["val"]] == ["3", "5"]


def test_step_n_sees_its_own_items_in_order(tmp_path: Path) -> None:
    seen: list[list[float]] = []

    def losses_of(model: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        assert model.training
        seen.append([step, *batch.flatten().tolist()])
        return line_losses(model, batch, step)

    train(Line(), losses_of, Numbers(), QUICK, Run(tmp_path, "cpu"))
    assert seen == [[n, 3 * n, 3 * n + 1, 3 * n + 2] for n in range(7)]


def test_the_log_names_steps_losses_and_what_validation_found(tmp_path: Path) -> None:
    model, is_training = Line(), []

    def validate(found: nn.Module) -> dict[str, float]:
        is_training.append(found.training)
        assert torch.is_inference_mode_enabled()
        assert found is model
        return {"val_slope": float(model.slope)}

    train(model, line_losses, Numbers(), QUICK, Run(tmp_path, "cpu"), validate)
    found = rows(tmp_path)
    assert [row["step"] for row in found] == ["2", "3", "4", "6", "7"]
    assert [row["first"] for row in found] == ["3", "6", "9", "15", "18"]
    assert [bool(row["val_slope"]) for row in found] == [False, True, False, True, True]
    assert is_training == [False] * 3
    assert not model.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "log.csv"]


def test_it_minimises_and_leaves_frozen_weights_alone(tmp_path: Path) -> None:
    model = Line()
    config = QUICK.model_copy(update={"steps": 150, "log_every": 50, "batch_size": 8})

    class Around(Numbers):
        def __getitem__(self, item: int) -> Tensor:
            return torch.tensor([float(item % 20 - 10)])

    train(model, line_losses, Around(), config, Run(tmp_path, "cpu"))
    assert float(model.slope.detach()) == pytest.approx(2.0, abs=0.05)
    assert float(model.offset.detach()) == pytest.approx(1.0, abs=0.05)
    assert float(model.fixed) == 1.0


@pytest.mark.parametrize("stop_at", [1, 3, 5, 6])
def test_a_stop_and_a_second_call_end_where_no_stop_ends(tmp_path: Path, stop_at: int) -> None:
    def stopping(model: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        if step == stop_at:
            raise PowerCutError
        return line_losses(model, batch, step)

    def validate(model: nn.Module) -> dict[str, float]:
        return {"val": sum(float(p) for p in model.parameters())}

    whole, halved = (Run(tmp_path / name, "cpu") for name in ("whole", "halved"))
    train(Line(), line_losses, Numbers(), QUICK, whole, validate)
    with pytest.raises(PowerCutError):
        train(Line(), stopping, Numbers(), QUICK, halved, validate)
    train(Line(), line_losses, Numbers(), QUICK, halved, validate)
    assert same(weights(whole.folder), weights(halved.folder))
    assert (halved.folder / "log.csv").read_bytes() == (whole.folder / "log.csv").read_bytes()


def test_the_toy_prior_resumes_bit_for_bit(tmp_path: Path) -> None:
    def losses_of(model: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        return LOSSES["vae"](model, vae.location, batch, 0.1)

    def stopping(model: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        if step == 5:
            raise PowerCutError
        return losses_of(model, batch, step)

    whole, halved = (Run(tmp_path / name, "cpu") for name in ("whole", "halved"))
    vae = two_processes.new_vae()
    train(vae, losses_of, two_processes.anatomies(vae), two_processes.OPTIM, whole)
    vae = two_processes.new_vae()
    with pytest.raises(PowerCutError):
        train(vae, stopping, two_processes.anatomies(vae), two_processes.OPTIM, halved)
    torch.manual_seed(1)  # neither the first weights nor global randomness have a say
    vae = LabelVAE(vae.location, vae.config)
    train(vae, losses_of, two_processes.anatomies(vae), two_processes.OPTIM, halved)
    assert same(weights(whole.folder), weights(halved.folder))
    assert rows(whole.folder) == rows(halved.folder)
    assert same(weights(halved.folder), vae.state_dict())


def test_a_finished_training_is_only_loaded(tmp_path: Path) -> None:
    run = Run(tmp_path, "cpu")
    model, again = Line(), Line()
    train(model, line_losses, Numbers(), QUICK, run)
    before = (tmp_path / "log.csv").read_bytes()

    def never(model: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        raise AssertionError("a step too many")

    train(again, never, Numbers(), QUICK, run)
    assert same(model.state_dict(), again.state_dict())
    assert (tmp_path / "log.csv").read_bytes() == before


def test_the_state_of_another_request_is_refused(tmp_path: Path) -> None:
    maps = Path("a.nii"), Path("b.nii")
    inputs = ((maps[0], "0"), (maps[1], "1"))

    def run(settings: dict[str, int], inputs: tuple[tuple[Path, str], ...]) -> Run:
        return Run(tmp_path, "cpu", Request(settings, inputs))

    train(Line(), line_losses, Numbers(), QUICK, run({"seed": 0}, inputs))
    for settings, given, other in (
        ({"seed": 1}, inputs, "seed"),
        ({"seed": 0, "optim.steps": 2}, inputs, "optim.steps"),
        ({"seed": 0}, ((maps[0], "0"), (maps[1], "2")), "content of b.nii"),
        ({"seed": 0}, inputs[::-1], "order of inputs"),
        ({"seed": 0}, inputs[:1], "number of inputs (2, now 1)"),
    ):
        message = re.escape(f"last.pt: found the state of another training (other {other}), need")
        with pytest.raises(ConfigError, match=message):
            train(Line(), line_losses, Numbers(), QUICK, run(settings, given))


def test_a_state_is_forgotten_when_its_model_is_written(tmp_path: Path) -> None:
    train(Line(), line_losses, Numbers(), QUICK, Run(tmp_path, "cpu"))
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    forget(tmp_path)


def test_resuming_runs_no_code_of_the_file(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"model": Evil(), "step": 1}, tmp_path / "last.pt")
    with pytest.raises(ConfigError, match=r"damaged state of a training \(not as it was written\)"):
        train(Line(), line_losses, Numbers(), QUICK, Run(tmp_path, "cpu"))
    assert not (tmp_path / "owned").exists()


def test_in_bfloat16_products_are_short_and_losses_and_weights_are_not(tmp_path: Path) -> None:
    inside: list[torch.dtype] = []

    class Short(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x)
            inside.append(out.dtype)
            return out

    model = Short()

    config = QUICK.model_copy(update={"precision": "bf16-mixed"})
    train(model, line_losses, Numbers(), config, Run(tmp_path, "cpu"))
    assert set(inside) == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


class Rank:
    """What `_batches` needs to know of a process."""

    device = torch.device("cpu")

    def __init__(self, rank: int, world_size: int) -> None:
        self.global_rank, self.world_size = rank, world_size

    def setup_dataloaders(self, loader: Any, use_distributed_sampler: bool) -> Any:
        return loader


def test_processes_share_each_batch_between_them() -> None:
    config = QUICK.model_copy(update={"batch_size": 4, "steps": 5})
    one = torch.stack(list(_batches(Numbers(), config, 2, Rank(0, 1))))
    parts = [torch.stack(list(_batches(Numbers(), config, 2, Rank(n, 2)))) for n in range(2)]
    assert torch.equal(torch.cat(parts, dim=1), one)
    assert one.flatten().tolist() == list(range(8, 20))


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size: found 3, need a multiple of 2"):
        _batches(Numbers(), QUICK, 0, Rank(0, 2))


@pytest.mark.slow
def test_two_processes_match_one(tmp_path: Path) -> None:
    """Equal but for the order of float32 sums, which AdamW can magnify to a part of its step."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
        *("--master_addr=127.0.0.1", f"--master_port={port}"),
        *("-m", "tests.training.two_processes", str(tmp_path / "two")),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        launch, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    two_processes.main(tmp_path / "one")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    untrained = two_processes.new_vae().state_dict()
    assert one.keys() == two.keys()
    moved = torch.cat([(one[k] - untrained[k]).flatten() for k in one]).abs().max()
    apart = torch.cat([(one[k] - two[k]).flatten() for k in one]).abs().max()
    assert moved > 5e-3
    assert apart < 1e-4
    log = [rows(tmp_path / name) for name in ("one", "two")]
    for first, second in zip(*log, strict=True):
        assert first["step"] == second["step"]
        for name in ("loss", "nll", "kl"):
            assert float(first[name]) == pytest.approx(float(second[name]), rel=1e-4)


def run_line(folder: Path) -> Line:
    torch.manual_seed(0)
    line = Line()
    train(line, line_losses, Numbers(), QUICK, Run(folder, "cpu"))
    return line


def test_a_damaged_resume_state_is_refused_in_one_line(tmp_path: Path) -> None:
    run_line(tmp_path)
    path = tmp_path / "last.pt"
    whole = path.read_bytes()
    state = torch.load(path, weights_only=True)
    for place in range(0, len(whole), max(1, len(whole) // 80)):
        changed = bytearray(whole)
        changed[place] ^= 4
        path.write_bytes(changed)
        try:
            run_line(tmp_path)
        except ConfigError as error:
            assert str(error).startswith(f"{path}: found ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        else:  # what nobody reads: padding, dates, the archive's own notes
            assert torch.load(path, weights_only=True)["step"] == state["step"]
    path.write_bytes(whole[:100])
    with pytest.raises(ConfigError, match=r"found a damaged state of a training .* Delete it to"):
        run_line(tmp_path)


def test_a_state_whose_numbers_were_changed_is_refused(tmp_path: Path) -> None:
    run_line(tmp_path)
    path = tmp_path / "last.pt"
    state = torch.load(path, weights_only=True)
    state["model"]["slope"] += 1e-3
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"damaged state .*other numbers than were written"):
        run_line(tmp_path)
    del state["sha256"]  # as an older one
    torch.save(state, path)
    assert run_line(tmp_path).slope == state["model"]["slope"]
    del state["model"]["slope"]
    torch.save(state, path)
    with pytest.raises(ConfigError, match="damaged state of a training"):
        run_line(tmp_path)
