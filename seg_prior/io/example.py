"""A real brain to try the package on: the ICBM 152 template that nilearn's wheel carries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from seg_prior.errors import ExtraError

_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
TEMPLATE_MM3 = {
    "Left-Cerebral-White-Matter": 310_505,
    "Left-Cerebral-Cortex": 360_521,
    "Left-Lateral-Ventricle": 10_728,
    "Left-Hippocampus": 5_514,
    "Left-Putamen": 6_735,
    "Brain-Stem": 28_884,
    "Intracranial-Volume": 1_867_853,
}
"""Counted in it by the package's model of 28 November 2026."""


def brain_template() -> Path:
    """T1w average of 152 young brains, stripped, 1 mm; nilearn itself is not imported.

    Raises:
        ExtraError: nilearn is not installed, or is one that does not carry it.
    """
    found = find_spec("nilearn")
    places = [] if found is None else found.submodule_search_locations or []
    for place in places:
        if (Path(place) / _TEMPLATE).is_file():
            return Path(place) / _TEMPLATE
    raise ExtraError(
        "--brain: found no ICBM template, need nilearn, whose wheel carries it. "
        "Run: pip install 'seg-prior[example]'"
    )
