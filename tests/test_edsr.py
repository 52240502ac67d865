import pytest
import torch

from retsynth.edsr import EDSR, EDSRConfig
from tests.networks import dead_parameters, seeded, uniform

TINY = EDSRConfig(width=8, blocks=2)


def keys_kernel(x: torch.Tensor, a: float = -0.75) -> torch.Tensor:
    """Cubic convolution. Keys 1981, eq. 4."""
    x = x.abs()
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def bicubic_matrix(n: int) -> torch.Tensor:
    """(2n, n): row i holds the weights of the n pixels in the i-th pixel of twice as many; edge pixels are repeated outside."""
    matrix = torch.zeros(2 * n, n)
    for i in range(2 * n):
        place = (i + 0.5) / 2 - 0.5
        for j in range(int(place // 1) - 1, int(place // 1) + 3):
            matrix[i, min(max(j, 0), n - 1)] += keys_kernel(torch.tensor(place - j))
    return matrix


def test_it_is_bicubic_interpolation_before_training():
    x = uniform(2, 3, 9, 14)
    expected = bicubic_matrix(9) @ x @ bicubic_matrix(14).T
    torch.testing.assert_close(EDSR(TINY)(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("height, width", [(1, 1), (7, 12), (33, 16)])
def test_any_size_doubles_and_stays_in_range(height, width):
    model = seeded(EDSR(EDSRConfig(width=8, blocks=2)))
    model.tail[0].weight.data *= 100
    large = model.upscale(uniform(2, 3, height, width))
    assert large.shape == (2, 3, 2 * height, 2 * width)
    assert large.min() >= 0 and large.max() <= 1
    assert large.std() > 0


@pytest.mark.parametrize("blocks", [1, 4])
def test_reach_is_how_far_an_output_pixel_sees(blocks):
    model = seeded(EDSR(EDSRConfig(width=8, blocks=blocks)))
    x = uniform(1, 3, 64, 64).requires_grad_()
    model(x)[0, 0, 64, 64].backward()  # the upper left of the four that pixel (32, 32) becomes
    seen = x.grad.abs().sum((0, 1))
    for line in (seen.sum(0), seen.sum(1)):
        assert line.nonzero().flatten()[[0, -1]].tolist() == [32 - model.reach, 32 + model.reach]


def test_residual_scale_reaches_the_blocks():
    a, b = (seeded(EDSR(EDSRConfig(width=8, blocks=2, residual_scale=scale))) for scale in (1.0, 0.0))
    x = uniform(1, 3, 8, 8)
    assert not torch.allclose(a(x), b(x))


def test_every_parameter_receives_a_gradient():
    model = EDSR(TINY)
    assert dead_parameters(model, lambda: (model(uniform(2, 3, 12, 12)) - uniform(2, 3, 24, 24, seed=1)).square().mean()) == []


def test_pinned_output():
    model = seeded(EDSR(TINY))
    pinned = [0.3189, -0.3507, 0.5919, 0.6178, -0.0838, 0.4027, 0.5678, -1.5112, -1.3401]
    torch.testing.assert_close(model(uniform(1, 3, 6, 6)).flatten()[::50], torch.tensor(pinned), atol=1e-3, rtol=0)
