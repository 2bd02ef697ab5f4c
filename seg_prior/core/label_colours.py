"""One colour for each label: fixed, told apart by eye, the same hue on both sides of the body."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from seg_prior.core.freesurfer import COLOURS, is_freesurfers
from seg_prior.core.labels import BACKGROUND, LabelTable

Rgb = NDArray[np.float64]  # (..., 3) in 0..1

_NUM_HUES = 36
_SATURATION_AND_VALUE = ((1.0, 1.0), (0.6, 1.0), (0.3, 1.0), (1.0, 0.75), (0.5, 0.75))
# In Oklab, of 1: darker colours drown in the scan below.
_MIN_LIGHTNESS = 0.55
_SHADE = 0.7
# Over a scan a hue is told apart better than a lightness.
_WEIGHTS = (0.8, 1, 1)


def label_colours(table: LabelTable) -> Rgb:
    """(L, 3) one colour a label, black for background.

    FreeSurfer's labels have FreeSurfer's colours, where those are of structures of the brain. Each
    other pair of labels, and each label without a partner, takes the candidate farthest from all
    colours taken before it: a label's colour does not depend on those after it. The second of a
    pair is a darker shade of the first.
    """
    known = COLOURS if is_freesurfers(table) else {}
    candidates = _candidates()
    perceived = _perceived(candidates)
    candidates, perceived = (a[perceived[:, 0] >= _MIN_LIGHTNESS] for a in (candidates, perceived))
    perceived = perceived * _WEIGHTS
    colours = np.zeros((len(table), 3))
    # The first is the most colourful.
    distance = np.linalg.norm(perceived[:, 1:], axis=1)
    for index, partner in enumerate(table.partner.tolist()):
        if index == BACKGROUND:
            continue
        if partner < index:
            colours[index] = _SHADE * colours[partner]
            continue
        if table.labels[index].id in known:
            colours[index] = np.array(known[table.labels[index].id]) / 255
        else:
            colours[index] = candidates[int(np.argmax(distance))]
        taken = _perceived(colours[index : index + 1]) * _WEIGHTS
        distance = np.minimum(distance, np.linalg.norm(perceived - taken, axis=1))
    return colours


def _candidates() -> Rgb:
    return np.array(
        [
            colorsys.hsv_to_rgb(hue / _NUM_HUES, saturation, value)
            for saturation, value in _SATURATION_AND_VALUE
            for hue in range(_NUM_HUES)
        ]
    )


def _perceived(rgb: Rgb) -> NDArray[np.float64]:
    """Oklab coordinates of (N, 3) sRGB colours: equal distances look about equally different."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.asarray(
        np.cbrt(cones)
        @ np.array(
            [
                [0.2104542553, 1.9779984951, 0.0259040371],
                [0.7936177850, -2.4285922050, 0.7827717662],
                [-0.0040720468, 0.4505937099, -0.8086757660],
            ]
        )
    )
