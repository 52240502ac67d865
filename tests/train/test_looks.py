import pytest
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance

from tests.networks import noise, uniform
from train.data import read_drive
from train.looks import Looks, pieces, shares


def test_a_map_is_cut_where_vessels_branch_or_cross():
    vessels = torch.zeros(1, 1, 128, 128)
    vessels[..., 60:67, 4:124] = 1  # 7 px wide
    vessels[..., 20:110, 40:43] = 1  # 3 px wide, across it
    vessels[..., 10:12, 90:99] = 1  # too short
    numbers, calibres = pieces(vessels)[0]
    left, right, up, down = at = (63, 20), (63, 90), (30, 41), (100, 41)
    assert len({0} | {int(numbers[place]) for place in at}) == 5
    assert calibres[left] == calibres[right] == pytest.approx(8, abs=1.1) and calibres[up] == calibres[down] == pytest.approx(3, abs=1.1)
    for place, region in ((left, (slice(60, 67), slice(8, 30))), (right, (slice(60, 67), slice(50, 120))), (up, (slice(24, 50), 41))):
        assert (numbers[region] == numbers[place]).all() and (calibres[region] == calibres[place]).all()
    assert (calibres[10:12, 90:99] == 0).all()
    assert (numbers[vessels[0, 0] == 0] == 0).all() and ((calibres > 0) == (numbers > 0)).all()


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_map_without_vessels_has_no_pieces(fill):
    assert (pieces(torch.full((2, 1, 64, 64), fill)) == 0).all()
    assert pieces(torch.zeros(0, 1, 64, 64)).shape == (0, 2, 64, 64)


def test_shares_are_means_of_equal_parts_and_their_distance_is_that_of_the_samples():
    values = torch.tensor([[3.0, 1.0, 2.0], [0.0, 9.0, 0.0]])
    assert shares(values, torch.tensor([1.0, 1.0, 2.0]), 2) == pytest.approx(torch.tensor([[1.5, 2.5], [0.0, 4.5]]))
    assert shares(values[:, :1], torch.tensor([7.0]), 3) == pytest.approx(torch.tensor([[3.0] * 3, [0.0] * 3]))
    one, two, weights = noise(1, 50, seed=1), 0.3 + 2 * noise(1, 70, seed=2), uniform(50, seed=3)
    near = (shares(one, weights, 400) - shares(two, torch.ones(70), 400)).abs().mean()
    assert near == pytest.approx(wasserstein_distance(one[0].numpy(), two[0].numpy(), weights.numpy()), rel=0.02)


