"""Train x2 super-resolution: `python -m train.edsr --data DRIVE --steps 2000 --out weights/edsr.safetensors`.

The pairs are DRIVE's training photographs at their native size and their bicubic halves.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim import Adam

from retsynth import checkpoint
from retsynth.edsr import EDSR, EDSRConfig
from train.loop import EMA, Run, parse


@dataclass(frozen=True)
class Config:
    data: str
    out: str = "weights/edsr.safetensors"
    steps: int = 3000
    batch: int = 8
    patch: int = 48  # of the small image
    lr: float = 4e-4
    width: int = 32
    blocks: int = 16
    seed: int = 0
    log_every: int = 20
    save_every: int = 100
    sample_every: int = 500


def read_pairs(path: str | Path, half: str) -> list[tuple[Tensor, Tensor]]:
    """(small, large) pairs, (3, h, w) and (3, 2h, 2w) in [0, 1]: the photographs of one half of DRIVE and their bicubic halves."""
    pairs = []
    for name in sorted((Path(path) / half / "images").glob("*.tif")):
        image = Image.open(name).convert("RGB")
        width, height = image.width // 2 * 2, image.height // 2 * 2
        large = image.crop((0, 0, width, height))
        small = large.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
        pairs.append(tuple(torch.from_numpy(np.array(i)).permute(2, 0, 1).float() / 255 for i in (small, large)))
    if not pairs:
        raise ValueError(f"no DRIVE images in {Path(path) / half / 'images'}")
    return pairs


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


def main(config: Config) -> None:
    run = Run(config)
    pairs = read_pairs(config.data, "training")
    torch.manual_seed(config.seed)
    model = EDSR(EDSRConfig(config.width, config.blocks)).to(run.device)
    ema = EMA(model)
    optimiser = Adam(model.parameters(), config.lr, betas=(0.9, 0.99))
    run.restore(model=model, ema=ema.model, optimiser=optimiser)
    for step, generator in run.steps():
        small, large = random_patches(pairs, config.batch, config.patch, random.Random(generator.initial_seed()))
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
