"""Sheets show what they are given, the same for every orientation of a scan."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from seg_prior.core.grid import Grid
from seg_prior.core.label_colours import label_colours
from seg_prior.report.overlay import (
    Panel,
    render_panel,
    write_montage,
    write_overlay,
)
from seg_prior.report.slices import View, find_view
from seg_prior.synthesis.phantom import make_phantom, phantom_label_table
from tests.report.test_slices import ORIENTATIONS, reorient

TABLE = phantom_label_table()
PHANTOM = make_phantom(0, 5.0)
GRID = PHANTOM.image.grid
LABELS = TABLE.remap(PHANTOM.label_map.data, "phantom")
VIEW = find_view([LABELS], GRID, TABLE.partner)
SCAN = Panel("scan", GRID, PHANTOM.image.data, LABELS)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[1::6])
def test_every_orientation_of_a_scan_gives_one_picture(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    image, grid = reorient(PHANTOM.image.data, GRID, order, signs)
    labels, _ = reorient(LABELS, GRID, order, signs)
    view = find_view([labels], grid, TABLE.partner)
    picture = render_panel(Panel("scan", grid, image, labels), view, TABLE)
    np.testing.assert_array_equal(picture, render_panel(SCAN, VIEW, TABLE))


def test_sheet_of_a_turned_scan_is_the_same_file_of_pixels(tmp_path: Path) -> None:
    order, signs = (2, 0, 1), (-1, 1, -1)
    image, grid = reorient(PHANTOM.image.data, GRID, order, signs)
    labels, _ = reorient(LABELS, GRID, order, signs)
    write_overlay(tmp_path / "one.png", [SCAN], TABLE)
    write_overlay(tmp_path / "other.png", [Panel("scan", grid, image, labels)], TABLE)
    one = imread(tmp_path / "one.png")
    np.testing.assert_array_equal(one, imread(tmp_path / "other.png"))
    assert one[..., :3].std() > 0.1  # not blank


def test_left_of_the_patient_is_on_the_left() -> None:
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[2:8, 8:12, 8:12] = 6  # low x: the left medial nucleus
    labels[12:18, 8:12, 8:12] = 7
    # Stored from right to left.
    turned, grid = reorient(labels, Grid(labels.shape, np.eye(4)), (0, 1, 2), (-1, 1, 1))
    view = find_view([turned], grid, TABLE.partner)
    picture = render_panel(Panel("", grid, label_map=turned), view, TABLE)
    axial = picture[:, : round(420 * 16 / 16)]
    left, right = (
        np.flatnonzero((axial == label_colours(TABLE)[i]).all(axis=(2)).any(axis=0)) for i in (6, 7)
    )
    assert left.max() < right.min()


def test_anterior_and_superior_are_on_top() -> None:
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[4:16, 4:16, 4:10] = 1
    labels[4:16, 4:16, 10:16] = 2
    labels[4:16, 10:16, 4:10] = 3
    grid = Grid(labels.shape, np.eye(4))
    colours = label_colours(TABLE)
    view = View(np.array([9, 9, 9]), np.zeros(3, int), np.full(3, 20), np.full(3, 20.0))
    picture = render_panel(Panel("", grid, label_map=labels), view, TABLE)
    axial, coronal, sagittal = picture[:, :420], picture[:, 430:850], picture[:, 860:]
    np.testing.assert_array_equal(axial[120, 210], colours[3])
    np.testing.assert_array_equal(axial[300, 210], colours[1])
    np.testing.assert_array_equal(coronal[120, 210], colours[2])
    np.testing.assert_array_equal(coronal[300, 210], colours[1])
    np.testing.assert_array_equal(sagittal[120, 120], colours[2])
    np.testing.assert_array_equal(sagittal[300, 120], colours[1])
    np.testing.assert_array_equal(sagittal[300, 300], colours[3])  # anterior on the right


def test_spacing_sets_the_shape_of_a_picture() -> None:
    labels = np.ones((10, 20, 5), dtype=np.uint8)
    grid = Grid(labels.shape, np.diag([3.0, 2.0, 8.0, 1.0]))  # 30 x 40 x 40 mm
    view = find_view([labels], grid, TABLE.partner)
    picture = render_panel(Panel("", grid, label_map=labels), view, TABLE)
    assert picture.shape == (420, 315 + 10 + 315 + 10 + 420, 3)


def test_image_alone_is_grey_and_labels_colour_it() -> None:
    grey = render_panel(Panel("scan", GRID, PHANTOM.image.data), VIEW, TABLE)
    assert np.ptp(grey, axis=2).max() == 0
    assert grey.std() > 0.1
    coloured = render_panel(SCAN, VIEW, TABLE)
    assert np.ptp(coloured, axis=2).max() > 0.3
    no_labels = Panel("scan", GRID, PHANTOM.image.data, np.zeros_like(LABELS))
    np.testing.assert_array_equal(render_panel(no_labels, VIEW, TABLE), grey)


def test_labels_alone_are_drawn_in_their_own_colours() -> None:
    picture = render_panel(Panel("labels", GRID, label_map=LABELS), VIEW, TABLE)
    shown = np.unique(picture.reshape(-1, 3), axis=0)
    known = label_colours(TABLE)
    assert all((known == colour).all(axis=1).any() for colour in shown)
    assert len(shown) > 7


def test_constant_image_is_drawn() -> None:
    picture = render_panel(Panel("flat", GRID, np.full(GRID.shape, 3.0)), VIEW, TABLE)
    assert np.isfinite(picture).all()


def test_entropy_runs_from_dark_to_bright() -> None:
    entropy = np.zeros(GRID.shape)
    none = render_panel(Panel("entropy", GRID, entropy=entropy), VIEW, TABLE)
    high = render_panel(Panel("entropy", GRID, entropy=entropy + np.log(2)), VIEW, TABLE)
    assert none.max() < 0.02
    assert high.max() > 0.95


def test_more_panels_make_a_larger_sheet_with_a_legend_of_what_occurs(tmp_path: Path) -> None:
    write_overlay(tmp_path / "one.png", [Panel("scan", GRID, PHANTOM.image.data)], TABLE)
    entropy = np.full(GRID.shape, 0.3)
    panels = [SCAN, SCAN, Panel("entropy", GRID, entropy=entropy)]
    write_overlay(tmp_path / "deep" / "four.png", panels, TABLE, num_columns=2)
    one, four = imread(tmp_path / "one.png"), imread(tmp_path / "deep" / "four.png")
    assert four.shape[1] > 2 * one.shape[1]
    assert four.shape[0] > 2 * one.shape[0]
    legend = four[-25:, :, :3].reshape(-1, 3)
    stem = label_colours(TABLE)[TABLE.names.index("Stem")]
    assert (np.abs(legend - stem).max(axis=1) < 0.01).sum() > 50
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == ["four.png", "one.png"]


def test_panels_on_one_grid_show_the_same_slices(tmp_path: Path) -> None:
    moved = np.roll(LABELS, 3, axis=0)
    write_montage(tmp_path / "m.png", [LABELS, LABELS, moved], ["a", "a", "b"], GRID, TABLE)
    sheet = imread(tmp_path / "m.png")[..., :3]
    height = (sheet.shape[0] - 30) // 3
    rows = [sheet[index * height : (index + 1) * height] for index in range(3)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()


def test_scans_on_other_grids_do_not_move_the_slices(tmp_path: Path) -> None:
    other = make_phantom(1, 6.0)
    labels = TABLE.remap(other.label_map.data, "other")
    panels = [SCAN, Panel("other", other.image.grid, other.image.data, labels)]
    write_overlay(tmp_path / "alone.png", panels[:1], TABLE)
    write_overlay(tmp_path / "both.png", panels, TABLE)
    alone, both = imread(tmp_path / "alone.png"), imread(tmp_path / "both.png")
    strip = slice(0, 300), slice(0, 900)
    np.testing.assert_array_equal(both[strip], alone[strip])


def test_failed_drawing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        write_overlay(tmp_path / "one.png", [SCAN], TABLE)
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_waits_and_pyplot_never_comes(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import numpy as np
from seg_prior.core.grid import Grid
from seg_prior.synthesis.phantom import phantom_label_table
from seg_prior.training.curves import write_loss_curve
from seg_prior.report.overlay import Panel, write_overlay
assert not any(name.split('.')[0] == 'matplotlib' for name in sys.modules)
panel = Panel('', Grid((4, 4, 4), np.eye(4)), label_map=np.ones((4, 4, 4), dtype=np.uint8))
write_overlay(Path({str(tmp_path)!r}) / 'a.png', [panel], phantom_label_table())
write_loss_curve(Path({str(tmp_path)!r}) / 'b.png', [{{'step': 1, 'loss': 2.0}}], {{}})
assert 'matplotlib.figure' in sys.modules
assert 'matplotlib.pyplot' not in sys.modules
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