def test_looks_are_a_photographs_whatever_its_vessels_and_each_is_told_by_its_own_measure(tiny_drive):
    drive = read_drive(tiny_drive, "training", size=256)
    vessels, fov = (drive.vessels > 0.5).float() * (drive.fov > 0.5), (drive.fov > 0.5).float()

    here, there = torch.tensor([[0.5, 0.1]]), torch.tensor([[-0.4, -0.1]])  # the one is the other's mirror image, moved
    ellipse = torch.tensor([[*here[0], 0.12, 0.12]])
    axis = (torch.arange(256) + 0.5) / 128 - 1

    def photograph(vessels, disc=here, seed=0, depth=0.1, ground=0.02, colour=(0.6, 0.3, 0.1), rim=0.05, pale=0.0, blue=0.4, uneven=0.1):
        courses = noise(1, 2, 32, 32, seed=seed)
        coarse = torch.cat((courses[:, :1].expand(-1, 2, -1, -1), (1 - blue**2) ** 0.5 * courses[:, :1] + blue * courses[:, 1:]), 1)
        coarse = F.interpolate(coarse, size=256, mode="bilinear")  # `blue`: how much of blue's is its own
        across, down = axis - disc[:, 0], axis[:, None] - disc[:, 1]
        distance = (across.square() + down.square()).sqrt()
        glow = rim * (distance < 0.12) + 0.1 * (distance < 0.05) + pale * ((distance < 0.12) & (across * disc[:, 0] < 0))
        deeper = 1 + uneven * (2 * (pieces(vessels)[:, :1] % 2) - 1)  # every other vessel by as much as the rest are shallower
        return (torch.tensor(colour)[:, None, None] * (1 + ground / 0.1 * coarse) + glow - depth * deeper * vessels) * fov[:1]

    grounds, depths, reds, rims, blues = (0.01, 0.02, 0.03), (0.05, 0.1, 0.15), (0.5, 0.6, 0.7), (0.0, 0.05, 0.1), (0.3, 0.4, 0.5)
    each = enumerate(zip(depths, grounds, reds, rims, blues, (0.0, 0.1, 0.2), strict=True))
    several = [photograph(vessels[:1], here, i, d, g, (r, 0.3, 0.1), rim, blue=b, uneven=u) for i, (d, g, r, rim, b, u) in each]
    looks = Looks(torch.cat(several), vessels[:1].expand(3, -1, -1, -1), ellipse.expand(3, -1))

    def apart(known=ellipse, **changed):
        other = photograph(vessels[1:2], there, seed=5, **changed)  # another map, another course of the ground, another place of the disc
        losses = looks(other, vessels[1:2], there, photograph(vessels[:1]), vessels[:1], known)
        return dict(zip(looks.names, torch.stack(losses).tolist(), strict=True))

    same = apart()
    assert max(same.values()) < 0.6
    assert apart(colour=(0.7, 0.4, 0.15))["colours"] > 3 * same["colours"]
    assert apart(ground=0.04)["structure"] > 2.5 * same["structure"]
    assert apart(blue=0.9)["shared"] > 3 * same["shared"]
    assert apart(depth=0.2)["vessels"] > 3 * same["vessels"]
    assert apart(uneven=0.6)["variety"] > 3 * same["variety"] and apart(uneven=0.6)["vessels"] < 2 * same["vessels"]
    assert apart(rim=0.25)["disc_looks"] > 3 * same["disc_looks"]
    assert apart(pale=0.2)["disc_looks"] > 2 * same["disc_looks"]  # toward the macula alone
    unknown = torch.cat((here, torch.zeros(1, 2)), 1)
    assert apart(known=unknown, rim=0.2)["disc_looks"] == 0 and apart(known=unknown, colour=(0.7, 0.4, 0.15))["colours"] > 0

    of_none = Looks(torch.cat(several), vessels[:1].expand(3, -1, -1, -1), unknown.expand(3, -1))  # data whose discs nobody drew
    losses = dict(zip(of_none.names, of_none(several[0], vessels[:1], here, several[1], vessels[:1], unknown), strict=True))
    assert losses["disc_looks"] == 0 and all(loss.isfinite() for loss in losses.values())


def test_a_disc_is_seen_in_rings_and_directions_from_the_nose_on():
    axis = (torch.arange(256) + 0.5) / 128 - 1
    for middle in ([0.5, 0.1, 0.1, 0.16], [-0.5, 0.1, 0.1, 0.16]):
        across, down = (axis - middle[0]) / middle[2], ((axis - middle[1]) / middle[3])[:, None]
        radius = (across.square() + down.square()).sqrt()
        nose = (across * (1 if middle[0] > 0 else -1) > 3 * down.abs()) & (radius > 0.5)
        image = torch.stack(((radius < 1).float(), nose.float(), down.expand(256, 256) > 0))[None].float()
        looks = Looks(torch.cat((image, image)), torch.zeros(2, 1, 256, 256), torch.tensor([middle, middle]))
        measured = looks.measure_disc(image, torch.zeros(1, 1, 256, 256), torch.tensor([middle]))[0].view(3, looks.rings, looks.sectors)
        inner, outer = measured[0, :4], measured[0, 6:]
        assert inner.min() > 0.95 and outer.max() < 0.05  # rings to 0.8 and from 1.2 on: an ellipse's, as it lies
        assert measured[1, 4:, 0].min() > 0.6 and measured[1, 4:, 2:7].max() < 0.1
        assert measured[2, 4:, 2].min() > 0.9 and measured[2, 4:, 6].max() < 0.1  # the third direction is down in either eye
