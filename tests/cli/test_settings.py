"""Defaults, file and flags become one config; keys are told apart by who set them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, create_model

from seg_prior.checkpoints.header import Header
from seg_prior.cli.app import load
from seg_prior.cli.settings import (
    help_of,
    partial,
    read_settings,
    resolve,
)
from seg_prior.commands import NAMES
from seg_prior.commands.sample import Config as SampleConfig
from seg_prior.commands.train_encoder import Config as TrainEncoderConfig
from seg_prior.commands.train_prior import Config as TrainPriorConfig
from seg_prior.config.base import FrozenModel
from seg_prior.config.optim import OptimConfig
from seg_prior.config.synthesis import AugmentConfig
from seg_prior.errors import ConfigError

NEEDED = {"prior": Path("p"), "labels": [Path("l")], "out": Path("o")}


def write(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    return file


def test_a_flag_overrides_the_file_which_overrides_the_default(tmp_path: Path) -> None:
    file = write(tmp_path, "optim: {steps: 7, batch_size: 5}\nscans: 9")
    config = resolve(TrainEncoderConfig, file, NEEDED | {"optim": {"steps": 9}})
    assert config.optim.steps == 9
    assert config.optim.batch_size == 5
    default = TrainEncoderConfig.model_validate(NEEDED)
    assert config.optim.learning_rate == default.optim.learning_rate
    assert config.scans == 9
    assert config.synthesis == default.synthesis


def test_one_key_of_a_nested_model_leaves_its_neighbours_as_the_stage_has_them() -> None:
    """The stage's own default differs from that of the nested model."""
    config = resolve(TrainEncoderConfig, None, NEEDED | {"optim": {"batch_size": 3}})
    default = TrainEncoderConfig.model_validate(NEEDED).optim
    assert default.learning_rate != OptimConfig().learning_rate
    assert config.optim == default.model_copy(update={"batch_size": 3})


def test_a_mapping_replaces_a_mapping_whole(tmp_path: Path) -> None:
    file = write(tmp_path, "intensity: {components: {grey: 2}}")
    config = resolve(TrainPriorConfig, file, {"labels": [Path("a")], "out": Path("o")})
    assert config.intensity.components == {"grey": 2}


def test_paths_of_a_file_are_seen_from_its_folder_and_those_of_flags_are_not(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, "labels: [maps, /data/more]\nlabel_table: ~/labels.tsv\nout: p")
    config = resolve(TrainPriorConfig, file, {})
    assert config.labels == [tmp_path / "maps", Path("/data/more")]
    assert config.label_table == Path.home() / "labels.tsv"
    assert config.out == tmp_path / "p"
    config = resolve(TrainPriorConfig, file, {"labels": [Path("mine")]})
    assert config.labels == [Path("mine")]
    assert config.out == tmp_path / "p"


def test_a_file_sets_only_what_it_names(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, ""), TrainPriorConfig) == {}
    found = read_settings(write(tmp_path, "optim: {learning_rate: 1e-3}"), TrainPriorConfig)
    assert found == {"optim": {"learning_rate": 0.001}}


def test_what_stands_nowhere_is_asked_for_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^out: found nothing; name it"):
        resolve(TrainPriorConfig, None, {"labels": [Path("a")]})


def test_a_value_out_of_range_is_refused_in_a_file_too(tmp_path: Path) -> None:
    file = write(tmp_path, "num: 0")
    with pytest.raises(ConfigError, match=r"settings.yaml: num: found 0, need greater than"):
        resolve(SampleConfig, file, {"model": Path("m"), "out": Path("o")})


def test_a_partial_model_requires_nothing_and_knows_who_set_what() -> None:
    model = partial(TrainPriorConfig)
    assert model().model_dump(exclude_unset=True) == {}
    given = model.model_validate({"optim": {"steps": 4000}}).model_dump(exclude_unset=True)
    assert given == {"optim": {"steps": 4000}}


