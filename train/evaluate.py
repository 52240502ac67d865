"""Judge the weights: `python -m train.evaluate trees|fundus|superres --data DRIVE [--weights weights] [--out runs/evaluate]`.

Each prints its table and replaces its part of WEIGHTS/report.json; pictures go to the --out folder. DRIVE's test half is read here alone.
`superres --baseline FILE` scores EDSR-baseline as well, which `python -m train.edsr --data DRIVE --model baseline --out FILE` trains.
"""

import argparse
import json
import random
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import ks_2samp
from skimage.restoration import richardson_lucy
from torch import Tensor
from torchvision.utils import save_image
from tqdm import tqdm

from retsynth import checkpoint, metrics
from retsynth.edsr import EDSR
from retsynth.metrics import Morphometry, morphometry
from retsynth.pipeline import Pipeline
from train.data import field_of_view, read_drive
from train.edsr import degrade, read_pairs
from train.novelty import nearest, pair_correlation
from train.peers import EDSRBaseline

MEASURES = [field.name for field in fields(Morphometry)]
FAULTS = {"JPEG of quality 75": {"quality": 75}, "blur of 0.5 px and noise of 3/255": {"blur": 0.5, "noise": 3 / 255}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["trees", "fundus", "superres"])
    parser.add_argument("--data", required=True, help="DRIVE's folder")
    parser.add_argument("--weights", default="weights")
    parser.add_argument("--out", default="runs/evaluate", help="folder for contact sheets")
    parser.add_argument("--count", type=int, default=100, help="samples to generate")
    parser.add_argument("--segmenters", type=int, default=3, help="fundus: segmenters a regime, each with its own seed")
    parser.add_argument("--baseline", help="superres: weight file of EDSR-baseline")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    pipe = Pipeline.from_pretrained(options.weights)
    if options.what == "trees":
        scores = trees(pipe, options.data, out, options.count)
    elif options.what == "fundus":
        from train.judge import fundus  # needs the ImageNet judge, which the others do not

        scores = fundus(pipe, options.data, out, options.count, options.segmenters)
    else:
        baseline = checkpoint.load(EDSRBaseline, options.baseline) if options.baseline else None
        scores = superres(pipe.edsr, options.data, baseline)
        if baseline:
            notes = checkpoint.notes(options.baseline)
            scores |= {f"EDSR-baseline {key}": notes[key] for key in ("steps", "minutes")}
    report = Path(options.weights) / "report.json"
    whole = json.loads(report.read_text()) if report.exists() else {}
    command = f"python -m train.evaluate {options.what} --count {options.count} --segmenters {options.segmenters}"
    if options.baseline:
        command += f" --baseline {Path(options.baseline).name}"
    whole[options.what] = {"date": date.today().isoformat(), "command": command} | scores
    report.write_text(json.dumps(whole, indent=1) + "\n")


# --- trees -----------------------------------------------------------------------------------------------------------------------------


def trees(pipe: Pipeline, data: str, out: Path, count: int) -> dict:
    """Vessel trees: morphometry against the training maps, SSIM, novelty, reconstruction. Writes two contact sheets."""
    training, test = (read_drive(data, half) for half in ("training", "test"))
    second = read_drive(data, "test", observer=2)
    fov = field_of_view()[None]
    real, unseen, observer = ((half.vessels > 0.5).float() * (half.fov > 0.5) for half in (training, test, second))
    soft, gaussian, clean = [], [], []
    for seed in tqdm(range(count), desc="trees"):
        soft.append(pipe.sample_vessels(pipe.noise(seed)))
        clean.append(pipe.denoise(soft[-1]))
        gaussian.append(pipe.annotate(pipe.denoise(pipe.sample_vessels(pipe.noise(seed), prior="gaussian"))))
    soft, ours = torch.cat(soft), pipe.annotate(torch.cat(clean))
    groups = {
        "real, training": real,
        "real, test, first observer": unseen,
        "real, test, second observer": observer,
        "ours": ours,
        "ours, pieces not joined": (torch.cat(clean) > 0.5).float() * fov,
        "ours, Gaussian prior": torch.cat(gaussian),
        "ours, no denoiser": (soft > 0.5).float() * fov,
        "ours, Richardson-Lucy instead": torch.stack([_richardson_lucy(x) for x in soft]) * fov,
    }
    blank = torch.zeros_like(real[:1])
    scores = {"samples": count, "groups": {}, "blank": {"ssim": float(np.mean(_ssim_values(blank, real)))}}
    measured = {name: _measure(maps) for name, maps in groups.items()}
    for name, maps in groups.items():
        values = measured[name]
        similar = _ssim_values(maps if name == "ours" else maps[:20], real, same=maps is real)
        ks = {m: float(ks_2samp(values[m], measured["real, training"][m]).pvalue) for m in MEASURES}
        scores["groups"][name] = {
            "mean": {m: float(np.mean(values[m])) for m in MEASURES},
            "sd": {m: float(np.std(values[m])) for m in MEASURES},
            "ks_p": ks,
            "measures with p > 0.05": sum(p > 0.05 for p in ks.values()),
            "ssim": float(np.mean(similar)),
            "ssim_values": [round(value, 4) for value in similar],  # one a map
        }
    correlations, which = nearest(ours, real)
    floor = nearest(unseen, real)[0]
    scores["novelty"] = {
        "nearest correlation": float(correlations.mean()),
        "largest": float(correlations.max()),
        "nearest correlation of real test maps": float(floor.mean()),
        "largest of real test maps": float(floor.max()),
        "ratio of (1 - nearest)": float((1 - correlations).mean() / (1 - floor).mean()),
        "pair correlation of ours": pair_correlation(ours),
        "pair correlation of real training maps": pair_correlation(real),
    }
    with torch.no_grad():
        decoded = torch.cat([pipe.vae.sample(pipe.vae.encode(x[None].to(pipe.device))[0]).cpu() for x in unseen])
    scores["reconstruction dice"] = {
        "before the denoiser": _dice(decoded > 0.5, unseen),
        "after": _dice(pipe.denoise(decoded) > 0.5, unseen),
    }
    _print_trees(scores)
    save_image(torch.cat((real[:16], ours[:16])), out / "trees.png", nrow=8, pad_value=0.5)
    pairs = torch.stack((ours[:16], real[which[:16]]), 1)
    save_image(torch.cat([pairs[:8].transpose(0, 1).flatten(0, 1), pairs[8:16].transpose(0, 1).flatten(0, 1)]), out / "nearest.png", nrow=8)
    save_image(ours, out / "all.png", nrow=10)
    return scores


