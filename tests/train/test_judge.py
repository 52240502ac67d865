"""The judges tell what differs, and do not tell what does not."""

import torch

from tests.networks import uniform
from train import judge
from train.data import Drive, field_of_view
from train.judge import segment_scores, told_apart, train_segmenter, two_sample_accuracy, variance_ratio


def test_two_sample_accuracy_of_different_and_equal_laws():
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(20, 16, generator=generator) for _ in range(3))
    assert two_sample_accuracy(a + 3, b) == 1
    assert two_sample_accuracy(a, c) < 0.75


def test_sets_are_told_apart_one_by_one():
    generator = torch.Generator().manual_seed(2)
    real, alike, other = (torch.randn(20, 16, generator=generator) for _ in range(3))
    one, two = told_apart([other + 3], real), told_apart([other + 3, alike], real)
    assert one["two-sample accuracy"] == 1 and one["two-sample accuracy sd"] == 0 and one["count"] == 1
    assert two["two-sample accuracy"] == (1 + two_sample_accuracy(alike, real)) / 2 and two["count"] == 2
    assert abs(told_apart([alike], real)["kid"]) < 0.1 * one["kid"]


def test_images_that_are_more_alike_have_less_variance_in_all_directions_together():
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(2000, 3, generator=generator) * torch.tensor([3.0, 1.0, 0.1]) for _ in range(2))
    assert abs(variance_ratio(a + 5, b) - 1) < 0.1  # wherever they lie
    assert abs(variance_ratio(0.5 * a, b) - 0.25) < 0.03
    turned = b @ torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    assert abs(variance_ratio(turned, b) - 1) < 1e-5


def test_a_segmenter_learns_to_see_vessels_and_an_untrained_one_does_not(vessel_tree):
    vessels = torch.stack([torch.from_numpy(vessel_tree(seed))[None].float() for seed in range(3)])
    noise = torch.randn(3, 3, 512, 512, generator=torch.Generator().manual_seed(0)) * 0.05
    pairs = Drive(["a", "b", "c"], (0.6 - 0.25 * vessels + noise).clamp(0, 1), vessels, torch.ones_like(vessels))
    dice, auc = segment_scores(train_segmenter(pairs, seed=0, steps=25), pairs)
    assert dice > 0.8 and auc > 0.95
    assert segment_scores(train_segmenter(pairs, seed=0, steps=0), pairs)[0] < 0.5


def test_the_leading_pairs_make_up_half_of_each_batch(monkeypatch):
    numbered = torch.arange(10.0).view(10, 1, 1, 1).expand(-1, 3, 64, 64)
    seen, warp = [], judge.warp
    monkeypatch.setattr(judge, "warp", lambda images, grid: seen.append(images[:, 0, 0, 0]) or warp(images, grid))
    train_segmenter(Drive([], numbered, torch.zeros(10, 1, 64, 64), torch.ones(10, 1, 64, 64)), seed=0, steps=3, first=2)
    seen = torch.stack(seen)
    assert (seen[:, :2] < 2).all() and seen[:, 2:].max() >= 2


def test_a_segmenter_is_judged_inside_the_field_of_view_alone():
    vessels, fov = (uniform(1, 1, 64, 64) > 0.8).float(), field_of_view(64)[None]
    photographs = torch.where(fov > 0, vessels, 1 - vessels).expand(-1, 3, -1, -1)
    assert segment_scores(lambda x: 20 * x[:, :1] - 10, Drive(["1"], photographs, vessels, fov)) == (1, 1)


def test_each_regime_learns_from_its_own_pairs_and_is_judged_on_the_test_half(tiny_pipeline, tiny_drive, tmp_path, monkeypatch):
    taught = []

    def teach(drive, seed, first=0):
        taught.append((drive, first))
        return lambda x: 40 * (0.3 - x[:, 1:2])  # the same for all: dark green is vessel

    monkeypatch.setattr(judge, "train_segmenter", teach)
    scores = judge.fundus(tiny_pipeline, str(tiny_drive), tmp_path, count=5, segmenters=1)["usefulness"]
    (real, _), (ours, _), (both, first) = taught
    assert [len(drive.fundus) for drive, _ in taught] == [4, 5, 9] and first == 4
    assert torch.equal(both.fundus, torch.cat((real.fundus, ours.fundus)))
    for seed in (0, 4):
        sample = tiny_pipeline(seed, upscale=False)
        assert torch.equal(ours.fundus[seed], sample.fundus[0]) and torch.equal(ours.vessels[seed], sample.annotation[0])
    assert (scores["synthetic / real"], scores["both - real"]) == (1, 0)
