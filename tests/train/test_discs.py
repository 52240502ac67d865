import numpy as np
import pytest
import torch

from train.discs import NASAL, nasal, outline, rims, roughness


def test_an_ellipse_is_known_by_its_image_and_place():
    centres = torch.tensor([[0.6, -0.1], [-0.7, -0.15], [0.6, 0.1], [0.4, -0.2], [0.5, 0.3]])
    found = rims(["25", "21", "21", "34", "im0001"], centres)
    torch.testing.assert_close(found[0], torch.tensor([429 / 256 - 1, 230 / 256 - 1, 41 / 256, 50 / 256]))
    torch.testing.assert_close(found[1], torch.tensor([70 / 256 - 1, 218 / 256 - 1, 33 / 256, 38 / 256]))
    for one, centre in zip(found[2:], centres[2:], strict=True):  # another data set's image 21; none; none
        torch.testing.assert_close(one, torch.tensor([centre[0] + NASAL, centre[1], 0.0, 0.0]))


def test_a_discs_middle_lies_away_from_the_macula_in_either_eye():
    places = torch.tensor([[0.5, 0.1], [-0.5, 0.1]])
    assert torch.equal(nasal(places), places + torch.tensor([[NASAL, 0.0], [-NASAL, 0.0]]))


MIDDLE = torch.tensor([0.5, -0.1])


def photograph(bright: np.ndarray) -> torch.Tensor:
    """Dark ground, and light where `bright` (512, 512) is true."""
    light = np.where(bright, 0.8, 0.4) + 0.02 * np.random.default_rng(0).standard_normal(bright.shape)
    return torch.from_numpy(light).float().expand(3, -1, -1)


def from_middle() -> tuple[np.ndarray, np.ndarray]:
    """Pixels' distances from MIDDLE across and down, in px."""
    down, across = np.mgrid[:512, :512] + 0.5 - 256 * (1 + MIDDLE.numpy()[::-1, None, None])
    return across, down


@pytest.mark.parametrize("half_axes", [(36, 36), (33, 41)])
def test_the_outline_of_an_ellipse_is_even_though_vessels_cross_it(half_axes):
    across, down = from_middle()
    vessels = torch.zeros(1, 512, 512)
    vessels[..., 386:392] = 1
    ends = outline(photograph(np.hypot(across / half_axes[0], down / half_axes[1]) < 1) * (1 - 0.6 * vessels), vessels, MIDDLE)
    assert np.isnan(ends).any(), "what lies under a vessel is not known"
    assert ends[0] == pytest.approx(half_axes[0], abs=3)
    assert roughness(ends) < 0.04


def test_the_outline_of_a_disc_cut_in_two_is_rough():
    across, down = from_middle()
    halves = (np.hypot(across + 16, down) < 22) | (np.hypot(across - 24, down) < 16)
    assert roughness(outline(photograph(halves), torch.zeros(1, 512, 512), MIDDLE)) > 0.08


def test_where_most_of_an_outline_is_hidden_nothing_is_said():
    assert np.isnan(roughness(outline(photograph(np.zeros((512, 512), bool)), torch.ones(1, 512, 512), MIDDLE)))
