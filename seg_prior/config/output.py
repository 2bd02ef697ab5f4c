"""What is written of a scan."""

from __future__ import annotations

from typing import Annotated

from seg_prior.config.base import EXPERT, FrozenModel
from seg_prior.config.inference import ReadingConfig


class OutputOptions(FrozenModel):
    """Files to write beside the label map and its sidecar."""

    volumes: bool = False
    """Write the volume of every label; of several scans, also all in OUT/volumes.tsv."""
    wide: bool = False
    """Write the volumes of all scans of a folder OUT with one row a scan, too."""
    report: bool = False
    """Write a page for each scan, and volumes; in a folder OUT also report.html of all."""
    bids: bool = False
    """Make OUT a BIDS derivatives folder, with volumes, posteriors and the label table."""
    merge_sides: bool = False
    """Write left and right of a structure as one label; the page keeps both."""
    posteriors: Annotated[bool, EXPERT] = False
    """Write the probability of every label, as a 4-D image."""
    intensities: Annotated[bool, EXPERT] = False
    """Write mean and deviation of intensities in each structure, of every contrast."""
    entropy: Annotated[bool, EXPERT] = False
    """Write the entropy of the posterior."""
    departure: Annotated[bool, EXPERT] = False
    """Write how far each voxel departs from what the prior expects there, and a threshold."""
    transform: Annotated[bool, EXPERT] = False
    """Write the affine from the scan to prior space, for ITK (.tfm) and FreeSurfer (.lta)."""
    in_prior_space: Annotated[bool, EXPERT] = False
    """Write the scan on the grid of prior space, as `seg-prior atlas` exports it."""

    @property
    def with_volumes(self) -> bool:
        """Whether volumes are written: a report of several scans is made of them, too."""
        return self.volumes or self.wide or self.report or self.bids

    @property
    def with_posteriors(self) -> bool:
        """Whether posteriors are written: a BIDS folder has them."""
        return self.posteriors or self.bids


class ScanConfig(OutputOptions, ReadingConfig):
    """All that the files of a scan depend on beside the scan."""

    @property
    def scan(self) -> ScanConfig:
        """These settings alone, of a config that has more: what goes along with each scan."""
        return ScanConfig(**{name: getattr(self, name) for name in ScanConfig.model_fields})
