"""Checkpoints: what is saved comes back, and what is no checkpoint is refused by name."""

import hashlib
import json
import math
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seg_prior.checkpoints.calibration import Calibration, Spread, VolumeError
from seg_prior.checkpoints.file import (
    load_model,
    save_model,
    write_calibration,
    write_draws,
)
from seg_prior.checkpoints.header import (
    DIGEST_KEY,
    FORMAT_VERSION,
    Header,
    Kind,
    read_header,
    read_metadata,
)
from seg_prior.checkpoints.packing import LOG_STEPS
from seg_prior.config.intensity import IntensityConfig
from seg_prior.config.networks import DetailFlowConfig, LocatorConfig, ReaderConfig
from seg_prior.errors import CheckpointError
from seg_prior.models.density import Density
from seg_prior.models.image_reader import ImageReader
from seg_prior.models.label_vae import LabelVAE, one_hot
from seg_prior.models.likelihood import intensity_classes
from seg_prior.models.linear import LinearPrior, fit_atlas, fit_components
from seg_prior.models.location import LocationPrior, location_prior
from seg_prior.models.locator import Locator
from seg_prior.models.neighbours import Neighbours
from seg_prior.models.reader_input import ReaderSpace
from tests.models import toy

CALIBRATION = Calibration(
    num_scans=8,
    quantile=2.0,
    warn_z=3.0,
    fail_z=6.0,
    temperature=1.5,
    volume_error={"outer": VolumeError(0.1, 0.2)},
    log_volume={"outer": Spread(mean=7.0, sd=0.1)},
    measures={"size": Spread(mean=0.0, sd=0.2)},
    check={"volume_coverage": 0.9},
)


def header(kind: Kind) -> Header:
    return Header(
        format_version=FORMAT_VERSION,
        kind=kind,
        shape=toy.SHAPE,
        affine=tuple(tuple(float(v) for v in row) for row in toy.grid().affine),
        label_table=toy.table(),
        intensity=IntensityConfig(ties={"tissue": ["outer", "inner"]}, components={"tissue": 2}),
        vae=toy.TINY if kind == "vae" else None,
        training={"train-prior": {"seed": 3}},
        provenance={"subjects": ["sub-1"]},
        reference={"prior": {"dice": 0.75}},
    )


def new_prior(kind: Kind, location: LocationPrior | None = None) -> LabelVAE | LinearPrior:
    location = location or toy.location()
    if kind == "atlas":
        return fit_atlas(location)
    if kind == "pca":
        soft = [one_hot(toy.inside(location, m), toy.NUM_LABELS)[0] for m in toy.label_maps()]
        return fit_components(location, soft, 3)
    torch.manual_seed(0)
    vae = LabelVAE(location, toy.TINY)
    for parameter in vae.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return vae


def saved(folder: Path, kind: Kind) -> tuple[Path, LabelVAE | LinearPrior]:
    path = folder / f"{kind}.safetensors"
    prior = new_prior(kind)
    save_model(path, header(kind), prior)
    return path, prior


def rewritten(path: Path, out: Path, **changes: Any) -> Path:
    """The same tensors under a header with other entries; None leaves an entry out."""
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["seg_prior"]) | changes
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    content = {key: value for key, value in content.items() if value is not None}
    save_file(tensors, out, metadata={"seg_prior": json.dumps(content)})
    return out


def maps(location: LocationPrior) -> Tensor:
    labels = torch.cat([toy.inside(location, m) for m in toy.label_maps()[:2]])
    return one_hot(labels, toy.NUM_LABELS)


