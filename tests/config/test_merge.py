"""Settings over settings: the last layer that names a key has the last word."""

import pytest
from pydantic import ValidationError

from seg_prior.config.base import FrozenModel
from seg_prior.config.merge import fault, merged


class _Steps(FrozenModel):
    steps: int = 5
    rate: float = 0.1


class _Training(FrozenModel):
    optim: _Steps = _Steps(rate=0.3)
    sizes: dict[str, int] = {"a": 1}  # noqa: RUF012 - pydantic copies it


def test_layers_are_laid_key_by_key_over_the_defaults_of_the_model() -> None:
    found = merged(_Training, {"optim": {"steps": 7}}, {"optim": {"steps": 9}, "sizes": {"b": 2}})
    assert found == _Training(optim=_Steps(steps=9, rate=0.3), sizes={"b": 2})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"optim": {"stps": 1}}, "optim.stps: unknown key. Did you mean 'steps'?"),
        ({"speed": 1}, "speed: unknown key. Known are optim, sizes."),
        ({"optim": 3}, "optim: found 3, "),
        ({"optim": {"steps": "many"}}, "optim.steps: found 'many', need a valid integer"),
    ],
)
def test_what_does_not_fit_is_one_line_that_begins_with_the_key(
    layer: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        merged(_Training, layer)
    assert fault(error.value, _Training).startswith(message)
