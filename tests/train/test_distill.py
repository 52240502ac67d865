import numpy as np
import pytest
import torch

from retsynth import checkpoint
from retsynth.pix2pix import Pix2Pix, Pix2PixConfig, StyledBlock
from tests.networks import noise, seeded, uniform
from train import distill
from train.data import field_of_view
from train.pix2pix import grain


@pytest.fixture
def teacher():
    return seeded(Pix2Pix(Pix2PixConfig(style_channels=3, width=24, depth=5, looks=3)), 0)


def inputs():
    return (uniform(1, 1, 64, 64) > 0.9).float(), field_of_view(64)[None], noise(1, 3), noise(1, 1, 64, 64, seed=1)


def test_a_squeezed_block_is_the_block_where_the_channels_left_out_count_for_nothing():
    block, slim = seeded(StyledBlock(24, 24, 3), 0), StyledBlock(24, 8, 3)
    kept = torch.tensor([3 * group + group % 3 for group in range(8)])  # one of the three in each group of the norm
    with torch.no_grad():
        for weight in (block.conv1.weight, block.conv1.bias, block.noise[0]):  # the three alike, so that the norm is the same without two
            weight.copy_(weight[::3].repeat_interleave(3, 0))
        block.conv2.weight[:, [channel for channel in range(24) if channel not in kept]] = 0
    distill.squeeze(slim, block)
    arguments = noise(2, 24, 16, 16), noise(2, 3), noise(2, 1, 16, 16, seed=1)
    torch.testing.assert_close(slim(*arguments), block(*arguments))


def test_the_smaller_network_begins_with_what_fits_of_the_teacher(teacher):
    model = distill.slimmed(teacher)
    assert (model.config.slim, model.config.depth, model.config.looks, model.step) == (16, 5, 3, teacher.step)
    fundus, (vessels, fov, _, _) = uniform(1, 3, 64, 64), inputs()
    assert torch.equal(model.encode_style(fundus, fov), teacher.encode_style(fundus, fov))
    assert torch.equal(model.draw_style(noise(4, 4)), teacher.draw_style(noise(4, 4)))
    assert torch.equal(model.disc_finder.locate(vessels), teacher.disc_finder.locate(vessels))
    assert torch.equal(model.downs[1].conv.weight, teacher.downs[1].conv.weight)
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in teacher.parameters())


def test_the_values_of_both_networks_are_compared_level_by_level(teacher):
    model = distill.slimmed(teacher)
    with distill.watched(teacher, 4) as wanted, distill.watched(model, 4) as values:
        teacher(*inputs())
        model(*inputs())
    assert [x.shape for x in values] == [x.shape for x in wanted] == [(1, c, s, s) for c, s in ((144, 2), (144, 4), (96, 8), (48, 16))]
    teacher(*inputs())
    assert len(wanted) == 4  # none is listened to any longer


def test_what_is_learned_is_the_teachers_painting(teacher, tmp_path, monkeypatch):
    checkpoint.save(teacher, tmp_path / "teacher.safetensors")
    monkeypatch.setattr(distill, "sample_trees", lambda run: uniform(3, 1, 64, 64) > 0.9)
    config = distill.Config(start=str(tmp_path / "teacher.safetensors"), out=str(tmp_path / "out.safetensors"), size=64, steps=150, known=3)
    distill.main(config)
    after = checkpoint.load(Pix2Pix, config.out)
    before = distill.slimmed(checkpoint.load(Pix2Pix, config.start)).eval()
    target = teacher(*inputs())
    errors = [float((model(*inputs()) - target).detach().abs().mean()) for model in (before, after)]
    assert errors[1] < errors[0] / 3, errors
    same = [name.split(".")[0] for name, x in after.state_dict().items() if torch.equal(x, before.state_dict()[name].half().float())]
    assert {"style_encoder", "texture_encoder", "disc_finder", "style_codes", "style_factor", "style_controls"} <= set(same)


def test_the_grain_of_cells_is_compared_with_that_of_the_next_ones():
    images, where = uniform(1, 3, 32, 48), (uniform(2, 1, 16, 24, seed=1) > 0.5).float()
    covariance = distill.cell_covariance(images, where)
    assert covariance.shape == (2, 5, 12, 12)
    fine = grain(images)[0].numpy()
    cells = fine.reshape(3, 16, 2, 24, 2).transpose(0, 2, 4, 1, 3).reshape(12, 16, 24)
    for p, mask in enumerate(where[:, 0].numpy() > 0):
        for lag, (down, across) in enumerate(distill.LAGS):
            there = np.array([np.roll(cells, (down, across), (1, 2))[:, i, j] for i, j in zip(*mask.nonzero(), strict=True)])
            here = np.array([cells[:, i, j] for i, j in zip(*mask.nonzero(), strict=True)])
            np.testing.assert_allclose(covariance[p, lag], here.T @ there / mask.sum(), rtol=1e-4, atol=1e-4)


def test_places_are_ground_vessels_rim_and_disc():
    fov, vessels = field_of_view(128)[None], torch.zeros(1, 1, 128, 128)
    vessels[..., 60:66, :] = 1
    ground, near, rim, disc = distill.places(vessels * fov, fov, torch.tensor([[0.5, -0.5]]))[:, 0].bool()
    assert ground.any() and near.any() and rim.any()
    assert not (ground & near).any() and not (ground & rim).any() and not (near & rim).any()
    assert near[31, 32] and not ground[31 + 4, 32] and ground[31 + 12, 32]
    rows, columns = disc.nonzero().float().mean(0)
    assert (float(rows) + 0.5) / 32 - 1 == pytest.approx(-0.5, abs=0.05) and (float(columns) + 0.5) / 32 - 1 == pytest.approx(0.5, abs=0.05)
    assert disc.float().mean() < 0.05


def test_bias_is_what_stays_of_a_difference_over_many_images():
    spread = torch.tensor([1.0, 2.0, 4.0])
    bias, generator = distill.Bias(spread, decay=0.95), torch.Generator().manual_seed(0)
    for _ in range(400):
        ours = torch.randn(1, 3, generator=generator)
        each, loss, square = bias(ours + torch.tensor([2.0, 0.0, 0.0]), torch.zeros(1, 3))
    assert bias.average[0] == pytest.approx(2, abs=0.5)
    assert bias.average[1:].abs().max() < 0.3  # what differs from image to image alone
    assert float(square) == pytest.approx(float(bias.average.square().mean()))
    assert float(each) > 0.5
    ours.requires_grad_()
    bias(ours + torch.tensor([2.0, 0.0, 0.0]), torch.zeros(1, 3))[1].backward()
    torch.testing.assert_close(ours.grad[0], 2 / 3 * bias.average / spread)  # of the mean square of the average
