"""From a clean map to the annotation: a vessel tree hangs together, so what a threshold leaves in pieces is joined.

Each piece is tied to the tree along the path of least resistance over the soft map (minimal paths, Cohen & Kimmel 1997), where that path
crosses a gap of a few pixels; what stays afloat is dropped unless it is long. The thresholds were chosen on sampled trees against the
measures of DRIVE's training maps.
"""

import numpy as np
import torch
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.morphology import remove_small_holes, remove_small_objects, skeletonize
from torch import Tensor

from retsynth.metrics import EIGHT

VESSEL = 0.73  # from where on the clean map is vessel
FAINT = 0.5  # from where on it is a vessel too thin to be sure of: its centre line alone counts
GAP = 3.05  # px of plain background that a join may cross: three, and not four; less resistance lets it go farther
SPECK = 30  # px of area up to which a piece is noise
HOLE = 12  # px of area up to which a hole is noise
AFLOAT = 40  # px of area from which a piece may stay apart, as a few do in real maps
RESISTANCE = (0.02, 0.2)  # of a pixel inside a vessel, and the least outside


def connect(clean: Tensor) -> Tensor:
    """Clean map (1, H, W) in [0, 1] -> (1, H, W) of 0 and 1: what is vessel, specks gone, pieces joined. A blank map stays blank."""
    soft = clean[0].numpy()
    vessels = (soft > VESSEL) | skeletonize(soft > FAINT)
    vessels = remove_small_holes(remove_small_objects(vessels, max_size=SPECK, connectivity=2), max_size=HOLE)
    return torch.from_numpy(_join(vessels, soft)).float()[None]


def _join(vessels: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """The pieces of a map (H, W) tied to its largest one, or dropped."""
    labels, count = ndimage.label(vessels, EIGHT)
    if count < 2:
        return vessels
    areas = np.bincount(labels.ravel())
    tree = 1 + int(areas[1:].argmax())
    inside, outside = RESISTANCE
    resistance = np.where(vessels, inside, np.clip(1 - soft / VESSEL, outside, 1))
    trunk = labels == tree
    resistance[trunk] = 0  # so that one start, anywhere on it, does for all of it
    reach = int(GAP / outside) + 2  # px that a join can go at most: what lies farther from all other pieces need not be searched
    near = ndimage.maximum_filter(vessels & ~trunk, 2 * reach + 1)
    resistance[~(near | trunk)] = np.inf
    start = np.unravel_index(trunk.argmax(), labels.shape)
    paths = MCP_Geometric(resistance)
    costs, _ = paths.find_costs([start])
    nearest = ndimage.minimum_position(costs, labels, range(1, count + 1))
    joined = np.zeros_like(vessels)
    for label, place in enumerate(nearest, start=1):
        if label == tree:
            continue
        if costs[place] <= GAP:
            joined[tuple(np.transpose(paths.traceback(place)))] = True
        elif areas[label] < AFLOAT:
            vessels[labels == label] = False
    joined &= ~trunk
    # thin vessels are about two pixels wide
    return vessels | ndimage.binary_dilation(joined, np.ones((2, 2), bool))
