import math

import pytest
import torch
import torch.nn.functional as F

from retsynth.pix2pix import CONTROLS, DISC, DiscFinder, Pix2Pix, Pix2PixConfig, SlimBlock, appearance, disc_map, set_contrast
from tests.networks import dead_parameters, noise, seeded, uniform
from train.data import field_of_view

TINY = Pix2PixConfig(style_channels=3, width=8, depth=5, fine=4)
SLIM = Pix2PixConfig(style_channels=3, width=16, depth=5, slim=8, inner=(8, 8, 16, 16, 16), fine=4)  # as `train.distill` makes it


@pytest.fixture(params=[TINY, SLIM], ids=["wide", "slim"])
def model(request):
    return seeded(Pix2Pix(request.param))


@pytest.fixture
def inputs():
    """Vessels, field of view, style, noise, texture and the disc's place of two images."""
    vessels = (uniform(2, 1, 64, 64) > 0.8).float()
    random = {"style": noise(2, 3), "noise": noise(2, 1, 64, 64, seed=1), "texture": noise(2, 16, 4, 4, seed=2)}
    disc = torch.tensor([[0.6, -0.1], [-0.6, 0.2]])
    return {"vessels": vessels, "fov": field_of_view(64).expand(2, 1, 64, 64), "disc": disc} | random


def test_shape_range_and_black_surround(model, inputs):
    fundus = model(**inputs)
    assert fundus.shape == (2, 3, 64, 64)
    assert fundus.min() >= 0 and fundus.max() <= 1
    brightest, inside = fundus.amax(1), inputs["fov"][:, 0] > 0
    assert (brightest[~inside] == 0).all() and (brightest[inside] > 0).float().mean() > 0.9


@pytest.mark.parametrize("name", ["vessels", "style", "noise", "texture", "disc"])
def test_every_input_shows_in_the_image(model, inputs, name):
    other = model(**inputs | {name: inputs[name].flip(0)})
    assert (other - model(**inputs)).abs().mean() > 2e-4  # rounding is 1e-7


def test_noise_stands_in_for_a_texture_code_of_the_same_law(model, inputs):
    inputs["noise"] = noise(2, 1, 64, 64, seed=5)
    given = []
    model.texture.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    model(**inputs | {"texture": None})
    encoded = model.texture_encoder(uniform(2, 3, 64, 64), inputs["vessels"], inputs["fov"])[0]
    assert given[0].shape == inputs["texture"].shape == encoded.shape
    assert abs(given[0].std() - 1) < 0.15 and abs(given[0].mean()) < 0.15


def test_where_no_disc_is_given_it_is_where_the_vessels_show_it(model, inputs):
    found = model.disc_finder.locate(inputs["vessels"])
    assert torch.equal(model(**inputs | {"disc": None}), model(**inputs | {"disc": found}))


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.62, -0.3), (-0.95, 0.95)])
def test_the_finder_reads_a_place_between_the_cells_of_its_grid(place):
    finder = DiscFinder()
    finder.forward = lambda vessels: 6 * disc_map(torch.tensor([place, (-0.5, 0.5)]), 16, 16)
    found = finder.locate(torch.zeros(2, 1, 512, 512))
    torch.testing.assert_close(found, torch.tensor([place, (-0.5, 0.5)]), atol=0.06, rtol=0)  # half a cell


def test_a_second_place_two_cells_away_does_not_draw_the_best_one_aside():
    finder, logits = DiscFinder(), torch.full((1, 1, 16, 16), -20.0)
    logits[..., 5, 3], logits[..., 5, 5], logits[..., 7, 3] = 1.0, 0.9, 0.8
    finder.forward = lambda vessels: logits
    torch.testing.assert_close(finder.locate(torch.zeros(1, 1, 512, 512)), torch.tensor([[3.5, 5.5]]) / 8 - 1)


