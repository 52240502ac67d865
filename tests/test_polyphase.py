"""Against the plain convolutions that they stand for."""

import pytest
import torch
import torch.nn.functional as F

from retsynth.polyphase import beside, doubled, of_doubled, of_phases, shuffled, unshuffled
from tests.networks import noise


def test_phases() -> None:
    x, weight = noise(2, 3, 16, 12), noise(5, 3, 3, 3, seed=1)
    ours = F.pixel_shuffle(F.conv2d(F.pixel_unshuffle(x, 2), of_phases(weight), padding=1), 2)
    torch.testing.assert_close(ours, F.conv2d(x, weight, padding=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 6), (256, 128)], ids=["small", "large"])
def test_doubling_is_bilinear(size) -> None:
    x = noise(2, 4, *size)
    plain = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    for ours in (doubled(x), doubled(x.contiguous(memory_format=torch.channels_last))):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)
    gradient = torch.autograd.grad(doubled(x.requires_grad_()).square().sum(), x)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(F.interpolate(x, scale_factor=2, mode="bilinear").square().sum(), x)[0])


def test_doubled() -> None:
    x, weight = noise(2, 3, 8, 6), noise(5, 3, 3, 3, seed=1)
    ours = F.pixel_shuffle(F.conv2d(x, of_doubled(weight), padding=1), 2)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), weight, padding=1)
    inner = (..., slice(2, -2), slice(2, -2))  # at the border one repeats the last pixel, the other meets zeros
    torch.testing.assert_close(ours[inner], plain[inner], atol=1e-5, rtol=1e-5)
    assert ours.shape == plain.shape


def test_maps_are_shuffled_back_and_laid_side_by_side():
    x = noise(2, 12, 8, 6)
    assert torch.equal(shuffled(x), F.pixel_shuffle(x, 2))
    assert torch.equal(unshuffled(x), F.pixel_unshuffle(x, 2))
    both = beside(x, x[:, :1].contiguous(memory_format=torch.channels_last))
    assert torch.equal(both, torch.cat((x, x[:, :1]), 1))
    assert both.is_contiguous(memory_format=torch.channels_last)
