import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.draw import line
from skimage.measure import label

from train.data import Drive, disc_centres, disc_side, field_of_view, random_grid, random_maps, read_drive, warp, whole, within


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def training(tiny_drive):
    return read_drive(tiny_drive, "training", size=256)


def test_read_drive(training):
    assert training.names == ["21", "22", "23", "24"]
    assert training.fundus.shape == (4, 3, 256, 256)
    assert training.vessels.shape == training.fov.shape == (4, 1, 256, 256)
    for images in training[1:]:
        assert images.dtype == torch.float32
        assert images.min() == 0 and 0.5 < images.max() <= 1
    # vessels lie inside the field of view and darken the photograph: the three belong together
    assert (training.vessels * (1 - training.fov)).mean() < 1e-3
    inside = training.fov > 0.99
    vessels, background = (
        (training.fundus.mean(1, keepdim=True))[inside & part] for part in (training.vessels > 0.9, training.vessels < 0.1)
    )
    assert vessels.mean() < background.mean() - 0.05


def test_the_crop_is_the_square_around_the_field_of_view(training):
    for fov in training.fov:
        assert abs(fov - field_of_view(256)).mean() < 0.01


def test_the_second_observer_differs(tiny_drive):
    first, second = (read_drive(tiny_drive, "test", size=256, observer=observer).vessels for observer in (1, 2))
    assert first.shape == second.shape
    assert not torch.equal(first, second)


@pytest.mark.parametrize("half", ["training", "validation"])
def test_not_drive(tmp_path, half):
    with pytest.raises(ValueError, match="no DRIVE images in .*--data takes the folder that holds training/ and test/"):
        read_drive(tmp_path, half)


def test_the_disc_is_found_on_its_side():
    """Bright spots on a photograph lit from the other side, as discs are."""
    axis = torch.linspace(-1, 1, 256)
    fov = field_of_view(256)[None].expand(2, 1, 256, 256)
    spots = [(-((axis[None] - x) ** 2 + axis[:, None] ** 2) / 0.01).exp() for x in (-0.6, 0.6)]
    light = [0.5 + 0.2 * axis.expand(256, 256), 0.5 - 0.2 * axis.expand(256, 256)]
    fundus = torch.stack([(spot * 0.3 + lit).expand(3, 256, 256) for spot, lit in zip(spots, light, strict=True)]) * fov
    eyes = Drive(["1", "2"], fundus, torch.zeros_like(fov), fov)
    assert disc_side(eyes) == [1, 2]
    torch.testing.assert_close(disc_centres(eyes), torch.tensor([[-0.6, 0.0], [0.6, 0.0]]), atol=0.04, rtol=0)


@pytest.mark.parametrize("size", [64, 65])
def test_field_of_view_is_a_centred_disc(size):
    fov = field_of_view(size)
    assert set(fov.unique().tolist()) == {0.0, 1.0}
    assert fov.sum().item() == pytest.approx(math.pi * (size / 2 - 1) ** 2, rel=0.02)
    assert torch.equal(fov, fov.flip(1)) and torch.equal(fov, fov.mT)
    assert fov[:, 0].sum() == 0


def test_without_rotation_a_grid_is_the_identity_or_a_mirror():
    images = torch.rand(8, 1, 16, 16, generator=generator())
    warped = warp(images, random_grid(8, generator(), degrees=0, zoom=(1, 1), size=16))
    seen = set()
    for image, result in zip(images, warped, strict=True):
        mirrors = {(): image, (1,): image.flip(1), (2,): image.flip(2), (1, 2): image.flip(1, 2)}
        match = [axes for axes, mirror in mirrors.items() if torch.allclose(mirror, result, atol=1e-5)]
        assert len(match) == 1
        seen.add(match[0])
    assert len(seen) > 2


def test_an_upright_grid_never_mirrors_top_and_bottom():
    image = torch.rand(1, 16, 16)
    warped = warp(image.expand(16, 1, -1, -1), random_grid(16, generator(), degrees=0, zoom=(1, 1), upright=True, size=16))
    upright = [any(torch.allclose(result, kept, atol=1e-5) for kept in (image, image.flip(2))) for result in warped]
    assert all(upright) and not torch.allclose(warped[:1].expand_as(warped), warped, atol=1e-2)


def test_rotation_and_mirrors_leave_circles_alone():
    axis = torch.linspace(-1, 1, 64)
    rings = (8 * (axis[:, None] ** 2 + axis[None] ** 2)).cos().expand(6, 1, 64, 64)
    warped = warp(rings, random_grid(6, generator(), degrees=180, zoom=(1, 1), size=64))
    assert ((warped - rings) * field_of_view(64)).abs().max() < 0.05


