"""The figures agree with independent implementations and with shapes whose measures are known."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skan import Skeleton, summarize
from skimage.morphology import skeletonize

from retsynth.metrics import morphometry, psnr, ssim, ssim_map
from train.data import field_of_view


def wang_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equation 13 of Wang et al. 2004 written out, grey images in 0 .. 255, only where the window lies inside the image."""
    offset = np.arange(-5, 6)
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return convolve2d(x, window, mode="valid")

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    return (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


@pytest.fixture(scope="module")
def pair(fundus_photograph):
    return fundus_photograph(1), fundus_photograph(2)


def test_ssim_is_wangs(pair):
    a, b = pair
    expected = np.stack([wang_ssim(a[..., c].astype(float), b[..., c].astype(float)) for c in range(3)], -1)
    mean, local = ssim_map(a, b)
    assert local.shape == a.shape[:2]
    assert np.allclose(local[5:-5, 5:-5], expected.mean(-1), atol=1e-9)
    assert mean == pytest.approx(expected.mean(), abs=1e-9)
    assert ssim(a, b) == mean
    half = np.zeros(a.shape[:2], bool)
    half[:, :256] = True
    assert ssim(a, b, half) == pytest.approx(expected[:, : 256 - 5].mean(), abs=1e-9)


def test_every_form_of_an_image_scores_the_same(pair):
    a, b = pair
    forms = [
        lambda x: x,
        lambda x: x / 255,
        lambda x: torch.from_numpy(x / 255).permute(2, 0, 1),
        lambda x: torch.from_numpy(x / 255).permute(2, 0, 1)[None],
    ]
    for form in forms:
        assert ssim(form(a), form(b)) == pytest.approx(ssim(a, b), abs=1e-9)
        assert psnr(form(a), form(b)) == pytest.approx(psnr(a, b), abs=1e-9)
        assert ssim(form(a), a) == 1
    grey = ssim(a[..., 0], b[..., 0])
    assert grey == pytest.approx(ssim(a[..., :1], b[..., :1]), abs=1e-12)
    assert grey == pytest.approx(ssim(b[..., 0], a[..., 0]), abs=1e-12)


def test_blank_map_outscores_a_real_one(vessel_tree):
    """Why the blank baseline is printed: SSIM prefers no vessels to the wrong ones."""
    reference, other = vessel_tree(1), vessel_tree(2)
    assert ssim(reference, other) < ssim(reference, np.zeros_like(reference)) < 1


def test_psnr_of_a_known_error():
    grey = np.full((16, 16), 0.5)
    assert psnr(grey, grey + 0.1) == pytest.approx(20)
    assert psnr(np.zeros((16, 16), np.uint8), np.full((16, 16), 255, np.uint8)) == pytest.approx(0)
    assert psnr(grey, grey) == math.inf
    assert psnr(torch.zeros(1, 1, 16, 16, dtype=torch.bfloat16), torch.full((1, 1, 16, 16), 0.5)) == pytest.approx(20 * math.log10(2))


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (np.zeros((16, 16)), np.zeros((16, 17)), "one size"),
        (np.zeros((16, 16)), np.zeros((16, 16, 3)), "one size"),
        (np.zeros((16, 16)), np.full((16, 16), 255.0), r"\[0, 1\]"),
        (np.zeros((16, 16)), np.full((16, 16), np.nan), r"\[0, 1\]"),
        (np.zeros((2, 1, 16, 16)), np.zeros((2, 1, 16, 16)), "expected"),
        (np.zeros((8, 8)), np.zeros((8, 8)), "11 pixels"),
    ],
)
def test_images_that_cannot_be_compared(a, b, sentence):
    with pytest.raises(ValueError, match=sentence):
        ssim(a, b)


# --- vessel trees --------------------------------------------------------------------------------------------------------------------