def test_a_disc_map_is_highest_at_its_place_and_as_wide_as_a_disc():
    near = disc_map(torch.tensor([[0.5, -0.25]]), 128, 128)[0, 0]
    row, column = divmod(int(near.argmax()), 128)
    assert abs((column + 0.5) / 64 - 1 - 0.5) < 1 / 64 and abs((row + 0.5) / 64 - 1 + 0.25) < 1 / 64
    assert abs(float(near[row, column + round(DISC * 64)]) - math.exp(-0.5)) < 0.05 and near.min() < 1e-6


def test_an_image_does_not_depend_on_its_batch(model, inputs):
    together = model(**inputs)
    alone = model(**{name: value[1:] for name, value in inputs.items()})
    torch.testing.assert_close(alone, together[1:], atol=1e-5, rtol=0)


def test_a_style_ignores_what_lies_outside_the_field_of_view(model, inputs):
    fundus, fov = uniform(2, 3, 64, 64), inputs["fov"]
    style = model.encode_style(fundus, fov)
    assert style.shape == (2, 3)
    assert torch.equal(style, model.encode_style(fundus + 5 * (1 - fov), fov))
    assert not torch.allclose(style, model.encode_style(fundus * 0.5, fov))


def test_drawn_styles_follow_the_law(model):
    model.style_codes.copy_(20 * noise(20, 3, seed=1))
    model.style_factor.copy_(torch.tensor([[0.1, 0.0, 0.0], [0.08, 0.06, 0.0], [0.0, 0.0, 0.2]]))
    model.style_controls[-1, -1] = 0.5
    styles = model.draw_style(noise(20_000, 4))
    codes, amounts = styles.split((3, 1), 1)
    nearest = torch.cdist(codes, model.style_codes).argmin(1)
    shares = nearest.bincount(minlength=20) / len(nearest)
    torch.testing.assert_close(shares, torch.full((20,), 0.05), atol=0.006, rtol=0)  # all looks as often
    variance = 0.9205  # of N(0, 1) clamped to [-2, 2]
    apart = torch.cat((codes - model.style_codes[nearest], amounts), 1)
    covariance = torch.tensor([[0.01, 0.008, 0, 0], [0.008, 0.01, 0, 0], [0, 0, 0.04, 0], [0, 0, 0, 0.25]])
    torch.testing.assert_close(apart.mean(0), torch.zeros(4), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.cov(apart.T) / variance, covariance, atol=2e-3, rtol=0.05)
    # and how far from a look tells nothing of which look
    assert all(apart[nearest == look].mean(0).abs().max() < 0.06 for look in range(20))
    first = torch.full((1, 4), 2.0)
    first[0, 0] = 50.0
    assert torch.equal(model.draw_style(torch.full((1, 4), 50.0)), model.draw_style(first))


