"""The law of the VAE's latents: a rectified flow from N(0, I) to the encoded trees (Liu et al. 2023; Lipman et al. 2023).

Independent Gaussian draws per latent cell do not make a connected tree. The flow carries noise at time 0 to a latent at time 1 along
dx/dt = v(x, t); its velocity v is a U-Net over the latent, which learns E[x1 - x0 | x_t] where x_t = (1 - t) x0 + t x1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retsynth.position import position


@dataclass(frozen=True)
class PriorConfig:
    z_channels: int = 4
    width: int = 96
    wider: int = 144
    steps: int = 16  # of `integrate` when sampling
    gain: float = 1.035  # of the noise that is left, at every step from t = 0.2 to 0.9: what a network takes for noise and is a thin vessel
    shift: float = 4.0  # steps are this much denser at the noise end, where the tree's course is decided (Esser et al. 2024, eq. 23)


class FlowBlock(nn.Module):
    """Residual block modulated by the time embedding: (N, C, H, W), (N, E) -> (N, C, H, W). Dhariwal & Nichol 2021."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.film = nn.Linear(embedding, 2 * channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.conv2(F.silu(h, inplace=True)).add_(x)


class Attention(nn.Module):
    """Self-attention over all positions, residual: (N, C, H, W) -> same. It lets far ends of an arcade agree."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, 3, self.heads, c // self.heads, h * w).transpose(-1, -2).unbind(1)  # (N, heads, HW, c)
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(n, c, h, w))


class FlowPrior(nn.Module):
    """Noise and latents (N, z_channels, h, w), h and w divisible by 8; `mean` and `std` standardise the latents per channel.

    `eye` (N,) tells the disc's side: 0 unknown, 1 left of the image, 2 right.
    """

    Config = PriorConfig

    def __init__(self, config: PriorConfig = PriorConfig()) -> None:
        super().__init__()
        self.config = config
        a, b, embedding = config.width, config.wider, 2 * config.width
        self.time = nn.Sequential(nn.Linear(64, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.eye = nn.Embedding(3, embedding)
        # the latent enters at half its resolution: (N, 4z + 3, h/2, w/2)
        self.stem = nn.Conv2d(4 * config.z_channels + 3, a, 3, padding=1)
        self.down = nn.ModuleList((nn.Conv2d(a, b, 3, stride=2, padding=1), nn.Conv2d(b, b, 3, stride=2, padding=1)))
        self.up = nn.ModuleList((nn.Conv2d(b, a, 1), nn.Conv2d(b, b, 1)))
        widths = (a, b, b)
        self.enter = nn.ModuleList(nn.ModuleList(FlowBlock(c, embedding) for _ in range(2)) for c in widths)
        self.leave = nn.ModuleList(nn.ModuleList(FlowBlock(c, embedding) for _ in range(2)) for c in widths)
        self.attention = nn.ModuleList(Attention(b) for _ in range(3))
        self.head = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), nn.Conv2d(a, 4 * config.z_channels, 3, padding=1))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)
        self.register_buffer("mean", torch.zeros(1, config.z_channels, 1, 1))
        self.register_buffer("std", torch.ones(1, config.z_channels, 1, 1))

    def forward(self, x: Tensor, t: Tensor, eye: Tensor) -> Tensor:
        """Velocity (N, z, h, w) at standardised x (N, z, h, w), time t (N,) in [0, 1]."""
        frequencies = torch.exp(-math.log(1000) * torch.arange(32, dtype=torch.float32, device=x.device) / 31) * 1000
        angles = t[:, None] * frequencies
        embedding = F.silu(self.time(torch.cat((angles.sin(), angles.cos()), 1)) + self.eye(eye))
        h = F.pixel_unshuffle(x, 2)
        h = self.stem(torch.cat((h, position(h)), 1))
        skips = []
        for level, blocks in enumerate(self.enter):
            if level:
                h = self.down[level - 1](h)
            for block in blocks:
                h = block(h, embedding)
            skips.append(h)
        for level in (2, 1, 0):
            if level < 2:
                h = F.interpolate(self.up[level](h), scale_factor=2, mode="nearest").add_(skips[level])
            for index, block in enumerate(self.leave[level]):
                h = block(h, embedding)
                if level == 2 or (level == 1 and index == 0):
                    h = self.attention[index if level == 2 else 2](h)
        return F.pixel_shuffle(self.head(h), 2)

    def standardise(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std

    def sample(self, noise: Tensor, eye: Tensor | None = None, start: float = 0.0) -> Tensor:
        """Noise (N, z, h, w) ~ N(0, I) -> latents for the VAE's decoder. `start` > 0: `noise` is a state x_t at that time already.

        Without `eye`, each noise takes its own side: asked for neither, the flow now and then draws a tree between the two, with a disc in
        the middle and no order. A state after time 0 has its side already.
        """
        if eye is None:
            eye = coin(noise) + 1 if start == 0 else noise.new_zeros(len(noise), dtype=torch.long)
        times = schedule(self.config.steps, self.config.shift, start).to(noise.device)
        x = integrate(lambda x, t: self(x, t.expand(len(x)), eye), noise, times, self.config.gain)
        return x * self.std + self.mean


def coin(noise: Tensor) -> Tensor:
    """0 or 1 for each of (N, ...) ~ N(0, I), equally likely and told by the noise alone: (N,)."""
    return (noise.flatten(1)[:, 0] > 0).long()


def schedule(steps: int, shift: float = 1.0, start: float = 0.0) -> Tensor:
    """Times (K + 1,) from `start` to 1: of `steps` from 0 to 1, those that are left; `shift` times denser at 0 than even ones."""
    first = shift * start / (1 + (shift - 1) * start)  # `start` on the even scale
    even = torch.linspace(first, 1, max(1, round(steps * (1 - first))) + 1, dtype=torch.float32, device="cpu")
    return even / (even + shift * (1 - even))


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: Tensor, gain: float = 1.0) -> Tensor:
    """Solve dx/dt = velocity(x, t) along the increasing `times` (K + 1,) by the two-step method of Adams and Bashforth for uneven steps
    (Hairer, Norsett & Wanner 1993, section III.5): of second order at one velocity a step. The first step is Heun's, with two.

    `gain` > 1 makes up for the detail that an imperfect network smooths away: it strengthens the noise in x that the velocity stands for,
    as S_noise of Karras et al. 2022 (algorithm 2) does for the noise they add.
    """
    slope_before, step_before = None, None
    for t, following in zip(times[:-1], times[1:], strict=True):
        step, slope = following - t, velocity(x, t)
        if gain != 1 and 0.2 <= t <= 0.9:
            x = x + (1 - t) * (gain - 1) * (x - t * slope)  # x - t v is the noise at time 0
        rise = velocity(x + step * slope, following) - slope if slope_before is None else (slope - slope_before) * (step / step_before)
        x = x + step * (slope + rise / 2)  # `rise`: what the velocity gains over the step
        slope_before, step_before = slope, step
    return x
