"""Pieces near the tree are joined, noise goes, and what hangs together already stays as it is."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.graph import MCP_Geometric

from retsynth.connect import AFLOAT, GAP, RESISTANCE, VESSEL, connect

EIGHT = np.ones((3, 3))


def pieces(annotation: torch.Tensor) -> int:
    return ndimage.label(annotation[0].numpy() > 0, EIGHT)[1]


@pytest.fixture
def soft():
    """A tree of one thick vessel, columns 30 to 35, and a thin branch that starts `gap` px to the right of it."""

    def draw(gap: int) -> torch.Tensor:
        image = torch.zeros(1, 128, 128)
        image[:, 5:123, 30:36] = 1
        image[:, 60:62, 36 + gap : 80 + gap] = 1
        return image

    return draw


def test_a_gap_is_bridged_straight_and_thin(soft):
    joined = connect(soft(2))
    assert pieces(joined) == 1
    assert (joined >= soft(2)).all()
    added = (joined - soft(2))[0].nonzero()
    assert len(added) <= 3 * 2 and (added[:, 0] - 61).abs().max() <= 2


def test_a_far_short_piece_is_dropped_and_a_long_one_kept(soft):
    far = soft(30)
    assert torch.equal(connect(far), far)  # 88 px of area
    far[:, :, 80:] = 0
    assert torch.equal(connect(far)[0, :, 40:].sum(), torch.tensor(0.0))  # 28 px


def test_a_ridge_of_the_soft_map_carries_a_join_farther(soft):
    faint = soft(5)
    assert pieces(connect(faint)) == 2
    faint[:, 60:62, 36:41] = 0.45
    assert pieces(connect(faint)) == 1


def test_a_join_along_a_ridge_may_be_nine_pixels_long(soft):
    faint = soft(9)
    faint[:, 60:62, 36:45] = 0.49
    assert pieces(connect(faint)) == 1


def test_a_faint_vessel_is_thin(soft):
    faint = soft(0)
    faint[:, 20:23, 36:80] = 0.55
    drawn = connect(faint)[0, 18:25, 40:76]
    assert torch.equal(drawn.sum(0), torch.ones(36)) and drawn[3].all()  # of three rows the middle one


def test_specks_and_pinholes_go(soft):
    noisy = soft(0)
    noisy[:, 100:103, 100:103] = 1
    noisy[:, 20:22, 32:34] = 0
    assert torch.equal(connect(noisy), soft(0))


def test_a_grown_tree_and_a_blank_map_stay(vessel_tree):
    tree = torch.from_numpy(vessel_tree(1)).float()[None]
    labels, count = ndimage.label(tree[0].numpy(), EIGHT)
    largest = torch.from_numpy(labels == 1 + np.bincount(labels.ravel())[1:].argmax()).float()[None]
    assert (connect(largest) - largest).abs().sum() < 0.02 * largest.sum()  # pinholes
    assert connect(torch.zeros(1, 64, 64)).sum() == 0


def test_joins_are_those_of_a_search_of_the_whole_map(vessel_tree):
    tree = vessel_tree(3).astype(float)
    rng = np.random.default_rng(0)
    for y, x in rng.integers(0, 500, (400, 2)):  # holes of a few pixels, some of them only half gone
        tree[y : y + rng.integers(3, 9), x : x + rng.integers(3, 9)] *= rng.choice([0, 0.4])
    labels, count = ndimage.label(tree > VESSEL, EIGHT)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    resistance = np.where(labels > 0, RESISTANCE[0], np.clip(1 - tree / VESSEL, RESISTANCE[1], 1))
    largest = labels == areas.argmax()
    resistance[largest] = 0
    costs, _ = MCP_Geometric(resistance).find_costs([np.unravel_index(largest.argmax(), labels.shape)])
    near = ndimage.minimum(costs, labels, range(count + 1)) <= GAP
    joined = ndimage.label(connect(torch.from_numpy(tree).float()[None])[0].numpy(), EIGHT)[0]
    trunk = np.bincount(joined[largest]).argmax()
    large = [label for label in range(1, count + 1) if areas[label] >= AFLOAT]
    assert 0 < sum(near[label] for label in large) < len(large)
    assert [bool((joined[labels == label] == trunk).all()) for label in large] == [bool(near[label]) for label in large]
