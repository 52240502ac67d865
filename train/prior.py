"""Train the flow over the VAE's latents: `python -m train.prior --data DRIVE --vae weights/vae.safetensors --steps 4000`.

The latents of augmented training maps are encoded once into a bank in the run folder; each step draws from the posteriors in it. A share
of the maps are grafts of two, so that the flow has more than 20 trees to learn.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam
from tqdm import trange

from retsynth import checkpoint
from retsynth.prior import FlowPrior, PriorConfig
from retsynth.vae import ResidualVAE
from train.data import SIZE, Drive, disc_side, random_grid, read_drive, warp, whole
from train.graft import Grafts
from train.loop import EMA, Run, parse


@dataclass(frozen=True)
class Config:
    data: str
    vae: str = "weights/vae.safetensors"
    out: str = "weights/prior.safetensors"
    steps: int = 4000
    batch: int = 8
    bank: int = 1600  # augmented maps
    grafts: float = 0.5  # the share of them that are put together from two
    elastic: float = 0.03  # how far they are warped, in half-widths
    without: str = ""  # names of training images to leave out, such as "34"
    size: int = SIZE
    lr: float = 8e-4
    width: int = 96
    wider: int = 144  # channels at the others
    start: str = ""
    guide: str = ""  # a weaker flow's weight file: what `start` does better than it is learned as if it did more so
    guidance: float = 2.0  # how much more so
    seed: int = 0
    log_every: int = 10
    save_every: int = 50
    sample_every: int = 200


def build_bank(run: Run, vae: ResidualVAE, drive: Drive, plain: Drive) -> dict[str, Tensor]:
    """mu and logvar (bank, z, h, w) of augmented maps, and the side of each one's disc (bank,): 1 left, 2 right. Made once a run."""
    config = run.config
    kept = {name: getattr(config, name) for name in ("bank", "grafts", "elastic", "without", "size", "seed")}

    def make() -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(config.seed)
        grafts = Grafts(drive, plain) if config.grafts else None
        # a half-plane that moves with the map tells the disc's side after any warp
        left = (torch.arange(drive.vessels.shape[-1]) < drive.vessels.shape[-1] / 2).float().expand_as(drive.vessels[0])
        sides = disc_side(drive)
        mus, logvars, eyes = [], [], []
        for _ in trange(config.bank, desc="bank", mininterval=5):
            chosen = int(torch.randint(0, len(drive.vessels), (1,), generator=generator))
            if float(torch.rand(1, generator=generator)) < config.grafts:
                soft, half = grafts.draw(generator), 1 - left
            else:
                soft, half = drive.vessels[chosen], left if sides[chosen] == 1 else 1 - left
            shape = {"degrees": 20, "zoom": (0.97, 1.03), "shift": 0.015, "elastic": config.elastic}
            grid = random_grid(1, generator, **shape, upright=True, size=config.size)
            vessels, half = warp(torch.cat((soft, half))[None], grid).chunk(2, dim=1)
            with torch.no_grad():
                mu, logvar = vae.encode(whole(vessels).to(run.device))
            left_half, right_half = half.chunk(2, dim=-1)
            mus.append(mu.half().cpu())
            logvars.append(logvar.half().cpu())
            eyes.append(1 if left_half.mean() > right_half.mean() else 2)
        return {"mu": torch.cat(mus), "logvar": torch.cat(logvars), "eye": torch.tensor(eyes)}

    return run.once("bank", make, config.vae, **kept)


def guided(strong: FlowPrior, weak: FlowPrior, x: Tensor, t: Tensor, eye: Tensor, weight: float) -> Tensor:
    """The strong flow's velocity (N, z, h, w), led away from the weak one's before t = 1/2. Autoguidance: Karras et al. 2024.

    A step along the tree itself makes its vessels wider above all, so of the difference's part that is parallel to the expected tree,
    channel by channel, less than half is kept (Sadat et al. 2024 keep none; with it thin vessels go).
    """
    v = strong(x, t, eye)
    t = t[:, None, None, None]
    tree = x + (1 - t) * v  # E[x1 | x]
    away = v - weak(x, t.flatten(), eye)
    along = (away * tree).sum((2, 3), keepdim=True) / tree.square().sum((2, 3), keepdim=True)
    return v + weight * (t < 0.5) * (away - 0.6 * along * tree)


def main(config: Config) -> None:
    run = Run(config)
    vae = checkpoint.load(ResidualVAE, config.vae, run.device)
    without = config.without.split(",")
    drive, plain = (read_drive(config.data, "training", size=size).without(without) for size in (2 * config.size, config.size))
    bank = build_bank(run, vae, drive, plain)
    torch.manual_seed(config.seed)
    model = FlowPrior(PriorConfig(vae.config.z_channels, config.width, config.wider)).to(run.device)
    if config.start:
        model.load_state_dict(checkpoint.load(FlowPrior, config.start).state_dict())
    model.mean.copy_(bank["mu"].float().mean((0, 2, 3), keepdim=True))
    model.std.copy_((bank["mu"].float().var((0, 2, 3), keepdim=True) + bank["logvar"].float().exp().mean((0, 2, 3), keepdim=True)).sqrt())
    if config.guide:
        strong, weak = (checkpoint.load(FlowPrior, path, run.device) for path in (config.start, config.guide))
    ema = EMA(model, 0.998)
    optimiser = Adam(model.parameters(), config.lr, betas=(0.9, 0.99))
    run.restore(model=model, ema=ema.model, optimiser=optimiser)
    for step, generator in run.steps():
        chosen = torch.randint(0, len(bank["mu"]), (config.batch,), generator=generator)
        mu, logvar = bank["mu"][chosen].float(), bank["logvar"][chosen].float()
        z = mu + torch.randn(mu.shape, generator=generator) * (0.5 * logvar).exp()
        unknown = torch.rand(config.batch, generator=generator) < 0.3
        eye = bank["eye"][chosen].masked_fill(unknown, 0).to(run.device)
        x1 = model.standardise(z.to(run.device))
        x0 = torch.randn(mu.shape, generator=generator).to(run.device)
        # half logit-normal (Esser et al. 2024), toward the noise, where a tree's course is decided; half even, for its thin vessels
        early = (torch.randn(config.batch, generator=generator) - 1.5).sigmoid()
        late = 0.2 + 0.8 * torch.rand(config.batch, generator=generator)
        t = torch.where(torch.rand(config.batch, generator=generator) < 0.5, early, late).to(run.device)
        xt = torch.lerp(x0, x1, t[:, None, None, None])
        if config.guide:
            with torch.no_grad():
                target = guided(strong, weak, xt, t, eye, config.guidance)
        else:
            target = x1 - x0
        loss = F.mse_loss(model(xt, t, eye), target)
        run.update(optimiser, loss, clip=1.0)
        ema.update(model, step)
        run.log(loss=loss)
        if run.due():
            noise = torch.randn(4, *mu.shape[1:], generator=torch.Generator().manual_seed(1)).to(run.device)
            with torch.no_grad():
                maps = vae.sample(ema.model.sample(noise, torch.tensor([0, 0, 1, 2], device=run.device)))
            run.grid(maps.cpu(), columns=4)
            checkpoint.save(ema.model, config.out, **run.notes())


if __name__ == "__main__":
    main(parse(Config, __doc__))
