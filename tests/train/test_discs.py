import torch

from train.discs import ELLIPSES, NASAL, nasal, rims


def test_an_ellipse_lies_beside_the_brightest_part_and_an_unknown_one_has_no_size():
    centres = torch.tensor([[0.5, 0.1], [-0.6, 0.0], [0.4, -0.2]])
    found = rims(["25", "21", "34"], centres)
    torch.testing.assert_close(found[0], torch.tensor([0.5 + 17 / 256, 0.1, 41 / 256, 50 / 256]))
    torch.testing.assert_close(found[1], torch.tensor([-0.6 - 11 / 256, 0.0, 33 / 256, 38 / 256]))
    torch.testing.assert_close(found[2], torch.tensor([0.4 + NASAL, -0.2, 0.0, 0.0]))


def test_a_discs_middle_lies_away_from_the_macula_in_either_eye():
    places = torch.tensor([[0.5, 0.1], [-0.5, 0.1]])
    assert torch.equal(nasal(places), places + torch.tensor([[NASAL, 0.0], [-NASAL, 0.0]]))
    # as in the photographs whose discs were drawn, the median one within 2 px; an eye's side is that of its ellipse's shift
    aside = sorted(abs(ellipse[0]) / 256 for ellipse in ELLIPSES.values())
    assert abs(aside[len(aside) // 2] - NASAL) < 2.5 / 256
