"""Memory that is kept is not asked for again."""

import ctypes
import subprocess
import sys

import pytest

_FAULTS = """
import resource
import numpy as np
from seg_prior.core.memory import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = new_pages(), new_pages()
keep_freed_memory()
new_pages()
print(*first, new_pages())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_a_large_array_is_made_of_pages_that_another_one_freed() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True
    )
    *anew, kept = map(int, told.stdout.split())
    assert kept < min(anew) / 10
