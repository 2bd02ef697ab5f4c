"""A loaded model that reads one scan after the other: the same for Python and the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from seg_prior.conform.chain import Conformed, conform
from seg_prior.errors import ImageError
from seg_prior.grid import Affine
from seg_prior.inference.posterior import (
    find_native_voxels,
    summarise,
)
from seg_prior.stages import runtime
from seg_prior.stages.reader import Reader, infer, joints_of
from seg_prior.stages.segmentation import Segmentation
from seg_prior.volume import Image, Volume, as_volume


class Segmenter(Reader):
    """A loaded model, ready to segment one scan after the other."""

    def segment(
        self,
        image: Image | Volume,
        affine: Affine | None = None,
        contrasts: Sequence[Image | Volume] = (),
    ) -> Segmentation:
        """Register, encode, climb, and take the posterior at the scan's own voxels.

        Args:
            image: A path, a nibabel image, a Volume, or an (I, J, K) array with an affine.
            affine: (4, 4), voxel -> millimetres in RAS+, of an array.
            contrasts: Further images of the same subject, which their affines lay upon the first;
                any grids. The result lies on the grid of the first.

        Raises:
            ImageError: The image cannot be read, has no contrast, or shows none of the anatomy.
        """
        volume = _volume_of(image, affine, self.config.volume)
        further = tuple(_volume_of(contrast) for contrast in contrasts)
        seconds: dict[str, float] = {}
        with runtime.cpu_threads(self.config.threads):
            with _timed(seconds, "conform"):
                volumes = (volume, *further)
                conformed = conform(volumes, self.atlas, self.config.n4, self.config.seed)
            return self.read(volume, further, conformed, seconds)

    def read(
        self,
        volume: Volume,
        further: tuple[Volume, ...],
        conformed: Conformed,
        seconds: dict[str, float],
    ) -> Segmentation:
        """`segment`, of what has been registered to a prior of the same label maps.

        Args:
            volume, further: What was registered.
            conformed: That, in both spaces.
            seconds: Of the steps so far; gains those of the others.
        """
        with _timed(seconds, "infer"):
            estimate = infer(self, conformed)
        with _timed(seconds, "posterior"):
            voxels = find_native_voxels(
                self.model.location,
                self.atlas.grid,
                conformed.moved,
                conformed.native_observed.any(0),
            )
            if not voxels.index.numel():
                raise ImageError(
                    f"{volume.source}: after registration no voxel lies in the model's anatomy. "
                    "Is it an image of the organ that the model knows?"
                )
            summary = summarise(joints_of(self, conformed, estimate, voxels))
        return Segmentation(self, volume, further, conformed, estimate, voxels, summary, seconds)


def _volume_of(
    image: Image | Volume, affine: Affine | None = None, index: int | None = None
) -> Volume:
    return image if isinstance(image, Volume) else as_volume(image, affine, index)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
