"""Where in the eye a feature lies, as channels: convolutions do not know it, and disc, macula and lighting have their place."""

import torch
from torch import Tensor


def position(like: Tensor) -> Tensor:
    """x, y in [-1, 1] and squared radius - 1 at each cell of `like` (N, C, H, W): (N, 3, H, W)."""
    n, _, height, width = like.shape
    y = torch.linspace(-1, 1, height, dtype=torch.float32, device=like.device)[:, None]
    x = torch.linspace(-1, 1, width, dtype=torch.float32, device=like.device)
    return torch.stack((x.expand(height, -1), y.expand(-1, width), x.square() + y.square() - 1)).expand(n, -1, -1, -1)
