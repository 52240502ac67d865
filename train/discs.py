"""The optic discs of DRIVE's training photographs, as ellipses drawn by eye: what counts as brightest lies aside of a disc's middle."""

import torch
from torch import Tensor

# by image: the middle to the right of and below `train.data.disc_centres`, and the half-axes across and down, in px of 512. Around three
# more (26, 31, 34) the ground is as pale as the disc.
ELLIPSES = {
    21: (-11, 0, 33, 38),
    22: (15, 1, 31, 34),
    23: (-15, 0, 35, 37),
    24: (13, 0, 33, 36),
    25: (17, 0, 41, 50),
    27: (12, 2, 42, 46),
    28: (12, 0, 36, 38),
    29: (15, 3, 35, 40),
    30: (18, -2, 38, 38),
    32: (15, 0, 39, 38),
    33: (7, 1, 39, 39),
    35: (-13, 2, 33, 35),
    36: (10, 1, 36, 40),
    37: (11, -3, 37, 39),
    38: (8, 1, 34, 39),
    39: (-17, -2, 37, 37),
    40: (14, -2, 34, 34),
}
NASAL = 11 / 256  # how far the middle lies from the brightest part, away from the macula, in half-widths


def rims(names: list[str], centres: Tensor) -> Tensor:
    """The ellipses of photographs by their names, `centres` (N, 2) those of `disc_centres`: x, y and half-axes (N, 4) in half-widths; no
    half-axes where no ellipse is known."""
    known = torch.tensor([ELLIPSES.get(int(name), (0, 0, 0, 0)) for name in names]) / 256
    return torch.cat((torch.where(known[:, 2:] > 0, centres + known[:, :2], nasal(centres)), known[:, 2:]), 1)


def nasal(places: Tensor) -> Tensor:
    """The likely middles (N, 2) of discs whose brightest parts lie at `places` (N, 2)."""
    return torch.stack((places[:, 0] + NASAL * places[:, 0].sign(), places[:, 1]), 1)