@pytest.mark.parametrize("kind", ["atlas", "pca", "vae"])
def test_what_is_saved_comes_back(tmp_path: Path, kind: Kind, rng: torch.Generator) -> None:
    path, prior = saved(tmp_path, kind)
    model = load_model(path)
    assert model.header == header(kind)
    assert model.header.grid.same_as(toy.grid())
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not model.prior.training
    assert not any(p.requires_grad for p in model.prior.parameters())
    z = torch.randn(2, prior.num_latents, generator=rng)
    with torch.no_grad():
        found, expected = model.prior.decode(z), prior.eval().decode(z)
        soft = maps(prior.location)
        mean, mean_before = model.prior.encode(soft)[0], prior.encode(soft)[0]
    torch.testing.assert_close(found.exp(), expected.exp(), atol=0.03, rtol=0)
    torch.testing.assert_close(mean, mean_before, atol=0.05, rtol=0.02)


def test_a_fitted_density_comes_back_and_is_no_part_of_older_files(
    tmp_path: Path, rng: torch.Generator
) -> None:
    path, prior = saved(tmp_path, "pca")
    assert load_model(path).prior.density.is_standard
    with safe_open(path, framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith("density.")]  # noqa: SIM118
    zero, one = torch.zeros(()), torch.ones(())
    weight, mean, sd = torch.tensor([0.25, 0.75]), torch.tensor([[-1.0], [2.0]]), torch.ones(2, 1)
    prior.density = Density(zero, one, torch.eye(3)[:, :1], weight.log(), mean, sd)
    save_model(path, header("pca").model_copy(update={"density": "mixture"}), prior)
    loaded = load_model(path).prior
    z = torch.randn(4, 3, generator=rng)
    torch.testing.assert_close(loaded.log_prob(z), prior.log_prob(z), atol=2e-3, rtol=0)

    damaged = rewritten(path, tmp_path / "other.safetensors", kind="vae", vae=toy.TINY.model_dump())
    with pytest.raises(CheckpointError):
        load_model(damaged)


