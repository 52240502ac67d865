"""Add up what several runs learned from one start: `python -m train.blend START --add FILE SHARE --add FILE SHARE --out FILE`.

start + the sum of share * (file - start), weight by weight (task arithmetic, Ilharco et al. 2023). The runs must have begun at START.
"""

import argparse

import torch
from torch import nn

from retsynth import checkpoint
from retsynth.denoiser import Denoiser
from retsynth.edsr import EDSR
from retsynth.pix2pix import Pix2Pix
from retsynth.prior import FlowPrior
from retsynth.vae import ResidualVAE
from train.loop import earlier_runs

MODELS = {"prior": FlowPrior, "vae": ResidualVAE, "denoiser": Denoiser, "pix2pix": Pix2Pix, "edsr": EDSR}


@torch.no_grad()
def blend(start: nn.Module, learned: list[nn.Module], shares: list[float]) -> nn.Module:
    """`start` itself, moved by `shares` of the way to each of `learned`. A share may be more than 1."""
    states = [model.state_dict() for model in learned]
    for name, value in start.state_dict().items():
        value.add_(sum(share * (state[name] - value) for share, state in zip(shares, states, strict=True)))
    return start


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", help="weight file that the runs began at")
    parser.add_argument("--add", nargs=2, action="append", required=True, metavar=("FILE", "SHARE"))
    parser.add_argument("--model", choices=MODELS, default="prior")
    parser.add_argument("--out", required=True)
    options = parser.parse_args(arguments)
    files, shares = [file for file, _ in options.add], [float(share) for _, share in options.add]
    kind = MODELS[options.model]
    model = blend(checkpoint.load(kind, options.start), [checkpoint.load(kind, file) for file in files], shares)
    before, notes = checkpoint.notes(options.start), [checkpoint.notes(file) for file in files]
    # each run's notes count the steps of its start as well
    total = {key: before.get(key, 0) + sum(note.get(key, 0) - before.get(key, 0) for note in notes) for key in ("steps", "minutes")}
    total["minutes"] = round(total["minutes"], 1)
    common = earlier_runs(before)
    runs = common + [run | {"share": share} for note, share in zip(notes, shares, strict=True) for run in earlier_runs(note)[len(common) :]]
    checkpoint.save(model, options.out, **total, options={"blend": " + ".join(f"{share:g}" for share in shares)}, runs=runs)


if __name__ == "__main__":
    main()
