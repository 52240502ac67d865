import torch

from train.discs import NASAL, nasal, rims


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