def bars(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Filled boxes (top, bottom, left, right) on an empty map."""
    map_ = np.zeros((512, 512), bool)
    for top, bottom, left, right in boxes:
        map_[top:bottom, left:right] = True
    return map_


def test_measures_of_a_cross():
    cross = morphometry(bars((254, 259, 100, 400), (100, 400, 254, 259)))
    assert cross.junctions == 1
    assert cross.end_points == 4
    assert cross.components == 1
    assert cross.largest_share == 1
    assert cross.length == pytest.approx(600, abs=15)
    assert cross.calibre == pytest.approx(5, abs=0.15)
    assert cross.density == pytest.approx((2 * 300 * 5 - 25) / (math.pi * 255**2), rel=0.01)
    assert cross.tortuosity == pytest.approx(1, abs=0.01)


def test_pieces_and_specks():
    measures = morphometry(bars((200, 205, 100, 400), (300, 305, 100, 200), (400, 401, 250, 251)))
    assert measures.components == 2
    assert measures.largest_share == pytest.approx(1500 / (1500 + 500 + 1))
    assert measures.junctions == 0
    assert measures.end_points == 4


def test_specks_under_twenty_pixels_are_no_pieces_and_corners_connect():
    # 20 px; 19 px; 40 px in two boxes that touch by a corner
    measures = morphometry(bars((250, 254, 200, 205), (300, 301, 200, 219), (350, 354, 300, 305), (354, 358, 305, 310)))
    assert measures.components == 2
    assert measures.largest_share == pytest.approx(40 / 79)


def test_tortuosity_of_an_arc():
    y, x = np.mgrid[:512, :512]
    ring = np.abs(np.hypot(y - 256, x - 256) - 150) < 2
    arc = ring & (y < 256)
    assert morphometry(arc).tortuosity == pytest.approx(math.pi / 2, rel=0.06)  # the grid lengthens oblique steps by 5 % on average
    closed = morphometry(ring)
    assert closed.end_points == 0
    assert closed.tortuosity == 0  # a ring has no chord


def test_radius_of_a_ring_and_of_the_whole_disc():
    y, x = np.mgrid[:512, :512] - 255.5
    assert morphometry(np.abs(np.hypot(y, x) - 128) < 2).radius == pytest.approx(0.5, rel=0.001)
    assert morphometry(np.hypot(y, x) < 192).radius == pytest.approx(0.75 / math.sqrt(2), rel=0.001)  # half of the mean square


def test_box_dimension_of_a_line_and_a_plane():
    everywhere = np.ones((512, 512), bool)
    assert morphometry(bars((256, 257, 0, 512)), everywhere).box_dimension == pytest.approx(1)
    assert morphometry(everywhere, everywhere).box_dimension == pytest.approx(2)


def test_box_dimension_of_dots_that_large_boxes_take_for_a_plane():
    everywhere, dots = np.ones((512, 512), bool), np.zeros((512, 512), bool)
    dots[4::8, 4::8] = True
    # boxes of 2, 4 and 8 px hold one dot at most: the logarithms of the counts are 12, 12, 12, 10, 8, 6 (to base 2), fitted over 1 to 6
    assert morphometry(dots, everywhere).box_dimension == pytest.approx(22 / 17.5)


def test_tortuosity_agrees_with_skan(vessel_tree):
    for seed in range(3):
        tree = vessel_tree(seed)
        measures = morphometry(tree)
        graph = Skeleton(skeletonize(tree))
        branches = summarize(graph, separator="-")
        long_enough = branches[(branches["branch-distance"] >= 12) & (branches["euclidean-distance"] > 0)]
        expected = long_enough["branch-distance"].sum() / long_enough["euclidean-distance"].sum()
        assert measures.tortuosity == pytest.approx(expected, rel=0.02)  # skan's branches reach a step further, into the junctions


def test_junctions_and_ends_counted_pixel_by_pixel(vessel_tree):
    tree = vessel_tree(2)
    pixels = set(zip(*np.nonzero(skeletonize(tree)), strict=True))

    def around(y: int, x: int) -> set[tuple[int, int]]:
        return {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} - {(y, x)}

    ends = sum(len(around(*pixel) & pixels) == 1 for pixel in pixels)
    crossing = {pixel for pixel in pixels if len(around(*pixel) & pixels) >= 3}
    clusters = 0
    while crossing:
        clusters += 1
        cluster = [crossing.pop()]
        while cluster:
            touching = around(*cluster.pop()) & crossing
            crossing -= touching
            cluster += touching
    assert morphometry(tree).junctions == clusters
    assert morphometry(tree).end_points == ends


def test_only_the_field_of_view_counts():
    inside = np.zeros((512, 512), bool)
    inside[:, :256] = True
    line = bars((200, 205, 100, 400))
    assert morphometry(line, inside) == morphometry(line & inside, inside)
    assert morphometry(line, inside).density == pytest.approx(5 * 156 / inside.sum())
    corner = bars((0, 20, 0, 20))  # outside the disc that is taken where no field of view is given
    assert morphometry(corner) == morphometry(np.zeros_like(corner))


def test_where_none_is_given_the_field_of_view_is_that_of_the_training_images():
    y, x = np.mgrid[:512, :512] - 255.5
    rim = np.hypot(y, x) > 250
    assert morphometry(rim) == morphometry(rim, field_of_view())


def test_empty_map_has_no_measures():
    assert set(asdict(morphometry(np.zeros((512, 512), bool))).values()) == {0}


def test_tensors_soft_maps_and_booleans_measure_alike(vessel_tree):
    tree = vessel_tree(4)
    soft = torch.from_numpy(np.where(tree, 0.7, 0.2))[None, None]
    assert morphometry(soft) == morphometry(soft[0]) == morphometry(tree) == morphometry(tree.astype(np.uint8) * 255)
    mask = tree.astype(np.uint8)  # of 0 and 1
    assert morphometry(tree) == morphometry(mask) == morphometry(torch.from_numpy(mask)[None])
    assert ssim(mask, np.roll(mask, 40, 1)) == ssim(tree, np.roll(tree, 40, 1)) < 0.9
    assert morphometry(tree, np.ones_like(mask)) == morphometry(tree, np.ones_like(tree))


@pytest.mark.parametrize(
    ("vessels", "fov"),
    [
        (np.zeros((512, 500)), None),
        (np.zeros((100, 100)), None),
        (np.zeros((64, 64)), np.zeros((64, 64))),
        (np.zeros((64, 64)), np.ones((32, 32))),
    ],
)
def test_maps_that_cannot_be_measured(vessels, fov):
    with pytest.raises(ValueError, match="expected a square|does not fit"):
        morphometry(vessels, fov)
