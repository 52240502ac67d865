"""The DRIVE images as tensors, and the augmentation that makes 20 of them go far.

DRIVE (Staal et al. 2004) lies on disk in its official layout: PATH/training and PATH/test, each with images/, 1st_manual/, mask/.
Training reads `training` only; `test` is for judging.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.morphology import skeletonize
from torch import Tensor

from retsynth.images import SIZE


class Drive(NamedTuple):
    """One half of DRIVE, cropped square around the field of view; float32 in [0, 1], masks soft at their edges."""

    names: list[str]
    fundus: Tensor  # (20, 3, S, S)
    vessels: Tensor  # (20, 1, S, S)
    fov: Tensor  # (20, 1, S, S)

    def without(self, names: list[str]) -> "Drive":
        """All but the images of these names."""
        keep = [index for index, name in enumerate(self.names) if name not in names]
        return Drive([self.names[index] for index in keep], *(x[keep] for x in self[1:]))


def on(device: torch.device, drive: Drive) -> Drive:
    """The same on `device`."""
    return Drive(drive.names, *(x.to(device) for x in drive[1:]))


def read_drive(path: str | Path, half: str, size: int = SIZE, observer: int = 1) -> Drive:
    """Read "training" or "test" at `size` pixels square; `observer` 2 exists for the test half only.

    Raises ValueError where PATH does not have DRIVE's layout.
    """
    folder = Path(path) / half
    images = sorted((folder / "images").glob("*.tif"))
    if not images:
        raise ValueError(f"no DRIVE images in {folder / 'images'}: --data takes the folder that holds training/ and test/")
    names, fundus, vessels, fovs = [], [], [], []
    for image in images:
        number = image.name.split("_")[0]
        manual = folder / ("1st_manual" if observer == 1 else "2nd_manual") / f"{number}_manual{observer}.gif"
        mask = folder / "mask" / f"{number}_{half}_mask.gif"
        fov = np.asarray(Image.open(mask).convert("L")) > 127
        box = _square_around(fov)
        names.append(number)
        fundus.append(_crop(Image.open(image).convert("RGB"), box, size))
        vessels.append(_crop(Image.open(manual).convert("L"), box, size))
        fovs.append(_crop(Image.fromarray(fov.astype(np.uint8) * 255), box, size))
    return Drive(names, torch.stack(fundus), torch.stack(vessels), torch.stack(fovs))


def _square_around(fov: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(fov.any(1)), np.flatnonzero(fov.any(0))
    centre_y, centre_x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 3
    top, left = round(centre_y - side / 2), round(centre_x - side / 2)
    return left, top, left + side, top + side


def _crop(image: Image.Image, box: tuple[int, int, int, int], size: int) -> Tensor:
    square = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).reshape(size, size, -1).permute(2, 0, 1).float() / 255


def _brightness(fundus: Tensor, fov: Tensor, sigma: float) -> np.ndarray:
    """How far each place outshines its surroundings, smoothed by `sigma`: (3, H, W), (1, H, W) -> (128, 128), -1 outside the eye."""
    red_green, inside = (F.adaptive_avg_pool2d(x, 128)[0].numpy() for x in (fundus[:2].mean(0, keepdim=True), fov))
    around = gaussian_filter(red_green * inside, 12) / np.maximum(gaussian_filter(inside, 12), 0.1)
    return np.where(gaussian_filter(inside, 3) > 0.98, gaussian_filter(red_green, sigma) - around, -1)


def disc_side(drive: Drive) -> list[int]:
    """On which side of each image the optic disc lies: 1 left, 2 right. It is the brightest spot against its surroundings.

    On DRIVE's 20 training images the spot lies on the disc in each (looked at, one by one).
    """
    spots = [_brightness(fundus, fov, 3.5).argmax() for fundus, fov in zip(drive.fundus, drive.fov, strict=True)]
    return [1 if spot % 128 < 64 else 2 for spot in spots]


def disc_centres(drive: Drive) -> Tensor:
    """Where the optic disc lies in each image, (N, 2): x and y from -1 to 1. From the brightest spot, the middle of what is as bright.

    On DRIVE's 20 training images it is the disc's centre in 19 (looked at, one by one); in image 34 it lies in the pale patch beside it.
    """
    centres = []
    row, column = np.mgrid[:128, :128]
    for fundus, fov in zip(drive.fundus, drive.fov, strict=True):
        y, x = divmod(int(_brightness(fundus, fov, 3.5).argmax()), 128)
        bright = _brightness(fundus, fov, 1.5).clip(min=0)
        for _ in range(4):  # to the middle of what is at least half as bright, nearer than 14 pixels
            near = bright * (np.hypot(row - y, column - x) < 14)
            disc = (near > 0.5 * near.max()) + 1e-9 * (near >= 0)
            y, x = (disc * row).sum() / disc.sum(), (disc * column).sum() / disc.sum()
        centres.append([(x + 0.5) / 64 - 1, (y + 0.5) / 64 - 1])
    return torch.tensor(centres, dtype=torch.float32)


def field_of_view(size: int = SIZE) -> Tensor:
    """The disc that every generated image fills: (1, size, size) of 0 and 1, one pixel short of the frame like DRIVE's crops."""
    axis = torch.arange(size) - (size - 1) / 2
    return ((axis[:, None] ** 2 + axis[None] ** 2).sqrt() <= size / 2 - 1).float()[None]