@pytest.mark.parametrize("kind", ["ae", "swae"])
def test_of_an_autoencoder_without_width_q_is_a_point(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "point.safetensors"
    prior = LabelVAE(toy.location(), toy.TINY, is_variational=False)
    save_model(path, header("vae").model_copy(update={"kind": kind}), prior)
    loaded = load_model(path).prior
    mean, log_var = loaded.encode(maps(prior.location))
    assert mean.isfinite().all()
    assert (log_var.exp() == 0).all()


def test_an_image_reader_comes_back_with_its_own_weights(tmp_path: Path) -> None:
    form = ReaderConfig(widths=(8, 8, 16, 32), num_blocks=(1, 1, 1, 1))
    content, prior = header("vae").model_copy(update={"reader": form}), new_prior("vae")
    classes = intensity_classes(content.label_table, content.intensity)
    space = ReaderSpace.of(prior.location, classes)
    torch.manual_seed(1)
    reader = ImageReader(space.num_inputs, toy.NUM_LABELS, form)
    path = tmp_path / "reading.safetensors"
    save_model(path, content, prior, image_reader=reader)
    model = load_model(path)
    assert model.header.reader == form
    assert model.image_reader is not None
    assert not model.image_reader.training
    packed = 0
    for name, value in reader.state_dict().items():
        loaded = model.image_reader.state_dict()[name]
        step = value.abs().max() / 127
        torch.testing.assert_close(loaded, value, atol=max(1e-6, float(step)), rtol=1e-3)
        packed += value.ndim > 1 and value.numel() >= 4096
    assert packed  # large matrices went through eight bits


def test_a_locator_comes_back_with_its_own_weights(tmp_path: Path) -> None:
    form = LocatorConfig(spacing_mm=2.5, widths=(8, 8, 16))
    locator = Locator(toy.NUM_LABELS, form)
    content = header("vae").model_copy(update={"locator": form})
    path = tmp_path / "located.safetensors"
    save_model(path, content, new_prior("vae"), locator=locator)
    model = load_model(path)
    assert model.header.locator == form
    assert model.locator is not None
    assert not model.locator.training
    for name, value in locator.state_dict().items():
        torch.testing.assert_close(model.locator.state_dict()[name], value, atol=1e-6, rtol=1e-3)
    assert load_model(saved(tmp_path, "atlas")[0]).locator is None
    other = form.model_dump() | {"widths": [8, 8, 8]}
    with pytest.raises(CheckpointError, match="found weights of another network"):
        load_model(rewritten(path, tmp_path / "other.safetensors", locator=other))


def test_the_location_prior_is_coded_within_a_step(tmp_path: Path) -> None:
    """Half a step of rounding, and as much again where the column is normalised anew."""
    path, prior = saved(tmp_path, "atlas")
    location = load_model(path).location
    before, after = prior.location.log_prob, location.log_prob
    assert (before - after).abs().max() <= 1 / LOG_STEPS
    assert (before.exp() - after.exp()).abs().max() < 0.02
    torch.testing.assert_close(after.exp().sum(0), torch.ones(after.shape[1]))
    assert torch.equal(location.cells, prior.location.cells)
    assert torch.equal(location.voxels, prior.location.voxels)
    assert location.shape == toy.SHAPE


def test_a_second_trip_changes_nothing_more(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "pca")
    once = load_model(path)
    save_model(tmp_path / "again.safetensors", once.header, once.prior, None)
    twice = load_model(tmp_path / "again.safetensors")
    torch.testing.assert_close(once.location.log_prob, twice.location.log_prob, atol=1e-6, rtol=0)
    for name in ("center", "basis"):
        assert torch.equal(getattr(once.prior, name), getattr(twice.prior, name))


def test_a_label_beside_forty_maps_is_not_lost(tmp_path: Path) -> None:
    """One map of forty is far above the floor; its frequency survives."""
    frequency = torch.zeros(2, 16, 16, 24)
    frequency[0], frequency[1] = 39 / 40, 1 / 40
    location = location_prior(frequency)
    table = toy.table()
    two = table.model_copy(update={"labels": (table.labels[0], table.labels[1])})
    content = header("atlas").model_copy(update={"label_table": two})
    save_model(tmp_path / "a.safetensors", content, fit_atlas(location), None)
    found = load_model(tmp_path / "a.safetensors").location.log_prob[1].exp()
    torch.testing.assert_close(found, torch.full_like(found, 1 / 40), rtol=0.04, atol=0)


def test_the_header_is_read_without_weights(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "vae")
    assert read_header(path) == header("vae")
    assert read_header(path).label_table.partner.tolist() == [0, 1, 2, 4, 3]


def test_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        saved(tmp_path, "atlas")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "wanted"), [("atlas", ("vae",)), ("vae", ("pca",))])
def test_the_wrong_kind_is_refused_by_name(
    tmp_path: Path, kind: Kind, wanted: tuple[str, ...]
) -> None:
    path, _ = saved(tmp_path, kind)
    expected = f"found a checkpoint of kind '{kind}', need '{wanted[0]}'"
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_model(path, kinds=wanted)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("version", [0, 1, FORMAT_VERSION + 1, "1.0", None])
def test_another_version_is_refused(tmp_path: Path, version: Any) -> None:
    path, _ = saved(tmp_path, "atlas")
    other = rewritten(path, tmp_path / "other.safetensors", format_version=version)
    expected = f"other.safetensors: found checkpoint version {version}, need {FORMAT_VERSION}"
    with pytest.raises(CheckpointError, match=expected):
        load_model(other)


@pytest.mark.parametrize("changes", [{"kind": "zoo"}, {"shape": [1]}, {"surprise": 1}])
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path, _ = saved(tmp_path, "atlas")
    other = rewritten(path, tmp_path / "other.safetensors", **changes)
    with pytest.raises(CheckpointError, match="header does not fit"):
        load_model(other)


