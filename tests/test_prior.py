import math
from dataclasses import replace

import pytest
import torch

from retsynth.prior import FlowPrior, PriorConfig, coin, integrate, schedule
from tests.networks import dead_parameters, noise, seeded

TINY = PriorConfig(z_channels=2, width=8, wider=16, steps=3)


@pytest.fixture
def model():
    return seeded(FlowPrior(TINY))


def test_fields_that_a_method_of_second_order_solves_exactly():
    x = noise(2, 1, 4, 4)
    torch.testing.assert_close(integrate(lambda x, t: torch.full_like(x, 3.0), x, schedule(1)), x + 3)
    torch.testing.assert_close(integrate(lambda x, t: 1 + 4 * t * torch.ones_like(x), x, schedule(5)), x + 1 + 2)
    torch.testing.assert_close(integrate(lambda x, t: 1 + 4 * t * torch.ones_like(x), x, schedule(5, start=0.5)), x + 0.5 + 2 * (1 - 0.25))
    torch.testing.assert_close(integrate(lambda x, t: 1 + 4 * t * torch.ones_like(x), x, schedule(5, shift=4.0)), x + 1 + 2)


def test_steps_are_adams_and_bashforths_after_one_of_heuns():
    """dx/dt = x grows by 1 + h + h^2 / 2 in Heun's step, then by h (3 x_n - x_(n-1)) / 2."""
    grown = [1.0, 1 + 1 / 4 + 1 / 32]
    for _ in range(3):
        grown.append(grown[-1] + (3 * grown[-1] - grown[-2]) / 8)
    x, asked = noise(2, 1, 4, 4), []
    torch.testing.assert_close(integrate(lambda x, t: (asked.append(t), x)[1], x, schedule(4)), x * grown[-1])
    assert len(asked) == 5, "one velocity a step, and one more in the first"


def test_shifted_times_are_denser_at_the_noise():
    times = schedule(16, shift=4.0)
    assert times[0] == 0 and times[-1] == 1 and (times.diff() > 0).all()
    assert times.diff()[-1] / times.diff()[0] == pytest.approx(16, rel=0.5)  # the slope of t(u) goes from 1 / shift to shift
    torch.testing.assert_close(schedule(8), torch.linspace(0, 1, 9))
    late = schedule(16, shift=4.0, start=0.2)
    assert late[0].item() == pytest.approx(0.2) and late[-1] == 1 and len(late) == 9  # t = 0.2 is half way


def test_the_error_falls_with_the_square_of_the_step():
    x = torch.ones(1)
    errors = [abs(integrate(lambda x, t: x * math.pi * t, x, schedule(steps)).item() - math.exp(math.pi / 2)) for steps in (8, 16, 32)]
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert 3 < coarse / fine < 5


def test_the_flow_between_two_gaussians_carries_one_to_the_other():
    """Where data are N(m, s^2), E[x1 - x0 | x_t] is known in closed form, and the flow maps x0 to m + s x0."""
    m, s = 2.0, 0.3

    def velocity(x, t):
        return m + (t * s**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * s**2) * (x - t * m)

    x = noise(1, 1, 8, 8)
    torch.testing.assert_close(integrate(velocity, x, schedule(200)), m + s * x, atol=2e-3, rtol=0)


def test_gain_widens_the_law_and_keeps_its_mean():
    """Where data are N(m, s^2) and the velocity takes them for narrower, a gain gives back what is missing."""
    m, s = 2.0, 0.3

    def narrow(x, t):
        return m + (t * 0.9 * s**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * 0.9 * s**2) * (x - t * m)

    x = noise(1, 1, 8, 8)
    spreads = [((integrate(narrow, x, schedule(200), gain) - m) / x).mean().item() for gain in (1.0, 1.0005, 1.001)]
    assert spreads[0] == pytest.approx(0.9**0.5 * s, abs=2e-3)
    assert spreads[0] < spreads[1] < spreads[2]
    torch.testing.assert_close(integrate(narrow, torch.zeros(1, 1, 2, 2), schedule(200), 1.001), torch.full((1, 1, 2, 2), m))


def test_a_gain_strengthens_the_noise_that_is_left_in_the_middle_of_the_way():
    times, x = schedule(7), noise(1, 1, 4, 4)
    grown = math.prod(1 + (1 - t) * 0.5 for t in times[:-1].tolist() if 0.2 <= t <= 0.9)
    torch.testing.assert_close(integrate(lambda x, t: torch.zeros_like(x), x, times, gain=1.5), x * grown)


def test_before_training_a_sample_is_the_noise_unstandardised():
    model = FlowPrior(replace(TINY, gain=1.0))
    model.mean.copy_(torch.tensor([1.0, -2.0]).view(1, 2, 1, 1))
    model.std.copy_(torch.tensor([0.5, 3.0]).view(1, 2, 1, 1))
    x = noise(2, 2, 16, 16)
    z = model.sample(x)
    torch.testing.assert_close(z, x * model.std + model.mean)
    torch.testing.assert_close(model.standardise(z), x)


def test_a_sample_integrates_the_velocity(model):
    x, eye = noise(2, 2, 16, 16), torch.tensor([1, 2])
    z = integrate(lambda x, t: model(x, torch.full((2,), float(t)), eye), x, schedule(TINY.steps, TINY.shift), TINY.gain)
    torch.testing.assert_close(model.sample(x, eye), z * model.std + model.mean)


def test_time_and_eye_steer_the_velocity(model):
    x, t, eye = noise(1, 2, 16, 16), torch.tensor([0.5]), torch.tensor([1])
    v = model(x, t, eye)
    assert v.shape == x.shape
    assert (model(x, t + 0.3, eye) - v).abs().mean() > 1e-3
    assert (model(x, t, eye + 1) - v).abs().mean() > 1e-3


def test_each_noise_takes_its_own_side(model):
    x = noise(2000, 2, 4, 4)
    sides = coin(x)
    assert 900 < sides.sum() < 1100  # within 4.5 standard deviations of a fair coin
    assert torch.equal(coin(0.5 * x), sides)  # the temperature changes none
    x = noise(6, 2, 16, 16)
    assert 0 < coin(x).sum() < 6
    torch.testing.assert_close(model.sample(x), model.sample(x, coin(x) + 1))
    neither = torch.zeros(6, dtype=torch.long)
    torch.testing.assert_close(model.sample(x, start=0.5), model.sample(x, neither, start=0.5))


def test_a_sample_does_not_depend_on_its_batch(model):
    x, eye = noise(3, 2, 16, 16), torch.tensor([0, 1, 2])
    together = model.sample(x, eye)
    for i in range(3):
        torch.testing.assert_close(model.sample(x[i : i + 1], eye[i : i + 1]), together[i : i + 1], atol=1e-4, rtol=0)


def test_every_parameter_receives_a_gradient():
    model = FlowPrior(TINY)
    x, t, eye = noise(3, 2, 16, 16), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 1, 2])
    assert dead_parameters(model, lambda: (model(x, t, eye) - x.flip(0)).square().sum()) == []


def test_pinned_output(model):
    velocity = model(noise(1, 2, 16, 16), torch.tensor([0.3]), torch.tensor([1]))
    pinned = [-0.1660, -0.0954, -0.0704, -0.1598, -0.0480, -0.0749, -0.0862, -0.0800]
    torch.testing.assert_close(velocity.flatten()[::64], torch.tensor(pinned), atol=1e-3, rtol=0)
