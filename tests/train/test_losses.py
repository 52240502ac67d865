import pytest
import torch
import torch.nn.functional as F
from skimage.morphology import skeletonize
from sklearn.metrics import f1_score

from tests.networks import noise, uniform
from train.denoiser import away
from train.losses import (
    PatchDiscriminator,
    centreline_dice_loss,
    dice_loss,
    hinge_discriminator,
    local_mean,
    soft_skeleton,
    thin_weight,
    vessel_loss,
)


def test_dice_is_the_f1_score_of_binary_maps():
    a, b = (uniform(1, 1, 64, 64, seed=seed) > 0.7 for seed in (0, 1))
    assert 1 - dice_loss(a.float(), b.float()).item() == pytest.approx(f1_score(b.flatten(), a.flatten()), abs=1e-3)
    assert dice_loss(a.float(), a.float()) == 0


def test_a_local_mean_is_that_of_the_whole_square_and_of_what_lies_within_the_image():
    images = uniform(2, 3, 20, 31)
    assert torch.allclose(local_mean(images, 7), F.avg_pool2d(images, 7, 1, 3, count_include_pad=False), atol=1e-6)
    assert torch.allclose(local_mean(torch.ones(1, 1, 9, 9), 25), torch.ones(1, 1, 9, 9), atol=1e-6)


def test_thin_vessels_weigh_more():
    vessels = torch.zeros(1, 1, 64, 64)
    vessels[..., 10, 4:60] = 1  # one pixel wide
    vessels[..., 30:39, 4:60] = 1  # nine
    weight = thin_weight(vessels, extra=2.0)
    assert weight.min() == 1 and weight.max() == 3
    assert (weight[..., 9:12, 10:50] == 3).all()  # the vessel and what lies right beside it
    assert (weight[..., 29:40, 10:50] == 1).all()


def test_vessel_loss_falls_as_the_map_gets_better():
    target = (uniform(2, 1, 32, 32) > 0.8).float()
    good, blank, wrong = (
        vessel_loss(logits, target) for logits in (8 * (2 * target - 1), torch.full_like(target, -2.0), 8 * (1 - 2 * target))
    )
    assert good < 0.01 < blank < wrong


def test_hinge():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert hinge_discriminator(real, fake).item() == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)


def test_patch_discriminator_sees_patches():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(2, width=8).eval()
    x = noise(1, 2, 128, 128).requires_grad_()
    logits, features = discriminator(x)
    assert logits.shape == (1, 1, 16, 16)
    assert [f.shape[1:] for f in features] == [(8, 64, 64), (16, 32, 32), (32, 16, 16)]
    logits[0, 0, 8, 8].backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows[-1] - rows[0] + 1 == 38


def test_the_slope_multiplies_the_logits():
    flat, steep = (PatchDiscriminator(1, width=8, slope=slope).eval() for slope in (1.0, 7.0))
    steep.load_state_dict(flat.state_dict())
    x = uniform(1, 1, 32, 32)
    torch.testing.assert_close(steep(x)[0], 7 * flat(x)[0])


def test_a_soft_skeleton_is_a_thin_line_along_the_middle():
    bars = torch.zeros(1, 1, 64, 64)
    bars[..., 20:27, 5:59] = 1
    bars[..., 5:59, 40:43] = 1
    skeleton = soft_skeleton(bars)[0, 0]
    thin = skeletonize(bars[0, 0].numpy() > 0)
    assert 0.8 * thin.sum() < skeleton.sum() < 1.5 * thin.sum()
    assert (skeleton[23, 10:36] == 1).all() and (skeleton[10:16, 41] == 1).all()
    assert skeleton[20].max() == 0  # nothing along the bar's edge


def test_a_gap_in_a_thin_vessel_costs_the_centreline_dice_more():
    tree = torch.zeros(1, 1, 128, 128)
    tree[..., 20:36, 4:124] = 1  # a thick vessel
    tree[..., 80, 4:124] = 1  # a thin one
    gap = tree.clone()
    gap[..., 80, 40:80] = 0
    assert centreline_dice_loss(tree, tree) < 1e-3
    assert centreline_dice_loss(gap, tree) > 5 * dice_loss(gap, tree)
    assert centreline_dice_loss(gap, tree).item() == pytest.approx(centreline_dice_loss(tree, gap).item(), abs=1e-6)


def test_a_map_is_held_within_four_pixels():
    soft = torch.zeros(1, 1, 64, 64)
    soft[..., 20, :] = 0.8
    assert away(soft, soft) == 0
    assert away(soft.roll(4, -2), soft) == 0
    thick = F.max_pool2d(soft, 3, 1, 1)
    assert away(soft, thick) == away(thick, soft) == 0  # thinner or fatter is the discriminator's business
    torch.testing.assert_close(away(soft.roll(5, -2), soft), torch.tensor(2 * 0.8 / 64))
    torch.testing.assert_close(away(torch.zeros_like(soft), soft), torch.tensor(0.8 / 64))
