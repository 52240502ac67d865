"""The training scripts at a size that a test can afford."""

import importlib
from pathlib import Path

STEPS = 4
OPTIONS = {
    "vae": {"batch": 1, "crop": 64, "width": 8, "z_channels": 2, "adversarial_from": 2},
    "prior": {"batch": 2, "size": 128, "bank": 5, "grafts": 0.0, "width": 8, "wider": 16},
    "denoiser": {"batch": 1, "size": 128, "crop": 64, "trees": 3, "width": 4},
    "pix2pix": {"size": 128, "crop": 64, "trees": 2, "reader": 2, "width": 24, "depth": 5},
    "lobes": {"size": 128, "trees": 2},
    "distill": {"size": 128, "trees": 2, "known": 3},
    "edsr": {"batch": 1, "patch": 16, "width": 8, "blocks": 1},
}
TREES = {"vae": "vae", "prior": "prior", "denoiser": "denoiser"}
# by option the script whose weights it names
NEEDS = {"prior": {"vae": "vae"}, "denoiser": {"vae": "vae", "prior": "prior"}, "pix2pix": TREES}
NEEDS |= {"lobes": TREES | {"start": "pix2pix"}, "distill": TREES | {"start": "pix2pix"}}
# the optimiser update to be killed in, always in the fourth step: those with a discriminator update twice a step, the VAE from the third
# on, pix2pix once in the fourth, whose map is unfinished
KILLED_AT = {"vae": 5, "prior": 4, "denoiser": 8, "pix2pix": 7, "lobes": 4, "distill": 4, "edsr": 4}


def options(script: str, data: Path, folder: Path, models: Path) -> dict:
    """The flags of one script that writes FOLDER/SCRIPT.safetensors and reads the networks it needs in MODELS. It saves often."""
    common = {"out": folder / f"{script}.safetensors", "steps": STEPS, "log_every": 1, "save_every": 2, "sample_every": 2}
    if script not in ("lobes", "distill"):  # which need no photograph
        common["data"] = data
    needs = {option: models / f"{needed}.safetensors" for option, needed in NEEDS.get(script, {}).items()}
    return {name: str(value) if isinstance(value, Path) else value for name, value in (common | needs | OPTIONS[script]).items()}


def train(script: str, data: Path, folder: Path, models: Path) -> None:
    """Run one script to its end in this process."""
    module = importlib.import_module(f"train.{script}")
    module.main(module.Config(**options(script, data, folder, models)))
