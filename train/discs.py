"""The optic discs of DRIVE's training photographs, as ellipses drawn by eye: what counts as brightest lies aside of a disc's middle."""

import torch
from torch import Tensor

# by image: the middle, from the left and from the top, and the half-axes across and down, in px of 512. Around three more (26, 31, 34) the
# ground is as pale as the disc.
ELLIPSES = {
    "21": (70, 218, 33, 38),
    "22": (431, 234, 31, 34),
    "23": (398, 188, 35, 37),
    "24": (443, 247, 33, 36),
    "25": (429, 230, 41, 50),
    "27": (456, 243, 42, 46),
    "28": (443, 228, 36, 38),
    "29": (461, 231, 35, 40),
    "30": (455, 244, 38, 38),
    "32": (457, 246, 39, 38),
    "33": (431, 261, 39, 39),
    "35": (77, 235, 33, 35),
    "36": (437, 236, 36, 40),
    "37": (455, 247, 37, 39),
    "38": (452, 230, 34, 39),
    "39": (79, 217, 37, 37),
    "40": (451, 229, 34, 34),
}
NASAL = 11 / 256  # how far the middle lies from the brightest part, away from the macula, in half-widths


def rims(names: list[str], centres: Tensor) -> Tensor:
    """The ellipses of photographs by their names, `centres` (N, 2) those of `disc_centres`: x, y and half-axes (N, 4) in half-widths.

    Without half-axes where none is known: there is none of that name, or its disc lies elsewhere, as in data that are not DRIVE's.
    """
    x, y, across, down = (torch.tensor([ELLIPSES.get(name, (0, 0, 0, 0)) for name in names]) / 256).T
    ellipses = torch.stack((x - 1, y - 1, across, down), 1)
    near = (ellipses[:, :2] - centres).norm(dim=1) < across
    return torch.where(near[:, None], ellipses, torch.cat((nasal(centres), torch.zeros_like(centres)), 1))


def nasal(places: Tensor) -> Tensor:
    """The likely middles (N, 2) of discs whose brightest parts lie at `places` (N, 2)."""
    return torch.stack((places[:, 0] + NASAL * places[:, 0].sign(), places[:, 1]), 1)
