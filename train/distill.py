"""A translation of a third of the work: `python -m train.distill --start weights/pix2pix.safetensors --out FILE`.

It learns to paint what the network that it starts from, its teacher, paints from the same map, style and noise (distillation, Hinton et al.
2015), and to have the same values at every level but the first (Romero et al. 2015). It begins with what fits of the teacher's weights:
within a block, the channels that count most. All that the teacher does is told by its input, grain included, so no photograph is needed,
and no discriminator.
"""

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from tqdm import trange

from retsynth import checkpoint
from retsynth.pix2pix import CONTROLS, Pix2Pix, StyledBlock, disc_map
from retsynth.polyphase import of_doubled, of_phases
from train.data import SIZE, field_of_view, random_grid, warp, whole
from train.drawing import drawn, erased
from train.loop import EMA, Run, parse, random_numbers
from train.losses import local_mean
from train.pix2pix import Features, View, covariance_loss, disc_crop, grain, random_crop, sample_trees, views_of


@dataclass(frozen=True)
class Config:
    start: str
    vae: str = "weights/vae.safetensors"
    prior: str = "weights/prior.safetensors"
    denoiser: str = "weights/denoiser.safetensors"
    out: str = "runs/distill.safetensors"
    steps: int = 10000
    trees: int = 400
    size: int = SIZE
    lr: float = 5e-4
    coarse: float = 1.0  # L1 on images pooled by 4, beside that of all pixels
    coarser: float = 0.5  # pooled by 16
    lattice: float = 4.0  # L1 of each of the four phases, pooled by 16: what is drawn as phases tends to differ from one to the next
    edges: float = 1.0  # L1 on vessels, along the rim and on the disc, which are few pixels
    levels: float = 0.03  # L1 of each level's values, on the way down and up, in their standard deviations
    finest: float = 2.0  # L1 of what differs from the mean of the 3 px around, beside the same on vessels
    strength: float = 4.0  # L1 of how strong what is finer than 7 px is, from place to place: L1 of pixels leaves it too faint
    covariance: float = 6.0  # of the grain on the ground, on vessels, along the rim and on the disc, in the teacher's variances
    perceptual: float = 0.05  # L1 of ImageNet features, in their standard deviations, of crops of 256 px, half of them with the disc
    means: float = 0.1  # L1 of the means of such features over whole images, by which a classifier tells, in the teacher's deviations
    bias: float = 2.0  # squares of how far these lie apart on average, over images
    decay: float = 0.95  # of that average, from image to image
    known: int = 32  # images of the teacher by which those deviations are known
    exact: float = 0.1  # share of the steps, the last ones, without bfloat16
    average: float = 0.998  # of the weights, from step to step
    seed: int = 0
    log_every: int = 10
    save_every: int = 100
    sample_every: int = 200


