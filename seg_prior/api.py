"""One scan after the other, segmented by a loaded model: the same for Python and command line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seg_prior.config.output import OutputOptions
from seg_prior.core.device import on_own_threads
from seg_prior.core.grid import Affine
from seg_prior.core.volume import Volume
from seg_prior.errors import ImageError
from seg_prior.inference.bias_field import BiasField
from seg_prior.inference.departure import departure_map
from seg_prior.inference.drift import read_evenly
from seg_prior.inference.prediction import Prediction, timed
from seg_prior.inference.predictor import Predictor
from seg_prior.io.formats import strip_suffix
from seg_prior.io.read import Image, as_volume
from seg_prior.output import ownership, writers
from seg_prior.output.notebook import volumes_frame
from seg_prior.quality.verdict import Quality, Verdict, quality_of
from seg_prior.registration.pipeline import register_scan

if TYPE_CHECKING:
    import pandas as pd


class Segmentation(Prediction):
    """A prediction, what quality control says of it, and how it is written."""

    @cached_property
    @on_own_threads
    def qc(self) -> Quality:
        """What quality control says; `not measured` where the model has no calibration."""
        return quality_of(self)

    @cached_property
    def departure(self) -> NDArray[np.float32]:
        """(H, I, J, K) how far each contrast departs from what the prior expects, in deviations."""
        return departure_map(self)

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the label map, the volumes and the sidecar to a folder; the files.

        They are named after the scan's file, and `image` where it never was one.

        Raises:
            ConfigError: The result of another scan of that name stands there, or no result.
            OutputError: The disk is full, or there is no leave to write.
        """
        return self.write(writers.target_in(Path(folder), self.volume), OutputOptions(volumes=True))

    @on_own_threads
    def write(
        self,
        target: Path,
        options: OutputOptions,
        request: dict[str, Any] | None = None,
        overwrite: bool = False,
    ) -> tuple[Path, ...]:
        """Write the files of the scan, each whole or not at all; the files.

        Args:
            target: The label map.
            options: What else to write.
            request: What the result depends on, for the sidecar.
            overwrite: Replace the result of what the scan's file was before.

        Raises:
            ConfigError: A file stands there that is not ours to replace.
            OutputError: The disk is full, or there is no leave to write.
        """
        return tuple(writers.write(self, self.qc, target, options, request, overwrite))

    @property
    def verdict(self) -> Verdict:
        """PASS, WARN, FAIL, or `not measured` where the model has no calibration."""
        return self.qc.verdict

    @on_own_threads
    def report(self, path: str | Path | None = None) -> Path:
        """Write the page of the scan, which opens offline in a browser; its path.

        Args:
            path: Ends in .html; None is `<scan>_report.html` in the working directory.

        Raises:
            ConfigError: A file of another program stands there.
        """
        target = writers.target_in(Path(), self.volume)
        name = f"{strip_suffix(target).removesuffix('_dseg')}_report.html"
        page = target.with_name(name) if path is None else Path(path)
        ownership.check_page(page)
        writers.write_report(self, self.qc, page)
        return page

    @on_own_threads
    def to_dataframe(self) -> pd.DataFrame:
        """The table of volumes as a pandas data frame, one row a label.

        Columns are those of `segment --volumes`; what is not known is missing.

        Raises:
            ExtraError: pandas is not installed.
        """
        return volumes_frame(self, self.qc)

    @on_own_threads
    def _repr_html_(self) -> str:
        """What a notebook shows: verdict, warnings and slices."""
        from seg_prior.output.scan_report import report_of
        from seg_prior.report.notebook import cell_of

        return cell_of(report_of(self, self.qc, {}))


class Segmenter(Predictor):
    """A loaded model, ready to segment one scan after the other."""

    @on_own_threads
    def segment(
        self,
        image: Image,
        affine: Affine | None = None,
        contrasts: Sequence[Image] = (),
        ignore: Image | None = None,
    ) -> Segmentation:
        """Register, encode, climb, and take the posterior at the scan's own voxels.

        An image whose tissues drift by more than 1.3 times is divided by the bias field that its
        labels show, and read again, if that raises its evidence enough; of contrasts the first.

        Args:
            image: A path, a nibabel image, a Volume, or an (I, J, K) array with an affine.
            affine: (4, 4), voxel -> millimetres in RAS+, of an array.
            contrasts: Further images of the same subject, which their affines lay upon the first;
                any grids. The result lies on the grid of the first.
            ignore: Above 0 on the voxels of the image that tell nothing, such as a lesion or a
                cavity: missing data, where the prior alone says what would be there.

        Raises:
            ImageError: The image cannot be read, has no contrast, or shows none of the anatomy, or
                the mask lies on another grid.
        """
        volume = as_volume(image, affine, self.config.frame)
        further = tuple(as_volume(contrast) for contrast in contrasts)
        ignored = None if ignore is None else _mask_of(as_volume(ignore), volume)
        read = partial(self._read, volume, further, ignored, {})
        return read_evenly(volume, read)

    def _read(
        self,
        volume: Volume,
        further: tuple[Volume, ...],
        ignored: NDArray[np.bool_] | None,
        seconds: dict[str, float],
        even: Volume,
        divided: BiasField | None,
    ) -> Segmentation:
        """One reading of a scan, evened out by division; its seconds are added to the others'."""
        with timed(seconds, "conform"):
            volumes, config = (even, *further), self.config
            registered = register_scan(volumes, self.atlas, config.seed, ignored)
        return Segmentation.of(self, volume, further, registered, seconds, divided)


def _mask_of(mask: Volume, volume: Volume) -> NDArray[np.bool_]:
    """Where a mask is above 0.

    Raises:
        ImageError: It lies on another grid than the scan.
    """
    if not mask.grid.same_as(volume.grid):
        found = f"{mask.grid.size}"
        if mask.grid.shape == volume.grid.shape:
            found += f", up to {mask.grid.shift_mm(volume.grid):.3g} mm away"
        raise ImageError(
            f"{mask.source}: found a mask of {found}, need the grid of {volume.source}, "
            f"{volume.grid.size}. Resample the mask onto the scan."
        )
    return np.asarray(mask.data > 0)
