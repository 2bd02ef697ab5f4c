"""Labels that seldom touch move apart in draws, and nothing else moves."""

import math

import torch
from torch import Tensor

from seg_prior.models.location import LocationPrior
from seg_prior.models.neighbours import Neighbours, touching
from tests.models import toy


def sheet(location: LocationPrior, is_broken: bool) -> Tensor:
    """(D, H, W): core and shell, kept apart by a plane of left, one voxel thick, with a hole."""
    labels = torch.zeros(location.shape, dtype=torch.long)
    labels[:, :, :11], labels[:, :, 11], labels[:, :, 12:] = toy.CORE, toy.LEFT, toy.SHELL
    if is_broken:
        labels[8, 7, 11] = toy.CORE
    return labels


def log_of(labels: Tensor, location: LocationPrior, sureness: float) -> Tensor:
    """(1, G, V): `sureness` nats for each voxel's label, of the others 0."""
    inside = location.gather(labels[None, None])[0, 0]
    return sureness * torch.nn.functional.one_hot(inside, toy.NUM_LABELS).T[None].float()


def repulsion(nats: float) -> Neighbours:
    found = torch.zeros(toy.NUM_LABELS, toy.NUM_LABELS)
    found[toy.CORE, toy.SHELL] = found[toy.SHELL, toy.CORE] = -nats
    return Neighbours(found)


def is_inside(location: LocationPrior) -> Tensor:
    return location.scatter(torch.ones(1, 1, location.voxels.numel()), 0)[0, 0] > 0


def test_a_hole_in_a_sheet_closes_if_neighbours_are_surer_than_the_voxel(
    location: LocationPrior,
) -> None:
    whole, broken = (sheet(location, is_broken) for is_broken in (False, True))
    inside = is_inside(location)
    assert inside[7:10, 6:9, 10:13].all()
    log_prior = log_of(broken, location, 2.0)
    log_prior[0, toy.LEFT] += 0.5
    # One voxel of shell touches the hole, which moves for 1.5 nats and gains those of one face.
    settled = repulsion(2.0).settle(log_prior, location)
    assert torch.equal(settled[inside].long(), whole[inside])
    assert not settled[~inside].any()
    kept = repulsion(1.0).settle(log_prior, location)
    assert torch.equal(kept, location.map_of(log_prior))


def test_without_repulsion_labels_are_the_likeliest(
    location: LocationPrior, rng: torch.Generator
) -> None:
    log_prior = torch.randn(1, toy.NUM_LABELS, location.voxels.numel(), generator=rng)
    settled = repulsion(0.0).settle(log_prior, location)
    assert settled.dtype == torch.uint8
    assert torch.equal(settled, location.map_of(log_prior))


def test_what_settles_is_likelier_together(location: LocationPrior, rng: torch.Generator) -> None:
    """Voxel by voxel no label alone is better by much: a pass changes the sum by less each time."""
    log_prior = torch.randn(1, toy.NUM_LABELS, location.voxels.numel(), generator=rng)
    field = repulsion(1.0)

    def log_joint(labels: Tensor) -> float:
        own = location.gather(labels[None, None].long())
        faces = touching(labels, toy.NUM_LABELS)
        return float(log_prior.gather(1, own).sum() + (field.repulsion * faces).sum() / 2)

    before, after = location.map_of(log_prior), field.settle(log_prior, location)
    assert log_joint(after) > log_joint(before) + 100
    faces = [touching(labels, toy.NUM_LABELS)[toy.CORE, toy.SHELL] for labels in (before, after)]
    assert faces[1] < 0.6 * faces[0]


def test_other_labels_stay_where_they_are(location: LocationPrior) -> None:
    """A voxel whose neighbours do not push it has what f says, whatever others do."""
    broken = sheet(location, True)
    broken[2, 3, 5] = toy.RIGHT
    log_prior = log_of(broken, location, 2.0)
    log_prior[0, toy.LEFT] += 0.5
    settled = repulsion(math.inf).settle(log_prior, location)
    inside = is_inside(location)
    assert inside[2, 3, 5] == (settled[2, 3, 5] == toy.RIGHT)
    changed = (settled.long() != broken) & inside
    assert changed.nonzero().tolist() == [[8, 7, 11]]


def test_faces_are_counted_from_both_sides() -> None:
    label_map = torch.tensor([[[0, 1, 1], [2, 2, 1]]], dtype=torch.uint8)
    wanted = [[0.0, 1, 1], [1, 0, 2], [1, 2, 0]]
    assert touching(label_map, 3).tolist() == wanted
