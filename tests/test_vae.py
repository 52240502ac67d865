import torch
from torch.distributions import Normal, kl_divergence

from retsynth import vae
from retsynth.vae import ResidualVAE, VAEConfig
from tests.networks import dead_parameters, noise, seeded, uniform

TINY = VAEConfig(z_channels=2, width=8)


def test_shapes_and_ranges():
    model = seeded(ResidualVAE(TINY))
    mu, logvar = model.encode(uniform(2, 1, 48, 32) * 1000)
    assert mu.shape == logvar.shape == (2, 2, 6, 4)
    assert logvar.min() >= -12 and logvar.max() <= 4
    vessels = model.sample(noise(2, 2, 6, 4) * 100)
    assert vessels.shape == (2, 1, 48, 32)
    assert vessels.min() >= 0 and vessels.max() <= 1


def test_forward_draws_from_the_posterior():
    model = seeded(ResidualVAE(TINY))
    x, unit = uniform(1, 1, 32, 32), noise(1, 2, 4, 4)
    logits, mu, logvar = model(x, unit)
    drawn = mu + unit * logvar.exp().sqrt()
    torch.testing.assert_close(logits, model.decode(drawn))
    torch.testing.assert_close(model.sample(drawn), logits.sigmoid())


def test_a_sample_does_not_depend_on_its_batch():
    model = seeded(ResidualVAE(TINY))
    z = noise(3, 2, 8, 8)
    together = model.sample(z)
    for i in range(3):
        torch.testing.assert_close(model.sample(z[i : i + 1]), together[i : i + 1], atol=1e-6, rtol=0)


def test_kl_agrees_with_torch_distributions():
    mu, logvar = noise(3, 2, 4, 4) * 2, noise(3, 2, 4, 4, seed=1)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum((1, 2, 3)).mean()
    torch.testing.assert_close(vae.kl_divergence(mu, logvar), expected)
    assert vae.kl_divergence(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)) == 0


def test_every_parameter_receives_a_gradient():
    model = ResidualVAE(TINY)

    def loss():
        logits, mu, logvar = model(uniform(2, 1, 32, 32), noise(2, 2, 4, 4))
        return logits.square().mean() + vae.kl_divergence(mu, logvar)

    assert dead_parameters(model, loss) == []


def test_pinned_output():
    model = seeded(ResidualVAE(TINY))
    logits = model.decode(noise(1, 2, 4, 4)).flatten()[::128]
    mu = model.encode(uniform(1, 1, 32, 32))[0].flatten()[::4]
    torch.testing.assert_close(
        logits, torch.tensor([-0.0790, -0.0217, -0.1705, 0.0005, -0.1306, -0.0885, -0.1676, -0.0971]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(mu, torch.tensor([-0.2648, -0.3582, 0.0125, 0.0626, 0.0197, -0.2322, -0.3108, -0.2422]), atol=1e-3, rtol=0)
