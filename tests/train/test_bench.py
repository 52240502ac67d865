import json

import pytest
import torch
from torch import nn

from train import bench
from train.bench import Timing, count_flops, measure, peak_memory
from train.peers import EDSRBaseline, UNet256

CPU = torch.device("cpu")


@pytest.fixture
def small_peers(monkeypatch):
    """The papers' networks stood in for by one layer each."""
    names = "U-Net-256 (pix2pix)", "EDSR-baseline"
    monkeypatch.setattr(bench, "peers", lambda device: dict.fromkeys(names, lambda: nn.Linear(2, 2)(torch.ones(1, 2))))


def test_flops_of_known_layers():
    convolution = nn.Conv2d(3, 8, 5, padding=2)
    assert count_flops(lambda: convolution(torch.rand(2, 3, 16, 12))) == 2 * (3 * 5 * 5) * 8 * 2 * 16 * 12
    with torch.inference_mode():
        assert count_flops(lambda: torch.rand(3, 10) @ torch.rand(10, 4)) == 2 * 3 * 10 * 4


@pytest.mark.parametrize(
    "network, parameters, gflop, size",
    [(UNet256, 54_414_531, 48.4, 512), (EDSRBaseline, 1_369_859, 719.6, 1024)],  # parameters as the authors' code prints them
)
def test_peers_are_the_papers_networks(network, parameters, gflop, size):
    with torch.device("meta"):
        model, image = network(), torch.rand(1, 3, 512, 512)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert count_flops(lambda: model.eval()(image)) / 1e9 == pytest.approx(gflop, abs=0.1)
    assert model(image).shape == (1, 3, size, size)


def test_measure_leaves_out_the_warm_up(monkeypatch):
    now, costs = 0.0, iter([100.0, 3.0, 1.0, 2.0, 5.0, 4.0])

    def work():
        nonlocal now
        now += next(costs)

    monkeypatch.setattr(bench.time, "perf_counter", lambda: now)
    assert measure(work, 5, CPU) == (3.0, 2.0, 4.0)


def test_the_seconds_of_a_batch_are_shared_out_among_its_samples(tiny_weights, small_peers, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda call, runs, device: Timing(*3 * (2.0 * len(call()),)))  # as if an image took two seconds
    assert bench.bench_device(str(tiny_weights), CPU, 1, [1, 3])["seconds_a_sample_in_batches_of"] == {1: 2.0, 3: 2.0}


def test_peak_memory_sees_what_a_call_held():
    before = peak_memory(lambda: None, CPU)
    during = peak_memory(lambda: torch.ones(50_000_000), CPU)
    assert 190e6 < during - before < 220e6
    assert peak_memory(lambda: None, CPU) < before + 50e6  # and forgets it


def test_the_report_keeps_what_else_it_holds(tiny_weights, small_peers, tmp_path, capsys):
    report = tmp_path / "report.json"
    report.write_text('{"trees": 1}')
    bench.main(
        ["--weights", str(tiny_weights), "--runs", "1", "--batches", "1", "2", "--exports", "1", "--starts", "0", "--json", str(report)]
    )
    written = json.loads(report.read_text())
    assert written["trees"] == 1
    rows = written["speed"]["devices"]["cpu"]["rows"]
    assert rows.keys() == {"vessels", "denoise", "translate", "upscale", "chain", "U-Net-256 (pix2pix)", "EDSR-baseline"}
    stages = sum(rows[name]["gflop"] for name in ("vessels", "denoise", "translate", "upscale"))
    assert rows["chain"]["gflop"] == pytest.approx(stages, rel=1e-3)
    assert all(row["seconds"] > 0 and row["peak_mb"] > 0 for row in rows.values())
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)
    assert "export of 1:" in printed