def test_appearance_measures_what_its_names_say():
    assert CONTROLS == ("brightness", "pigmentation", "contrast")
    fov = field_of_view(32)[None]
    plain = torch.tensor([0.6, 0.2, 0.9]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    torch.testing.assert_close(appearance(plain, fov)[:, :2], torch.tensor([[0.4, 0.5]]), atol=1e-5, rtol=0)
    photograph = uniform(1, 3, 32, 32)
    brightness, pigmentation, contrast = appearance(photograph, fov)[0]
    green = photograph[0, 1][fov[0, 0] > 0]
    torch.testing.assert_close(contrast.exp(), green.std(correction=0) / green.mean())
    half = appearance(photograph / 2, fov)[0]
    torch.testing.assert_close(half, torch.stack((brightness / 2, pigmentation, contrast)))  # a dimmer lamp, the same eye
    torch.testing.assert_close(appearance(photograph + (1 - fov), fov)[0], torch.stack((brightness, pigmentation, contrast)))


@pytest.mark.parametrize("amount", [-0.7, 0.4])
def test_contrast_changes_by_its_amount_and_nothing_else_does(amount):
    fov = field_of_view(64)[None]
    fundus = torch.tensor([1.4, 0.8, 0.5])[:, None, None] * (0.4 + 0.2 * uniform(1, 1, 64, 64)) * fov
    after = set_contrast(fundus, fov, torch.tensor([amount]))
    expected = appearance(fundus, fov) + torch.tensor([0.0, 0.0, amount])
    torch.testing.assert_close(appearance(after, fov), expected, atol=1e-4, rtol=0)
    assert (after * (1 - fov) == 0).all()
    assert torch.equal(set_contrast(fundus, torch.zeros_like(fov), torch.tensor([amount])), torch.zeros_like(fundus))


@pytest.mark.parametrize("amount", [-0.7, 0.4])
def test_contrast_keeps_the_hue_of_every_pixel(amount):
    fov = torch.ones(1, 1, 64, 64)
    fundus = 0.2 + 0.3 * uniform(1, 3, 64, 64)
    after = set_contrast(fundus, fov, torch.tensor([amount]))
    torch.testing.assert_close(after[:, 0] * fundus[:, 1], after[:, 1] * fundus[:, 0])
    torch.testing.assert_close(after[:, 2] * fundus[:, 1], after[:, 1] * fundus[:, 2])
    dark = 0.05 * fundus
    assert torch.equal(set_contrast(dark, fov, torch.zeros(1)), dark)


@pytest.mark.parametrize("config", [TINY, SLIM], ids=["wide", "slim"])
def test_every_parameter_receives_a_gradient(inputs, config):
    model = Pix2Pix(config)
    target = uniform(2, 3, 64, 64)

    def loss():
        mu, logvar = model.style_encoder(target, inputs["fov"])
        texture = sum(model.texture_encoder(target, inputs["vessels"], inputs["fov"]))
        found = model.disc_finder(inputs["vessels"]).square().sum()
        return (model(**inputs | {"style": mu + logvar, "texture": texture}) - target).square().sum() + found

    assert dead_parameters(model, loss) == []


def test_a_slim_first_level_sees_where_the_field_of_view_ends():
    model, vessels, fov = seeded(Pix2Pix(SLIM)), uniform(1, 1, 64, 64), (uniform(1, 1, 64, 64, seed=1) > 0.3).float()
    seen = []
    for layer in (model.stem, model.skips[0]):
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model(vessels * fov, fov, noise(1, 3), noise(1, 1, 64, 64, seed=1))
    for map in seen:
        torch.testing.assert_close(F.pixel_shuffle(map, 2), torch.where(fov > 0, vessels, -1.0))


def test_a_slim_block_is_styled_as_by_a_norm_that_does_nothing():
    block, x, style = seeded(SlimBlock(8, 8, 3)), noise(2, 8, 6, 6), noise(2, 3, seed=1)
    grain = noise(2, 1, 6, 6, seed=2)
    scale, shift = block.film(style)[:, :, None, None].chunk(2, dim=1)
    styled = (block.conv1(F.silu(x)) + block.noise * grain) * (1 + scale) + shift
    torch.testing.assert_close(block(x, style, grain), x + block.conv2(F.silu(styled)), atol=1e-5, rtol=1e-5)


def test_pinned_output(inputs):
    model = seeded(Pix2Pix(TINY))
    row = torch.tensor([[0.0, 0.5892, 0.6516, 0.3771], [0.0, 0.7617, 0.617, 0.6391], [0.0, 0.4031, 0.4029, 0.3492]])
    torch.testing.assert_close(model(**inputs)[0, :, 32, ::16], row, atol=1e-3, rtol=0)
    photograph = uniform(1, 3, 64, 64)
    style = model.encode_style(photograph, inputs["fov"][:1])
    torch.testing.assert_close(style, torch.tensor([[-1.0501, -1.0276, -3.2934]]), atol=1e-3, rtol=0)
    texture = model.texture_encoder(photograph, inputs["vessels"][:1], inputs["fov"][:1])[0]
    torch.testing.assert_close(texture[0, 0, 0], torch.tensor([-0.0566, 0.3306, 0.1414, -0.0086]), atol=1e-3, rtol=0)
