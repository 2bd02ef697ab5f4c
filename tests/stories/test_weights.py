"""The model in the box: what it is, what it was made of, and that it fits the limits."""

from seg_prior.checkpoints.file import load_model
from seg_prior.config.inference import BRAIN_MODEL
from seg_prior.core.freesurfer import MEAN17

MAX_BYTES = 25_000_000


def test_the_brain_model_is_small_complete_and_names_no_machine() -> None:
    assert BRAIN_MODEL.stat().st_size <= MAX_BYTES
    model = load_model(BRAIN_MODEL, kinds=("vae",))
    ids = set(model.header.label_table.ids.tolist())
    assert {id_ for ids_ in MEAN17.values() for id_ in ids_} <= ids
    assert len(model.header.provenance["subjects"]) == 20
    assert '"/' not in model.header.model_dump_json()  # no absolute path
