"""Sources: the ids of label maps, their labels, ties and other sides."""

import numpy as np

from seg_prior.core.labels import Label, LabelTable
from seg_prior.synthesis.sources import Sources
from tests.synthesis.toy_head import AIR, LESION, SKIN, WHITE, head_ids, head_sources


def two_sides() -> LabelTable:
    """Each ventricle has a plexus; the left one has a third id."""
    rows = ((0, (0,), 0), (4, (4, 31, 136), 43), (43, (43, 63), 4))
    labels = [
        Label(
            id=id_,
            name=f"label {id_}",
            source_ids=sources,
            intensity_class="fluid" if id_ else "background",
            partner_id=partner,
            is_structure=id_ > 0,
        )
        for id_, sources, partner in rows
    ]
    return LabelTable(labels=tuple(labels))


def test_ids_become_indices_and_know_their_labels() -> None:
    sources = head_sources()
    assert np.array_equal(sources.ids[sources.index(head_ids())], head_ids())
    of = {int(id_): n for n, id_ in enumerate(sources.ids)}
    assert sources.label[of[LESION]] == sources.label[of[WHITE]] == 1
    assert sources.is_outside[[of[AIR], of[SKIN]]].all()
    assert not sources.is_outside[of[WHITE]]
    assert sources.are([SKIN]).sum() == 1
    assert sources.num_labels == 6


def test_the_other_side_comes_along_and_keeps_the_order_of_ids() -> None:
    sources = Sources.of({31, 136}, two_sides(), np.zeros(3, dtype=np.float32))
    assert sources.ids.tolist() == [0, 4, 31, 43, 63, 136]
    across = dict(zip(sources.ids.tolist(), sources.ids[sources.partner].tolist(), strict=True))
    assert across[31] == 63
    assert across[136] == 43  # it has no third id
    assert across[0] == 0
