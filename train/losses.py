"""Losses that more than one script uses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice of (N, 1, H, W) maps in [0, 1], averaged over the batch. Milletari et al. 2016."""
    overlap = (probability * target).flatten(1).sum(1)
    total = probability.flatten(1).sum(1) + target.flatten(1).sum(1)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def local_mean(images: Tensor, size: int) -> Tensor:
    """The mean over a square of `size` px (odd) around each pixel, or over what of it lies in the image: (N, C, H, W) -> same.

    Along the rows, then along the columns: for a square 25 px wide a twelfth of the sums.
    """
    along = F.avg_pool2d(images, (1, size), 1, (0, size // 2), count_include_pad=False)
    return F.avg_pool2d(along, (size, 1), 1, (size // 2, 0), count_include_pad=False)


def thin_weight(vessels: Tensor, extra: float = 2.0) -> Tensor:
    """Per-pixel weights (N, 1, H, W) >= 1 that are 1 + `extra` on vessels under 5 px wide and right beside them.

    Thin vessels are a small share of the pixels and most of the tree; background beside them weighs the same, so they do not grow fat.
    """
    eroded = -F.max_pool2d(-vessels, 5, 1, 2)
    thick = F.max_pool2d(eroded, 5, 1, 2)
    return 1 + extra * F.max_pool2d(vessels - thick, 3, 1, 1)


def vessel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with thin vessels weighed up, plus half a Dice loss: scalar. (N, 1, H, W) each."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, thin_weight(target))
    return cross_entropy + 0.5 * dice_loss(logits.sigmoid(), target)


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017) with spectral norm (Miyato et al. 2018): (N, C, H, W) in [0, 1] -> patch logits and features.

    With three layers each logit sees 38 x 38 pixels. `slope` bounds how fast a logit changes; spectral norm alone makes it 1.
    """

    def __init__(self, in_channels: int, width: int = 32, layers: int = 3, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope
        channels = [in_channels] + [width * 2**i for i in range(layers)]
        self.blocks = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in zip(channels[:-1], channels[1:], strict=True)
        )
        self.head = spectral_norm(nn.Conv2d(channels[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = x * 2 - 1
        features = []
        for block in self.blocks:
            x = F.leaky_relu(block(x), 0.2)
            features.append(x)
        return self.slope * self.head(x), features


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator. Lim & Ye 2017, eq. 5."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def soft_skeleton(x: Tensor, steps: int = 6) -> Tensor:
    """Differentiable skeleton of soft maps (N, 1, H, W) whose vessels are at most 2 `steps` px wide. Shit et al. 2021, algorithm 1."""

    def erode(x: Tensor) -> Tensor:
        return torch.minimum(-F.max_pool2d(-x, (3, 1), 1, (1, 0)), -F.max_pool2d(-x, (1, 3), 1, (0, 1)))

    skeleton = F.relu(x - F.max_pool2d(erode(x), 3, 1, 1))
    for _ in range(steps):
        x = erode(x)
        rest = F.relu(x - F.max_pool2d(erode(x), 3, 1, 1))
        skeleton = skeleton + F.relu(rest - skeleton * rest)
    return skeleton


def centreline_dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """1 - soft clDice, which sees a gap in a thin vessel as large as it is: scalar. Shit et al. 2021, eq. 3."""
    ours, theirs = soft_skeleton(probability), soft_skeleton(target)
    precision = ((ours * target).sum() + 1) / (ours.sum() + 1)
    recall = ((theirs * probability).sum() + 1) / (theirs.sum() + 1)
    return 1 - 2 * precision * recall / (precision + recall)
