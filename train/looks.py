"""How a photograph looks whatever its vessels: what a style is to carry from one map to another."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import convolve, distance_transform_edt, label, median
from skimage.morphology import skeletonize
from torch import Tensor, nn

from retsynth.position import position
from train.data import within
from train.losses import local_mean

THICK = 5.0  # px; thinner vessels are compared apart
SHORTEST = 16  # px; shorter pieces are too few pixels to have a contrast
REACH = 8  # px from a piece's centre line, at most; the widest vessel's half
ENOUGH = 40  # px of a piece that are seen; a mean of fewer is noise


def pieces(vessels: Tensor) -> Tensor:
    """Maps (N, 1, H, W) of 0 and 1, cut where vessels branch or cross, as two more (N, 2, H, W): the number of each pixel's piece, 0 where
    there is none, and that piece's calibre in px, the median along its centre line. Pieces too short to have a contrast are left out."""
    out = torch.zeros(len(vessels), 2, *vessels.shape[2:])
    for (number, calibre), binary in zip(out, vessels[:, 0].cpu().numpy() > 0.5, strict=True):
        lines = skeletonize(binary)
        neighbours = convolve(lines.astype(int), np.ones((3, 3), int), mode="constant") - 1
        numbers, count = label(lines & (neighbours <= 2), np.ones((3, 3)))
        long = np.flatnonzero(np.bincount(numbers.ravel())[1:] >= SHORTEST) + 1
        calibres = np.zeros(count + 1, np.float32)
        calibres[long] = median(2 * distance_transform_edt(binary), numbers, long)
        away, nearest = distance_transform_edt(calibres[numbers] == 0, return_indices=True)
        numbers = numbers[tuple(nearest)] * (binary & (away < REACH) & (calibres > 0).any())
        number.copy_(torch.from_numpy(numbers))
        calibre.copy_(torch.from_numpy(calibres[numbers]))
    return out.to(vessels.device)


def shares(values: Tensor, weights: Tensor, count: int) -> Tensor:
    """Means of `count` equal shares of a weighted sample, from the smallest: values (C, K) and weights (K,), K > 0 -> (C, count).

    Between two samples their mean absolute difference is, but for what differs inside a share, the Wasserstein distance.
    """
    ordered, order = values.sort(1)
    ends = weights[order].cumsum(1)[:, None] / weights.sum()
    edges = torch.linspace(0, 1, count + 1, device=values.device)[:, None]
    below = torch.minimum(ends, edges[1:]), torch.minimum(F.pad(ends, (1, -1)), edges[1:])
    mine = (torch.maximum(below[0], edges[:-1]) - torch.maximum(below[1], edges[:-1])).clamp(min=0)
    return count * (mine * ordered[:, None]).sum(-1)


