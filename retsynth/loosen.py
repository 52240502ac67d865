"""An annotation as loose as a person's, for training segmenters that people's annotations will judge.

Ours are exact: the image is painted from the map. A person's outline of a vessel lies beside it, here on one side and there on the other,
and a segmenter that learned from exact edges draws vessels narrower than people do. So the map is moved by a smooth random field.
"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.morphology import skeletonize
from torch import Tensor

STRETCH = 6.0  # px, standard deviation of the Gaussian that smooths the field: the two edges of a vessel move together


def loosen(annotation: Tensor, amount: float, noise: Tensor) -> Tensor:
    """Annotation (1, H, W) of 0 and 1 -> the same, each place moved down and across by fields of standard deviation `amount` px.

    `noise` (2, H, W) ~ N(0, 1) is what the fields are made of. Vessels stay as connected as they were.
    """
    # smoothing white noise by a Gaussian divides its standard deviation by 2 sqrt(pi) times the Gaussian's
    fields = [gaussian_filter(one, STRETCH) * (2 * np.pi**0.5 * STRETCH * amount) for one in noise.numpy()]
    moved = map_coordinates(annotation[0].numpy(), np.indices(annotation.shape[1:], np.float32) + fields, order=1)
    # a line of one pixel, moved by half of one, is a half on both sides: its centre line counts
    return torch.from_numpy((moved > 0.5) | skeletonize(moved > 0.3)).float()[None]
