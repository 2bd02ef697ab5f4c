"""The field within tissues: found where there is one, whatever lies in the wrong class."""

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_prior.inference.bias_field import fitted

PLACES = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"), -1).reshape(-1, 3)
CLASSES = np.random.default_rng(0).integers(0, 4, len(PLACES))
EVEN = np.log(np.array([100.0, 300.0, 500.0, 900.0]))[CLASSES]


def bowl(log_ratio: float) -> NDArray[np.float64]:
    """Brightest in the middle; its 1st to 99th percentile over a cube is about `log_ratio`."""
    squares = (PLACES**2).sum(axis=1)
    low, high = np.percentile(squares, [1, 99])
    return np.asarray(-log_ratio * squares / (high - low))


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.5])
def test_a_field_is_found_amid_noise_and_wrong_labels(ratio: float) -> None:
    rng = np.random.default_rng(1)
    noisy = EVEN + bowl(np.log(ratio)) + rng.normal(0, 0.1, len(EVEN))
    wrong = rng.random(len(EVEN)) < 0.1
    classes = np.where(wrong, rng.integers(0, 4, len(EVEN)), CLASSES)
    assert fitted(noisy, PLACES.T, classes).ratio == pytest.approx(ratio, rel=0.03)


def test_neither_unit_nor_brightness_matter() -> None:
    values = EVEN + bowl(0.5)
    found = fitted(values, PLACES.T, CLASSES).ratio
    assert fitted(values + 7, 40 * PLACES.T + 3, CLASSES).ratio == pytest.approx(found, rel=1e-6)


def test_tissues_that_lie_apart_are_no_field() -> None:
    apart = (PLACES[:, 0] > 0).astype(int)
    assert fitted(np.log([100.0, 900.0])[apart], PLACES.T, apart).ratio == pytest.approx(
        1, abs=0.01
    )
