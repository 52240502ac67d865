"""The residual VAE that turns a latent into a vessel map (Sengupta et al. 2019, section 2.1; residual blocks of He et al. 2016).

Two thirds of the work happens at 1/8 of the map's resolution: the map enters by pixel-unshuffle and leaves by pixel-shuffle
(Shi et al. 2016), which keeps one-pixel vessels exact and costs little on a CPU.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class VAEConfig:
    z_channels: int = 4
    width: int = 48


class ResidualBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016): (N, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        # in place: fewer passes over memory
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        return self.conv2(F.silu(self.norm2(h), inplace=True)).add_(x)


class ResidualVAE(nn.Module):
    """Vessel maps (N, 1, H, W) in [0, 1] <-> latents (N, z_channels, H/8, W/8). H and W divide by 8."""

    Config = VAEConfig
    downscale = 8

    def __init__(self, config: VAEConfig = VAEConfig()) -> None:
        super().__init__()
        self.config = config
        w, z = config.width, config.z_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),  # (N, 16, H/4, W/4)
            nn.Conv2d(16, w, 3, padding=1),
            ResidualBlock(w),
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1),  # (N, 2w, H/8, W/8)
            ResidualBlock(2 * w),
            ResidualBlock(2 * w),
            nn.GroupNorm(8, 2 * w),
            nn.SiLU(),
            nn.Conv2d(2 * w, 2 * z, 3, padding=1),  # mean and log-variance
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(z, 2 * w, 3, padding=1),
            ResidualBlock(2 * w),
            ResidualBlock(2 * w),
            ResidualBlock(2 * w),
            nn.Conv2d(2 * w, 4 * w, 3, padding=1),
            nn.PixelShuffle(2),  # (N, w, H/4, W/4)
            ResidualBlock(w),
            ResidualBlock(w),
            nn.GroupNorm(8, w),
            nn.SiLU(),
            nn.Conv2d(w, 16, 3, padding=1),
            nn.PixelShuffle(4),  # (N, 1, H, W)
        )

    def encode(self, vessels: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, 1, H, W) in [0, 1] -> mu, logvar of the posterior, each (N, z, H/8, W/8)."""
        mu, logvar = self.encoder(vessels * 2 - 1).chunk(2, dim=1)
        return mu, logvar.clamp(-12, 4)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, z, h, w) -> logits of the map (N, 1, 8h, 8w)."""
        return self.decoder(z)

    def forward(self, vessels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reparameterised pass (Kingma & Welling 2014, eq. 10): logits, mu, logvar. `noise` ~ N(0, I), shaped like mu."""
        mu, logvar = self.encode(vessels)
        return self.decode(mu + noise * (0.5 * logvar).exp()), mu, logvar

    def sample(self, z: Tensor) -> Tensor:
        """Latents (N, z, h, w) -> soft vessel maps (N, 1, 8h, 8w) in [0, 1]."""
        return self.decode(z).sigmoid()


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) in nats, summed over each sample's latent and averaged over the batch. Kingma & Welling 2014, B."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1).mean()
