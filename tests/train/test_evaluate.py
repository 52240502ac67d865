"""What the report says of super-resolution, and of trees, is what other code measures."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import f1_score

from retsynth import checkpoint
from retsynth.edsr import EDSR, EDSRConfig
from retsynth.metrics import morphometry, ssim
from tests.networks import seeded
from train import evaluate
from train.data import read_drive
from train.peers import EDSRBaseline, EDSRBaselineConfig

BASELINE = EDSRBaselineConfig(8, 1)


@pytest.fixture(scope="module")
def scores(tiny_drive):
    """Of an untrained network, which interpolates, and of EDSR-baseline with random weights, which makes noise."""
    return evaluate.superres(EDSR(EDSRConfig(8, 1)).eval(), tiny_drive, seeded(EDSRBaseline(BASELINE)))


def test_bicubic_and_lanczos_score_as_another_library_has_them(scores, tiny_drive):
    for name, kind in (("bicubic", Image.Resampling.BICUBIC), ("Lanczos", Image.Resampling.LANCZOS)):
        psnr, inside, ssim = [], [], []
        for path in sorted((tiny_drive / "test" / "images").glob("*.tif")):
            photograph = Image.open(path).crop((0, 0, 564, 584))
            restored = np.asarray(photograph.resize((282, 292), Image.Resampling.BICUBIC).resize((564, 584), kind))
            photograph = np.asarray(photograph)
            fov = np.asarray(Image.open(next((tiny_drive / "test" / "mask").glob(f"{path.stem}_mask.gif"))))[:584, :564] > 0
            psnr.append(peak_signal_noise_ratio(photograph, restored))
            inside.append(peak_signal_noise_ratio(photograph[fov], restored[fov]))
            options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
            ssim.append(structural_similarity(photograph, restored, channel_axis=2, **options))
        assert scores[f"{name} psnr"] == pytest.approx(np.mean(psnr), abs=1e-3)
        assert scores[f"{name} psnr in the field of view"] == pytest.approx(np.mean(inside), abs=1e-3)
        assert scores[f"{name} ssim"] == pytest.approx(np.mean(ssim), abs=1e-3)


def test_networks_are_scored_from_clean_and_from_faulty_halves(scores):
    parts = [scores, *(scores[fault] for fault in evaluate.FAULTS)]
    for part in parts:
        assert part["gain in dB"] == part["ours psnr"] - part["bicubic psnr"]
        assert abs(part["gain in dB"]) < 1  # the untrained network interpolates by another cubic than Pillow's
        assert part["EDSR-baseline psnr"] < part["bicubic psnr"] - 10
    for part in parts[1:]:
        assert part["bicubic psnr"] < scores["bicubic psnr"] - 0.2 and part["bicubic ssim"] < scores["bicubic ssim"]


def test_the_report_keeps_its_other_parts(tiny_drive, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "FAULTS", {})
    weights = shutil.copytree(tiny_weights, tmp_path / "weights")
    (weights / "report.json").write_text('{"trees": 1}')
    checkpoint.save(seeded(EDSRBaseline(BASELINE)), tmp_path / "peer.safetensors", steps=7, minutes=2.5)

    def report(*flags: object) -> dict:
        command = ["evaluate", "superres", "--data", tiny_drive, "--weights", weights, "--out", tmp_path / "out", *flags]
        monkeypatch.setattr("sys.argv", list(map(str, command)))
        evaluate.main()
        return json.loads((weights / "report.json").read_text())

    alone = report()
    assert alone["trees"] == 1
    assert not any("EDSR-baseline" in key for key in alone["superres"])
    both = report("--baseline", tmp_path / "peer.safetensors")["superres"]
    assert both["EDSR-baseline steps"] == 7 and both["EDSR-baseline minutes"] == 2.5
    assert both["command"].endswith("--baseline peer.safetensors")
    assert {key: both[key] for key in alone["superres"] if key != "command"} == {
        key: value for key, value in alone["superres"].items() if key != "command"
    }
    assert torch.isfinite(torch.tensor([value for value in both.values() if isinstance(value, float)])).all()


# --- trees -----------------------------------------------------------------------------------------------------------------------------


def test_what_the_report_says_of_trees_is_measured_anew(tiny_pipeline, tiny_drive, tmp_path):
    scores = evaluate.trees(tiny_pipeline, str(tiny_drive), tmp_path, 2)
    real, test = ((d.vessels > 0.5).float() * (d.fov > 0.5) for d in (read_drive(tiny_drive, half) for half in ("training", "test")))
    group = scores["groups"]["real, training"]
    assert set(group["ks_p"].values()) == {1.0}
    assert group["ssim"] == pytest.approx(np.mean([ssim(a, b) for i, a in enumerate(real) for j, b in enumerate(real) if i != j]))
    assert group["mean"]["density"] == pytest.approx(np.mean([morphometry(m).density for m in real]))
    ours = [tiny_pipeline(seed, upscale=False).annotation for seed in range(2)]
    assert scores["groups"]["ours"]["mean"]["length"] == pytest.approx(np.mean([morphometry(m).length for m in ours]))
    assert scores["novelty"]["largest of real test maps"] < 0.95
    with torch.no_grad():
        decoded = torch.cat([tiny_pipeline.vae.sample(tiny_pipeline.vae.encode(x[None])[0]) for x in test])
    dice = np.mean([f1_score(t.flatten() > 0, d.flatten() > 0.5) for t, d in zip(test, decoded, strict=True)])
    assert scores["reconstruction dice"]["before the denoiser"] == pytest.approx(dice, abs=1e-4)
