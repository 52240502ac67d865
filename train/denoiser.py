"""Train the denoiser: `python -m train.denoiser --data DRIVE --vae weights/vae.safetensors --prior weights/prior.safetensors --steps 2000`.

A third of each batch are the VAE's decodes of noised latents with gaps; a third are true trees that the prior has redrawn from some noise,
so that they have its own faults and nearly their old course; both are compared with the true maps. The last third are trees that the prior
sampled: no truth exists for them, so a discriminator asks that they look like true maps and the input holds them in place, within a few
pixels. It sees them in black and white, above 0.5 or not, so that it judges their shape and not how soft they are.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam
from tqdm import trange

from retsynth import checkpoint
from retsynth.denoiser import Denoiser, DenoiserConfig
from retsynth.prior import FlowPrior
from retsynth.vae import ResidualVAE
from train.data import SIZE, random_maps, read_drive
from train.loop import EMA, Run, parse
from train.losses import PatchDiscriminator, centreline_dice_loss, dice_loss, hinge_discriminator, vessel_loss


@dataclass(frozen=True)
class Config:
    data: str
    vae: str = "weights/vae.safetensors"
    prior: str = "weights/prior.safetensors"
    out: str = "weights/denoiser.safetensors"
    steps: int = 2000
    batch: int = 3  # of each third
    trees: int = 120  # sampled from the prior, and as many redrawn by it
    crop: int = 256
    size: int = SIZE
    lr: float = 5e-4
    adversarial: float = 0.1  # weight of the discriminator
    hold: float = 20.0  # how firmly the input holds a sampled tree in place
    width: int = 24
    start: str = ""
    seed: int = 0
    log_every: int = 10
    save_every: int = 50
    sample_every: int = 200


@torch.no_grad()
def sample_trees(run: Run, vae: ResidualVAE, vessels: Tensor) -> dict[str, Tensor]:
    """Soft maps `sampled` from the prior, soft maps `redrawn` by it from true ones, and these, `truth`: (trees, 1, size, size) each.

    Made once a run and kept in its folder.
    """
    config = run.config

    def make() -> dict[str, Tensor]:
        prior = checkpoint.load(FlowPrior, config.prior, run.device)
        generator = torch.Generator().manual_seed(config.seed + 10_000)
        side = config.size // vae.downscale
        rows = []
        for _ in trange(config.trees, desc="trees", mininterval=5):
            truth = random_maps(vessels, 1, generator, degrees=20, elastic=0.02, size=config.size)
            latent = prior.standardise(vae.encode(truth)[0])
            noise, other = torch.randn(2, 1, vae.config.z_channels, side, side, generator=generator).to(run.device)
            start = float(0.6 + 0.3 * torch.rand(1, generator=generator))  # earlier, and it draws other thin vessels
            redrawn = prior.sample(torch.lerp(other, latent, start), start=start)
            rows.append([x.half().cpu() for x in (vae.sample(prior.sample(noise)), vae.sample(redrawn), truth)])
        return dict(zip(("sampled", "redrawn", "truth"), map(torch.cat, zip(*rows, strict=True)), strict=True))

    return run.once("trees", make, config.vae, config.prior, trees=config.trees, size=config.size, seed=config.seed)


@torch.no_grad()
def soften(vae: ResidualVAE, x: Tensor, generator: torch.Generator) -> Tensor:
    """What the VAE makes of true maps (N, 1, H, W): decodes of latents with as much noise as the flow leaves, with a few gaps."""
    mu = vae.encode(x)[0]
    noise = 0.5 * torch.rand(len(x), 1, 1, 1, generator=generator) * torch.randn(mu.shape, generator=generator)
    soft = vae.sample(mu + noise.to(x.device) * mu.std((0, 2, 3), keepdim=True))
    # gaps of 4 to 12 px, in one of a hundred cells of 8 x 8
    holes = (torch.rand(len(x), 1, x.shape[-2] // 8, x.shape[-1] // 8, generator=generator) < 0.01).float()
    holes = F.interpolate(holes, size=x.shape[-2:], mode="bilinear").to(x.device)
    return soft * (1 - holes)


def away(ours: Tensor, soft: Tensor) -> Tensor:
    """How much of either map (N, 1, H, W) has nothing as strong of the other within 4 px: scalar, 0 for none."""
    return sum(F.relu(a - F.max_pool2d(b, 9, 1, 4)).mean() for a, b in ((ours, soft), (soft, ours)))


def random_crops(trees: dict[str, Tensor], config: Config, generator: torch.Generator) -> dict[str, Tensor]:
    """(batch, 1, crop, crop) of each kind, at the same places of the same trees."""
    kinds: dict[str, list[Tensor]] = {name: [] for name in trees}
    for _ in range(config.batch):
        tree = int(torch.randint(0, config.trees, (1,), generator=generator))
        top, left = torch.randint(0, config.size - config.crop + 1, (2,), generator=generator).tolist()
        for name, maps in trees.items():
            kinds[name].append(maps[tree, :, top : top + config.crop, left : left + config.crop].float())
    return {name: torch.stack(crops) for name, crops in kinds.items()}


def main(config: Config) -> None:
    run = Run(config)
    vessels = read_drive(config.data, "training", size=2 * config.size).vessels.to(run.device)
    vae = checkpoint.load(ResidualVAE, config.vae, run.device)
    trees = sample_trees(run, vae, vessels)
    torch.manual_seed(config.seed)
    model = Denoiser(DenoiserConfig(config.width)).to(run.device)
    if config.start:
        model.load_state_dict(checkpoint.load(Denoiser, config.start).state_dict())
    discriminator = PatchDiscriminator(1, layers=4).to(run.device)
    ema = EMA(model, 0.998)
    optimiser = Adam(model.parameters(), config.lr, betas=(0.9, 0.99))
    judge = Adam(discriminator.parameters(), 4e-4, betas=(0.5, 0.99))
    run.restore(model=model, discriminator=discriminator, ema=ema.model, optimiser=optimiser, judge=judge)

    window = config.crop / config.size
    for step, generator in run.steps():
        # as upright as the trees are, so that the discriminator cannot tell them by their turn
        x = random_maps(vessels, config.batch, generator, degrees=20, elastic=0.02, window=window, size=config.crop)
        sampled = random_crops(trees, config, generator)["sampled"].to(run.device)
        redrawn = {name: crops.to(run.device) for name, crops in random_crops(trees, config, generator).items()}
        logits, free = model(torch.cat((soften(vae, x, generator), redrawn["redrawn"], sampled))).split((2 * config.batch, config.batch))
        x = torch.cat((x, redrawn["truth"]))
        clean, dreamt = logits.sigmoid(), free.sigmoid()
        paired = vessel_loss(logits, x) + 0.5 * centreline_dice_loss(clean, x)
        held = away(dreamt, sampled)
        dreamt = (dreamt > 0.5).float() + dreamt - dreamt.detach()  # straight through (Bengio et al. 2013)
        discriminator.requires_grad_(False)
        adversarial = -discriminator(dreamt)[0].mean()
        run.update(optimiser, paired + config.hold * held + config.adversarial * adversarial, clip=1.0)
        ema.update(model, step)
        discriminator.requires_grad_(True)
        real, fake = discriminator(torch.cat((x[: config.batch], dreamt.detach())))[0].chunk(2)
        judging = hinge_discriminator(real, fake)
        run.update(judge, judging)
        dice = 1 - dice_loss((logits.detach() > 0).float(), x)
        run.log(paired=paired, held=held, judging=judging, dice=dice)
        if run.due():
            with torch.no_grad():
                soft = trees["sampled"][:3].float()
                clean = ema.model.denoise(soft.to(run.device))
            run.grid(torch.cat((soft, clean.cpu())), columns=3)
            checkpoint.save(ema.model, config.out, **run.notes())


if __name__ == "__main__":
    main(parse(Config, __doc__))
