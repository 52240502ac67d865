"""Annotations as loose as a person's: moved by as much as asked for, smoothly, and otherwise the same."""

import numpy as np
import pytest
import torch

from retsynth.loosen import STRETCH, loosen
from retsynth.metrics import morphometry


def noise(seed: int, size: int = 512) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((2, size, size), dtype=np.float32))


@pytest.fixture
def tree(vessel_tree) -> torch.Tensor:
    return torch.from_numpy(vessel_tree(5)).float()[None]


@pytest.mark.parametrize("amount", [0.6, 2.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_vessel_moves_by_as_much_as_asked_for_and_smoothly(amount, axis):
    vessel = torch.zeros(1, 512, 512)
    vessel[0, 254:257] = 1
    vessel = vessel if axis == 0 else vessel.transpose(1, 2).contiguous()
    moved = [loosen(vessel, amount, noise(seed))[0].numpy() for seed in range(12)]
    middles = np.array([(one * np.indices(one.shape)[axis]).sum(axis)[32:-32] / one.sum(axis)[32:-32] for one in moved]) - 255
    assert middles.std() == pytest.approx(amount, rel=0.12) and abs(middles.mean()) < amount / 4
    apart = [np.corrcoef(middles[:, :-k].ravel(), middles[:, k:].ravel())[0, 1] for k in (1, round(6 * STRETCH))]
    assert apart[0] > 0.8 and abs(apart[1]) < 0.25, "neighbours move together, what is far apart does not"


def test_a_tree_stays_the_tree_it_was(tree):
    before, after = (morphometry(one[0].numpy() > 0.5) for one in (tree, loosen(tree, 0.6, noise(1))))
    assert before.components == after.components
    for measure in ("density", "length", "calibre"):
        assert getattr(after, measure) == pytest.approx(getattr(before, measure), rel=0.03), measure


def test_by_nothing_it_is_the_annotation_itself(tree):
    assert torch.equal(loosen(tree, 0, noise(1)), tree)


def test_the_seed_decides(tiny_pipeline, tree):
    one, again, other = (tiny_pipeline.loosen(tree[None], 0.6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other) and not torch.equal(one, tree[None])
    assert set(one.unique().tolist()) == {0, 1} and not (one * (1 - tiny_pipeline.fov)).any()


@pytest.mark.parametrize("amount", [-0.1, 3.1, float("nan")])
def test_other_amounts_are_refused(tiny_pipeline, tree, amount):
    with pytest.raises(ValueError, match="0 to 3 px, got"):
        tiny_pipeline.loosen(tree[None], amount)
