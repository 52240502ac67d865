import pytest
import torch

from retsynth.prior import FlowPrior, PriorConfig
from tests.networks import noise, seeded
from tests.train import tiny
from train import prior
from train.prior import guided


@pytest.fixture
def flows():
    """A stronger and a weaker flow of different widths."""
    return (seeded(FlowPrior(PriorConfig(z_channels=2, width=width, wider=16))) for width in (16, 8))


def test_guidance_leads_away_from_the_weaker_flow_and_only_early(flows):
    strong, weak = flows
    x, t, eye = noise(2, 2, 16, 16), torch.tensor([0.2, 0.6]), torch.tensor([1, 2])
    v, other = strong(x, t, eye), weak(x, t, eye)
    early, late = guided(strong, weak, x, t, eye, 2.0)
    torch.testing.assert_close(late, v[1])
    assert ((early - v[0]) * (v - other)[0]).sum() > 0
    assert torch.equal(guided(strong, strong, x, t, eye, 2.0), v)


def test_less_than_half_is_kept_of_what_only_makes_the_tree_stronger():
    x, t = noise(1, 2, 16, 16), torch.tensor([0.25])
    tree = noise(1, 2, 16, 16).roll(1, -1)
    v = (tree - x) / 0.75
    across = noise(1, 2, 16, 16).roll(2, -1)
    across -= (across * tree).sum((2, 3), keepdim=True) / tree.square().sum((2, 3), keepdim=True) * tree

    def away(direction):
        return guided(lambda *_: v, lambda *_: v - direction, x, t, torch.tensor([1]), 2.0) - v

    torch.testing.assert_close(away(tree), 2.0 * 0.4 * tree)
    torch.testing.assert_close(away(across), 2.0 * across)


def test_a_flow_learns_from_a_guided_one(tiny_drive, tmp_path):
    for script in ("vae", "prior"):
        tiny.train(script, tiny_drive, tmp_path, models=tmp_path)
    start = str(tmp_path / "prior.safetensors")
    flags = tiny.options("prior", tiny_drive, tmp_path / "guided", models=tmp_path) | {"start": start, "guide": start, "lr": 0.0}
    prior.main(prior.Config(**flags))
    log = (tmp_path / "guided" / "prior.run" / "log.jsonl").read_text()
    # a flow that no weaker one leads away from what it is has nothing to learn
    assert '"loss": 0.0' in log and len({line.split('"loss"')[1] for line in log.splitlines()}) == 1
