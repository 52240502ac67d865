from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.utils.data import DataLoader, Subset

from retsynth.pix2pix import DiscFinder, Pix2Pix, Pix2PixConfig, appearance, disc_map
from tests.networks import noise, uniform
from train.data import Drive, disc_centres, read_drive
from train.drawing import courses
from train.loop import Run
from train.pix2pix import (
    GHOSTS,
    LAGS,
    NEAR,
    SPREAD,
    Batch,
    Config,
    Examples,
    Features,
    Moments,
    ProjectedDiscriminator,
    View,
    contrast_loss,
    covariance_loss,
    disc_crop,
    disc_loss,
    finding_loss,
    fit_style_law,
    grain_covariance,
    in_part,
    middle,
    mottle,
    native_batch,
    photographs_moments,
    read_vessels,
    turn_of,
    unfinished_losses,
    unmapped,
    views_of,
)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_grain_covariance_is_that_of_the_noise_that_made_it():
    # red is white noise, green the same noise a pixel to the right and half as strong, blue its own
    white = noise(1, 2, 256, 256)
    images = 0.5 + 0.01 * torch.cat((white[:, :1], 0.5 * white[:, :1].roll(1, 3), white[:, 1:]), 1)
    ground = torch.ones(1, 1, 256, 256)
    measured = dict(zip(LAGS, grain_covariance(images, ground)[0] / 0.16**2, strict=True))
    # taking off the mean of 49 pixels leaves 1 - 2/49 + 1/49 of a white noise's variance, and the covariance of close pixels -1/49 or so
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(measured[0, 0], expected, atol=0.05, rtol=0)
    assert abs(measured[0, 1][1, 0] - 0.5) < 0.05 and abs(measured[0, 1][0, 1]) < 0.05
    assert measured[2, 0].abs().max() < 0.05


@pytest.mark.parametrize(("period", "least", "most"), [(2, 0.0, 0.01), (8, 0.8, 1.25), (24, 0.8, 1.25), (256, 0.0, 0.05)])
def test_the_mottle_is_what_is_4_to_34_px_large_eight_times_as_strong(period, least, most):
    wave = torch.cos(2 * torch.pi * torch.arange(512) / period)
    shown = mottle((0.5 + 0.01 * wave).expand(1, 3, 512, 512))[..., 64:192] - 0.5
    assert shown.shape == (1, 3, 256, 128)
    strength = shown[:, :, 128].std() / (0.08 * wave.std())
    assert least <= strength <= most


def test_covariance_loss_sees_the_strength_and_the_spectrum_of_the_grain_but_not_its_course_nor_the_vessels():
    ground = (uniform(1, 1, 20, 20) > 0.3).float().repeat_interleave(8, 2).repeat_interleave(8, 3)

    def photograph(seed, strength=0.01):
        return 0.5 + strength * noise(1, 3, 160, 160, seed=seed)

    def loss(images):
        return float(covariance_loss(grain_covariance(images, ground), grain_covariance(photograph(1), ground)))

    other = loss(photograph(2))
    assert other < 0.02
    assert loss(photograph(2, strength=0.02)) > 5 * other
    assert loss(torch.nn.functional.avg_pool2d(photograph(2, strength=0.03), 3, 1, 1)) > 5 * other  # as strong, and coarser
    blot = 0.3 * torch.nn.functional.max_pool2d(1 - ground, 1) * (1 - torch.nn.functional.max_pool2d(ground, 7, 1, 3))
    assert abs(loss(photograph(2) + blot) - other) < 0.5 * other  # more than 3 px from the ground: nothing of it is seen


