"""Optic discs: those of DRIVE's training photographs as ellipses drawn by eye, since what counts as brightest lies aside of a disc's
middle; and how even the outline of a disc is."""

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from torch import Tensor

from retsynth.position import position

# by image: the middle, from the left and from the top, and the half-axes across and down, in px of 512. Around three more (26, 31, 34) the
# ground is as pale as the disc.
ELLIPSES = {
    "21": (70, 218, 33, 38),
    "22": (431, 234, 31, 34),
    "23": (398, 188, 35, 37),
    "24": (443, 247, 33, 36),
    "25": (429, 230, 41, 50),
    "27": (456, 243, 42, 46),
    "28": (443, 228, 36, 38),
    "29": (461, 231, 35, 40),
    "30": (455, 244, 38, 38),
    "32": (457, 246, 39, 38),
    "33": (431, 261, 39, 39),
    "35": (77, 235, 33, 35),
    "36": (437, 236, 36, 40),
    "37": (455, 247, 37, 39),
    "38": (452, 230, 34, 39),
    "39": (79, 217, 37, 37),
    "40": (451, 229, 34, 34),
}
NASAL = 11 / 256  # how far the middle lies from the brightest part, away from the macula, in half-widths


def rims(names: list[str], centres: Tensor) -> Tensor:
    """The ellipses of photographs by their names, `centres` (N, 2) those of `disc_centres`: x, y and half-axes (N, 4) in half-widths.

    Without half-axes where none is known: there is none of that name, or its disc lies elsewhere, as in data that are not DRIVE's.
    """
    x, y, across, down = (torch.tensor([ELLIPSES.get(name, (0, 0, 0, 0)) for name in names]) / 256).T
    ellipses = torch.stack((x - 1, y - 1, across, down), 1)
    near = (ellipses[:, :2] - centres).norm(dim=1) < across
    return torch.where(near[:, None], ellipses, torch.cat((nasal(centres), torch.zeros_like(centres)), 1))


def nasal(places: Tensor) -> Tensor:
    """The likely middles (N, 2) of discs whose brightest parts lie at `places` (N, 2)."""
    return torch.stack((places[:, 0] + NASAL * places[:, 0].sign(), places[:, 1]), 1)


# --- their outlines ----------------------------------------------------------------------------------------------------------------------

DIRECTIONS = 72
BEYOND = (54, 74)  # px of 512 from the middle: there lies the ground that a disc is held against, in each direction
LEVEL = 0.35  # a disc ends where it is no further above its ground than by this share of its middle: its nasal side is hardly brighter


def outline(fundus: Tensor, vessels: Tensor, middle: Tensor) -> np.ndarray:
    """How far a disc reaches from its `middle` (2,), in px, in DIRECTIONS directions: (DIRECTIONS,), NaN where a vessel hides its end or
    it has none. Of a photograph (3, 512, 512) and its vessels (1, 512, 512)."""
    seen = distance_transform_edt(vessels[0].numpy() < 0.5) > 1.5
    seen &= (position(vessels[None])[0, :2].norm(dim=0) < 0.97).numpy()
    light = fundus[0].numpy() / 2 + fundus[1].numpy()
    between = gaussian_filter(light * seen, 2) / np.maximum(gaussian_filter(seen.astype(np.float32), 2), 1e-3)
    angle = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    x, y = ((middle.numpy() + 1) * light.shape[0] / 2 - 0.5)[:, None]
    radius = np.arange(BEYOND[1])[:, None]
    rays = np.stack((y + radius * np.sin(angle), x + radius * np.cos(angle)))
    bright, clear = map_coordinates(between, rays, order=1, mode="nearest"), map_coordinates(seen.astype(np.float32), rays, order=1) > 0.5
    inner = np.median(bright[:22][clear[:22]]) if clear[:22].any() else np.nan
    ends = np.full(DIRECTIONS, np.nan)
    for direction in range(DIRECTIONS):
        beside = (direction + np.arange(-4, 5)) % DIRECTIONS
        around = bright[BEYOND[0] :, beside][clear[BEYOND[0] :, beside]]
        if len(around) < 30:
            continue
        level = (bright[:, direction] - np.median(around)) / max(inner - np.median(around), 1e-3)
        over = np.flatnonzero(clear[:, direction] & (level < LEVEL) & (radius[:, 0] >= 14))
        if len(over) and clear[over[0] - 3 : over[0], direction].any():
            ends[direction] = over[0]
    return ends


def roughness(ends: np.ndarray) -> float:
    """How far an `outline` lies from the ellipse-like curve (two harmonics) nearest to it, root mean square, as a share of the radius; NaN
    where less than a third of it is known. A disc that a vessel cuts in two has notches."""
    known = np.isfinite(ends)
    if known.sum() < DIRECTIONS / 3:
        return np.nan
    angle = np.arange(DIRECTIONS)[known] * 2 * np.pi / DIRECTIONS
    curves = np.stack([np.ones_like(angle), *(wave(n * angle) for n in (1, 2) for wave in (np.cos, np.sin))], 1)
    weights = np.linalg.lstsq(curves, ends[known], rcond=None)[0]
    return float(np.sqrt(np.square(ends[known] - curves @ weights).mean()) / weights[0])
