"""Train the residual VAE: `python -m train.vae --data DRIVE --steps 1500 --out weights/vae.safetensors`."""

from dataclasses import dataclass

import torch
from torch.optim import Adam

from retsynth import checkpoint
from retsynth.vae import ResidualVAE, VAEConfig, kl_divergence
from train.data import SIZE, random_maps, read_drive
from train.loop import EMA, Run, parse
from train.losses import PatchDiscriminator, centreline_dice_loss, dice_loss, hinge_discriminator, vessel_loss


@dataclass(frozen=True)
class Config:
    data: str
    out: str = "weights/vae.safetensors"
    steps: int = 2000
    batch: int = 8
    crop: int = 256
    lr: float = 1e-3
    kl: float = 0.3  # weight of the KL against the mean cross-entropy, both per pixel; 1 would be the ELBO
    adversarial: float = 0.02  # weight of the discriminator of crops
    adversarial_from: int = 500  # the step from which on it counts
    z_channels: int = 4  # of the latent
    width: int = 48
    start: str = ""
    noise: float = 0.0  # above 0, the decoder alone learns on, to see through noise of up to as many standard deviations in the latent
    seed: int = 0
    log_every: int = 10
    save_every: int = 50
    sample_every: int = 200


def main(config: Config) -> None:
    run = Run(config)
    vessels = read_drive(config.data, "training", size=2 * SIZE).vessels.to(run.device)
    torch.manual_seed(config.seed)
    vae = ResidualVAE(VAEConfig(config.z_channels, config.width)).to(run.device)
    if config.start:
        vae.load_state_dict(checkpoint.load(ResidualVAE, config.start).state_dict())
    discriminator = PatchDiscriminator(1).to(run.device)
    ema = EMA(vae)
    optimiser = Adam(vae.parameters(), config.lr, betas=(0.9, 0.99))
    judge = Adam(discriminator.parameters(), 4e-4, betas=(0.5, 0.99))
    run.restore(vae=vae, discriminator=discriminator, ema=ema.model, optimiser=optimiser, judge=judge)

    warping = {"degrees": 180, "zoom": (0.95, 1.1), "elastic": 0.03, "window": config.crop / SIZE, "size": config.crop}
    for step, generator in run.steps():
        x = random_maps(vessels, config.batch, generator, **warping)
        latent = (config.batch, config.z_channels, config.crop // vae.downscale, config.crop // vae.downscale)
        noise = torch.randn(latent, generator=generator).to(run.device)
        if config.noise:
            # the flow leaves noise of this kind in what it samples
            with torch.no_grad():
                mu, logvar = vae.encode(x)
            level = config.noise * torch.rand(len(x), 1, 1, 1, generator=generator).to(run.device)
            logits = vae.decode(mu + level * mu.std((0, 2, 3), keepdim=True) * noise)
        else:
            logits, mu, logvar = vae(x, noise)
        reconstruction = vessel_loss(logits, x)
        kl = kl_divergence(mu, logvar) / x[0].numel()
        loss = reconstruction + config.kl * kl
        few = max(1, config.batch // 4)  # what follows would take half of the time, a quarter of the batch tells it enough
        if config.noise:  # noise breaks thin vessels first
            loss = loss + 0.5 * centreline_dice_loss(logits[:few].sigmoid(), x[:few])
        if step >= config.adversarial_from:
            soft = logits[:few].sigmoid()
            discriminator.requires_grad_(False)
            loss = loss - config.adversarial * discriminator(soft)[0].mean()
        run.update(optimiser, loss, clip=1.0)
        if step >= config.adversarial_from:
            discriminator.requires_grad_(True)
            real, fake = discriminator(torch.cat((x[:few], soft.detach())))[0].chunk(2)
            run.update(judge, hinge_discriminator(real, fake))
        ema.update(vae, step)
        dice = 1 - dice_loss((logits.detach() > 0).float(), x)
        run.log(reconstruction=reconstruction, kl=kl, dice=dice, std=mu.std(), lr=optimiser.param_groups[0]["lr"])
        if run.due():
            with torch.no_grad():
                soft = ema.model.sample(ema.model.encode(x[:4])[0])
                shuffled = ema.model.sample(torch.randn(4, *latent[1:], generator=generator).to(run.device))
            run.grid(torch.cat((x[:4], soft, shuffled)).cpu(), columns=4)
            checkpoint.save(ema.model, config.out, **run.notes())


if __name__ == "__main__":
    main(parse(Config, __doc__))