def test_contrast_loss_sees_vessels_fade_and_nothing_else():
    vessels = torch.zeros(1, 1, 96, 96)
    vessels[..., 46:50, :] = 1
    photograph = 0.6 - 0.2 * vessels.expand(1, 3, -1, -1)
    blot = 0.3 * torch.zeros(1, 3, 96, 96).index_fill(2, torch.arange(10), 1)
    assert contrast_loss(photograph, photograph + blot, vessels) == 0  # far from any vessel
    assert contrast_loss(photograph, photograph + 0.1, vessels) < 1e-5  # a little brighter all over
    faint, fainter = (contrast_loss(0.6 - depth * vessels.expand(1, 3, -1, -1), photograph, vessels) for depth in (0.15, 0.1))
    assert 0 < faint < fainter
    assert contrast_loss(photograph, 1 - photograph, 0 * vessels) == 0
    beads = 0.1 * (1 - 2 * (torch.arange(96) % 2)) * vessels.expand(1, 3, -1, -1)
    assert contrast_loss(photograph + beads, photograph, vessels) < 0.01 * faint  # uneven, and no fainter on the whole


def test_an_unfinished_map_is_held_to_the_finished_ones_image_where_the_two_agree():
    apart = torch.zeros(1, 1, 64, 64)
    apart[..., 30:34, :] = 1
    finished = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ground = finished.clone().requires_grad_()
    assert unfinished_losses(finished + 0.3 * apart, finished, apart) == (0, 0)  # what was left out need not be there
    pooled, edges = unfinished_losses(ground + 0.1, finished, apart)
    assert pooled > 0.05 and edges > 0.05
    (pooled + edges).backward()
    pulled = ground.grad.abs().sum((0, 1, 3)) > 0
    assert pulled.tolist() == [not 24 <= row < 40 for row in range(64)]


def test_native_photographs_are_mirrored_left_and_right_at_most(tiny_drive):
    plain = read_drive(tiny_drive, "training", size=64)
    places = torch.tensor([[0.5, 0.2], [-0.5, -0.1], [0.3, 0.0], [-0.6, 0.3]])
    discs = disc_map(places, 64, 64)
    large = read_drive(tiny_drive, "training", size=256).vessels
    paths = [courses(vessels, place) for vessels, place in zip(large, places, strict=True)]
    ellipses, cuts = torch.cat((places, torch.full((4, 2), 0.1)), 1), uniform(4, 2, 64, 64)
    seen = set()
    for seed in range(30):
        batch = native_batch(plain, discs, ellipses, cuts, paths, Config("", batch=1), generator(seed))
        found = [
            (index, axes)
            for index in range(len(plain.fundus))
            for axes in ((), (3,))
            if torch.equal(batch.fundus[0], (plain.fundus * (plain.fov > 0.5))[index : index + 1].flip(axes)[0])
        ]
        assert len(found) == 1
        index, axes = found[0]
        assert torch.equal(batch.vessels, ((plain.vessels > 0.5) & (plain.fov > 0.5))[index : index + 1].flip(axes).float())
        near = F.max_pool2d(batch.vessels, 9, 1, 4)
        assert batch.sketch.any() and (batch.sketch * near).sum() > 0.6 * batch.sketch.sum()  # mirrored along with the vessels
        mirror = torch.tensor([-1.0 if axes else 1.0, 1.0])
        torch.testing.assert_close(batch.disc[0], places[index] * mirror, atol=0.01, rtol=0)
        assert torch.equal(batch.rim[0, :2], places[index] * mirror) and torch.equal(batch.rim[0, 2:], ellipses[index, 2:])
        assert torch.equal(batch.cut, cuts[index : index + 1].flip(axes))
        seen.add(axes)
    assert len(seen) == 2


