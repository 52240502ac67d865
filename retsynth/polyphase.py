"""3x3 convolutions of full-size maps, computed at half the size: the same sums, where a core works four times as well.

A map of few channels is all memory traffic. Its four phases (`pixel_unshuffle` by 2) are a map of four times the channels at half the size,
and a convolution of the one is a convolution of the other, with these weights (polyphase decomposition, Vaidyanathan 1990). So is bilinear
doubling followed by a convolution, without the doubled map ever being made.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = torch.zeros(2, 3, 2, 3)  # [p, k, q, o]: pixel 2i + p, seen through tap k, lies in phase q of pixel i + o - 1
DOUBLED = torch.zeros(2, 3, 3)  # [p, k, o]: and is so much of pixel i + o - 1 of a map that was doubled
for p in range(2):
    for k in range(3):
        o, q = divmod(p + k - 1, 2)
        TAPS[p, k, q, o + 1] = 1
        DOUBLED[p, k, o + 1] += 0.75
        DOUBLED[p, k, o + 2 * q] += 0.25
# of both axes: from the 9 taps of a kernel to those between each two phases, or from a small map to each phase
PHASES = torch.einsum("piqx,rjsy->ijprqsxy", TAPS, TAPS).flatten(2).flatten(0, 1)  # (9, 144)
ENLARGED = torch.einsum("pix,rjy->ijprxy", DOUBLED, DOUBLED).flatten(2).flatten(0, 1)  # (9, 36)


def unshuffled(x: Tensor) -> Tensor:
    """`pixel_unshuffle` by 2, several times as fast and channels_last: (N, C, 2H, 2W) -> (N, 4C, H, W). A convolution that picks pixels."""
    picks = torch.eye(4 * x.shape[1], dtype=x.dtype, device=x.device).view(-1, x.shape[1], 2, 2)
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), picks, stride=2)


def shuffled(x: Tensor) -> Tensor:
    """`pixel_shuffle` by 2, twice as fast from channels_last: (N, 4C, H, W) -> (N, C, 2H, 2W)."""
    n, channels, height, width = x.shape
    return x.unflatten(1, (channels // 4, 2, 2)).permute(0, 1, 4, 2, 5, 3).reshape(n, channels // 4, 2 * height, 2 * width)


def beside(*maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) of any layout as the channels of one, channels_last."""
    return torch.cat([x.permute(0, 2, 3, 1) for x in maps], 3).permute(0, 3, 1, 2)


def doubled(x: Tensor) -> Tensor:
    """Bilinear interpolation to twice the size, (N, C, H, W) -> (N, C, 2H, 2W); of large maps, channels_last, on a CPU in half the time."""
    if x.requires_grad or x.device.type != "cpu" or x.numel() < 2**17:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    tall = _between(x.permute(0, 2, 3, 1), 1)
    return _between(tall, 2).permute(0, 3, 1, 2)


def _between(x: Tensor, dim: int) -> Tensor:
    """Twice as many rows (`dim` 1) or columns (2) of x (N, H, W, C): each new one lies a quarter of the way to its neighbour."""
    pairs = x.new_empty(*x.shape[: dim + 1], 2, *x.shape[dim + 1 :])
    first, second = pairs.unbind(dim + 1)
    ahead, behind = x.narrow(dim, 1, x.shape[dim] - 1), x.narrow(dim, 0, x.shape[dim] - 1)
    torch.lerp(ahead, behind, 0.25, out=first.narrow(dim, 1, x.shape[dim] - 1))
    torch.lerp(behind, ahead, 0.25, out=second.narrow(dim, 0, x.shape[dim] - 1))
    first.select(dim, 0).copy_(x.select(dim, 0))
    second.select(dim, -1).copy_(x.select(dim, -1))
    return pairs.flatten(dim, dim + 1)


def of_phases(weight: Tensor) -> Tensor:
    """Weights (B, A, 3, 3) of a map -> (4B, 4A, 3, 3), for its `pixel_unshuffle`; the result is to be shuffled back."""
    b, a = weight.shape[:2]
    folded = (weight.reshape(b, a, 9) @ PHASES.to(weight)).view(b, a, 4, 4, 3, 3)
    return folded.transpose(1, 2).reshape(4 * b, 4 * a, 3, 3)


def of_doubled(weight: Tensor) -> Tensor:
    """Weights (B, A, 3, 3) of a map that was doubled bilinearly -> (4B, A, 3, 3), for it before; the result is to be shuffled."""
    b, a = weight.shape[:2]
    folded = (weight.reshape(b, a, 9) @ ENLARGED.to(weight)).view(b, a, 4, 3, 3)
    return folded.transpose(1, 2).reshape(4 * b, a, 3, 3)
