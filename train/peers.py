"""The papers' networks for two stages of ours, as the papers have them: `train.bench` times them, `train.evaluate` scores EDSR-baseline."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retsynth.edsr import Block


class UNet256(nn.Module):
    """pix2pix's generator, (N, 3, H, W) -> same, H and W divide by 256. Isola et al. 2017, section 6.1.1.

    A transposed convolution counts as many operations as its input has pixels to spread: 48 GFLOP in all at 512 x 512. Counting each
    output pixel's whole kernel, zeros included, would give 145.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = [3, 64, 128, 256, 512, 512, 512, 512, 512]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in range(8):
            a, b = channels[level : level + 2]
            bare = level in (0, 7)  # no norm around the image and at the 1 x 1 bottleneck
            self.downs.append(nn.Sequential(nn.Conv2d(a, b, 4, 2, 1, bias=bare), nn.Identity() if bare else nn.BatchNorm2d(b)))
            inputs = b if level == 7 else 2 * b  # with the skip
            self.ups.append(
                nn.Sequential(nn.ConvTranspose2d(inputs, a, 4, 2, 1, bias=level == 0), nn.BatchNorm2d(a) if level else nn.Tanh())
            )

    def forward(self, x: Tensor) -> Tensor:
        levels = []
        for down in self.downs:
            x = down(F.leaky_relu(x, 0.2) if levels else x)
            levels.append(x)
        x = self.ups[7](x.relu())
        for up, skip in zip(reversed(self.ups[:7]), reversed(levels[:7]), strict=True):
            x = up(torch.cat((x, skip), 1).relu())
        return x


@dataclass(frozen=True)
class EDSRBaselineConfig:
    width: int = 64
    blocks: int = 16


class EDSRBaseline(nn.Module):
    """EDSR-baseline x2, (N, 3, H, W) in [0, 1] -> (N, 3, 2H, 2W). Lim et al. 2017, table 1: 16 residual blocks of 64 features.

    It makes the whole large image, not a difference from bicubic interpolation, and works at the large size in its last convolution.
    """

    Config = EDSRBaselineConfig

    def __init__(self, config: EDSRBaselineConfig = EDSRBaselineConfig()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(Block(width, 1.0) for _ in range(config.blocks)), nn.Conv2d(width, width, 3, padding=1))
        self.tail = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(width, 3, 3, padding=1))
        self.register_buffer("mean", torch.tensor([0.5, 0.27, 0.16]).view(1, 3, 1, 1))  # of DRIVE's images; the authors take DIV2K's

    def forward(self, x: Tensor) -> Tensor:
        """Unclamped output, for the loss."""
        h = self.head(x - self.mean)
        return self.tail(self.body(h).add_(h)) + self.mean

    def upscale(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, 2H, 2W) in [0, 1]."""
        return self(x).clamp_(0, 1)
