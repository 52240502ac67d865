import pytest
import torch

from train.data import read_drive
from train.pix2pix import drawn, erased


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
