"""The novelty measure finds a copy in any pose, and does not take another tree for one."""

import pytest
import torch
import torchvision.transforms.functional as TF

from train.novelty import nearest, pair_correlation


@pytest.fixture(scope="module")
def trees(vessel_tree):
    return torch.stack([torch.from_numpy(vessel_tree(seed))[None].float() for seed in range(4)])


@pytest.mark.parametrize("axes", [(), (-1,), (-2,), (-2, -1)])
@pytest.mark.parametrize("angle", [15, -25])
def test_a_mirrored_turned_and_moved_copy_is_found(trees, axes, angle):
    copy = TF.affine(trees[2:3].flip(axes), angle=angle, translate=[12, -8], scale=1, shear=[0])
    correlation, which = nearest(copy, trees)
    assert which.item() == 2
    assert correlation.item() > 0.8


def test_another_tree_is_no_copy(trees):
    correlation, _ = nearest(trees, trees, same=True)
    assert correlation.max() < 0.6
    assert torch.allclose(nearest(trees, trees)[0], torch.ones(4), atol=1e-4)


def test_pair_correlation_is_that_of_numpy(trees):
    small = torch.nn.functional.avg_pool2d(trees, 4).flatten(1)
    expected = torch.corrcoef(small)[~torch.eye(4, dtype=torch.bool)].mean()
    assert pair_correlation(trees) == pytest.approx(expected.item(), abs=1e-5)
