"""Write the model card, WEIGHTS/README.md, from the weight files and report.json: `python -m train.card [--weights weights]`.

Every figure of its tables is read from a file that a run, `train.evaluate` or `train.bench` wrote.
"""

import argparse
import hashlib
import json
import statistics
from pathlib import Path

from retsynth import __version__, checkpoint
from train.loop import earlier_runs

MODELS = {
    "vae": "vessel map <-> latent; decodes samples",
    "prior": "noise -> latent",
    "denoiser": "soft map -> crisp map",
    "pix2pix": "vessel map, style, noise -> photograph",
    "edsr": "512 px -> 1024 px",
}

TEXT = """---
license: mit
tags:
  - retina
  - fundus
  - vessel-segmentation
  - image-generation
---

# Model card: retsynth {version}

Five networks that make synthetic retinal fundus photographs (1024 px) together with their vessel maps. **Synthetic, not
for diagnosis.** Made for research and teaching: labelled images where patients' may not be shared, to be used beside real ones.

![Vessel maps and the fundus images painted from them](examples/readme.png)
*Output of these weights, seeds not picked.*

## Aims, and what was reached

{aims}

## Files

| file | what it does | steps | minutes | options | SHA-256 |
|---|---|---|---|---|---|
{files}

Minutes are those of one thread of a two-core machine that other work shared (two threads for some 2,300 steps of the
prior, 450 of the denoiser and 37,200 of pix2pix); the last 19 minutes of pix2pix are an H200's: 2,025 steps of eight
images and 1,438 of 24, counted as 50,700. Weights are stored in half precision, their config and these notes in each file's metadata.
Steps and minutes are those of all runs behind a file, each begun at the weights of the one before (`--start`). Where one
run stands in the options column, it is the last one's options alone that the file kept, those of a run in which the VAE's
encoder, for one, no longer learned; what they do not name is the default of the script. `prior` is three runs, added up by
`train.blend`, without training image 34 (`--without 34`). What the earlier runs were is told in [TRIALS.md](TRIALS.md), not
step by step: the commands in the project's README train each network anew, but to other weights than these.

## Data

The 20 training images of DRIVE (Staal et al. 2004), their vessel maps and fields of view; nothing else. DRIVE was
published for research; its images are not part of this repository, and who trains on them again has to obtain them from
its makers. `pix2pix` was also trained against features of EfficientNet-Lite1 and Lite2 (ImageNet, Apache 2.0), which are
not needed to run it. The weights carry the code's MIT licence. No network learned from DRIVE's 20 test images; but which
of several weights to keep was now and then decided with their figures in view, as [TRIALS.md](TRIALS.md) tells, so that the
figures below may flatter a little.

## Every score

{scores}

How to read SSIM here: on binary maps a blank one scores higher than any real one, so the aim is the real maps' value,
not the most. The paper reports 0.74 for its maps, 0.78 for real ones and 0.64 for earlier work under a definition that
it does not give in full; with Wang's (Gaussian window 11 px) real maps reach the value in the table.

## What was tried

[TRIALS.md](TRIALS.md) is the log: what was changed, what it was measured by, and whether it was kept.

## Limits

Twenty eyes, one camera, one country, mostly healthy adults. No disease is modelled, and no clinician has judged the
images. The optic disc and the macula are placed by the vessels and may be missing under a drawing that has no arcades.
Trees are new, but their anatomy is that of the 20 training eyes and its variations. Do not use the images to train or
test anything that decides about patients without real data beside them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights")
    folder = Path(parser.parse_args().weights)
    (folder / "README.md").write_text(text(folder))


def text(folder: Path) -> str:
    """The card of the weight files in `folder`."""
    report = json.loads((folder / "report.json").read_text())
    rows = []
    for name, what in MODELS.items():
        path = folder / f"{name}.safetensors"
        notes = checkpoint.notes(path)
        runs = earlier_runs(notes)
        options = "; then ".join((f"{run['steps']:,} steps " if len(runs) > 1 else "") + _flags(run) for run in runs)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(f"| {path.name} | {what} | {notes['steps']:,} | {notes['minutes']:.0f} | {options} | `{digest}` |")
    return TEXT.format(version=__version__, aims=aims(report), files="\n".join(rows), scores=scores(report))


def _flags(run: dict) -> str:
    flags = [f"--{key.replace('_', '-')} {value}" for key, value in run.get("options", {}).items()]
    share = [f"(share {run['share']:g})"] if "share" in run else []
    return " ".join((flags or ["defaults"]) + share)


def aims(report: dict) -> str:
    """What was asked of the weights, and how the report answers, as a table."""
    fundus, machine = report["fundus"], report["speed"]["devices"]["cpu"]
    follows, told, teaches = fundus["faithfulness"], fundus["realism"], fundus["usefulness"]
    stages = {name: row for name, row in machine["rows"].items() if name in ("vessels", "denoise", "translate", "upscale")}
    slowest = min(stages, key=lambda name: stages[name]["share_of_peak"])
    ours, real = follows["dice on our translations of the test maps"], follows["dice on the test photographs"]
    copies, floor = told["sets of copies of training photographs"]["two-sample accuracy"], told["two-sample accuracy, real against real"]
    start, memory = statistics.median(report["speed"]["cold_start_seconds"]), machine["rows"]["chain"]["peak_mb"]
    measures = len(report["trees"]["groups"]["ours"]["ks_p"])
    rows = [  # what is measured, what was reached, the side of the aim that it should be on, the aim, how both are written, what to add
        (
            "measures of 100 vessel trees like the training maps'",
            report["trees"]["groups"]["ours"]["measures with p > 0.05"],
            "at least",
            measures,
            "d",
            "",
        ),
        ("Dice of a segmenter on our images, less that on photographs", ours - real, "at least", 0, "+.3f", ""),
        (
            "accuracy of telling ours from photographs, ten sets",
            told["sets"]["two-sample accuracy"],
            "at most",
            0.65,
            ".4g",
            f"{floor:.2f} for other photographs, {copies:.3f} for draws from the training photographs",
        ),
        ("Dice of segmenters trained on 200 pairs of ours, over the 20 real ones'", teaches["synthetic / real"], "at least", 1, ".3f", ""),
        ("Dice of segmenters trained on both, less that of the real ones alone", teaches["both - real"], "at least", 0.01, "+.3f", ""),
        ("super-resolution, dB above bicubic", report["superres"]["gain in dB"], "at least", 2, "+.2f", ""),
        ("a seed to 1024 px on two cores, s", machine["rows"]["chain"]["seconds"], "at most", 3, ".1f", ""),
        ("translation, times as fast as pix2pix's U-Net-256", machine["translate_speedup"], "at least", 8, ".1f", ""),
        ("super-resolution, times as fast as EDSR-baseline", machine["upscale_speedup"], "at least", 4, ".1f", ""),
        ("slowest stage's share of the convolution peak", stages[slowest]["share_of_peak"], "at least", 0.5, ".0%", slowest),
        ("first answer after the start, s", start, "at most", 10, ".1f", ""),
        ("memory, MB", memory, "at most", 1500, ".0f", ""),
    ]
    lines = ["| measured | reached | aim | |", "|---|---|---|---|"]
    for what, reached, side, aim, form, more in rows:
        verdict = "reached" if (reached >= aim if side == "at least" else reached <= aim) else "**missed**"
        lines.append(f"| {what}{more and f' ({more})'} | {reached:{form}} | {side} {aim:{form}} | {verdict} |")
    return "\n".join(lines)


def scores(report: dict) -> str:
    """The report as tables."""
    parts = []
    if trees := report.get("trees"):
        names = list(next(iter(trees["groups"].values()))["mean"])
        lines = ["| trees | " + " | ".join(n.replace("_", " ") for n in names) + " | measures like training maps (KS p > 0.05) | SSIM |"]
        lines.append("|---" * (len(names) + 3) + "|")
        for group, values in trees["groups"].items():
            cells = " | ".join(f"{values['mean'][n]:.4g}" for n in names)
            lines.append(f"| {group} | {cells} | {values['measures with p > 0.05']} of {len(names)} | {values['ssim']:.3f} |")
        lines.append(f"| blank map | {' | '.join('' for _ in names)} | | {trees['blank']['ssim']:.3f} |")
        novelty, dice = trees["novelty"], trees["reconstruction dice"]
        parts += [
            "\n".join(lines),
            f"{trees['samples']} samples, seeds from 0, none left out; SSIM of all of ours, of 20 in the other groups "
            f"(`{trees['command']}`, {trees['date']}). "
            f"Largest correlation of a sample with any training map in any pose, mean {novelty['nearest correlation']:.3f}; "
            f"of real test maps {novelty['nearest correlation of real test maps']:.3f}; "
            f"novelty, the ratio of what is left, {novelty['ratio of (1 - nearest)']:.3f}. Dice of reconstructed test maps "
            f"{dice['before the denoiser']:.3f} before and {dice['after']:.3f} after the denoiser.",
        ]
    for name, title in (("fundus", "Photographs"), ("superres", "Super-resolution, DRIVE's test photographs")):
        if part := report.get(name):
            lines = [f"| {title} | |", "|---|---|"] + [f"| {key} | {value} |" for key, value in _flat(part)]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _flat(part: dict, prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in part.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}: ")
        else:
            rows.append((prefix + key, f"{value:.4g}" if isinstance(value, float) else f"`{value}`" if key == "command" else str(value)))
    return rows


if __name__ == "__main__":
    main()
