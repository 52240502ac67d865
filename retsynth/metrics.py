"""How alike two images are (SSIM, PSNR), and what a vessel tree measures."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity
from skimage.morphology import skeletonize
from torch import Tensor

EIGHT = np.ones((3, 3), int)  # pixels that touch by a corner are connected
WINDOW = 11  # px, of SSIM
MIN_COMPONENT = 20  # px: smaller pieces are specks
MIN_BRANCH = 10  # px: the direction of a shorter branch is the pixel grid's

Picture = Tensor | np.ndarray


# --- images ------------------------------------------------------------------------------------------------------------------------


def ssim(a: Picture, b: Picture, fov: Picture | None = None) -> float:
    """Mean structural similarity of Wang et al. 2004, 1 for equal images; inside the field of view (H, W) where one is given.

    Images as `psnr` takes them, 11 px or more a side. Gaussian window of 11 px, sigma 1.5, K1 0.01, K2 0.03; channels averaged; the 5 px
    at the edges, where the window would leave the image, do not count. SSIM rewards emptiness and blur: show a blank map's beside it.
    """
    mean, local = ssim_map(a, b)
    if fov is None:
        return mean
    interior = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
    inside = _picture(fov)[..., 0][interior] > 0.5
    if inside.shape != local[interior].shape or not inside.any():
        raise ValueError(f"the field of view {_picture(fov).shape[:2]} does not fit images of {local.shape}")
    return float(local[interior][inside].mean())


def ssim_map(a: Picture, b: Picture) -> tuple[float, np.ndarray]:
    """The mean SSIM, as `ssim` has it, and the similarity around each pixel: (H, W) float, -1 to 1."""
    a, b = _pair(a, b)
    if min(a.shape[:2]) < WINDOW:
        raise ValueError(f"SSIM takes images of {WINDOW} pixels a side or more, got {a.shape[1]} x {a.shape[0]}")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    mean, local = structural_similarity(a, b, channel_axis=-1, full=True, **options)
    return float(mean), local.mean(-1)


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio in dB, infinite for equal images.

    Images are tensors (1, C, H, W) or (C, H, W), or arrays (H, W) or (H, W, C); floats in [0, 1], bool or uint8, where 0 and
    1 alone are those of a mask. Raises ValueError where they differ in size or channels.
    """
    a, b = _pair(a, b)
    error = float(np.square(a - b).mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def _pair(a: Picture, b: Picture) -> tuple[np.ndarray, np.ndarray]:
    a, b = _picture(a), _picture(b)
    if a.shape != b.shape:
        raise ValueError(f"cannot compare an image of (height, width, channels) {a.shape} with one of {b.shape}: bring both to one size")
    return a, b


def _picture(image: Picture) -> np.ndarray:
    """-> float64 (H, W, C) in [0, 1]."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.double() if image.is_floating_point() else image  # NumPy has no bfloat16
    array = np.asarray(image)
    if array.ndim == 4 and len(array) == 1:
        array = array[0].transpose(1, 2, 0)
    elif array.ndim == 3 and isinstance(image, Tensor):
        array = array.transpose(1, 2, 0)
    elif array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise ValueError(f"expected a tensor (1, C, H, W) or an array (H, W) or (H, W, C), got {array.shape}")
    # a mask of 0 and 1 in whole numbers is no image that is almost black
    values = array / 255 if array.dtype == np.uint8 and array.max(initial=0) > 1 else array.astype(np.float64)
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"expected values in [0, 1] or uint8, got {values.min():g} to {values.max():g}")
    return values


# --- vessel trees --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Morphometry:
    """Measures of one vessel map; 0 where there is nothing to measure."""

    density: float  # vessel area over the field of view's
    length: int  # px of skeleton
    junctions: int  # clusters of skeleton pixels with three neighbours or more
    end_points: int  # skeleton pixels with one neighbour
    calibre: float  # px, area / length
    components: int  # 8-connected pieces of 20 px or more
    largest_share: float  # of the area, in the largest piece
    box_dimension: float  # of the vessels, boxes of 2 to 64 px
    tortuosity: float  # path over chord, of all branches of 10 px or more together; the pixel grid makes up to 1.08 of a straight line
    radius: float  # root mean square distance of the vessels from the frame's middle, in half-widths: whether they reach far out


def morphometry(vessels: Picture, fov: Picture | None = None) -> Morphometry:
    """Measure a vessel map, (512, 512) bool, or anything of that size that is vessel above 0.5, inside the field of view.

    `fov` is shaped like the map; without it, the disc that generated images fill. Other sizes work where the side is a multiple of 64.
    """
    drawn = _picture(vessels)[..., 0] > 0.5
    side = len(drawn)
    if drawn.shape != (side, side) or side % 64:
        raise ValueError(f"expected a square map with a side that 64 divides, got {drawn.shape}")
    inside = _disc(side) if fov is None else _picture(fov)[..., 0] > 0.5
    if inside.shape != drawn.shape or not inside.any():
        raise ValueError(f"the field of view {inside.shape} does not fit the map {drawn.shape}, or is empty")
    drawn = drawn & inside
    skeleton = skeletonize(drawn)
    around = neighbours(skeleton)
    area, length = int(drawn.sum()), int(skeleton.sum())
    pieces = np.bincount(ndimage.label(drawn, EIGHT)[0].ravel())[1:]
    return Morphometry(
        density=area / int(inside.sum()),
        length=length,
        junctions=ndimage.label(skeleton & (around >= 3), EIGHT)[1],
        end_points=int((skeleton & (around == 1)).sum()),
        calibre=area / max(length, 1),
        components=int((pieces >= MIN_COMPONENT).sum()),
        largest_share=int(pieces.max(initial=0)) / max(area, 1),
        box_dimension=_box_dimension(drawn),
        tortuosity=_tortuosity(skeleton & (around < 3)),
        radius=float(np.sqrt(np.square(_distance(side)[drawn]).mean())) / (side / 2) if area else 0.0,
    )


def _disc(side: int) -> np.ndarray:
    """The field of view of generated images, one pixel short of the frame: (side, side) bool."""
    return _distance(side) <= side / 2 - 1


def _distance(side: int) -> np.ndarray:
    """Of each pixel's centre from the frame's middle, in px: (side, side)."""
    axis = np.arange(side) - (side - 1) / 2
    return np.hypot(axis[:, None], axis[None])


def neighbours(skeleton: np.ndarray) -> np.ndarray:
    """How many of the eight pixels around each are set."""
    return ndimage.convolve(skeleton.astype(int), EIGHT, mode="constant") - skeleton


def _box_dimension(drawn: np.ndarray) -> float:
    """Minus the slope of log(boxes that contain vessel) over log(box size)."""
    if not drawn.any():
        return 0.0
    sizes = np.array([2, 4, 8, 16, 32, 64])
    side = len(drawn)
    counts = [drawn.reshape(side // size, size, side // size, size).any((1, 3)).sum() for size in sizes]
    return float(-np.polyfit(np.log(sizes), np.log(counts), 1)[0])


def _tortuosity(branches: np.ndarray) -> float:
    """Path length over chord length, summed over the branches of a skeleton whose junctions are taken out."""
    labels, count = ndimage.label(branches, EIGHT)
    path = np.zeros(count + 1)
    side = labels.shape[1]
    for below, right, step in ((0, 1, 1), (1, 0, 1), (1, 1, math.sqrt(2)), (1, -1, math.sqrt(2))):
        here = labels[: len(labels) - below, max(0, -right) : side - max(0, right)]
        there = labels[below:, max(0, right) : side + min(0, right)]
        path += step * np.bincount(here[(here > 0) & (there > 0)], minlength=count + 1)
    ends = np.argwhere(branches & (neighbours(branches) == 1))
    ends = ends[np.argsort(labels[tuple(ends.T)], kind="stable")]  # by branch: two each, but none of a closed ring or a single pixel
    first, last = ends[::2], ends[1::2]
    chord = np.hypot(*(first - last).T)
    length = path[labels[tuple(first.T)]]
    long_enough = length >= MIN_BRANCH
    return float(length[long_enough].sum() / chord[long_enough].sum()) if long_enough.any() else 0.0
