"""Train x2 super-resolution: `python -m train.edsr --data DRIVE --steps 2000 --out weights/edsr.safetensors`.

The pairs are DRIVE's training photographs at their native size and their bicubic halves; some of the halves are noisy or
compressed as a phone's photographs are, so that the network does not blow those faults up. `--model baseline` trains EDSR-baseline, the
paper's network, on the same pairs instead.
"""

import io
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.optim import Adam

from retsynth import checkpoint
from retsynth.edsr import EDSR, EDSRConfig
from train.loop import EMA, Run, parse
from train.peers import EDSRBaseline


@dataclass(frozen=True)
class Config:
    data: str
    model: str = "ours"  # or "baseline"
    start: str = ""  # weight file to start from; it may have more blocks
    out: str = "weights/edsr.safetensors"
    steps: int = 3000
    batch: int = 8
    patch: int = 48  # of the small image
    lr: float = 4e-4
    degraded: float = 0.3  # share of the small patches, at most 0.5
    width: int = 32  # of ours; EDSR-baseline is as the paper has it
    blocks: int = 13  # residual ones
    seed: int = 0
    log_every: int = 20
    save_every: int = 100
    sample_every: int = 500


def read_pairs(path: str | Path, half: str, scale: float = 1.0) -> list[tuple[Tensor, Tensor]]:
    """(small, large) pairs, (3, h, w) and (3, 2h, 2w) in [0, 1]: the photographs of one half of DRIVE and their bicubic halves.

    `scale`: brings the photographs to that share of their native size first.
    """
    pairs = []
    for name in sorted((Path(path) / half / "images").glob("*.tif")):
        image = Image.open(name).convert("RGB")
        if scale != 1:
            image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.LANCZOS)
        width, height = image.width // 2 * 2, image.height // 2 * 2
        pairs.append(with_half(image.crop((0, 0, width, height))))
    if not pairs:
        raise ValueError(f"no DRIVE images in {Path(path) / half / 'images'}")
    return pairs


