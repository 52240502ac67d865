"""The colour fundus photograph of a vessel map: pix2pix (Isola et al. 2017) with a style code and noise.

A U-Net whose skips are added, not concatenated, and whose input enters by pixel-unshuffle: about a fifteenth of the work of pix2pix's own
U-Net-256 at this size, or, with the config that `train.distill` gives it, a fortieth. The style code (colour, light, pigmentation)
scales and shifts every decoder level (FiLM, Perez et al. 2018). What neither vessels nor style decide, choroid and disc above all, is a
texture code on a coarse grid, N(0, I) by training (BicycleGAN, Zhu et al. 2017); camera grain comes from noise, scaled per channel at every
level (Karras et al. 2019). One noise image is the source of all. The optic disc has a round rim and one place, which a tree shows and noise
would blur: a small network finds it in the vessels, and the U-Net is told.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retsynth.polyphase import beside, doubled, of_doubled, of_phases, shuffled, unshuffled
from retsynth.position import position

DISC = 0.14  # radius of the optic disc with its surroundings, in half-widths of the image
CONTROLS = ("brightness", "pigmentation", "contrast")  # what a person may change about a style; `appearance` measures them


@dataclass(frozen=True)
class Pix2PixConfig:
    style_channels: int = 8
    texture_channels: int = 16  # at 1/16 of the resolution
    width: int = 24  # channels at the first level
    depth: int = 6  # levels; 5 or more: the texture enters above the deepest
    most: int = 144  # channels at the deepest levels
    slim: int = 0  # channels at the first level where it is a `SlimBlock`; 0: it is as the other levels
    inner: tuple[int, ...] = ()  # channels within each level's block; (): as many as the level has
    fine: int = 12  # channels at full resolution
    looks: int = 20  # photographs whose styles the law of styles is made of


COARSE = 3  # the level where a pixel is 16, and the texture enters
SKETCH = 8  # channels of the first look at the map where the first level is slim


class Down(nn.Module):
    """Halve the resolution: (N, A, H, W) -> (N, B, H/2, W/2)."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, a)
        self.conv = nn.Conv2d(a, b, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.silu(self.norm(x), inplace=True))


class StyledBlock(nn.Module):
    """Residual block modulated by the style, with noise: (N, C, H, W), (N, S), (N, 1, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, inner: int, style: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1)
        self.noise = nn.Parameter(torch.full((1, inner, 1, 1), 0.05))
        self.norm2 = nn.GroupNorm(8, inner)
        self.film = nn.Linear(style, 2 * inner)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True)).addcmul_(self.noise, noise)
        scale, shift = self.film(style).chunk(2, dim=1)
        # scaled and shifted by the norm itself, image after image: it takes one weight for all
        weight, bias = self.norm2.weight * (1 + scale), torch.addcmul(shift, self.norm2.bias, 1 + scale)
        each = [F.group_norm(one, 8, w, b) for one, w, b in zip(h.split(1), weight, bias, strict=True)]
        h = each[0] if len(each) == 1 else torch.cat(each)
        return self.conv2(F.silu(h, inplace=True)).add_(x)


class SlimBlock(nn.Module):
    """A `StyledBlock` without norms, for few channels of many pixels: the style scales and shifts the first convolution's weights."""

    def __init__(self, channels: int, inner: int, style: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1)
        self.noise = nn.Parameter(torch.full((1, inner, 1, 1), 0.05))
        self.film = nn.Linear(style, 2 * inner)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        scale, shift = self.film(style).chunk(2, dim=1)
        h, styled = F.silu(x), []
        for one, by, to in zip(h.split(1), 1 + scale, shift, strict=True):
            weight = (self.conv1.weight * by[:, None, None, None]).contiguous(memory_format=torch.channels_last)
            styled.append(F.conv2d(one, weight, torch.addcmul(to, self.conv1.bias, by), padding=1))
        h = styled[0] if len(styled) == 1 else torch.cat(styled)
        h = h.addcmul_(self.noise * (1 + scale)[:, :, None, None], noise)
        return self.conv2(F.silu(h, inplace=True)).add_(x)


class StyleEncoder(nn.Module):
    """A photograph's appearance: (N, 3, H, W) in [0, 1] and its field of view (N, 1, H, W) -> mean and log-variance, (N, S) each."""

    def __init__(self, style: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 32, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),
            nn.SiLU(),
        )
        self.head = nn.Linear(64, 2 * style)

    def forward(self, fundus: Tensor, fov: Tensor) -> tuple[Tensor, Tensor]:
        # vessels are not part of an appearance: pooling to 64 pixels hides most of them
        h = F.adaptive_avg_pool2d(torch.cat((fundus, fov), 1), 64)
        mu, logvar = self.head(self.body(h).mean((2, 3))).chunk(2, dim=1)
        return mu, logvar.clamp(-8, 4)


