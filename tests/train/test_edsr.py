"""Super-resolution's pairs, their faults, and where training starts from."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from retsynth import checkpoint
from retsynth.edsr import EDSR, EDSRConfig
from tests.networks import noise, seeded, uniform
from train import edsr
from train.edsr import degrade, degrade_some, published, random_patches, read_pairs, start_from
from train.peers import EDSRBaseline, EDSRBaselineConfig


@pytest.fixture(scope="module")
def patches(tiny_drive):
    """(200, 3, 48, 48) and (200, 3, 96, 96)."""
    return random_patches(read_pairs(tiny_drive, "training"), 200, 48, random.Random(0))


def test_patches_are_aligned(patches):
    small, large = patches
    assert small.shape == (200, 3, 48, 48) and large.shape == (200, 3, 96, 96)
    halved = torch.nn.functional.interpolate(large, scale_factor=0.5, mode="bicubic", antialias=True)
    assert (halved - small)[..., 4:-4, 4:-4].abs().mean() < 0.005
    assert (halved.roll(1, -1) - small)[..., 4:-4, 4:-4].abs().mean() > 0.01  # a pixel aside is not


def test_black_corners_are_no_patches():
    small = torch.zeros(3, 64, 64)
    small[:, 32:] = 0.5
    patches, _ = random_patches([(small, small.repeat_interleave(2, 1).repeat_interleave(2, 2))], 50, 16, random.Random(0))
    assert patches.mean((1, 2, 3)).min() >= 0.05


def test_a_share_of_the_patches_is_degraded_and_the_others_are_left_alone(patches):
    small, _ = patches
    before = small.clone()
    spoilt = degrade_some(small, 0.4, random.Random(1))
    assert torch.equal(small, before)  # what it was given, it leaves
    assert spoilt.shape == small.shape and spoilt.dtype == torch.float32
    assert spoilt.min() >= 0 and spoilt.max() <= 1
    changed = torch.tensor([not torch.equal(a, b) for a, b in zip(small, spoilt, strict=True)])
    assert 60 <= changed.sum() <= 100  # 80, give or take three standard deviations
    assert (spoilt - small)[changed].abs().mean() < 0.05  # spoilt, not destroyed
    assert torch.equal(spoilt, degrade_some(small, 0.4, random.Random(1)))
    assert not torch.equal(spoilt, degrade_some(small, 0.4, random.Random(2)))
    assert torch.equal(small, degrade_some(small, 0.0, random.Random(1)))


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_at_least_half_of_the_patches_stay_clean(share):
    with pytest.raises(ValueError, match=f"must lie between 0 and 0.5, got {share}"):
        degrade_some(uniform(1, 3, 8, 8), share, random.Random(0))


def test_some_patches_are_both_noisy_and_compressed(monkeypatch):
    asked = []
    monkeypatch.setattr(edsr, "degrade", lambda image, rng, **faults: asked.append(tuple(sorted(faults))) or degrade(image, rng, **faults))
    degrade_some(uniform(100, 3, 8, 8), 0.5, random.Random(0))
    assert set(asked) == {("noise",), ("quality",), ("noise", "quality")}


def test_noise_has_the_standard_deviation_asked_for():
    grey = torch.full((3, 96, 96), 0.5)
    noisy = degrade(grey, random.Random(0), noise=6 / 255) - grey
    assert noisy.std().item() == pytest.approx(6 / 255, rel=0.03)
    assert abs(noisy.mean()) < 2e-3


def test_blur_is_a_gaussian_of_that_width():
    point = torch.zeros(3, 33, 33)
    point[:, 16, 16] = 1
    blurred = degrade(point, random.Random(0), blur=0.8).double()
    offset = torch.arange(33) - 16.0
    variance = (blurred.sum(1) * offset**2).sum(1) / blurred.sum((1, 2))
    torch.testing.assert_close(variance.sqrt(), torch.full((3,), 0.8, dtype=torch.float64), atol=0.05, rtol=0)


def test_jpeg_is_pillows_with_colour_at_half_size(fundus_photograph, tmp_path):
    array = fundus_photograph(1)[200:264, 200:264]
    image = torch.from_numpy(array).permute(2, 0, 1).float() / 255
    for quality in (40, 95):
        Image.fromarray(array).save(tmp_path / "a.jpg", quality=quality, subsampling="4:2:0")
        expected = torch.from_numpy(np.array(Image.open(tmp_path / "a.jpg"))).permute(2, 0, 1) / 255
        torch.testing.assert_close(degrade(image, random.Random(0), quality=quality), expected)
    assert torch.equal(degrade(image, random.Random(0)), image)  # no fault asked for, none made


@pytest.mark.parametrize(
    "there, here, kept", [(5, 3, [0, 2, 4]), (16, 13, [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 14, 15]), (3, 3, [0, 1, 2])]
)
def test_a_start_keeps_an_even_choice_of_the_blocks(tmp_path, there, here, kept):
    source, model = seeded(EDSR(EDSRConfig(8, there))), EDSR(EDSRConfig(8, here))
    checkpoint.save(source, tmp_path / "edsr.safetensors")
    source = checkpoint.load(EDSR, tmp_path / "edsr.safetensors")  # rounded to half precision, as files are
    start_from(model, tmp_path / "edsr.safetensors")
    for i, j in enumerate(kept):
        assert torch.equal(model.body[i].conv1.weight, source.body[j].conv1.weight)
        assert torch.equal(model.body[i].conv2.bias, source.body[j].conv2.bias)
    rest = [name for name in model.state_dict() if not name.startswith("body.")]
    assert all(torch.equal(model.state_dict()[name], source.state_dict()[name]) for name in rest) and rest
    assert torch.equal(model.body[-1].weight, source.body[-1].weight)
    assert all(p.requires_grad for p in model.parameters())
    if there == here:
        assert torch.equal(model(x := uniform(1, 3, 8, 8)), source(x))


@pytest.mark.parametrize("config", [EDSRConfig(8, 2), EDSRConfig(16, 3), EDSRConfig(8, 3, residual_scale=0.1)])
def test_a_start_that_does_not_fit_is_refused(tmp_path, config):
    checkpoint.save(EDSR(config), tmp_path / "edsr.safetensors")
    with pytest.raises(ValueError, match=r"cannot start from .*edsr.safetensors: it holds EDSRConfig\(.*does not reduce to EDSRConfig\("):
        start_from(EDSR(EDSRConfig(8, 3)), tmp_path / "edsr.safetensors")


def train(data, folder, **options):
    flags = {"steps": 2, "batch": 2, "patch": 16, "log_every": 1, "save_every": 1, "sample_every": 2} | options
    edsr.main(edsr.Config(str(data), out=str(folder / "edsr.safetensors"), **flags))
    return folder / "edsr.safetensors"


def test_training_starts_from_the_file_it_is_given(tiny_drive, tmp_path):
    checkpoint.save(seeded(EDSR(EDSRConfig(8, 4))), tmp_path / "start.safetensors")
    made = train(tiny_drive, tmp_path, start=str(tmp_path / "start.safetensors"), width=8, blocks=2, lr=0.0)
    started, kept = checkpoint.load(EDSR, tmp_path / "start.safetensors"), checkpoint.load(EDSR, made)
    assert torch.equal(kept.head.weight, started.head.weight)
    assert torch.equal(kept.body[1].conv1.weight, started.body[3].conv1.weight)


def test_edsr_baseline_trains_on_the_same_pairs(tiny_drive, tmp_path):
    made = train(tiny_drive, tmp_path, model="baseline")
    model = checkpoint.load(EDSRBaseline, made)
    assert model.config == EDSRBaselineConfig(64, 16)
    assert model.upscale(uniform(1, 3, 9, 7)).shape == (1, 3, 18, 14)
    with pytest.raises(ValueError, match="holds 'EDSRBaseline', expected 'EDSR'"):
        checkpoint.load(EDSR, made)


def test_an_unknown_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="--model must be 'ours' or 'baseline', got 'theirs'"):
        edsr.main(edsr.Config(data="", out=str(tmp_path / "edsr.safetensors"), model="theirs"))


def test_edsr_baseline_is_no_difference_from_bicubic_interpolation():
    """It is what its layers are, in the paper's order, and the colour's mean is taken off and put back."""
    model = seeded(EDSRBaseline(EDSRBaselineConfig(8, 2)))
    x = noise(1, 3, 6, 5)
    h = first = model.head(x - model.mean)
    for block in model.body[:-1]:
        h = h + block.conv2(block.conv1(h).relu())
    h = torch.nn.functional.pixel_shuffle(model.tail[0](first + model.body[-1](h)), 2)
    torch.testing.assert_close(model(x), model.tail[2](h) + model.mean)


def test_a_scale_changes_the_photographs_and_not_how_they_are_halved(tiny_drive):
    (_, whole), (small, large) = read_pairs(tiny_drive, "training")[0], read_pairs(tiny_drive, "training", 1.5)[0]
    assert large.shape[1] == pytest.approx(1.5 * whole.shape[1], abs=2) and large.shape[2] == pytest.approx(1.5 * whole.shape[2], abs=2)
    assert large.shape[1:] == tuple(2 * side for side in small.shape[1:])


def test_published_photographs_keep_their_traces_in_both_sizes(tiny_drive):
    """What is in the large image by right, its grain and JPEG's blocks, is what the small one is made of."""
    large = read_pairs(tiny_drive, "training", 2.0)[0][1]
    small, kept = published(large, random.Random(0))
    assert kept.shape == large.shape and 0.5 / 255 < (kept - large).std() < 5 / 255
    picture = Image.fromarray((kept.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
    assert np.array_equal((small.permute(1, 2, 0).numpy() * 255).round(), np.asarray(half))