def with_half(large: Image.Image) -> tuple[Tensor, Tensor]:
    """A photograph of even sides as the pair (3, h, w), (3, 2h, 2w): its bicubic half, and itself."""
    small = large.resize((large.width // 2, large.height // 2), Image.Resampling.BICUBIC)
    return tuple(torch.from_numpy(np.array(i)).permute(2, 0, 1).float() / 255 for i in (small, large))


def published(large: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
    """The pair of a photograph (3, 2h, 2w) in [0, 1] as others pass it on, with grain and JPEG's traces of its own.

    These are to stay, where those that a half alone has are to go: else all fine texture is taken for noise.
    """
    large = degrade(large, rng, noise=rng.uniform(0, 3) / 255, quality=rng.randint(40, 98))
    return with_half(Image.fromarray((large.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)))


def random_patches(pairs: list[tuple[Tensor, Tensor]], count: int, patch: int, rng: random.Random) -> tuple[Tensor, Tensor]:
    """`count` aligned crops, flipped and turned alike: (count, 3, patch, patch) and (count, 3, 2 patch, 2 patch)."""
    small_patches, large_patches = [], []
    while len(small_patches) < count:
        small, large = rng.choice(pairs)
        top, left = rng.randrange(small.shape[1] - patch + 1), rng.randrange(small.shape[2] - patch + 1)
        a = small[:, top : top + patch, left : left + patch]
        b = large[:, 2 * top : 2 * (top + patch), 2 * left : 2 * (left + patch)]
        if a.mean() < 0.05:  # black corners teach nothing
            continue
        if rng.random() < 0.5:
            a, b = a.flip(2), b.flip(2)
        turns = rng.randrange(4)
        small_patches.append(a.rot90(turns, (1, 2)))
        large_patches.append(b.rot90(turns, (1, 2)))
    return torch.stack(small_patches), torch.stack(large_patches)


def degrade(image: Tensor, rng: random.Random, *, blur: float = 0, noise: float = 0, quality: int | None = None) -> Tensor:
    """(3, H, W) in [0, 1] -> same, as a lesser camera would have written it, at 8 bits a channel.

    `blur`: standard deviation in px of a Gaussian, for the lens; `noise`: that of Gaussian noise, in [0, 1], for the sensor; `quality`:
    JPEG's, 1 to 100, with colour at half size (4:2:0), or None for no JPEG.
    """
    array = image.permute(1, 2, 0).numpy()
    if blur:
        array = gaussian_filter(array, (blur, blur, 0), mode="nearest")
    if noise:
        array = array + np.random.default_rng(rng.getrandbits(64)).normal(0, noise, array.shape)
    array = (array * 255).round().clip(0, 255).astype(np.uint8)
    if quality:
        file = io.BytesIO()
        Image.fromarray(array).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        array = np.array(Image.open(file))
    return torch.from_numpy(array).permute(2, 0, 1).float() / 255


def degrade_some(patches: Tensor, share: float, rng: random.Random) -> Tensor:
    """(N, 3, h, w) in [0, 1] -> same: each patch with probability `share` noisy, compressed, or both."""
    if not 0 <= share <= 0.5:
        raise ValueError(f"the share of degraded patches must lie between 0 and 0.5, got {share}: at least half are to be clean")
    patches = patches.clone()
    for i in range(len(patches)):
        if rng.random() < share:
            # no blur: who learns to undo it sharpens smooth images that are as they should be
            faults = {"noise": rng.uniform(0.5, 3) / 255, "quality": rng.randint(40, 95)}
            chosen = rng.sample(sorted(faults), rng.randint(1, len(faults)))
            patches[i] = degrade(patches[i], rng, **{name: faults[name] for name in chosen})
    return patches


def start_from(model: EDSR | EDSRBaseline, path: str | Path) -> None:
    """Give `model` the weights in `path`, where a network of the same width has as many blocks, or more.

    Of more, an even choice is kept, the first and the last among them: each adds a little to what all see, so that most can be missed.
    """
    source = checkpoint.load(type(model), path)
    blocks, there = model.config.blocks, source.config.blocks
    if replace(source.config, blocks=blocks) != model.config or there < blocks:
        raise ValueError(f"cannot start from {path}: it holds {source.config}, which does not reduce to {model.config}")
    kept = torch.linspace(0, there - 1, blocks).round().int().tolist()
    source.body = torch.nn.Sequential(*(source.body[i] for i in kept), source.body[-1])
    model.load_state_dict(source.state_dict(), strict=True)


def main(config: Config) -> None:
    if config.model not in ("ours", "baseline"):
        raise ValueError(f"--model must be 'ours' or 'baseline', got {config.model!r}")
    run = Run(config)
    pairs = 2 * read_pairs(config.data, "training")
    # sharper and smoother photographs than DRIVE's, as other cameras take; on those alone, it would sharpen what is smooth by right
    pairs += read_pairs(config.data, "training", 0.7) + read_pairs(config.data, "training", 1.5)
    for scale in (2.0, 3.0):
        pairs += [published(large, random.Random(i)) for i, (_, large) in enumerate(read_pairs(config.data, "training", scale))]
    torch.manual_seed(config.seed)
    model = EDSRBaseline() if config.model == "baseline" else EDSR(EDSRConfig(config.width, config.blocks))
    if config.start:
        start_from(model, config.start)
    model.to(run.device)
    ema = EMA(model)
    optimiser = Adam(model.parameters(), config.lr, betas=(0.9, 0.99))
    run.restore(model=model, ema=ema.model, optimiser=optimiser)
    for step, generator in run.steps():
        rng = random.Random(generator.initial_seed())
        small, large = random_patches(pairs, config.batch, config.patch, rng)
        small = degrade_some(small, config.degraded, rng)
        small, large = small.to(run.device), large.to(run.device)
        loss = F.l1_loss(model(small), large)
        run.update(optimiser, loss, clip=0.1)
        ema.update(model, step)
        if step % config.log_every == 0:
            with torch.no_grad():
                bicubic = F.interpolate(small, scale_factor=2, mode="bicubic").clamp(0, 1)
                gain = 10 * (F.mse_loss(bicubic, large) / F.mse_loss(ema.model.upscale(small), large)).log10()
            run.log(l1=loss, gain_db=gain)
        if run.due():
            with torch.no_grad():
                bicubic = F.interpolate(small[:4], scale_factor=2, mode="bicubic")
                run.grid(torch.cat((bicubic, ema.model.upscale(small[:4]), large[:4])).cpu(), columns=4)
            checkpoint.save(ema.model, config.out, **run.notes())


if __name__ == "__main__":
    main(parse(Config, __doc__))
