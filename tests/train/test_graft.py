import pytest
import torch
from scipy.ndimage import label

from train.data import Drive, moved
from train.graft import Grafts, graft

SIZE = 128


def eye(x, arcades, size=SIZE):
    """A photograph with its disc at column `x` of the middle row, and its map: as many arches above and below as `arcades` says."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    spot = (-((columns - x) ** 2 + (rows - size / 2) ** 2) / (2 * (0.05 * size) ** 2)).exp()
    photograph = 0.3 + 0.5 * spot.expand(3, -1, -1)
    vessels = torch.zeros(size, size, dtype=torch.bool)
    inward = 1 if x < size / 2 else -1
    for side, count in zip((-1, 1), arcades, strict=True):
        for n in range(count):
            radius = (0.2 + 0.07 * n) * size
            centre = x + inward * radius
            ring = ((columns - centre) ** 2 + (rows - size / 2) ** 2).sqrt()
            vessels |= ((ring - radius).abs() < 1.5) & ((rows - size / 2) * side >= 0)
    return photograph, vessels[None].float()


def drive(*eyes):
    photographs, maps = zip(*(eye(*e) for e in eyes), strict=True)
    return Drive([str(i) for i in range(len(eyes))], torch.stack(photographs), torch.stack(maps), torch.ones(len(eyes), 1, SIZE, SIZE))


def test_a_graft_is_above_the_one_tree_and_below_the_other():
    (_, upper), (_, lower) = eye(104, (1, 3)), eye(104, (3, 2))
    disc = torch.tensor([104.5, 64.5]) / 64 - 1
    whole = graft(upper, lower, disc)
    assert torch.equal(whole[:, :40], upper[:, :40]) and torch.equal(whole[:, 88:], lower[:, 88:])
    assert ((whole == upper) | (whole == lower)).all()


def test_the_seam_goes_around_a_vessel_where_it_can():
    upper, lower = torch.zeros(1, 128, 128), torch.zeros(1, 128, 128)
    lower[:, 62:66, 20:60] = 1  # it lies across the horizontal through the disc: all of it or nothing
    whole = graft(upper, lower, torch.tensor([104.5, 64.5]) / 64 - 1)
    assert whole.sum() in (0, lower.sum())


def test_discs_are_brought_to_one_side_and_one_place():
    grafts = Grafts(*2 * (drive((104, (1, 2)), (26, (2, 1))),))
    torch.testing.assert_close(grafts.discs, torch.tensor([[0.63, 0.0], [0.6, 0.0]]), atol=0.03, rtol=0)
    seen = set()
    for seed in range(8):
        tree = grafts.draw(torch.Generator().manual_seed(seed))[0] > 0.5
        seen.add(tuple(label(half)[1] for half in (tree[:40, :80], tree[88:, :80])))
    assert seen == {(1, 1), (2, 2)}  # arches: one above and one below, or two and two, as no eye here has


def test_discs_too_far_apart_are_not_brought_together():
    with pytest.raises(ValueError, match="graft none"):
        Grafts(*2 * (drive((104, (1, 2)), (84, (2, 1))),))


def test_a_map_is_moved_by_half_widths():
    soft = torch.zeros(1, 64, 64)
    soft[0, 10, 20] = 1
    assert moved(soft, torch.tensor([0.25, -0.125]))[0, 6, 28] == pytest.approx(1, abs=1e-4)
