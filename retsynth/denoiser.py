"""The deconvolution denoiser: the VAE's soft map -> a crisp, connected one. RED-Net (Mao et al. 2016): convolutions down, transposed
convolutions up, symmetric skips that are added. The strides keep the whole map in view at a cost a CPU can bear."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class DenoiserConfig:
    width: int = 24


class Denoiser(nn.Module):
    """Soft vessel maps (N, 1, H, W) in [0, 1] -> clean ones (N, 1, H, W) in [0, 1]. H and W divide by 16."""

    Config = DenoiserConfig

    def __init__(self, config: DenoiserConfig = DenoiserConfig()) -> None:
        super().__init__()
        self.config = config
        w = config.width
        widths = (w, 2 * w, 4 * w, 4 * w)
        self.stem = nn.Conv2d(4, w, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.again = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in widths)
        self.deconvs = nn.ModuleList(nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.back = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in widths)
        self.head = nn.Conv2d(w, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, soft: Tensor) -> Tensor:
        """Logits (N, 1, H, W); the network starts as the identity."""
        h = self.stem(F.pixel_unshuffle(soft * 2 - 1, 2))  # (N, w, H/2, W/2)
        skips = []
        for level, again in enumerate(self.again):
            if level:
                h = self.convs[level - 1](F.silu(h))
            h = again(F.silu(h)).add_(h)  # in place: one pass over memory less
            skips.append(h)
        for level in reversed(range(len(self.back))):
            if level < len(skips) - 1:
                h = self.deconvs[level](F.silu(h)).add_(skips[level])
            h = self.back[level](F.silu(h)).add_(h)
        return torch.logit(soft, 1e-3).add_(F.pixel_shuffle(self.head(F.silu(h)), 2))

    def denoise(self, soft: Tensor) -> Tensor:
        """(N, 1, H, W) in [0, 1] -> same, crisp."""
        return self(soft).sigmoid()