class Looks(nn.Module):
    """What of a photograph its style is to carry to any other map: how its colours are spread, how strong the structure of its ground is at
    each size from 2 to 64 px and how far its colours share it, its vessels' contrast and how that varies from vessel to vessel, and how its
    optic disc looks from the middle outward in each direction; nowhere else is a place asked for. Histograms and bands tell textures
    (Heeger & Bergen 1995), with the bands' correlations between colours (Portilla & Simoncelli 2000). Differences are in standard
    deviations over the photographs `fundus` (M, 3, H, W) with `vessels` (M, 1, H, W) and discs' `rims` (M, 4), ellipses as in
    `train.discs`.
    """

    names = ("colours", "structure", "shared", "vessels", "variety", "disc_looks")
    reach, rings, sectors = 1.6, 8, 8  # of what is seen of a disc and what surrounds it: its rim is at 1

    def __init__(self, fundus: Tensor, vessels: Tensor, rims: Tensor, bins: int = 16) -> None:
        super().__init__()
        self.bins = bins
        each = zip(fundus, vessels, rims, strict=True)
        groups = zip(*(self.measure(f[None], v[None], pieces(v[None]), r[None]) for f, v, r in each), strict=True)
        for name, group in zip(self.names, groups, strict=True):
            measured, known = torch.cat(group), rims[:, 2] > 0
            spread = (measured[known] if name == "disc_looks" and known.sum() > 1 else measured).std(0)
            self.register_buffer(name, spread.clamp(min=0.3 * float(spread.mean())))

    def measure(self, fundus: Tensor, vessels: Tensor, cut: Tensor, rim: Tensor) -> tuple[Tensor, ...]:
        """Photographs (N, 3, H, W), their vessels (N, 1, H, W), these' `pieces`, discs' ellipses (N, 4): colours (N, 3, bins),
        structure (N, 3, 5), shared structure (N, 2, 5), contrast (N, 3), its variety (N, 3, 12), disc (N, 3, rings x sectors).

        What red and green, green and blue share is measured off the disc, whose edge would outweigh the rest; so are vessels' pieces.
        """
        inside = within(torch.ones_like(vessels))
        x, weights = F.avg_pool2d(fundus, 2), F.avg_pool2d(inside * (1 - F.max_pool2d(vessels, 9, 1, 4)), 2)
        away = ((position(vessels)[:, :2] - rim[:, :2, None, None]).norm(dim=1, keepdim=True) > 0.2).float()
        off = F.avg_pool2d(away, 2)
        place = F.avg_pool2d(inside[:1], 4)[0, 0] == 1
        ordered = F.avg_pool2d(x, 2)[:, :, place].sort(-1).values
        colours = torch.stack([part.mean(-1) for part in ordered.tensor_split(self.bins, -1)], -1)
        structure, shared = [], []
        for _ in range(5):
            half = F.avg_pool2d(x, 2)
            band = x - F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
            energy = (band.square() * weights).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1)
            structure.append(0.5 * (energy + 1e-7).log())
            far = weights * off
            products = torch.einsum("nchw,ndhw->ncd", band * far, band) / far.sum((2, 3)).clamp(min=1)[..., None]
            deviation = (products.diagonal(dim1=1, dim2=2) + 1e-7).sqrt()
            shared.append((0.99 * products[:, (0, 1), (1, 2)] / (deviation[:, :2] * deviation[:, 1:])).atanh())  # Fisher 1915
            x, weights, off = half, F.avg_pool2d(weights, 2), F.avg_pool2d(off, 2)
        seen = vessels * inside
        local = local_mean(fundus, 25) - fundus
        contrast = (local * seen).sum((2, 3)) / seen.sum((2, 3)).clamp(min=1)
        variety = torch.stack([self.measure_variety(*one) for one in zip(local, cut, seen * away, strict=True)])
        return colours, torch.stack(structure, -1), torch.stack(shared, -1), contrast, variety, self.measure_disc(fundus, vessels, rim)

    def measure_variety(self, local: Tensor, cut: Tensor, seen: Tensor) -> Tensor:
        """How the contrast `local` (3, H, W) of thin and of thick vessels varies from piece to piece, `cut` (2, H, W), where they are
        `seen` (1, H, W): means of six equal shares less the mean of all, (3, 12). Arteries are brighter than veins; along a vessel that
        hardly changes.
        """
        numbers = (cut[0] * (seen[0] > 0)).flatten().long()
        area = torch.bincount(numbers).float()
        calibres = torch.zeros_like(area).scatter_reduce(0, numbers, (cut[1] * (seen[0] > 0)).flatten().float(), "amax")
        means = local.new_zeros(3, len(area)).index_add(1, numbers, local.flatten(1)) / area.clamp(min=1)
        enough, thick, out = (area >= ENOUGH) & (calibres > 0), calibres >= THICK, []
        for chosen in (enough & ~thick, enough & thick):
            if not chosen.any():  # nothing differs
                out.append(local.new_zeros(3, 6))
                continue
            six = shares(means[:, chosen], area[chosen], 6)
            out.append(six - six.mean(1, keepdim=True))
        return torch.cat(out, 1)

    def measure_disc(self, fundus: Tensor, vessels: Tensor, rim: Tensor) -> Tensor:
        """Mean colours between the vessels in rings as wide as one another and in directions around a disc, an ellipse `rim` (N, 4):
        (N, 3, rings x sectors), from the middle outward, each ring from the nose's side on.

        The rim of a disc is redder than its cup, and on the nose's side hardly brighter than what surrounds it.
        """
        radii, angles = 4 * self.rings, 12 * self.sectors
        radius = (torch.arange(radii, device=rim.device) + 0.5) * self.reach / radii
        angle = (torch.arange(angles, device=rim.device) + 0.5) * 2 * torch.pi / angles - torch.pi / self.sectors
        around = torch.stack((angle.cos(), angle.sin()), -1) * radius[:, None, None]  # (radii, angles, 2)
        half_axes = rim[:, 2:] * torch.stack((rim[:, 0].sign(), torch.ones_like(rim[:, 0])), 1)
        ground = within(1 - F.max_pool2d(vessels, 3, 1, 1))
        grid = rim[:, None, None, :2] + around * half_axes[:, None, None]
        seen = F.grid_sample(torch.cat((fundus * ground, ground), 1), grid, align_corners=False)
        cells = seen.unflatten(3, (self.sectors, -1)).unflatten(2, (self.rings, -1)).sum((3, 5))
        cells = cells + 0.02 * cells.sum(3, keepdim=True)  # the ring's other directions stand in where vessels hide one
        return (cells[:, :3] / cells[:, 3:].clamp(min=1e-6)).flatten(2)

    def forward(
        self,
        fake: Tensor,
        shown: Tensor,
        place: Tensor,
        fundus: Tensor,
        vessels: Tensor,
        rim: Tensor,
        cuts: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """How paintings of the maps `shown`, discs with their middles at `place` (N, 2), differ from photographs with `vessels` and discs
        `rim` (N, 4): mean differences in the order of `names`, that of discs where a photograph's is known. `cuts`: the `pieces` of both
        maps, where they are known."""
        ours, theirs = cuts or (pieces(shown), pieces(vessels))
        painted = torch.cat((place, rim[:, 2:]), 1)  # as large as the photograph's
        each = zip(self.names, self.measure(fake, shown, ours, painted), self.measure(fundus, vessels, theirs, rim), strict=True)
        apart = {name: (ours - theirs).abs() / getattr(self, name) for name, ours, theirs in each}
        known = (rim[:, 2] > 0).float()
        apart["disc_looks"] = apart["disc_looks"].mean((1, 2)) * known * len(known) / known.sum().clamp(min=1)
        return tuple(apart[name].mean() for name in self.names)
