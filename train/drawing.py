"""Vessel maps as visitors bring them: fatter, thinner or softer ones, and drawings of a few strokes."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from scipy.ndimage import convolve, gaussian_filter1d
from skimage.graph import MCP
from skimage.morphology import skeletonize
from torch import Tensor


def drawn(vessels: Tensor, generator: torch.Generator) -> Tensor:
    """What the generator sees: half of the time the true map, else a fatter, thinner or softer one, as hands and resizers make them."""
    kind = int(torch.randint(0, 8, (1,), generator=generator))
    if kind == 0:
        return F.max_pool2d(vessels, 3, 1, 1)
    if kind == 1:
        return torch.maximum(vessels - F.max_pool2d(1 - vessels, 3, 1, 1), F.avg_pool2d(vessels, 3, 1, 1) * vessels)
    if kind == 2:
        return F.avg_pool2d(vessels, 3, 1, 1)
    if kind == 3:
        return F.max_pool2d(vessels, 5, 1, 2)
    return vessels


def erased(vessels: Tensor, generator: torch.Generator) -> Tensor:
    """The map without what lies in random blobs, a twentieth of the image to nearly all: a drawing that is not finished. (N, 1, H, W)."""
    coarse = torch.randn(len(vessels), 1, 9, 9, generator=generator).to(vessels.device)
    field = F.interpolate(coarse, size=vessels.shape[-2:], mode="bicubic", align_corners=False)
    share = 0.05 + 0.92 * float(torch.rand(1, generator=generator))
    return vessels * (field > field.flatten()[::64].quantile(share))


def courses(vessels: Tensor, disc: Tensor, most: int = 24) -> list[np.ndarray]:
    """The courses of a map's main vessels (1, H, W) from the optic disc (2,) outward: (points, 2), x and y from -1 to 1, longest first.

    A course follows the vessels' centre lines and crosses what lies between their pieces; each new one ends where the map has the most
    vessels that no course before it passed.
    """
    lines = skeletonize(vessels[0].cpu().numpy() > 0.5)
    height, width = lines.shape
    rows, columns = np.nonzero(lines)
    if not len(rows):
        return []
    middle = (float(disc[1]) + 1) * height / 2 - 0.5, (float(disc[0]) + 1) * width / 2 - 0.5
    first = np.hypot(rows - middle[0], columns - middle[1]).argmin()
    graph = MCP(np.where(lines, 1.0, 8.0))
    graph.find_costs([(rows[first], columns[first])])
    ends = np.argwhere(lines & (convolve(lines.astype(int), np.ones((3, 3), int), mode="constant") <= 2))
    ways = [np.array(graph.traceback(end)) for end in ends]
    paths = []
    while ways and len(paths) < most:
        best = max(ways, key=lambda way: lines[way[:, 0], way[:, 1]].sum())
        if lines[best[:, 0], best[:, 1]].sum() < 0.04 * width:
            break
        lines[best[:, 0], best[:, 1]] = False
        paths.append((best[:, ::-1] + 0.5) * 2 / (width, height) - 1)
    return paths


def sketch(paths: list[np.ndarray], size: int, generator: torch.Generator) -> Tensor:
    """A few of the `courses` in strokes of one brush, as an unsteady hand draws them: (1, size, size) of 0 and 1."""
    image = Image.new("L", (size, size))
    pen = ImageDraw.Draw(image)
    few, brush, steady = torch.rand(3, generator=generator).tolist()
    width = max(1, round((3 + 13 * brush) / 512 * size))
    count = max(1, round(len(paths) * few**2))
    # the first ones, which are the longest, with some left out
    chosen = torch.randperm(min(len(paths), 2 * count), generator=generator)[:count].tolist()
    for path in (paths[index] for index in chosen):
        wobble = gaussian_filter1d(torch.randn(path.shape, generator=generator).numpy(), 20, axis=0) * 0.08
        smooth = gaussian_filter1d(path, 6 + 30 * steady, axis=0, mode="nearest") + wobble
        points = ((smooth[:: max(1, len(path) // 40)] + 1) * size / 2).tolist()
        if len(points) > 1:
            pen.line([tuple(point) for point in points], fill=255, width=width, joint="curve")
    return torch.from_numpy(np.array(image) > 127)[None].float()
