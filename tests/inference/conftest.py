"""The toy anatomy's location prior, and a seeded generator."""

import pytest
import torch

from seg_prior.models.location import LocationPrior
from tests.models import toy


@pytest.fixture
def location() -> LocationPrior:
    return toy.location()


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
