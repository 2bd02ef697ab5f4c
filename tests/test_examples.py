"""The examples (`>>>`) in the docstrings of core and metrics are true."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import seg_prior.core
import seg_prior.metrics

MODULES = [
    importlib.import_module(f"{package.__name__}.{module.name}")
    for package in (seg_prior.core, seg_prior.metrics)
    for module in pkgutil.iter_modules(package.__path__)
]


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """The public functions of a module that have an example."""
    found = doctest.DocTestFinder(exclude_empty=True).find(module)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_give_what_they_say(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_there_are_examples_to_read() -> None:
    names = [test.name for module in MODULES for test in examples(module)]
    assert len(names) >= 10
    assert not [name for name in names if name.rsplit(".", 1)[-1].startswith("_")]
