"""What the tests share: vessel trees grown from a seed, a stand-in for DRIVE made of them, and pipelines. No data set is needed."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts: two cores, and several tests may share them

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.networks import seeded

ROOT = Path(__file__).parents[1]
SIZE = 512


def grow_vessel_tree(seed: int) -> np.ndarray:
    """A vessel map, (512, 512) bool: branches that leave a disc at the side, bend around the macula, fork and taper.

    Its statistics are near DRIVE's (density 0.12, calibre 3.1 px, skeleton 8,100 px), one connected tree.
    """
    random = np.random.default_rng(seed)
    side = random.choice((-1, 1))
    disc = np.array([SIZE / 2 + side * 165.0, SIZE / 2 + random.uniform(-10, 10)])
    # the four arcades leave upwards and downwards, both to the macula's side and to the nose's
    branches = [
        (disc, np.deg2rad(angle) if side > 0 else np.pi - np.deg2rad(angle), random.uniform(7, 9), bend * side)
        for angle, bend in ((-110, -1), (-95, -1), (-60, 1), (110, 1), (95, 1), (60, -1), (10, 0), (180, 0))
    ]
    canvas = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(canvas)
    while branches:
        point, heading, width, bend = branches.pop()
        until_fork = random.uniform(30, 70)
        travelled = 0.0
        while width > 1.2 and np.hypot(*(point - SIZE / 2)) < SIZE / 2 - 6:
            heading += bend * 0.022 + random.normal(0, 0.07)
            step = point + 4 * np.array([np.cos(heading), np.sin(heading)])
            draw.line([*point, *step], fill=255, width=round(width))
            draw.ellipse([*(step - width / 2), *(step + width / 2)], fill=255)
            point, travelled, width = step, travelled + 4, width * 0.9845
            if travelled > until_fork:
                fork = random.choice((-1, 1)) * random.uniform(0.5, 1.1)
                branches.append((point, heading + fork, width * random.uniform(0.45, 0.8), -bend * 0.3))
                travelled, until_fork = 0.0, random.uniform(30, 70)
    return np.asarray(canvas) > 0


def paint_fundus(vessels: np.ndarray, seed: int) -> np.ndarray:
    """A crude fundus photograph of a vessel map: (H, W) bool -> (H, W, 3) uint8, orange, unevenly lit, black outside the field of view."""
    random = np.random.default_rng(seed)
    height, width = vessels.shape
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - height / 2, x - width / 2) / (min(height, width) / 2)
    light = (1 - 0.35 * radius**2) * (1 - 0.4 * vessels) * (1 + random.normal(0, 0.03, vessels.shape))
    colour = light[..., None] * np.array([190, 95, 45]) * (radius < 0.96)[..., None]
    return colour.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def vessel_tree():
    """`vessel_tree(seed)`: a vessel map, (512, 512) bool."""
    return grow_vessel_tree


@pytest.fixture(scope="session")
def fundus_photograph():
    """`fundus_photograph(seed)`: a colour photograph of the tree of that seed, (512, 512, 3) uint8."""
    return lambda seed: paint_fundus(grow_vessel_tree(seed), seed)


@pytest.fixture(scope="session")
def tiny_drive(tmp_path_factory) -> Path:
    """A folder in DRIVE's layout: training/ and test/, four images of 565 x 584 px each, made from grown trees."""
    root = tmp_path_factory.mktemp("drive")
    width, height, radius = 565, 584, 270
    y, x = np.mgrid[:height, :width]
    fov = np.hypot(y - height / 2, x - width / 2) <= radius
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    for half, numbers in (("training", range(21, 25)), ("test", range(1, 5))):
        for folder in ("images", "1st_manual", "mask") + (("2nd_manual",) if half == "test" else ()):
            (root / half / folder).mkdir(parents=True)
        for number in numbers:
            vessels = np.zeros((height, width), bool)
            vessels[top : top + SIZE, left : left + SIZE] = grow_vessel_tree(number)
            second = np.roll(vessels, 1, axis=1)  # an observer who draws a pixel to the right
            fundus = paint_fundus(vessels, number) * fov[..., None]
            Image.fromarray(fundus).save(root / half / "images" / f"{number:02d}_{half}.tif")
            Image.fromarray(fov.astype(np.uint8) * 255).save(root / half / "mask" / f"{number:02d}_{half}_mask.gif")
            Image.fromarray(vessels.astype(np.uint8) * 255).save(root / half / "1st_manual" / f"{number:02d}_manual1.gif")
            if half == "test":
                Image.fromarray(second.astype(np.uint8) * 255).save(root / half / "2nd_manual" / f"{number:02d}_manual2.gif")
    return root


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """A folder with the five weight files of networks so small that a whole run takes well under a second; their weights are random."""
    from retsynth import checkpoint
    from retsynth.denoiser import Denoiser, DenoiserConfig
    from retsynth.edsr import EDSR, EDSRConfig
    from retsynth.pix2pix import Pix2Pix, Pix2PixConfig
    from retsynth.prior import FlowPrior, PriorConfig
    from retsynth.vae import ResidualVAE, VAEConfig

    models = {
        "vae": ResidualVAE(VAEConfig(z_channels=2, width=8)),
        "prior": FlowPrior(PriorConfig(z_channels=2, width=8, wider=16, steps=2)),
        "denoiser": Denoiser(DenoiserConfig(width=4)),
        "pix2pix": Pix2Pix(Pix2PixConfig(style_channels=4, width=8, depth=5)),
        "edsr": EDSR(EDSRConfig(width=8, blocks=1)),
    }
    folder = tmp_path_factory.mktemp("weights")
    for number, (name, model) in enumerate(models.items()):
        checkpoint.save(seeded(model, number), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_pipeline(tiny_weights):
    """A `Pipeline` of `tiny_weights`, on the CPU."""
    from retsynth.pipeline import Pipeline

    return Pipeline.from_pretrained(tiny_weights, device="cpu")


@pytest.fixture(scope="session")
def committed_pipeline():
    """The `Pipeline` of the weights in this repository, on the CPU."""
    from retsynth.pipeline import Pipeline

    return Pipeline.from_pretrained(ROOT / "weights", device="cpu")
