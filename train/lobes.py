"""Optic discs that vessels do not cut in two: `python -m train.lobes --start weights/pix2pix.safetensors --out FILE`.

Where wide vessels cross a disc, `train.pix2pix` leaves a network that paints what lies on either side of them as a disc of its own. Where
they are thin it paints one whole disc. So the network learns to paint what it painted before, from the same map, style and noise, but for
the disc: there, between the vessels, what it would paint with thin ones. No photograph is needed.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.morphology import skeletonize
from torch import Tensor
from torch.optim import Adam

from retsynth import checkpoint
from retsynth.pix2pix import Pix2Pix
from retsynth.position import position
from train.data import SIZE, field_of_view
from train.drawing import drawn, erased
from train.loop import EMA, Run, parse
from train.pix2pix import sample_trees

# in half-widths
REACH = 0.22  # of a disc with its rim; within it vessels are thinned
WITHIN, BEYOND = 0.20, 0.27  # between these from the disc the image is more and more what it was
ASIDE = 5 / 256  # how far discs are moved away from the macula: their middle lies there, see `train.discs`
THIN = 1.1  # px, half of the calibre that is left


@dataclass(frozen=True)
class Config:
    start: str
    vae: str = "weights/vae.safetensors"
    prior: str = "weights/prior.safetensors"
    denoiser: str = "weights/denoiser.safetensors"
    out: str = "runs/lobes.safetensors"
    steps: int = 1250
    trees: int = 400
    size: int = SIZE
    lr: float = 5e-5
    near: float = 6.0  # weight of the disc and what surrounds it, where others weigh 1
    average: float = 0.99  # of the weights, from step to step
    seed: int = 0
    log_every: int = 10
    save_every: int = 100
    sample_every: int = 200


def distance(vessels: Tensor, disc: Tensor) -> Tensor:
    """Of the pixels of a map (1, 1, H, W) from `disc` (1, 2), in half-widths: (H, W)."""
    return (position(vessels)[0, :2] - disc[0, :, None, None]).norm(dim=0)


def thinned(vessels: Tensor, disc: Tensor) -> Tensor:
    """A map (1, 1, H, W) of 0 and 1 whose vessels within REACH of `disc` (1, 2) are no wider than 2 THIN px about their centre lines."""
    binary = vessels[0, 0].cpu().numpy() > 0.5
    slim = distance_transform_edt(~skeletonize(binary)) < THIN
    near = (distance(vessels, disc) < REACH).cpu()
    return torch.where(near, torch.from_numpy(binary & slim).float(), vessels[0, 0].cpu())[None, None].to(vessels.device)


def share(vessels: Tensor, disc: Tensor) -> Tensor:
    """How far an image is to be what is painted with thin vessels, (H, W) in [0, 1]: near the disc and off its vessels' shade, which
    reaches a little beyond their map."""
    away = distance_transform_edt(vessels[0, 0].cpu().numpy() < 0.5) if vessels.any() else np.full(vessels.shape[2:], 9.0)
    shade = torch.from_numpy(gaussian_filter(np.clip(1.3 - away / 2, 0, 1), 0.7)).float().to(vessels.device)
    return ((BEYOND - distance(vessels, disc)) / (BEYOND - WITHIN)).clamp(0, 1) * (1 - shade)


def main(config: Config) -> None:
    run = Run(config)
    trees = sample_trees(run).float()
    before, model = (checkpoint.load(Pix2Pix, config.start, run.device) for _ in range(2))
    learned = [model.stem, model.downs, model.skips, model.blocks, model.ups]  # not what makes the grain
    for part in learned:
        part.requires_grad_(True)
    optimiser = Adam([p for part in learned for p in part.parameters()], config.lr)
    ema = EMA(model, config.average)
    run.restore(model=model, ema=ema.model, optimiser=optimiser)
    fov = field_of_view(config.size).to(run.device)[None]
    for step, generator in run.steps():
        vessels = trees[torch.randint(0, len(trees), (1,), generator=generator)]
        if step % 4 == 3:  # as visitors draw them
            vessels = drawn(erased(vessels, generator) if step % 8 == 3 else vessels, generator)
        vessels = vessels.to(run.device)
        style = before.draw_style(torch.randn(1, before.config.style_channels + 1, generator=generator).to(run.device))[:, :-1]
        noise = torch.randn(vessels.shape, generator=generator).to(run.device)
        with torch.autocast(run.device.type, enabled=False):  # what changes is little beside what bfloat16 rounds
            with torch.no_grad():
                found = before.disc_finder.locate(vessels)
                disc = torch.stack((found[:, 0] + ASIDE * (found[:, 0] / 0.2).clamp(-1, 1), found[:, 1]), 1)
                image = before(vessels, fov, style, noise, disc=found)
                # by as much as the disc has moved, so has what surrounds it
                with_all, with_thin = (before(one, fov, style, noise, disc=disc) for one in (vessels, thinned(vessels, disc)))
                blend = share(vessels, disc)
                target = with_all + blend * (with_thin - with_all)
                weight = 1 + (config.near - 1) * (distance(vessels, disc) < BEYOND)
            painted = model(vessels, fov, style, noise, disc=found)
            # an error of nothing has no gradient, unlike L1's: most of the image is to stay
            loss = (F.smooth_l1_loss(painted, target, beta=0.02, reduction="none") * weight).mean()
        run.update(optimiser, loss)
        ema.update(model, step)
        near = (distance(vessels, disc) < REACH).expand_as(image[0])
        run.log(
            loss=loss,
            disc=(painted - target)[0][near].abs().mean(),
            rest=(painted - target)[0][~near].abs().mean(),
            disc_before=(image - target)[0][near].abs().mean(),
        )
        if run.due():
            with torch.no_grad():
                now = ema.model(vessels, fov, style, noise)
            run.grid(torch.cat((image, target, now)).cpu(), columns=3)
            checkpoint.save(ema.model, config.out, **run.notes(script="train.lobes"))


if __name__ == "__main__":
    main(parse(Config, __doc__))
