"""x2 super-resolution in the family of EDSR (Lim et al. 2017): residual blocks without batch norm, L1, pixel-shuffle.

Two departures, both for the CPU: the network learns the difference from bicubic interpolation, and the last convolution makes the
pixels of the large image directly (Shi et al. 2016), so that no wide feature map exists at the large size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class EDSRConfig:
    width: int = 32
    blocks: int = 13  # a fifth of EDSR-baseline's work
    residual_scale: float = 1.0  # Lim et al. use 0.1 at 256 features; narrow networks need none


class Block(nn.Module):
    """Convolution, ReLU, convolution, scaled, added: (N, C, H, W) -> same. Lim et al. 2017, figure 2c."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        # in place: at 512 px a map takes 33 MB, which malloc fetches from the system and gives back each time
        h = self.conv2(F.relu(self.conv1(x), inplace=True))
        return (h if self.scale == 1 else h * self.scale).add_(x)


class EDSR(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] -> (N, 3, 2H, 2W) in [0, 1], any H and W."""

    Config = EDSRConfig

    def __init__(self, config: EDSRConfig = EDSRConfig()) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Conv2d(3, config.width, 3, padding=1)
        self.body = nn.Sequential(
            *(Block(config.width, config.residual_scale) for _ in range(config.blocks)),
            nn.Conv2d(config.width, config.width, 3, padding=1),
        )
        self.tail = nn.Sequential(nn.Conv2d(config.width, 12, 3, padding=1), nn.PixelShuffle(2))
        nn.init.zeros_(self.tail[0].weight)  # starts as bicubic interpolation
        nn.init.zeros_(self.tail[0].bias)
        self.register_buffer("mean", torch.tensor([0.5, 0.27, 0.16]).view(1, 3, 1, 1))  # of DRIVE's images

    @property
    def reach(self) -> int:
        """How many pixels of the small image an output pixel sees to each side: one a convolution."""
        return 2 * self.config.blocks + 3

    def forward(self, x: Tensor) -> Tensor:
        """Unclamped output, for the loss."""
        h = self.head(x - self.mean)
        h = self.body(h).add_(h)
        return F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False).add_(self.tail(h))

    def upscale(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, 2H, 2W) in [0, 1]."""
        return self(x).clamp_(0, 1)