def test_a_nested_model_goes_with_the_last_of_its_fields() -> None:
    model = partial(TrainPriorConfig, keep=lambda name, annotation: name != "flip")
    augment = model.model_fields["augment"].annotation
    assert isinstance(augment, type)
    assert issubclass(augment, BaseModel)
    assert set(AugmentConfig.model_fields) - set(augment.model_fields) == {"flip"}
    model = partial(TrainPriorConfig, keep=lambda name, _: name not in AugmentConfig.model_fields)
    assert "augment" not in model.model_fields


class _Base(FrozenModel):
    one: int = 1
    """Said of one, over
    two lines: with a colon."""
    two: int = 2
    """Said of two."""


class _Derived(_Base):
    two: int = 3
    """Said again."""
    three: int = 3
    """Its own."""


def test_the_line_under_a_field_is_its_help() -> None:
    assert help_of(_Derived, "one") == "Said of one, over two lines: with a colon."
    assert help_of(_Derived, "two") == "Said again."


def test_what_a_model_adds_comes_before_what_it_inherits() -> None:
    assert list(partial(_Derived).model_fields) == ["two", "three", "one"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", r"line 2: not YAML \(an alias, write the value\)"),
        ("seed: " + "[" * 300 + "]" * 300 + "\n", r"s\.yaml: "),
        ("seed: -1\n", "seed: found -1, need to be greater than or equal to 0|seed: found -1"),
        ("margin_mm: .nan\n", "margin_mm: found nan, need a finite number"),
        ("spacing_mm: .inf\n", "spacing_mm: found inf"),
        ("threads: 100000\n", "threads: found 100000"),
        ("optim:\n  steps: 1000000000000\n", r"optim\.steps: found 1000000000000"),
        ("vae:\n  widths: [8, 8, 80000]\n", r"vae\.widths\.2: found 80000"),
        (
            "augment:\n  warp_sd_mm: [3.0]\n",
            "found 2 warp_knots_mm and 1 warp_sd_mm, need as many of both",
        ),
        ("intensity:\n  components: {a: 1000}\n", "intensity.components.a: found 1000"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    needed = {"labels": [Path("maps")], "out": Path("a.safetensors")}
    with pytest.raises(ConfigError, match=message) as error:
        resolve(TrainPriorConfig, path, needed)
    assert "\n" not in str(error.value)


def test_settings_of_megabytes_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("#" * 1_000_001)
    with pytest.raises(ConfigError, match="found more than 1000000 bytes"):
        read_settings(path, TrainPriorConfig)


def _open_numbers(schema: Any, place: str = "") -> Iterator[str]:
    """Where a schema has a number without a smallest or a largest value."""
    if isinstance(schema, list):
        for n, one in enumerate(schema):
            yield from _open_numbers(one, f"{place}.{n}")
    elif isinstance(schema, dict):
        is_number = schema.get("type") in ("number", "integer")
        ends = ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"})
        if is_number and not all(end & schema.keys() for end in ends):
            yield place
        for key, one in schema.items():
            yield from _open_numbers(one, f"{place}.{key}")


@pytest.mark.parametrize("config", [*(load(name).Config for name in NAMES), Header])
def test_every_number_of_every_setting_and_of_a_checkpoint_has_bounds(
    config: type[BaseModel],
) -> None:
    assert list(_open_numbers(config.model_json_schema())) == []
    unbounded = create_model("Unbounded", one=(float, 0.0), two=(list[int], [1]))
    assert len(list(_open_numbers(unbounded.model_json_schema()))) == 2


def test_what_two_keys_of_a_file_say_together_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("augment:\n  warp_sd_mm: [3.0]\n")
    needed = {"labels": [Path("maps")], "out": Path("a.safetensors")}
    with pytest.raises(ConfigError, match=r"s\.yaml: augment: found 2 warp_knots_mm and 1 warp_sd"):
        resolve(TrainPriorConfig, path, needed)
    path.write_text("spacing_mm: 2.0\n")
    flags = needed | {"augment": {"warp_sd_mm": [3.0]}}
    with pytest.raises(ConfigError, match=r"^augment: found 2"):  # no fault of the file
        resolve(TrainPriorConfig, path, flags)