def _measure(maps: Tensor) -> dict[str, list[float]]:
    rows = [asdict(morphometry(m[0].numpy() > 0.5)) for m in maps]
    return {m: [row[m] for row in rows] for m in MEASURES}


def _ssim_values(maps: Tensor, real: Tensor, same: bool = False) -> list[float]:
    """Each map's mean SSIM to all training maps; `same`: map i is training map i, and is not compared with itself."""
    return [float(np.mean([metrics.ssim(m, r) for j, r in enumerate(real) if not (same and i == j)])) for i, m in enumerate(maps)]


def _richardson_lucy(soft: Tensor) -> Tensor:
    """Ten steps with a Gaussian of 1 px, thresholded: (1, H, W) -> (1, H, W) of 0 and 1."""
    axis = np.arange(-3, 4)
    kernel = np.exp(-(axis[:, None] ** 2 + axis**2) / 2)
    restored = richardson_lucy(soft[0].numpy(), kernel / kernel.sum(), num_iter=10)
    return torch.from_numpy(restored > 0.5).float()[None]


def _dice(ours: Tensor, truth: Tensor) -> float:
    overlap = (ours * truth).flatten(1).sum(1)
    return float((2 * overlap / (ours.flatten(1).sum(1) + truth.flatten(1).sum(1))).mean())


def _print_trees(scores: dict) -> None:
    print(f"{'':32}" + "".join(f"{m:>15}" for m in MEASURES) + f"{'ssim':>8}{'p>0.05':>8}")
    for name, group in scores["groups"].items():
        cells = "".join(f"{group['mean'][m]:9.3f}({group['sd'][m]:.3g})".rjust(15) for m in MEASURES)
        print(f"{name:32}{cells}{group['ssim']:8.3f}{group['measures with p > 0.05']:8d}")
    print("blank map: SSIM", round(scores["blank"]["ssim"], 3))
    print(json.dumps({key: scores[key] for key in ("novelty", "reconstruction dice")}, indent=1))


# --- super-resolution --------------------------------------------------------------------------------------------------------------------


def superres(model: EDSR, data: str, baseline: EDSRBaseline | None = None) -> dict:
    """x2 on DRIVE's test photographs at native size, from their bicubic halves: mean PSNR and SSIM of ours, EDSR-baseline and filters.

    Then, under the name of each fault, the same from halves that have it; what is to come out has none.
    """
    device = next(model.parameters()).device
    networks = {"ours": model} | ({"EDSR-baseline": baseline.to(device, memory_format=torch.channels_last)} if baseline else {})
    filters = {"bicubic": Image.Resampling.BICUBIC, "Lanczos": Image.Resampling.LANCZOS}
    pairs, masks = read_pairs(data, "test"), sorted((Path(data) / "test" / "mask").glob("*.gif"))
    fovs = [np.asarray(Image.open(mask).convert("L")) > 127 for mask in masks]
    scores = {}
    for fault, options in ({"": {}} | FAULTS).items():
        rows = []
        for i, ((small, large), fov) in enumerate(zip(tqdm(pairs, desc=fault or "clean"), fovs, strict=True)):
            small = degrade(small, random.Random(i), **options)
            picture = Image.fromarray((small.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
            images = {name: np.asarray(picture.resize(large.shape[:0:-1], kind)) / 255 for name, kind in filters.items()}
            with torch.inference_mode():
                for name, network in networks.items():
                    enlarged = network.upscale(small[None].to(device))[0].permute(1, 2, 0).cpu()
                    images[name] = (enlarged.numpy() * 255).round() / 255
            truth = large.permute(1, 2, 0).numpy().astype(np.float64)
            inside = fov[: large.shape[1], : large.shape[2]]
            row = {}
            for name, image in images.items():
                row[f"{name} psnr"] = metrics.psnr(image, truth)
                row[f"{name} psnr in the field of view"] = metrics.psnr(image[inside][None], truth[inside][None])
                row[f"{name} ssim"] = metrics.ssim(image, truth)
            rows.append(row)
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        means["gain in dB"] = means["ours psnr"] - means["bicubic psnr"]
        scores |= {fault: means} if fault else means
    print(json.dumps(scores, indent=1))
    return scores


if __name__ == "__main__":
    main()