def test_moments_bring_one_image_at_a_time_to_the_photographs_mean_and_spread():
    centre, spread = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 2.0, 1.0])
    moments = Moments(centre + spread * noise(500, 3), decay=0.95)
    mean, deviation = torch.zeros(3, requires_grad=True), torch.full((3,), 3.0, requires_grad=True)
    optimiser = torch.optim.Adam([mean, deviation], 0.02)
    gaps = []
    for step in range(2000):
        loss, gap = moments(mean + deviation * noise(1, 3, seed=step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        gaps.append(float(gap))
    assert sum(gaps[-100:]) < 0.1 * sum(gaps[50:150])
    torch.testing.assert_close(mean.detach(), centre, atol=0.25, rtol=0.1)
    torch.testing.assert_close(deviation.detach().abs(), spread, atol=0.2, rtol=0.25)


def test_a_view_of_one_colour_does_not_know_the_others():
    features, image = Features("lite1"), uniform(1, 3, 64, 64).requires_grad_()
    for view in views_of(64)[1]:
        (gradient,) = torch.autograd.grad(features.describe(image, view, generator(0)).sum(), image)
        assert gradient.abs().sum((0, 2, 3)).nonzero().tolist() == [[view.colour]]


@pytest.mark.parametrize("name", ["lite1", "lite2"])
def test_photographs_are_near_their_own_moments_in_each_view_and_faded_ones_are_not(tiny_drive, name):
    plain, features, views = read_drive(tiny_drive, "training", size=128), Features(name), [View(64), View(128), View(64, 0), View(128, 1)]
    centres = disc_centres(plain)

    @torch.no_grad()
    def gap(images):
        *wholes, close = photographs_moments(features, plain, centres, views, Config(data=""))
        each = [(i % 4, generator(i)) for i in range(24)]
        gaps = [
            [moments(features.describe(images[i][None], view, g))[1] for i, g in each] for moments, view in zip(wholes, views, strict=True)
        ]
        gaps.append([close(features.describe_disc(images[i][None], centres[i][None], g))[1] for i, g in each])
        return [sum(map(float, one)) / len(one) for one in gaps]

    for own, faded in zip(gap(plain.fundus), gap(0.5 * plain.fundus), strict=True):
        assert own < 0.5 * faded


def test_a_disc_without_its_bright_middle_is_far_from_the_photographs_discs(tiny_drive):
    plain, features = read_drive(tiny_drive, "training", size=128), Features("lite2")
    centres = disc_centres(plain)
    dull = plain.fundus * (1 - 0.5 * disc_map(centres, 128, 128))

    @torch.no_grad()
    def gap(images):
        *_, close = photographs_moments(features, plain, centres, [View(128)], Config(data=""))
        return sum(float(close(features.describe_disc(images[i % 4][None], centres[i % 4][None], generator(i)))[1]) for i in range(24)) / 24

    assert gap(plain.fundus) < 0.5 * gap(dull)


def test_a_mirrored_photographs_disc_is_looked_for_on_its_other_side():
    places, seen = torch.tensor([[0.6, -0.1], [-0.4, 0.2]]), []
    spots = disc_map(places, 128, 128)

    class Looking:
        @staticmethod
        def describe_disc(x, disc, generator):
            seen.append((middle(x[:, :1]) - disc).abs().max())
            return torch.rand(1, 2)

    photographs_moments(Looking, Drive(["1", "2"], spots.expand(-1, 3, -1, -1), spots, spots), places, [], Config(data=""))
    assert len(seen) == 8 and max(seen) < 0.02


def test_a_crop_around_the_disc_holds_it_wherever_it_lies():
    discs = torch.tensor([[0.7, -0.1], [-0.95, 0.9], [0.0, 0.0]])
    images = (disc_map(discs, 128, 128) > 0.95).float()
    for seed in range(20):
        crops = disc_crop(images, discs, 48, generator(seed))
        assert crops.shape == (3, 1, 48, 48)
        assert torch.equal(crops.sum((1, 2, 3)), images.sum((1, 2, 3)))
    at = {tuple(disc_crop(images, discs, 48, generator(seed))[2, 0].nonzero().float().mean(0).tolist()) for seed in range(20)}
    assert len(at) > 10  # and not always in the crop's middle


def test_an_image_without_its_map_keeps_its_colours_and_their_gradient():
    image = uniform(1, 4, 8, 8).requires_grad_()
    blank = unmapped(image)
    assert torch.equal(blank[:, :3], image[:, :3]) and not blank[:, 3:].any()
    blank.sum().backward()
    assert image.grad[:, :3].all() and not image.grad[:, 3:].any()


@pytest.mark.parametrize("name", ["lite1", "lite2"])
def test_each_scale_of_each_network_has_its_head(name):
    features = Features(name)
    scales = features(uniform(2, 3, 64, 64))
    assert [(f.shape[1], f.shape[2]) for f in scales] == list(zip(features.channels, (32, 16, 8, 4), strict=True))
    logits = ProjectedDiscriminator(features.channels, width=8)(scales, torch.zeros(2, 1, 64, 64))
    assert [tuple(x.shape) for x in logits] == [(2, 1, 16, 16), (2, 1, 8, 8), (2, 1, 8, 8), (2, 1, 4, 4)]


def test_the_projected_slope_multiplies_the_logits():
    flat, steep = (ProjectedDiscriminator([8], width=8, slope=slope).eval() for slope in (1.0, 7.0))
    steep.load_state_dict(flat.state_dict())
    x, vessels = [noise(1, 8, 16, 16)], torch.zeros(1, 1, 32, 32)
    torch.testing.assert_close(steep(x, vessels)[0], 7 * flat(x, vessels)[0])


@pytest.mark.parametrize("name", ["lite1", "lite2"])
def test_features_with_the_norms_in_their_weights_are_the_networks_own(name):
    features = Features(name)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in features.modules())
    network = EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=Features.files[name].get_model_file_path()).eval()
    x = uniform(1, 3, 64, 64)
    with torch.no_grad():
        last = features.head(features.deep(features(x)[-1]))
        torch.testing.assert_close(last, network.extract_features((x - 0.5) / 0.5), atol=1e-4, rtol=1e-4)