class TextureEncoder(nn.Module):
    """What else a photograph shows: (N, 3, H, W), its vessels and field of view (N, 1, H, W) -> mean, log-variance (N, T, H/16, W/16)."""

    def __init__(self, texture: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4 * 5, 32, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, 96, 4, stride=2, padding=1),
            nn.GroupNorm(8, 96),
            nn.SiLU(),
            nn.Conv2d(96, 2 * texture, 3, padding=1),
        )

    def forward(self, fundus: Tensor, vessels: Tensor, fov: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pixel_unshuffle(torch.cat((fundus, vessels, fov), 1) * 2 - 1, 2)
        mu, logvar = self.body(x).chunk(2, dim=1)
        return mu, logvar.clamp(-8, 4)


class DiscFinder(nn.Module):
    """Where the vessels say the optic disc is: (N, 1, H, W) in [0, 1] -> logits over a grid of places (N, 1, H/32, W/32)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=2, dilation=2),
            nn.SiLU(),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(self, vessels: Tensor) -> Tensor:
        x = F.avg_pool2d(vessels, 8)
        return self.body(torch.cat((x, position(x)), 1))

    @torch.no_grad()
    def locate(self, vessels: Tensor) -> Tensor:
        """The likeliest place (N, 2), x and y from -1 to 1: the mean over the best cell and those beside it."""
        logits = self(vessels)
        chances = logits.float().flatten(1).softmax(1)
        best = torch.zeros_like(chances).scatter_(1, chances.argmax(1, keepdim=True), 1)
        near = chances * F.max_pool2d(best.view_as(logits), 3, 1, 1).flatten(1)
        x, y = _centres(logits.shape[-1], logits.device), _centres(logits.shape[-2], logits.device)
        return near @ torch.cartesian_prod(y, x).flip(1) / near.sum(1, keepdim=True)


def _centres(count: int, device: torch.device) -> Tensor:
    """Where the middles of `count` cells lie that fill the way from -1 to 1."""
    return torch.linspace(1 / count - 1, 1 - 1 / count, count, dtype=torch.float32, device=device)


def disc_map(disc: Tensor, height: int, width: int) -> Tensor:
    """A place (N, 2), x and y from -1 to 1 -> how near to it each pixel is, (N, 1, height, width) in [0, 1]: a Gaussian as wide as DISC."""
    across = (_centres(width, disc.device) - disc[:, :1]).square_().div_(-2 * DISC**2).exp_()
    down = (_centres(height, disc.device) - disc[:, 1:]).square_().div_(-2 * DISC**2).exp_()
    return down[:, None, :, None] * across[:, None, None]


class Pix2Pix(nn.Module):
    """Vessels and field of view (N, 1, H, W) in [0, 1], style (N, S), noise (N, 1, H, W) ~ N(0, 1) -> fundus (N, 3, H, W) in [0, 1].

    H and W divide by `step`. `style_codes` (looks, S) and `style_factor` (S, S) hold the law of styles: near one of the codes, all as
    likely, by a Gaussian with this Cholesky factor of its covariance. `style_controls` (3, S + 1) is the change of style that goes with one
    standard deviation of each of CONTROLS; its last column is for `set_contrast`, since the network does not learn one from 20 photographs.
    """

    Config = Pix2PixConfig

    def __init__(self, config: Pix2PixConfig = Pix2PixConfig()) -> None:
        super().__init__()
        self.config = config
        channels = [min(config.width * 2**level, config.most) for level in range(config.depth)]
        channels[0] = config.slim or channels[0]
        inner = config.inner or channels
        self.style_encoder = StyleEncoder(config.style_channels)
        self.texture_encoder = TextureEncoder(config.texture_channels)
        self.disc_finder = DiscFinder()
        self.step = 2**config.depth
        if config.slim:
            self.stem = nn.Conv2d(4, SKETCH, 3, padding=1)
            self.place = nn.Conv2d(3 + 1, channels[1], 3, padding=1)
        else:
            self.stem = nn.Conv2d(4 + 4 + 3 + 1, channels[0], 3, padding=1)
        seen = [self.stem.out_channels, *channels[1:]]
        self.downs = nn.ModuleList(Down(a, b) for a, b in zip(seen[:-1], seen[1:], strict=True))
        self.skips = nn.ModuleList(nn.Conv2d(c, c, 1) for c in channels[:-1])
        self.blocks = nn.ModuleList(StyledBlock(c, i, config.style_channels) for c, i in zip(channels, inner, strict=True))
        if config.slim:  # the map itself is its skip
            self.skips[0] = nn.Conv2d(4, channels[0], 3, padding=1)
            self.blocks[0] = SlimBlock(channels[0], inner[0], config.style_channels)
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(channels[:-1], channels[1:], strict=True))
        if config.texture_channels != 16:
            raise ValueError(f"texture_channels must be 16, as many as noise has pixels in 4 x 4, got {config.texture_channels}")
        self.texture = nn.Conv2d(config.texture_channels, channels[COARSE], 3, padding=1)
        self.to_fine = nn.Conv2d(channels[0], config.fine, 1)
        if config.slim:  # each of the four phases has its own weights, and the last layer sees its own cell of 2 x 2 pixels alone
            self.fine = nn.Conv2d(config.fine + 4 + 4 * 3, 4 * config.fine, 3, padding=1)
            self.to_rgb = nn.Conv2d(4 * config.fine, 4 * 3, 1)
        else:
            self.fine = nn.Conv2d(config.fine + 1 + 3, config.fine, 3, padding=1)
            self.to_rgb = nn.Conv2d(config.fine, 3, 3, padding=1)
        self.grain = nn.Linear(config.style_channels, 3)
        self.register_buffer("style_codes", torch.zeros(config.looks, config.style_channels))
        self.register_buffer("style_factor", torch.eye(config.style_channels))
        self.register_buffer("style_controls", torch.zeros(len(CONTROLS), config.style_channels + 1))

    def forward(
        self, vessels: Tensor, fov: Tensor, style: Tensor, noise: Tensor, texture: Tensor | None = None, disc: Tensor | None = None
    ) -> Tensor:
        """`texture` (N, T, H/16, W/16): a photograph's, in place of the one that the noise stands for. `disc` (N, 2), x and y from -1 to 1:
        the place of the optic disc, in place of the one that the vessels show."""
        return self.paint(self.see(vessels, fov, disc), fov, style, noise, texture)

    def see(self, vessels: Tensor, fov: Tensor, disc: Tensor | None = None) -> list[Tensor]:
        """The first half of `forward`, which needs neither style nor noise: the map's four phases (N, 4, H/2, W/2), then each level. The
        first, where it is slim, is these phases."""
        disc = self.disc_finder.locate(vessels) if disc is None else disc
        if self.config.slim:
            drawn = unshuffled(vessels + fov - 1)  # -1 outside the field of view: so the rim is drawn as well
            x = self.downs[0](self.stem(drawn))
            levels = [drawn, x.add_(self.place(beside(position(x), disc_map(disc, *x.shape[2:]))))]
        else:
            drawn = unshuffled(vessels)
            x = beside(drawn, unshuffled(fov)) * 2 - 1
            levels = [self.stem(beside(x, position(x), disc_map(disc, *x.shape[2:])))]
        for down in self.downs[len(levels) - 1 :]:
            levels.append(down(levels[-1]))
        return [drawn, *levels]

    def paint(self, seen: list[Tensor], fov: Tensor, style: Tensor, noise: Tensor, texture: Tensor | None = None) -> Tensor:
        """The second half of `forward`, from what `see` gives."""
        drawn, *levels = seen
        # noise has no order: its quarters are taken for the four phases
        quarters = noise.reshape(len(noise), 4, noise.shape[2] // 2, noise.shape[3] // 2)
        noises = [quarters.mean(1, keepdim=True) * 2]
        while noises[-1].shape[2] > levels[-1].shape[2]:
            noises.append(F.avg_pool2d(noises[-1], 2) * 2)  # each of variance 1
        if texture is None:
            texture = F.pixel_unshuffle(noises[1], 4)
        h = self.blocks[-1](levels[-1], style, noises[-1])
        for level in reversed(range(len(levels) - 1)):
            # 1x1 before the upsampling: the same result at a quarter of the work
            h = doubled(self.ups[level](h))
            h = h.add_(self.skips[level](levels[level]))
            if level == COARSE:
                h = h.add_(self.texture(texture))
            h = self.blocks[level](h, style, noises[level - len(levels)])
        # each colour's grain is the same noise seen elsewhere, a third of the image away: as good as three, in a third of the time
        third = quarters.shape[2] // 3, quarters.shape[3] // 3
        grain = [quarters.roll((colour * third[0], colour * third[1]), (2, 3)) for colour in range(3)]
        # Doubled bilinearly: a pixel shuffle would print its two-pixel lattice on plain ground. All at half the size, as phases.
        h = beside(self.to_fine(F.silu(h, inplace=True)), drawn, *grain)
        weights, bias = self._fine_weights()
        painted = []
        for one, strength in zip(h.split(1), 1 + self.grain(style), strict=True):  # a style's grain is as strong as its weights
            own = weights[:, -12:].unflatten(1, (3, 4)) * strength[:, None, None, None]
            painted.append(F.conv2d(one, torch.cat((weights[:, :-12], own.flatten(1, 2)), 1), bias, padding=1))
        h = F.silu(painted[0] if len(painted) == 1 else torch.cat(painted), inplace=True)
        if self.config.slim:
            return _image(self.to_rgb(h), fov)
        return _image(_wide(h, of_phases(self.to_rgb.weight), self.to_rgb.bias.repeat_interleave(4)), fov)

    def _fine_weights(self) -> tuple[Tensor, Tensor]:
        """Weights and bias of the layer at full size, for phases: of what is enlarged, of the map, and of the grain, 4 for each colour."""
        if self.config.slim:
            return self.fine.weight, self.fine.bias
        small, same = self.fine.weight.split((self.config.fine, 1 + 3), dim=1)
        return torch.cat((of_doubled(small), of_phases(same)), 1), self.fine.bias.repeat_interleave(4)

    def encode_style(self, fundus: Tensor, fov: Tensor) -> Tensor:
        """The style (N, S) of photographs (N, 3, H, W) in [0, 1] with fields of view (N, 1, H, W)."""
        return self.style_encoder(fundus * fov, fov)[0]

    def draw_style(self, z: Tensor) -> Tensor:
        """z (N, S + 1) ~ N(0, I) -> styles near the training images' (a smoothed bootstrap, Silverman & Young 1987), and, last, amounts for
        `set_contrast` that vary as the contrast of those images does. Tails are cut at two standard deviations.

        One Gaussian over the styles of all would have many draws where no photograph is: two people's looks in one eye, in patches.
        """
        # the first number's rank among `looks` equal parts tells the image, and its rank within that part is as good as new
        share = torch.special.ndtr(z[:, 0].double()) * len(self.style_codes)
        which = share.long().clamp(max=len(self.style_codes) - 1)
        within = torch.special.ndtri((share - which).clamp(1e-6, 1 - 1e-6)).to(z.dtype)
        z = torch.cat((within[:, None], z[:, 1:]), 1).clamp(-2, 2)
        return torch.cat((self.style_codes[which] + z[:, :-1] @ self.style_factor.T, z[:, -1:] * self.style_controls[-1, -1]), 1)


def _wide(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution to some 12 channels, done sooner as one to 16: a core works on eight at a time."""
    more = -len(weight) % 8
    return F.conv2d(x, F.pad(weight, (0,) * 7 + (more,)), F.pad(bias, (0, more)), padding=1)[:, : len(weight)]


def _image(h: Tensor, fov: Tensor) -> Tensor:
    """The image (N, 3, H, W) of values (N, 12, H/2, W/2) for its four phases, colour by colour."""
    # a sigmoid hardly reaches 0 and 1, and red is at 1 in a tenth of a photograph
    return shuffled(h).float().sigmoid().mul(1.04).sub_(0.02).clamp_(0, 1).mul_(fov)


def set_contrast(fundus: Tensor, fov: Tensor, amount: Tensor) -> Tensor:
    """Photographs (N, 3, H, W) in [0, 1] with e**`amount` (N,) of their contrast about the mean brightness in the field of view
    (N, 1, H, W). Less of it is what haze does, a cataract's for one.

    Each pixel keeps its hue: channel by channel, a pigmented eye's dark rim, where red is hardly above green, would turn green.
    """
    brightness = fundus[:, :2].mean(1, keepdim=True)  # as in `appearance`
    mean = ((brightness * fov).sum((2, 3)) / fov.sum((2, 3)).clamp(min=1))[:, :, None, None]
    further = (brightness - mean) / brightness.clamp(min=0.1)  # 0.1: in the last pixels of the rim hue is chance
    return torch.addcmul(fundus, fundus, further.mul_(amount.expm1()[:, None, None, None])).clamp_(0, 1).mul_(fov)


def appearance(fundus: Tensor, fov: Tensor) -> Tensor:
    """CONTROLS of photographs (N, 3, H, W) in [0, 1] inside their fields of view (N, 1, H, W): (N, 3).

    Brightness is the mean of red and green; pigmentation how far red outweighs green, (R - G) / (R + G); contrast the logarithm of green's
    standard deviation over its mean.
    """
    inside = (fov > 0.5).float()
    mean = (fundus * inside).sum((2, 3)) / inside.sum((2, 3))  # (N, 3)
    red, green = mean[:, 0], mean[:, 1]
    variance = ((fundus[:, 1:2] - green[:, None, None, None]).square() * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))
    contrast = 0.5 * (variance / green.square().clamp(min=1e-6)).clamp(min=1e-6).log()
    return torch.stack(((red + green) / 2, (red - green) / (red + green), contrast), 1)