def slimmed(teacher: Pix2Pix) -> Pix2Pix:
    """A network whose first level is a third narrower and has no norms, with a third of the channels and less within all blocks. It begins
    with what fits of the teacher's weights; what looks at the map, and the first level's block, are left to chance."""
    size = teacher.config
    model = Pix2Pix(replace(size, slim=16, inner=(8, 8, 16, *[size.most // 3] * (size.depth - 3)), fine=8))
    for name in ("style_encoder", "texture_encoder", "disc_finder", "texture", "grain"):
        getattr(model, name).load_state_dict(getattr(teacher, name).state_dict())
    for name in ("style_codes", "style_factor", "style_controls"):
        setattr(model, name, getattr(teacher, name).clone())
    for name in ("downs", "skips", "ups"):
        getattr(model, name)[1:].load_state_dict(getattr(teacher, name)[1:].state_dict())
    for slim, block in zip(model.blocks[1:], teacher.blocks[1:], strict=True):
        squeeze(slim, block)
    with torch.no_grad():
        wide = torch.arange(size.width).view(8, -1)[:, : model.config.slim // 8].flatten()  # as many from each group of its norms
        counts = teacher.to_rgb.weight.flatten(2).norm(dim=(0, 2)) * teacher.fine.weight[:, -4].flatten(1).norm(dim=1)
        kept = counts.topk(model.config.fine).indices.sort().values  # those that show the vessels most
        small, same = teacher.fine.weight[kept].split((size.fine, 4), dim=1)
        model.ups[0].weight.copy_(teacher.ups[0].weight[wide])
        model.ups[0].bias.copy_(teacher.ups[0].bias[wide])
        model.to_fine.weight.copy_(teacher.to_fine.weight[kept][:, wide])
        model.to_fine.bias.copy_(teacher.to_fine.bias[kept])
        model.fine.weight.copy_(torch.cat((of_doubled(small[:, kept]), of_phases(same)), 1))
        model.fine.bias.copy_(teacher.fine.bias[kept].repeat_interleave(4))
        model.to_rgb.weight.copy_(of_phases(teacher.to_rgb.weight[:, kept]).sum((2, 3), keepdim=True))
        model.to_rgb.bias.copy_(teacher.to_rgb.bias.repeat_interleave(4))
    return model


@torch.no_grad()
def squeeze(slim: StyledBlock, block: StyledBlock) -> None:
    """Give `slim` those of the inner channels of `block` whose weights into its result are largest, as many from each group of its norm."""
    inner, fewer = len(block.conv1.weight), len(slim.conv1.weight)
    groups = slim.norm2.num_groups
    counts = block.conv2.weight.flatten(2).norm(dim=(0, 2)).view(groups, -1)
    kept = counts.topk(fewer // groups, dim=1).indices.sort(1).values
    kept = (kept + torch.arange(groups)[:, None] * (inner // groups)).flatten()
    slim.norm1.load_state_dict(block.norm1.state_dict())
    slim.conv1.weight.copy_(block.conv1.weight[kept])
    slim.conv1.bias.copy_(block.conv1.bias[kept])
    slim.noise.copy_(block.noise[:, kept])
    slim.norm2.weight.copy_(block.norm2.weight[kept])
    slim.norm2.bias.copy_(block.norm2.bias[kept])
    both = torch.cat((kept, kept + inner))  # scales, then shifts
    slim.film.weight.copy_(block.film.weight[both])
    slim.film.bias.copy_(block.film.bias[both])
    slim.conv2.weight.copy_(block.conv2.weight[:, kept])
    slim.conv2.bias.copy_(block.conv2.bias)


@contextmanager
def watched(model: Pix2Pix, count: int) -> Iterator[list[Tensor]]:
    """Within it, the list gets the values of each forward pass after each of the deepest `count` levels, the deepest first."""
    seen: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda module, inputs, output: seen.append(output)) for block in model.blocks[-count:]]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def example(trees: Tensor, teacher: Pix2Pix, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A map (1, 1, S, S), a style (1, style_channels) and noise (1, 1, S, S), as visitors bring them: half of the trees warped, a third
    drawn otherwise or in part; four in ten styles with other brightness and pigmentation."""

    def chance(share: float) -> bool:
        return float(torch.rand(1, generator=generator)) < share

    vessels, size = trees[torch.randint(0, len(trees), (1,), generator=generator)], trees.shape[-1]
    if chance(0.5):
        grid = random_grid(1, generator, degrees=10, zoom=(0.95, 1.06), shift=0.03, elastic=0.02, upright=True, size=size)
        vessels = whole(warp(vessels, grid)) * field_of_view(size)
    if chance(0.3):
        vessels = drawn(erased(vessels, generator) if chance(0.5) else vessels, generator)
    style = teacher.draw_style(torch.randn(1, teacher.config.style_channels + 1, generator=generator))[:, :-1]
    if chance(0.4):
        moved = [CONTROLS.index(name) for name in ("brightness", "pigmentation")]
        style = style + 1.5 * torch.randn(1, len(moved), generator=generator) @ teacher.style_controls[moved, :-1]
    return vessels, style, torch.randn(vessels.shape, generator=generator)


def apart(image: Tensor, target: Tensor, config: Config) -> Tensor:
    """L1 of images (N, 3, H, W), as they are, pooled, and phase by phase."""
    weights = {1: 1.0, 4: config.coarse, 16: config.coarser}
    pooled = sum(weight * F.l1_loss(F.avg_pool2d(image, by), F.avg_pool2d(target, by)) for by, weight in weights.items())
    return pooled + config.lattice * F.avg_pool2d(F.pixel_unshuffle(image - target, 2), 8).abs().mean()


def difference_in(image: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """L1 of images (1, 3, H, W) on each of `where` (P, 1, H/2, W/2), cells of 2 x 2 px; the mean of all P."""
    each = F.avg_pool2d((image - target).abs().mean(1, keepdim=True), 2)
    return ((each * where).sum((2, 3)) / where.sum((2, 3)).clamp(min=1)).mean()


def finest(image: Tensor, target: Tensor, vessels: Tensor) -> Tensor:
    """L1 of how far pixels of images (1, 3, H, W) lie from the mean of the 3 px around, everywhere and on the vessels (1, 1, H, W)."""
    off, near = (image - target - local_mean(image - target, 3)).abs(), F.max_pool2d(vessels, 3, 1, 1)
    return off.mean() + (off.mean(1, keepdim=True) * near).sum() / near.sum().clamp(min=1)


def strength(images: Tensor) -> Tensor:
    """How far pixels lie from the mean of the 7 px around them, in means over 16 px: (N, 3, H, W) -> (N, 3, H/16, W/16)."""
    return F.avg_pool2d((images - local_mean(images, 7)).abs(), 16)


LAGS = [(0, 0), (0, 1), (1, -1), (1, 0), (1, 1)]  # (down, across) in cells of 2 x 2 px


def places(vessels: Tensor, fov: Tensor, disc: Tensor) -> Tensor:
    """Where there is ground, where vessels, where the rim, and where the optic disc at `disc` (1, 2): masks (4, 1, H/2, W/2) of cells of
    2 x 2 px of one map."""
    inner = 1 - F.max_pool2d(1 - fov, 13, 1, 6)
    ground = (1 - F.max_pool2d(vessels, 13, 1, 6)) * inner
    around = (disc_map(disc, *vessels.shape[2:]) > 0.3).float() * fov
    return 1 - F.max_pool2d(1 - torch.cat((ground, F.max_pool2d(vessels, 5, 1, 2) * inner, (1 - inner) * fov, around)), 2)


def cell_covariance(images: Tensor, where: Tensor) -> Tensor:
    """Of the grain of an image (1, 3, H, W) in a cell, three colours of 2 x 2 px, and in the next ones, over those cells that are in one of
    P masks `where` (P, 1, H/2, W/2): (P, lags, 12, 12).

    As `grain_covariance`, but what differs from phase to phase is told from what does not.
    """
    cells = F.pixel_unshuffle(grain(images), 2)
    around = torch.cat([cells.roll(lag, (2, 3)) for lag in LAGS]).flatten(0, 1).flatten(1)  # (lags * 12, cells)
    sums = (cells * where).flatten(2) @ around.mT  # (P, 12, lags * 12)
    return (sums / where.sum((2, 3)).clamp(min=1)[:, None]).unflatten(2, (len(LAGS), -1)).transpose(1, 2)


class Bias(nn.Module):
    """How far descriptions (N, D) lie from the teacher's on average, in its deviations `spread` (D,): what is one image's alone is nought.

    The average is a moving one, over all processes.
    """

    def __init__(self, spread: Tensor, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("average", torch.zeros_like(spread))

    def forward(self, ours: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The L1 of one image after the other, a loss whose gradient is that of the average's mean square, and that."""
        apart = ((ours - wanted.detach()) / self.spread).clamp(-5, 5)
        with torch.no_grad():
            new = apart.mean(0)
            if dist.is_initialized():
                dist.all_reduce(new)
                new /= dist.get_world_size()
            self.average.lerp_(new, 1 - self.decay)
        return apart.abs().mean(), 2 * (self.average * apart).mean(), self.average.square().mean()


def describe(extractor: Features, view: View | None, images: Tensor, disc: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, H, W) in numbers (N, D): as wholes in a view, or, where it is None, what lies around the disc at `disc` (1, 2)."""
    if view is None:
        return extractor.describe_disc(images, disc.expand(len(images), -1), generator)
    return extractor.describe(images, view, generator)


@torch.no_grad()
def biases(run: Run, teacher: Pix2Pix, trees: Tensor, extractors: list[Features], views: list[View | None]) -> nn.ModuleList:
    """A `Bias` for each extractor in each of its views, by how far the teacher's own images differ there, which is found once a run."""
    config = run.config

    def make() -> dict[str, Tensor]:
        painter = copy.deepcopy(teacher).to(run.device)
        fov, found = field_of_view(config.size).to(run.device)[None], {}
        for index in trange(config.known, desc="deviations", mininterval=5):
            generator = random_numbers(config.seed, index, 2)
            vessels, style, noise = (x.to(run.device) for x in example(trees, teacher, generator))
            disc = painter.disc_finder.locate(vessels)
            image = painter(vessels, fov, style, noise, disc=disc)
            for pair in itertools.product(range(len(extractors)), range(len(views))):
                found.setdefault(pair, []).append(describe(extractors[pair[0]], views[pair[1]], image, disc, generator))
        return {f"{e} {v}": torch.cat(each).std(0).clamp(min=1e-4).cpu() for (e, v), each in found.items()}

    found = run.once("deviations", make, config.start, seed=config.seed, size=config.size, count=config.known, views=views)
    each = itertools.product(range(len(extractors)), range(len(views)))
    return nn.ModuleList(Bias(found[f"{e} {v}"], config.decay) for e, v in each).to(run.device)


def main(config: Config) -> None:
    run = Run(config)
    trees = sample_trees(run).float()
    extractors = [Features(name).to(run.device) for name in Features.files]
    teacher = checkpoint.load(Pix2Pix, config.start)  # on the CPU, where random styles are drawn
    painter = copy.deepcopy(teacher).to(run.device)
    torch.manual_seed(config.seed)
    model = slimmed(teacher).to(run.device)
    for part in (model.style_encoder, model.texture_encoder, model.disc_finder):  # the teacher's own
        part.requires_grad_(False)
    optimiser = Adam([p for p in model.parameters() if p.requires_grad], config.lr, betas=(0.9, 0.99))
    ema = EMA(model, config.average)
    fov, views = field_of_view(config.size).to(run.device)[None], [*views_of(config.size)[0][1:], None]
    bias = biases(run, teacher, trees, extractors, views)
    run.restore(model=model, ema=ema.model, optimiser=optimiser, bias=bias)
    for step, generator in run.steps():
        vessels, style, noise = (x.to(run.device) for x in example(trees, teacher, generator))
        exact = step >= (1 - config.exact) * config.steps
        with torch.autocast(run.device.type, enabled=torch.is_autocast_enabled(run.device.type) and not exact, cache_enabled=False):
            with torch.no_grad(), watched(painter, model.config.depth - 1) as wanted:
                disc = painter.disc_finder.locate(vessels)
                looked = painter.see(vessels, fov, disc)
                target = painter.paint(looked, fov, style, noise)
            with watched(model, model.config.depth - 1) as values:
                seen = model.see(vessels, fov, disc)
                painted = model.paint(seen, fov, style, noise)
        pairs = zip([*seen[2:], *values], [*looked[2:], *wanted], strict=True)  # at the first level each has values of its own
        levels = [F.l1_loss(a.float(), b.float()) / b.float().std() for a, b in pairs]
        fine = finest(painted, target, vessels)
        faint = F.l1_loss(strength(painted), strength(target))
        where = places(vessels, fov, disc)
        covariance = covariance_loss(cell_covariance(painted, where), cell_covariance(target, where))
        pair, crop = torch.cat((painted, target)), config.size // 2
        near = torch.rand(1, generator=generator) < 0.5
        pair = disc_crop(pair, disc.expand(2, -1), crop, generator) if near else random_crop(pair, crop, generator)
        features = [stage.chunk(2) for stage in extractors[step % len(extractors)](pair)]
        perceptual = sum(F.l1_loss(a, b.detach()) / b.detach().std() for a, b in features)
        turn = step % len(bias)
        network, view = divmod(turn, len(views))
        described = []
        for image in (painted, target):  # moved by the same
            by = random_numbers(config.seed, step, run.rank, 3)
            described.append(describe(extractors[network], views[view], image, disc, by))
        means, systematic, square = bias[turn](*described)
        loss = apart(painted, target, config) + config.edges * difference_in(painted, target, where[1:])
        loss = loss + config.levels * sum(levels) + config.finest * fine + config.strength * faint + config.covariance * covariance
        loss = loss + config.perceptual * perceptual + config.means * means + config.bias * systematic
        run.update(optimiser, loss, clip=0.1)
        ema.update(model, step)
        terms = {"levels": sum(levels), "finest": fine, "strength": faint, "covariance": covariance}
        terms |= {"perceptual": perceptual, "means": means, "bias": square}
        run.log(loss=loss, image=F.l1_loss(painted, target), **terms)
        if run.due():
            with torch.no_grad():
                now = ema.model(vessels, fov, style, noise)
            run.grid(torch.cat((target, now)).cpu(), columns=2)
            checkpoint.save(ema.model, config.out, **run.notes(script="train.distill"))


if __name__ == "__main__":
    main(parse(Config, __doc__))
