"""Is a generated tree a copy? Correlation with every training map over mirrorings, rotations and shifts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.data import warp

ANGLES = range(-30, 31, 5)  # degrees
SIDE = 128  # px at which maps are compared: a vessel's place counts, its edge does not


def _normalised(maps: Tensor) -> Tensor:
    """(N, 1, H, W) -> (N, SIDE, SIDE), mean 0 and norm 1."""
    small = F.interpolate(maps, size=(SIDE, SIDE), mode="area")[:, 0]
    centred = small - small.mean((1, 2), keepdim=True)
    return centred / centred.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]


def _poses(maps: Tensor) -> Tensor:
    """(N, 1, H, W) -> (N * poses, 1, H, W): each map mirrored left-right, top-bottom, both or not, and turned by each of ANGLES."""
    poses = []
    for angle in torch.tensor(list(ANGLES)) * torch.pi / 180:
        turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]])
        grid = F.affine_grid(turn[None].expand(len(maps), -1, -1), list(maps.shape), align_corners=False)
        turned = warp(maps, grid)
        poses += [turned, turned.flip(-1), turned.flip(-2), turned.flip((-1, -2))]
    return torch.stack(poses, 1).flatten(0, 1)


def nearest(maps: Tensor, training: Tensor, same: bool = False) -> tuple[Tensor, Tensor]:
    """The largest normalised correlation of each map (N, 1, H, W) with any training map (M, 1, H, W) in any pose and shift.

    -> (N,) in [-1, 1], and which training map it is, (N,). `same`: map i is training map i and is not compared with itself.
    """
    maps, training = (F.interpolate(x.float(), size=(SIDE, SIDE), mode="area") for x in (maps, training))
    count = len(ANGLES) * 4
    spectra = torch.fft.rfft2(_normalised(_poses(training)))
    best = []
    for i, spectrum in enumerate(torch.fft.rfft2(_normalised(maps))):
        peaks = torch.fft.irfft2(spectrum * spectra.conj(), s=(SIDE, SIDE)).flatten(1).amax(1).view(-1, count).amax(1)
        if same:
            peaks[i] = -1
        best.append(peaks.max(0))
    return torch.stack([b.values for b in best]), torch.stack([b.indices for b in best])


def pair_correlation(maps: Tensor) -> float:
    """Mean normalised correlation of all pairs among (N, 1, H, W), as they lie."""
    flat = _normalised(maps.float()).flatten(1)
    return float((flat @ flat.T)[~torch.eye(len(flat), dtype=torch.bool)].mean())
