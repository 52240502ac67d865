import pytest
import torch
from scipy.ndimage import distance_transform_edt

from retsynth import checkpoint
from retsynth.pix2pix import Pix2Pix, Pix2PixConfig
from tests.networks import seeded
from train import lobes

DISC = torch.tensor([[0.5, 0.0]])  # its middle is at pixel (192, 128)


@pytest.fixture
def crossed():
    """A wide vessel from top to bottom, a little aside of the disc's middle, and a thin one across."""
    vessels = torch.zeros(1, 1, 256, 256)
    vessels[..., 195:206] = 1
    vessels[..., 127:129, 100:] = 1
    return vessels


def widths(vessels):
    return 2 * distance_transform_edt(vessels[0, 0].numpy() > 0.5).max()


def test_near_the_disc_vessels_are_thin_and_as_long_as_before_and_elsewhere_as_they_were(crossed):
    slim, near = lobes.thinned(crossed, DISC), lobes.distance(crossed, DISC) < lobes.REACH
    assert torch.equal(slim[0, 0][~near], crossed[0, 0][~near])
    assert (slim <= crossed).all()
    assert widths(crossed * near) > 8 and widths(slim * near) < 6  # where two cross
    rows = near.any(1).nonzero()[:, 0]
    assert slim[0, 0, rows, 195:206].any(1).all()  # no row has lost the vessel


def test_what_is_taken_from_the_painting_with_thin_vessels_lies_in_the_disc_and_between_the_vessels(crossed):
    share, away = lobes.share(crossed, DISC), lobes.distance(crossed, DISC)
    assert share.min() >= 0 and share.max() <= 1
    assert share[away > lobes.BEYOND].max() == 0
    assert share[crossed[0, 0] > 0].max() < 0.1
    off = torch.from_numpy(distance_transform_edt(crossed[0, 0].numpy() < 0.5) > 5)
    assert share[(away < 0.15) & off].min() > 0.99
    assert lobes.share(torch.zeros_like(crossed), DISC)[away < 0.15].min() > 0.99  # without any vessel


def test_what_makes_the_grain_and_what_reads_photographs_stay_as_they_were(tmp_path, monkeypatch):
    start = seeded(Pix2Pix(Pix2PixConfig(width=8, depth=5, looks=3)), 0)
    checkpoint.save(start, tmp_path / "start.safetensors")
    monkeypatch.setattr(lobes, "sample_trees", lambda run: torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.9)
    out = tmp_path / "out.safetensors"
    lobes.main(lobes.Config(start=str(tmp_path / "start.safetensors"), out=str(out), size=64, steps=3, lr=1e-2))
    before, after = (checkpoint.load(Pix2Pix, file).state_dict() for file in (tmp_path / "start.safetensors", out))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"stem", "downs", "skips", "blocks", "ups"}
