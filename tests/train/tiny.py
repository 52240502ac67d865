"""The training scripts at a size that a test can afford."""

import importlib
from pathlib import Path

STEPS = 4
OPTIONS = {
    "vae": {"batch": 1, "crop": 64, "width": 8, "z_channels": 2, "adversarial_from": 2},
    "pix2pix": {"size": 128, "crop": 64, "width": 8, "depth": 3},
    "edsr": {"batch": 1, "patch": 16, "width": 8, "blocks": 1},
}
# the optimiser update to be killed in: one in the fourth step; from the third on the VAE updates its discriminator too
KILLED_AT = {"vae": 5, "pix2pix": 8, "edsr": 4}


def options(script: str, data: Path, folder: Path) -> dict:
    """The flags of one script. Its weights go to FOLDER/SCRIPT.safetensors; logs, checkpoints and samples come often."""
    out = folder / f"{script}.safetensors"
    often = {"steps": STEPS, "log_every": 1, "save_every": 2, "sample_every": 2}
    return {"data": str(data), "out": str(out), **often, **OPTIONS[script]}


def train(script: str, data: Path, folder: Path) -> None:
    """Run one script to its end in this process."""
    module = importlib.import_module(f"train.{script}")
    module.main(module.Config(**options(script, data, folder)))
