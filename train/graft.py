"""New vessel trees from two real ones: the upper arcade of one, the lower of another."""

import numpy as np
import torch
import torch.nn.functional as F
from skimage.graph import MCP
from torch import Tensor

from train.data import Drive, disc_centres, disc_side, moved

NEAR = 0.12  # half-widths of the image: discs farther apart are not brought together, since moving a map leaves a blank rim


class Grafts:
    """Draws trees whose halves are two training maps', turned to one side, their discs brought together. The disc is on the right.

    `drive` gives the maps at any size, `plain` the photographs, from which the discs' places are read.
    """

    def __init__(self, drive: Drive, plain: Drive) -> None:
        centres, sides = disc_centres(plain), disc_side(plain)
        left = torch.tensor([side == 1 for side in sides])
        self.maps = torch.where(left[:, None, None, None], drive.vessels.flip(-1), drive.vessels)
        self.discs = torch.where(left[:, None], centres * torch.tensor([-1.0, 1.0]), centres)
        far = torch.cdist(self.discs, self.discs).fill_diagonal_(2 * NEAR)
        self.pairs = (far < NEAR).nonzero()
        if not len(self.pairs):
            raise ValueError(f"no two of the {len(self.maps)} training maps have discs within {NEAR} half-widths: graft none")

    def draw(self, generator: torch.Generator) -> Tensor:
        """One soft map (1, H, W)."""
        above, below = self.pairs[int(torch.randint(0, len(self.pairs), (1,), generator=generator))].tolist()
        disc = (self.discs[above] + self.discs[below]) / 2
        return graft(*(moved(self.maps[i], disc - self.discs[i]) for i in (above, below)), disc)


def graft(upper: Tensor, lower: Tensor, disc: Tensor) -> Tensor:
    """What lies above a seam of `upper` (1, H, W), below it of `lower`. Both have their disc (2,), x and y from -1 to 1, at one place.

    The seam runs from side to side through the disc, where both maps have the fewest vessels to cut.
    """
    step = max(1, upper.shape[-1] // 256)
    taken = F.max_pool2d(torch.maximum(upper, lower)[None], step)[0, 0].numpy() > 0.4
    height, width = taken.shape
    start = [min(max(int((float(at) + 1) * size / 2), 0), size - 1) for at, size in ((disc[1], height), (disc[0], width))]
    away = (np.arange(height)[:, None] - start[0]) / height  # the horizontal through the disc parts the arcades
    seams = MCP(0.02 + 8 * away**2 + 2.0 * taken)
    costs, _ = seams.find_costs([start])
    under = np.zeros_like(taken)
    for side in (0, width - 1):
        for row, column in seams.traceback((int(costs[:, side].argmin()), side)):
            under[row:, column] = True
    below = F.interpolate(torch.from_numpy(under)[None, None].float(), size=upper.shape[1:], mode="nearest")[0]
    return torch.where(below > 0, lower, upper)
