import torch

from retsynth import checkpoint
from retsynth.denoiser import Denoiser, DenoiserConfig
from tests.networks import seeded
from train import blend


def test_a_blend_moves_by_its_shares_and_counts_all_steps_once(tmp_path):
    start, one, two = (seeded(Denoiser(DenoiserConfig(4)), seed) for seed in range(3))
    for name, model, steps in (("start", start, 100), ("one", one, 160), ("two", two, 130)):
        runs = [{"steps": 100}] + [{"steps": steps - 100}] * (steps > 100)
        checkpoint.save(model, tmp_path / f"{name}.safetensors", steps=steps, minutes=steps / 10, runs=runs)
    files = [str(tmp_path / f"{name}.safetensors") for name in ("start", "one", "two", "out")]
    blend.main([files[0], "--add", files[1], "0.5", "--add", files[2], "1.25", "--model", "denoiser", "--out", files[3]])
    blended = checkpoint.load(Denoiser, files[3]).state_dict()
    for name, value in start.state_dict().items():
        expected = value + 0.5 * (one.state_dict()[name] - value) + 1.25 * (two.state_dict()[name] - value)
        torch.testing.assert_close(blended[name], expected, atol=2e-3, rtol=2e-3)  # files are in half precision
    notes = checkpoint.notes(files[3])
    assert notes["steps"] == 190 and notes["minutes"] == 19
    assert notes["runs"] == [{"steps": 100}, {"steps": 60, "share": 0.5}, {"steps": 30, "share": 1.25}]
