"""The pictures that are shown before anything is computed: `python -m train.pictures [--weights weights]` writes WEIGHTS/examples/.

Seeds 0 to 7 as they come, nothing picked. readme.png: vessel maps above the photographs made of them; sample_*.png: seed 0.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.utils import make_grid

from retsynth import images
from retsynth.pipeline import Pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="weights")
    options = parser.parse_args()
    pipe = Pipeline.from_pretrained(options.weights)
    folder = Path(options.weights) / "examples"
    folder.mkdir(exist_ok=True)
    samples = [pipe(seed, upscale=False) for seed in range(8)]
    rows = []
    for four in (samples[:4], samples[4:]):
        rows += [s.annotation.expand(-1, 3, -1, -1) for s in four] + [s.fundus for s in four]
    small = F.interpolate(torch.cat(rows), size=(256, 256), mode="bilinear", antialias=True)
    images.write_image(folder / "readme.png", make_grid(small, nrow=4, padding=4, pad_value=1), seed="0 to 7")
    images.write_image(folder / "sample_fundus.png", samples[0].fundus, seed=0)
    images.write_image(folder / "sample_vessels.png", samples[0].annotation, seed=0)


if __name__ == "__main__":
    main()