def test_examples_depend_on_seed_step_and_process_alone_and_are_what_their_turn_says(tiny_drive):
    drive, plain = (read_drive(tiny_drive, "training", size=size) for size in (128, 64))
    trees = (uniform(3, 1, 64, 64) > 0.9).bool()
    config = Config("", size=64, batch=2)
    examples, other, second = (
        Examples(drive, plain, disc_centres(plain), trees, c, rank) for c, rank in ((config, 0), (replace(config, seed=1), 0), (config, 1))
    )
    loader = DataLoader(Subset(examples, range(8)), batch_size=None, num_workers=2)
    for step, example in enumerate(loader):
        turn = turn_of(step)
        assert all(torch.equal(a, b) for a, b in zip(example[1:], examples[step][1:], strict=True))
        assert not torch.equal(example.noise, other[step].noise) and not torch.equal(example.noise, second[step].noise)
        assert example.noise.dtype == example.batch.fundus.dtype == torch.float16
        if turn.dreamt:
            assert all(any(torch.equal(one.bool(), tree) for tree in trees) for one in example.shown)
            assert torch.equal(example.seen, example.shown)
        elif turn.unfinished:
            assert torch.equal(example.shown, example.part)
        else:
            assert torch.equal(example.shown, example.batch.vessels)
    assert [turn_of(step).again for step in range(8)] == [True, False, False, False, True, False, True, False]


def test_the_middle_of_a_spot_and_of_nothing():
    places = torch.tensor([[0.4, -0.3], [-0.7, 0.1]])
    torch.testing.assert_close(middle(disc_map(places, 96, 128)), places, atol=0.02, rtol=0)
    assert torch.equal(middle(torch.zeros(1, 1, 16, 16)), torch.zeros(1, 2))


def test_a_reader_is_kept_for_photographs_of_one_size(tiny_drive, tmp_path):
    for size in (64, 96):
        run = Run(Config("", out=str(tmp_path / "pix2pix.safetensors"), size=size, crop=32, reader=1))
        read_vessels(run, read_drive(tiny_drive, "training", size=2 * size))
    assert len(list(run.folder.glob("reader-*.safetensors"))) == 2