def test_a_rotation_stays_within_its_degrees():
    grid = random_grid(200, generator(), degrees=20, zoom=(1, 1), size=8)
    across = (grid[:, 0, -1] - grid[:, 0, 0]).abs()
    assert 18 < torch.rad2deg(torch.atan2(across[:, 1], across[:, 0])).max() < 20.01


def test_zoom_enlarges_and_shift_moves():
    disc = field_of_view(64).expand(16, 1, 64, 64)
    half = torch.nn.functional.pad(field_of_view(32), (16, 16, 16, 16)).expand(16, 1, 64, 64)
    grown = warp(half, random_grid(16, generator(), degrees=180, zoom=(2, 2), size=64))
    assert ((grown > 0.5).float() - disc).abs().mean() < 0.04
    moved = warp(half, random_grid(16, generator(), degrees=0, zoom=(1, 1), shift=0.25, size=64))
    assert moved.sum((1, 2, 3)).sub(half[0].sum()).abs().max() < 1
    column = (moved.sum(2) * (torch.arange(64) - 31.5)).sum((1, 2)) / half[0].sum()
    assert 4 < column.abs().max() <= 8  # 0.25 half-widths of 32 pixels


def test_window_samples_a_crop_of_that_side():
    ramp = torch.linspace(-1, 1, 128).expand(16, 1, 128, 128)
    crops = warp(ramp, random_grid(16, generator(), degrees=0, zoom=(1, 1), window=0.25, size=32))
    slope = (crops[..., 1:] - crops[..., :-1]).abs()
    torch.testing.assert_close(slope, torch.full_like(slope, 2 / 127), atol=1e-4, rtol=0)
    assert crops.mean((1, 2, 3)).std() > 0.2  # from all over the image


def test_elastic_warps_bend_the_middle_and_not_the_corners():
    still, bent = (random_grid(4, generator(), degrees=0, zoom=(1, 1), elastic=elastic, size=64) for elastic in (1e-9, 0.05))
    difference = (bent - still).norm(dim=-1)
    assert difference[:, 24:40, 24:40].mean() > 0.02
    assert difference[:, 0, 0].max() < 1e-6


def test_random_maps_are_binary_seeded_and_as_dense_as_the_originals(tiny_drive):
    vessels = read_drive(tiny_drive, "training", size=512).vessels
    warping = {"degrees": 180, "zoom": (1.0, 1.0), "elastic": 0.03, "size": 256}
    maps = random_maps(vessels, 6, generator(1), **warping)
    assert maps.shape == (6, 1, 256, 256)
    assert set(maps.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(maps, random_maps(vessels, 6, generator(1), **warping))
    assert not torch.equal(maps, random_maps(vessels, 6, generator(2), **warping))
    assert maps.mean().item() == pytest.approx(vessels.mean().item(), rel=0.15)


def test_a_warp_neither_cuts_thin_vessels_nor_fattens_them():
    # ten lines of one pixel at every angle, drawn at 512 as annotations are, through the turn and the elastic warp of training
    drawn = np.zeros((1, 1, 512, 512), np.float32)
    for i in range(10):
        end = np.array([256, 256]) + 180 * np.array([np.sin(0.31 * i), np.cos(0.31 * i)])
        rows, columns = line(256, 256, *end.round().astype(int))
        drawn[0, 0, rows, columns] = 1
    large = F.interpolate(torch.from_numpy(drawn), scale_factor=2, mode="bicubic", align_corners=False).clamp(0, 1)
    soft = warp(large.expand(4, -1, -1, -1), random_grid(4, generator(3), degrees=20, zoom=(1.0, 1.0), elastic=0.02, size=512))
    pieces = [label(m[0].numpy(), connectivity=2).max() for m in whole(soft)]
    cut = [label(m[0].numpy() > 0.5, connectivity=2).max() for m in soft]
    assert sum(pieces) < sum(cut) / 3
    assert whole(soft).sum() < 1.25 * 4 * drawn.sum()
    assert torch.equal(whole(torch.ones(1, 1, 32, 32)), torch.ones(1, 1, 32, 32)) and not whole(torch.zeros(1, 1, 32, 32)).any()


def test_the_rim_is_hidden_and_the_eye_is_not():
    hidden = within(torch.ones(1, 3, 128, 128))
    assert hidden[..., 64, 64].all() and hidden[..., 64, 8].all() and not hidden[..., 64, 2].any() and not hidden[..., 0, 0].any()
