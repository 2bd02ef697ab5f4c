"""`atlas`: what is exported is the location prior of the checkpoint."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from seg_prior.checkpoints.file import load_model
from seg_prior.commands import atlas
from seg_prior.io.label_tables import read_label_table
from seg_prior.io.read import read_label_map


def test_probabilities_labels_and_names_are_those_of_the_model(
    tiny_atlas: Path, tmp_path: Path
) -> None:
    written = atlas.run(atlas.Config(model=tiny_atlas, out=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in written)
    model = load_model(tiny_atlas)
    table, location = model.header.label_table.written, model.location
    image = nib.load(written.probabilities)
    np.testing.assert_allclose(image.affine, model.header.affine, atol=1e-5)
    prob = np.asanyarray(image.dataobj)
    assert prob.shape == (*model.header.shape, len(table) - 1)
    assert prob.min() >= 0
    assert prob.sum(-1).max() <= 1 + 1e-5
    inside = prob.reshape(-1, len(table) - 1)[location.voxels.numpy()]
    np.testing.assert_allclose(inside.T, location.prob_of_group[1:], atol=1e-6)
    about = json.loads(written.sidecar.read_text())
    assert about["LabelMap"] == table.names[1:]
    assert about["ids"] == table.ids[1:].tolist()

    labels = read_label_map(written.labels)
    whole = np.concatenate([1 - prob.sum(-1, keepdims=True), prob], axis=-1)
    assert np.array_equal(labels.data, table.ids[whole.argmax(-1)])
    assert set(np.unique(labels.data)) == set(table.ids.tolist())
    assert np.array_equal(read_label_table(written.label_table).ids, table.ids)