def test_a_finder_learns_where_lines_meet():
    def stars(seed):
        """Five lines that meet at a random place, (8, 1, 256, 256), and the places."""
        places = 1.2 * uniform(8, 2, seed=seed) - 0.6
        angles = 2 * torch.pi * uniform(8, 5, 1, 1, seed=seed + 1000)
        axis = (torch.arange(256) + 0.5) / 128 - 1
        x, y = axis[None, None, None] - places[:, :1, None, None], axis[None, None, :, None] - places[:, 1:, None, None]
        off, along = x * angles.sin() - y * angles.cos(), x * angles.cos() + y * angles.sin()
        return ((off.abs() < 0.02) & (along > 0)).any(1, keepdim=True).float(), places

    torch.manual_seed(0)
    finder = DiscFinder(16)
    optimiser = torch.optim.Adam(finder.parameters(), 3e-3)
    for step in range(250):
        maps, places = stars(step)
        optimiser.zero_grad()
        finding_loss(finder(maps), places).backward()
        optimiser.step()
    maps, places = stars(5000)
    assert (finder.locate(maps) - places).norm(dim=1).median() < 0.125  # half of a cell of the 8 x 8; a guess is 0.46 off


def test_a_part_of_the_vessels_moves_with_all_of_them_and_the_disc():
    axis = torch.arange(128)
    vessels = torch.zeros(1, 1, 128, 128)
    vessels[..., 60:64, 20:100] = vessels[..., 30:90, 84:88] = 1
    sketch = torch.zeros_like(vessels)
    sketch[..., 60:64, 50:100] = 1
    fov = ((axis[:, None] - 63.5).square() + (axis - 63.5).square() < 60**2).float()[None, None]
    disc = torch.tensor([[0.35, -0.03]])  # at the crossing
    batch = Batch(disc, vessels, vessels.expand(1, 3, -1, -1), fov, sketch, torch.zeros(0, 4), vessels[:0])
    places = []
    for seed in range(40):
        every, part, place = in_part(batch, generator(seed))
        assert ((every == 0) | (every == 1)).all() and ((part == 0) | (part == 1)).all()
        assert (part <= every).all() and (every <= fov).all()
        x, y = (((place[0] + 1) * 64).round().long() - 1).tolist()
        assert every[..., y - 2 : y + 4, x - 2 : x + 4].float().mean() > 0.5 or fov[0, 0, y, x] == 0  # where the vessels cross
        assert torch.equal(every, vessels * fov) == torch.equal(place, disc)
        places.append(tuple(place[0].tolist()))
    assert 8 < places.count(tuple(disc[0].tolist())) < 32
    assert max(abs(x - disc[0, 0]) for x, _ in places) > 0.3


def test_disc_loss_weighs_what_lies_in_and_around_the_disc():
    plain, disc = torch.full((1, 3, 128, 128), 0.5), torch.tensor([[0.5, -0.25]])
    away, near = plain.clone(), plain.clone()
    away[..., 90:120, 10:40] += 0.3
    near[..., 43:53, 91:101] += 0.3
    assert disc_loss(plain, plain, disc) == 0
    assert disc_loss(near, plain, disc) > 0.03 > 1e-4 > disc_loss(away, plain, disc)
    torch.testing.assert_close(disc_loss(plain + 0.1, plain, disc), torch.tensor(0.1))  # a mean, whatever the disc's size