def within(images: Tensor) -> Tensor:
    """Black outside a disc a little smaller than the field of view: where the rim lies tells of the cropping and not of the eye."""
    axis = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1] - 0.5
    return images * ((axis[:, None].square() + axis.square()).sqrt() < 0.46)


def random_grid(
    count: int,
    generator: torch.Generator,
    *,
    degrees: float,
    zoom: tuple[float, float] = (1.0, 1.06),
    shift: float = 0.0,
    elastic: float = 0.0,
    window: float = 1.0,
    upright: bool = False,
    size: int = SIZE,
) -> Tensor:
    """Sampling grids (count, size, size, 2) for `grid_sample`: mirror, rotate, zoom, move, and warp smoothly.

    `degrees` bounds the rotation, `shift` and `elastic` are in half-widths of the image, `window` < 1 samples a square crop of that
    relative side at a random place. Each eye may be mirrored left-right (the other eye) and, unless `upright`, top-bottom (no eye: the
    fovea lies lower than the disc's centre).
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle = uniform(-degrees, degrees) * math.pi / 180
    scale = 1 / uniform(*zoom)
    mirror_x = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    mirror_y = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    mirror_y = mirror_y.abs() if upright else mirror_y
    corner = (1 - window) * torch.stack((uniform(-1, 1), uniform(-1, 1)), -1)
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    base = torch.stack((x, y), -1)[None] * window + corner[:, None, None]  # (N, S, S, 2): where in the warped image
    if elastic:
        coarse = torch.randn(count, 2, 6, 6, generator=generator) * elastic
        field = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        # no displacement at the rim, so that nothing is drawn in from outside the field of view
        base = base + field * (1 - base.square().sum(-1, keepdim=True)).clamp(0, 1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rotation = torch.stack((torch.stack((cos * mirror_x, -sin * mirror_x), -1), torch.stack((sin * mirror_y, cos * mirror_y), -1)), 1)
    move = torch.stack((uniform(-shift, shift), uniform(-shift, shift)), -1)
    return torch.einsum("nij,nhwj->nhwi", rotation, base) + move[:, None, None]


def warp(images: Tensor, grid: Tensor) -> Tensor:
    """Sample (N, C, H, W) at `grid`; black outside."""
    return F.grid_sample(images, grid.to(images.device), mode="bilinear", padding_mode="zeros", align_corners=False)


def moved(soft: Tensor, by: Tensor) -> Tensor:
    """A map (1, H, W) moved `by` (2,) half-widths, x and y; black comes in."""
    theta = torch.cat((torch.eye(2), -by[:, None]), 1)[None]
    grid = F.affine_grid(theta, (1, 1, *soft.shape[1:]), align_corners=False)
    return F.grid_sample(soft[None], grid, align_corners=False)[0]


def random_maps(vessels: Tensor, count: int, generator: torch.Generator, **warping: float) -> Tensor:
    """`count` augmented binary vessel maps (count, 1, size, size) from soft ones (N, 1, H, W), drawn with replacement.

    Give the maps at about twice the size wanted: thin vessels then survive the warp whole.
    """
    chosen = torch.randint(0, len(vessels), (count,), generator=generator)
    return whole(warp(vessels[chosen], random_grid(count, generator, **warping)))


def whole(vessels: Tensor) -> Tensor:
    """Soft maps (N, 1, H, W) after a warp -> binary ones whose thin vessels hang together.

    A threshold alone cuts vessels one or two pixels wide: of DRIVE's 7 pieces a map it makes 22, with twice the end points. Where a vessel
    is fainter than the threshold, its centre line stands for it.
    """
    lines = [torch.from_numpy(skeletonize(soft[0].cpu().numpy() > 0.4)) for soft in vessels]
    return ((vessels > 0.5) | torch.stack(lines)[:, None].to(vessels.device)).float()