@pytest.mark.parametrize("content", ["{", "[1]", "3"])
def test_a_header_that_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"seg_prior": content})
    with pytest.raises(CheckpointError, match=r"a\.safetensors: its header is not JSON"):
        read_header(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "vae")
    wider = toy.TINY.model_copy(update={"widths": (8, 16, 16)}).model_dump(mode="json")
    deeper = toy.TINY.model_copy(update={"num_blocks": 2}).model_dump(mode="json")
    for vae in (wider, deeper):
        other = rewritten(path, tmp_path / "other.safetensors", vae=vae)
        with pytest.raises(CheckpointError, match="found weights of another network"):
            load_model(other)


def test_the_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="found a safetensors file of another program"):
        load_model(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="found a safetensors file of another program"):
        read_header(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path, _ = saved(tmp_path, "vae")
    whole = path.read_bytes()
    path.write_bytes(whole[: math.floor(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"vae\.safetensors: found no safetensors file"):
        load_model(path)


def test_a_header_that_claims_the_memory_of_the_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(CheckpointError, match="found no safetensors file"):
        load_model(path)


@pytest.mark.parametrize("name", ["missing.safetensors", "."])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="no such file, need a checkpoint"):
        load_model(tmp_path / name)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="found no safetensors file"):
        load_model(path)
    torch.save({"weights": Evil()}, path)
    with pytest.raises(CheckpointError, match="found no safetensors file"):
        load_model(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kind", ["atlas", "pca", "vae"])
def test_every_flipped_bit_is_noticed(tmp_path: Path, kind: Kind) -> None:
    path, _ = saved(tmp_path, kind)
    whole = path.read_bytes()
    rng = random.Random(0)
    begin = 8 + int.from_bytes(whole[:8], "little")
    places = [rng.randrange(begin) for _ in range(60)]
    places += [rng.randrange(begin, len(whole)) for _ in range(40)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(CheckpointError) as error:
            load_model(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
    path.write_bytes(whole)
    load_model(path)


@pytest.mark.parametrize(("old", "kind"), [("prior", "vae"), ("model", "vae")])
def test_a_checkpoint_of_format_2_is_read_and_one_line_says_so(
    tmp_path: Path, old: str, kind: Kind, talk: pytest.LogCaptureFixture
) -> None:
    path, _ = saved(tmp_path, kind)
    changes = {
        "format_version": 2,
        "kind": old,
        "intensity": {"components": {"background": 2}, "evidence": 0.5},
        "reference": {"dice": 0.9, "calibration": CALIBRATION.model_dump(mode="json")},
        "calibration": None,
    }
    before = rewritten(path, tmp_path / "before.safetensors", **changes)
    found = load_model(before).header
    assert (found.format_version, found.kind) == (2, kind)
    assert found.calibration == CALIBRATION
    assert found.reference == {"dice": 0.9}
    assert found.intensity.likelihood_power == 0.5
    (line,) = talk.messages
    assert line == f"{before}: format 2, read as {FORMAT_VERSION}"
    write_calibration(before, CALIBRATION)
    assert read_header(before) == found.model_copy(update={"format_version": FORMAT_VERSION})


def test_the_image_encoder_of_before_is_left_out_and_one_line_says_so(
    tmp_path: Path, talk: pytest.LogCaptureFixture
) -> None:
    path, _ = saved(tmp_path, "vae")
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["seg_prior"]) | {"kind": "vae_encoder"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    encoder = {f"image_encoder.{name}": value.clone() for name, value in tensors.items()}
    before = tmp_path / "before.safetensors"
    save_file(tensors | encoder, before, metadata={"seg_prior": json.dumps(content)})
    assert load_model(before).header.kind == "vae"
    (line,) = talk.messages
    assert line.startswith(f"{before}: its image encoder is of before")


def test_the_detail_s_weights_are_read_by_their_old_name(tmp_path: Path) -> None:
    prior = LabelVAE(toy.location(), toy.TINY.model_copy(update={"detail_channels": 4}))
    path = tmp_path / "detailed.safetensors"
    detailed = header("vae").model_copy(update={"vae": prior.config})
    save_model(path, detailed, prior)
    with safe_open(path, framework="pt") as file:
        metadata = {"seg_prior": file.metadata()["seg_prior"]}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    old = {name.replace("detail_to_logits", "spell"): value for name, value in tensors.items()}
    assert old.keys() != tensors.keys()
    save_file(old, tmp_path / "old.safetensors", metadata=metadata)
    before, now = (load_model(tmp_path / f"{name}.safetensors") for name in ("old", "detailed"))
    for name, value in now.prior.state_dict().items():
        assert torch.equal(before.prior.state_dict()[name], value)


def test_a_checkpoint_from_before_the_digest_is_read_and_gains_one(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "vae")
    before = rewritten(path, tmp_path / "before.safetensors")
    assert DIGEST_KEY not in read_metadata(before)
    load_model(before)
    write_calibration(before, CALIBRATION)
    assert len(read_metadata(before)[DIGEST_KEY]) == 64
    assert load_model(before).header.calibration == CALIBRATION


@pytest.mark.parametrize("name", ["prior.center", "prior.basis", "location.cells"])
def test_tensors_that_do_not_fit_are_refused_without_a_digest_too(
    tmp_path: Path, name: str
) -> None:
    path, _ = saved(tmp_path, "pca")
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["seg_prior"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    whole = tensors.pop(name)
    wrong = [None, whole[..., :-1].contiguous()]
    wrong += [torch.full_like(whole, 10**6)] if name == "location.cells" else []
    for value in wrong:
        more = {} if value is None else {name: value}
        save_file(tensors | more, path, metadata={"seg_prior": text})
        with pytest.raises(CheckpointError, match="found tensors that do not fit its header"):
            load_model(path)


FLAT = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [0, 16, 24]}, "shape.0: found 0, need greater than or equal to 2|to be greater"),
        ({"shape": [10**9, 16, 24]}, "shape.0: found 1000000000"),
        ({"affine": [[1.0]]}, "affine.0"),
        ({"affine": FLAT}, "makes no voxels of the prior grid"),
        ({"pose_prior": {"mean": [0.0], "factor": [[1.0]]}}, "pose_prior.mean"),
        ({"label_table": {"labels": []}}, "label_table.labels"),
        ({"locator": {"spacing_mm": 0}}, "locator.spacing_mm"),
    ],
)
def test_a_header_out_of_bounds_is_refused_by_its_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path, _ = saved(tmp_path, "vae")
    other = rewritten(path, tmp_path / "other.safetensors", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_model(other)


def test_a_label_name_with_a_line_end_is_refused_by_its_key(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "vae")
    table = toy.table().model_dump(mode="json")
    table["labels"][2]["name"] = "line\nbreak"
    other = rewritten(path, tmp_path / "other.safetensors", label_table=table)
    with pytest.raises(
        CheckpointError, match=r"label_table\.labels\.2\.name: found 'line\\nbreak'"
    ):
        read_header(other)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


FLOW = DetailFlowConfig(width=16, fine_width=8, num_blocks=1)


def detailed_model(path: Path) -> LabelVAE:
    """A VAE with channels of detail, as it was saved."""
    torch.manual_seed(0)
    form = toy.TINY.model_copy(update={"detail_channels": 6})
    vae = LabelVAE(toy.location(), form).eval()
    save_model(path, header("vae").model_copy(update={"vae": form}), vae)
    return vae


def test_what_draws_are_made_with_is_added_and_all_else_stays_bit_for_bit(tmp_path: Path) -> None:
    path, out = tmp_path / "model.safetensors", tmp_path / "more.safetensors"
    vae = detailed_model(path)
    flow = vae.add_detail_flow(FLOW)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.1)
    flow.sd.fill_(0.5)
    field = vae.add_coarse_field(2)
    field.center.fill_(0.25)
    field.directions.fill_(0.5)
    field.factors[1].mul_(2)
    vae.neighbours = neighbours()
    write_draws(path, out, vae)
    before, after = safe_tensors(path), safe_tensors(out)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    added = after.keys() - before.keys()
    assert added
    assert {name.split(".")[1] for name in added} == {"coarse_field", "detail_flow", "neighbours"}
    old, new = read_header(path), read_header(out)
    assert old.detail_flow is None
    assert new == old.model_copy(update={"detail_flow": FLOW})
    loaded = load_model(out).prior
    assert isinstance(loaded, LabelVAE)
    assert loaded.detail_flow is not None
    assert not loaded.detail_flow.training
    assert loaded.coarse_field is not None
    assert torch.equal(loaded.coarse_field.factors[1], field.factors[1])
    torch.testing.assert_close(loaded.coarse_field.directions, field.directions)
    assert loaded.neighbours is not None
    assert torch.equal(loaded.neighbours.repulsion, vae.neighbours.repulsion)
    z = loaded.sample(torch.Generator().manual_seed(0))
    assert not torch.equal(z, load_model(path).prior.sample(torch.Generator().manual_seed(0)))
    write_draws(out, out, loaded)
    assert torch.equal(load_model(out).prior.sample(torch.Generator().manual_seed(0)), z)


def test_a_field_of_before_has_no_directions_and_a_flow_no_gain(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    vae = detailed_model(path)
    vae.add_coarse_field(0)
    vae.add_detail_flow(FLOW)
    save_model(path, read_header(path), vae)
    tensors = safe_tensors(path)
    del tensors["prior.coarse_field.directions"], tensors["prior.detail_flow.gain"]
    with safe_open(path, framework="pt") as file:
        metadata = {k: v for k, v in file.metadata().items() if k != DIGEST_KEY}
    save_file(tensors, path, metadata)
    loaded = load_model(path).prior
    assert isinstance(loaded, LabelVAE)
    assert loaded.coarse_field is not None
    assert loaded.coarse_field.directions.shape == (0, vae.num_coarse)
    assert loaded.detail_flow is not None
    assert loaded.detail_flow.gain == 1
    assert loaded.sample(torch.Generator().manual_seed(0)).isfinite().all()


def test_a_prior_with_a_flow_comes_back_with_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    vae = detailed_model(path)
    vae.add_detail_flow(FLOW)
    save_model(path, read_header(path), vae)
    model = load_model(path)
    assert model.header.detail_flow == FLOW
    assert isinstance(model.prior, LabelVAE)
    assert model.prior.detail_flow is not None


def neighbours() -> Neighbours:
    """Of which two labels do not like to touch."""
    repulsion = torch.zeros(toy.NUM_LABELS, toy.NUM_LABELS)
    repulsion[toy.CORE, toy.SHELL] = repulsion[toy.SHELL, toy.CORE] = -2.5
    return Neighbours(repulsion)


def test_a_linear_prior_comes_back_with_its_neighbours(tiny_pca: Path, tmp_path: Path) -> None:
    before = load_model(tiny_pca)
    size = len(before.location.groups)
    before.prior.neighbours = Neighbours(torch.full((size, size), -0.5))
    save_model(tmp_path / "model.safetensors", before.header, before.prior)
    loaded = load_model(tmp_path / "model.safetensors").prior.neighbours
    assert loaded is not None
    assert torch.equal(loaded.repulsion, before.prior.neighbours.repulsion)


def test_neighbours_of_other_labels_are_damage(tiny_pca: Path, tmp_path: Path) -> None:
    model, path = load_model(tiny_pca), tmp_path / "model.safetensors"
    model.prior.neighbours = Neighbours(torch.zeros(2, 2))
    save_model(path, model.header, model.prior)
    with pytest.raises(CheckpointError, match="repulsion of neighbours that is not of"):
        load_model(path)


def safe_tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