def test_the_law_of_styles_is_that_of_the_photographs_their_deviations_spread():
    torch.manual_seed(0)
    model = Pix2Pix(Pix2PixConfig(style_channels=2, width=8, depth=5, fine=4, looks=12))
    fov = torch.ones(12, 1, 64, 64)
    fundus = (0.5 + 0.3 * noise(12, 3, 1, 1) + 0.1 * noise(12, 1, 1, 1) * noise(12, 3, 64, 64, seed=1)).clamp(0.05, 0.95)
    fit_style_law(model, Drive([], fundus, fundus[:, :1], fov), controls=False)
    styles = model.encode_style(fundus, fov)
    torch.testing.assert_close(model.style_codes.mean(0), styles.mean(0))
    within, between = model.style_factor @ model.style_factor.T, torch.cov(model.style_codes.T)
    within[0, 1] /= 0.9  # shrunk by a tenth
    within[1, 0] /= 0.9
    torch.testing.assert_close(within + between, SPREAD**2 * torch.cov(styles.T), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(within, NEAR**2 * SPREAD**2 * torch.cov(styles.T), atol=1e-5, rtol=1e-3)
    assert model.style_controls[-1, -1] == appearance(fundus, fov)[:, -1].std(0)


def test_a_style_far_from_all_others_gives_way_to_its_nearest(monkeypatch):
    model = Pix2Pix(Pix2PixConfig(style_channels=2, width=8, depth=5, fine=4, looks=5))
    styles = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [9.0, 2.0]])
    monkeypatch.setattr(model, "encode_style", lambda fundus, fov: styles[int(fundus[0, 0, 0, 0]), None])
    fundus = torch.arange(5.0)[:, None, None, None].expand(-1, 3, 32, 32)
    fit_style_law(model, Drive([], fundus, fundus[:, :1], torch.ones(5, 1, 32, 32)), controls=False)
    torch.testing.assert_close(model.style_codes[4], model.style_codes[3])
    assert len(model.style_codes.unique(dim=0)) == 4


def test_a_style_that_paints_a_second_disc_gives_way_and_still_counts_for_the_spread(monkeypatch):
    styles = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.9, 0.2]])
    fundus = torch.arange(4.0)[:, None, None, None].expand(-1, 3, 32, 32)

    def law(names: list[str]) -> Pix2Pix:
        model = Pix2Pix(Pix2PixConfig(style_channels=2, width=8, depth=5, fine=4, looks=4))
        monkeypatch.setattr(model, "encode_style", lambda fundus, fov: styles[int(fundus[0, 0, 0, 0]), None])
        fit_style_law(model, Drive(names, fundus, fundus[:, :1], torch.ones(4, 1, 32, 32)), controls=False)
        return model

    plain, without = law(["21", "22", "23", "24"]), law(["21", GHOSTS[0], "23", "24"])
    torch.testing.assert_close(without.style_codes, plain.style_codes[[0, 3, 2, 3]])
    torch.testing.assert_close(without.style_factor, plain.style_factor)


def test_a_control_moves_its_own_measure_by_a_standard_deviation(monkeypatch):
    model = Pix2Pix(Pix2PixConfig(style_channels=3, width=8, depth=5, fine=4, looks=12))
    styles, fov = noise(12, 3), torch.ones(12, 1, 32, 32)
    colours = torch.tensor([[0.05, 0.0, 0.01], [0.02, 0.03, 0.0], [0.0, 0.0, 0.02]])

    def paint(style):
        return (torch.tensor([0.6, 0.3, 0.1]) + style @ colours.T)[:, :, None, None].expand(-1, 3, 32, 32)

    monkeypatch.setattr(model, "forward", lambda vessels, fov, style, noise: paint(style))
    monkeypatch.setattr(model, "encode_style", lambda fundus, fov: styles[(paint(styles) - fundus).abs().amax((1, 2, 3)).argmin()][None])
    photographs = paint(styles)
    fit_style_law(model, Drive([], photographs, fov * 0, fov))
    spread, mean = appearance(photographs, fov).std(0)[:2], styles.mean(0, keepdim=True)
    before = appearance(paint(mean), fov[:1])[0, :2]
    for i in range(2):
        moved = (appearance(paint(mean + model.style_controls[i : i + 1, :-1]), fov[:1])[0, :2] - before) / spread
        assert 0.8 < moved[i] < 1.1 and abs(moved[1 - i]) < 0.15
