import pytest
import torch

from retsynth.denoiser import Denoiser, DenoiserConfig
from tests.networks import dead_parameters, seeded, uniform

TINY = DenoiserConfig(width=4)


def test_it_is_the_identity_before_training():
    soft = uniform(2, 1, 32, 48)
    torch.testing.assert_close(Denoiser(TINY).denoise(soft), soft.clamp(1e-3, 1 - 1e-3), atol=1e-5, rtol=0)


def test_shape_and_range():
    soft = uniform(2, 1, 32, 48).round()
    clean = seeded(Denoiser(TINY)).denoise(soft)
    assert clean.shape == soft.shape
    assert clean.min() >= 0 and clean.max() <= 1
    assert (clean - soft).abs().mean() > 1e-3


def test_a_map_does_not_depend_on_its_batch():
    model, soft = seeded(Denoiser(TINY)), uniform(3, 1, 32, 32)
    together = model(soft)
    for i in range(3):
        torch.testing.assert_close(model(soft[i : i + 1]), together[i : i + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [16, 32])
def test_away_from_the_edge_a_moved_map_gives_a_moved_result(shift):
    model, soft = seeded(Denoiser(TINY)), uniform(1, 1, 384, 384)
    moved = model(soft.roll(shift, -1))
    middle = slice(176, 208)
    torch.testing.assert_close(moved[..., middle, middle], model(soft).roll(shift, -1)[..., middle, middle], atol=1e-4, rtol=0)


def test_every_parameter_receives_a_gradient():
    model, soft, target = Denoiser(TINY), uniform(2, 1, 32, 32), uniform(2, 1, 32, 32, seed=1)
    assert dead_parameters(model, lambda: (model(soft) - target).square().sum()) == []


def test_pinned_output():
    logits = seeded(Denoiser(TINY))(uniform(1, 1, 32, 32)).flatten()[::128]
    pinned = [0.0555, -0.5433, -5.3893, 0.9358, -0.2419, -1.3066, -1.8507, -2.7282]
    torch.testing.assert_close(logits, torch.tensor(pinned), atol=1e-3, rtol=0)
