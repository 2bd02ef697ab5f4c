"""One scan in the cell of a notebook: the verdict, what to know, and slices in each plane."""

from __future__ import annotations

from seg_prior.report.page import render
from seg_prior.report.pictures import montage, view_of
from seg_prior.report.scan import ScanReport

_LONGEST_PX = 150


def cell_of(report: ScanReport) -> str:
    """HTML that stands in a page of others: nothing is fetched, no style leaves it."""
    slices = montage(report, view_of(report), _LONGEST_PX)
    return render("notebook.html", report=report, montage=slices)
