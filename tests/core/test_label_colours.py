"""Colours are stable, distinct and shared by both sides."""

import colorsys

import numpy as np

from seg_prior.checkpoints.header import read_header
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.core.label_colours import label_colours
from seg_prior.core.labels import LabelTable
from seg_prior.io.label_tables import label_table_from_ids
from seg_prior.synthesis.phantom import phantom_label_table

TABLE = phantom_label_table()


def test_background_is_black_and_no_label_is() -> None:
    colours = label_colours(TABLE)
    assert colours.shape == (len(TABLE), 3)
    assert not colours[0].any()
    assert colours[1:].max(axis=1).min() > 0.4
    assert colours.min() >= 0
    assert colours.max() <= 1


def test_sides_have_one_hue_and_two_shades() -> None:
    colours = label_colours(TABLE)
    paired = np.flatnonzero(TABLE.partner > np.arange(len(TABLE)))
    assert paired.size == 2
    for index in paired:
        one = colorsys.rgb_to_hsv(*colours[index])
        other = colorsys.rgb_to_hsv(*colours[TABLE.partner[index]])
        assert np.allclose(one[:2], other[:2])
        assert other[2] < 0.8 * one[2]


def test_a_colour_does_not_depend_on_later_labels() -> None:
    shorter = LabelTable(labels=TABLE.labels[:6])
    np.testing.assert_array_equal(label_colours(shorter), label_colours(TABLE)[:6])


def test_forty_labels_are_forty_colours() -> None:
    colours = label_colours(label_table_from_ids(range(41)))
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert distances[~np.eye(41, dtype=bool)].min() > 0.1


def test_freesurfers_labels_have_freesurfers_colours_and_the_right_side_a_darker_shade() -> None:
    table = read_header(BRAIN_MODEL).label_table.written
    colour = dict(zip(table.ids.tolist(), label_colours(table) * 255, strict=True))
    assert colour[17].round().tolist() == [220, 216, 20]
    assert colour[3].round().tolist() == [205, 62, 78]
    np.testing.assert_allclose(colour[53], 0.7 * colour[17])
    distinct = {tuple(value.round().tolist()) for value in colour.values()}
    assert len(distinct) == len(table)
