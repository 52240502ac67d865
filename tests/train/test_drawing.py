import numpy as np
import pytest
import torch
import torch.nn.functional as F

from train.data import read_drive
from train.drawing import courses, drawn, erased, sketch


@pytest.fixture(scope="module")
def maps(tiny_drive):
    return (read_drive(tiny_drive, "training", size=256).vessels[:1] > 0.5).float()


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_drawn_maps_are_fatter_thinner_softer_or_the_same(maps):
    shares = [float(drawn(maps, generator(seed)).mean() / maps.mean()) for seed in range(40)]
    assert min(shares) < 0.9 and max(shares) > 1.5  # a fine pen, a fat brush
    assert 10 <= sum(share == 1 for share in shares) <= 30  # about half of the time nothing is done


def test_erased_maps_lose_whole_regions_and_nothing_elsewhere(maps):
    kept = []
    for seed in range(20):
        left = erased(maps, generator(seed))
        assert ((left == maps) | (left == 0)).all()
        kept.append(float(left.sum() / maps.sum()))
    assert min(kept) < 0.35 and max(kept) > 0.65
    ones = torch.ones(1, 1, 128, 128)
    gone = erased(ones, generator(0))
    edges = (gone[..., 1:] != gone[..., :-1]).float().mean()  # blobs, not dust
    assert 0 < edges < 0.05


def test_courses_run_along_the_vessels_from_the_disc_and_the_longest_come_first():
    cross = torch.zeros(1, 128, 128)
    cross[0, 63:66, 20:125] = 1  # from the disc at (40, 64): 85 to the right, 20 to the left, 40 down, with a gap of four pixels
    cross[0, 64:104, 39:42] = 1
    cross[0, 80:84] = 0
    disc = torch.tensor([40.5, 64.5]) / 64 - 1
    paths = courses(cross, disc)
    assert len(paths) == 3
    ends = np.array([(path[-1] + 1) * 64 for path in paths])
    np.testing.assert_allclose(ends, [[124, 64], [40, 103], [21, 64]], atol=3)
    assert all(np.abs((path[0] + 1) * 64 - [40, 64]).max() < 3 for path in paths)
    assert np.abs((paths[0][:, 1] + 1) * 64 - 64.5).max() < 2
    assert courses(torch.zeros(1, 64, 64), disc) == []


def test_sketches_are_few_even_strokes_that_follow_the_vessels(maps):
    paths = courses(maps[0], torch.tensor([0.65, 0.0]))
    near = F.max_pool2d(maps, 25, 1, 12)[0]
    shares = []
    for seed in range(30):
        strokes = sketch(paths, 256, generator(seed))
        assert strokes.shape == (1, 256, 256) and set(strokes.unique().tolist()) == {0.0, 1.0}
        assert (strokes * near).sum() > 0.9 * strokes.sum()
        shares.append(float(strokes.sum() / maps.sum()))
    assert min(shares) < 0.15 and max(shares) > 0.6  # from a stroke or two to most of a tree
    again = sketch(paths, 256, generator(3))
    assert torch.equal(again, sketch(paths, 256, generator(3)))
    assert not sketch([], 64, generator(0)).any()
    large = sketch(paths, 512, generator(3))
    torch.testing.assert_close(F.avg_pool2d(large[None], 2)[0], again, atol=1, rtol=0)
    assert (F.avg_pool2d(large[None], 2)[0] - again).abs().mean() < 0.02  # the same drawing at twice the size
