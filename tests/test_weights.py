"""The weights in this repository: whole, documented, and doing what they were trained for. Random weights fail the same gates."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F

from retsynth import checkpoint
from retsynth.images import read_image, to_tensor
from retsynth.metrics import morphometry, psnr
from retsynth.pix2pix import CONTROLS, appearance
from train import card

WEIGHTS = Path(__file__).parents[1] / "weights"
NAMES = ["vae", "prior", "denoiser", "pix2pix", "edsr"]


@pytest.fixture(scope="module")
def samples(committed_pipeline):
    return committed_pipeline(seed=11, count=4, upscale=False)


@pytest.fixture(scope="module")
def untrained(tiny_pipeline):
    return tiny_pipeline(seed=11, count=4, upscale=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_file_is_small_and_listed_in_the_card(name):
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size < 10_000_000  # what a plain push to a Space takes
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = [line for line in (WEIGHTS / "README.md").read_text().splitlines() if path.name in line and digest in line]
    assert rows, f"the model card does not list {path.name} with its SHA-256, {digest}"
    assert checkpoint.notes(path)["steps"] > 0


def looks_like_a_tree(annotations: torch.Tensor) -> bool:
    """Whether the mean measures of vessel maps lie within three standard deviations or so of DRIVE's training maps."""
    measures = [morphometry(annotation[0].numpy() > 0) for annotation in annotations]

    def mean(name: str) -> float:
        return float(np.mean([getattr(m, name) for m in measures]))

    return (
        0.08 < mean("density") < 0.18
        and 4500 < mean("length") < 11_000
        and 2.5 < mean("calibre") < 4.0
        and mean("largest_share") > 0.8
        and 1.3 < mean("box_dimension") < 1.55
    )


def test_trees_measure_like_trees(samples, untrained, vessel_tree):
    assert looks_like_a_tree(samples.annotation)
    assert looks_like_a_tree(torch.stack([torch.from_numpy(vessel_tree(seed))[None].float() for seed in range(3)]))
    assert not looks_like_a_tree(untrained.annotation)


def test_trees_differ(samples):
    flat = samples.annotation.flatten(1)
    correlation = torch.corrcoef(flat)[~torch.eye(len(flat), dtype=torch.bool)]
    assert correlation.max() < 0.5


def looks_like_a_fundus(sample, fov: torch.Tensor) -> bool:
    """Whether the images are red before green before blue, unevenly lit, and darker along the vessels of their maps than beside them."""
    inside = fov[0, 0] > 0
    for fundus, vessels in zip(sample.fundus, sample.annotation, strict=True):
        red, green, blue = (float(channel[inside].mean()) for channel in fundus)
        beside = (F.max_pool2d(vessels[None], 9, 1, 4)[0] > vessels) & inside
        contrast = float(fundus[1][beside[0]].mean() - fundus[1][vessels[0] > 0].mean())
        if not (red > 1.2 * green > 1.2 * blue and contrast > 0.02 and 0.02 < float(fundus[1][inside].std()) < 0.2):
            return False
    return True


def test_fundus_images_look_like_fundus_images(samples, untrained, committed_pipeline):
    assert looks_like_a_fundus(samples, committed_pipeline.fov)
    assert not looks_like_a_fundus(untrained, committed_pipeline.fov)


def test_the_card_is_that_of_the_files_and_the_report():
    assert (WEIGHTS / "README.md").read_text() == card.text(WEIGHTS)


@pytest.mark.parametrize("text", [WEIGHTS.parent / "README.md", WEIGHTS / "README.md", WEIGHTS / "TRIALS.md"])
def test_what_a_text_leads_to_is_there(text):
    for place in re.findall(r"\]\((?!https?:)([^)#]+)", text.read_text()):
        assert (text.parent / place).exists(), place


def test_a_style_changes_the_colour_and_not_the_vessels(committed_pipeline, samples):
    mask = samples.annotation[:1]
    a, b = (committed_pipeline.translate(mask, style, seed=0) for style in (1, 2))
    inside = committed_pipeline.fov[0, 0] > 0
    assert (a.mean((2, 3)) - b.mean((2, 3))).abs().max() > 0.005
    structure = torch.corrcoef(torch.stack([(x[0, 1] - F.avg_pool2d(x[:, 1:2], 31, 1, 15)[0, 0])[inside] for x in (a, b)]))
    assert structure[0, 1] > 0.5


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_does_what_its_name_says(committed_pipeline, samples, control):
    styles = torch.cat([committed_pipeline.style(seed) for seed in range(8)])
    mask = samples.annotation[:1].expand(8, -1, -1, -1)
    less, more = (
        appearance(committed_pipeline.translate(mask, committed_pipeline.adjust(styles, **{control: amount})), committed_pipeline.fov)
        for amount in (-1.5, 1.5)
    )
    change = (more - less)[:, CONTROLS.index(control)]
    assert change.min() > 0  # little in a look whose red is at its end already
    assert change.median() > 0.05


def test_super_resolution_beats_bicubic(committed_pipeline, tiny_pipeline):
    photograph = to_tensor(skimage.data.retina()[450:962, 450:962])
    large = F.interpolate(photograph, size=(256, 256), mode="area")
    small = F.interpolate(large, size=(128, 128), mode="bicubic", antialias=True).clamp(0, 1)
    bicubic = F.interpolate(small, scale_factor=2, mode="bicubic").clamp(0, 1)
    assert psnr(committed_pipeline.upscale(small), large) > psnr(bicubic, large) + 0.3
    assert psnr(tiny_pipeline.upscale(small), large) < psnr(bicubic, large)


def test_the_readmes_picture_is_what_these_weights_make(committed_pipeline):
    picture = to_tensor(read_image(WEIGHTS / "examples" / "readme.png"))
    sample = committed_pipeline(seed=0, upscale=False)
    for row, image in enumerate((sample.annotation.expand(-1, 3, -1, -1), sample.fundus)):
        tile = picture[:, :, 4 + 260 * row :, 4:][:, :, :256, :256]  # four pixels of padding
        expected = F.interpolate(image, size=(256, 256), mode="bilinear", antialias=True)
        assert (tile - expected).abs().mean() < 0.01  # other processors round differently
