"""Can the vessels be read off a photograph? A segmenter for the losses of pix2pix, of another make than the one that judges it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from tqdm import trange

from train.data import Drive, random_grid, warp, whole
from train.loop import half
from train.losses import dice_loss, local_mean


class Reader(nn.Module):
    """Photographs (N, 3, H, W) in [0, 1], H and W even -> vessel logits (N, 1, H, W).

    Dilated convolutions at half the resolution (Yu & Koltun 2016).
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width // 2, 3, padding=1)
        self.down = nn.Conv2d(width // 2, width, 4, stride=2, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation) for dilation in (1, 2, 4, 2, 1))
        self.up = nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1)
        self.last = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.head = nn.Conv2d(width // 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        # the colour of the place is not to tell
        fine = F.silu(self.stem(8 * (x - local_mean(x, 31))))
        h = F.silu(self.down(fine))
        for conv in self.body:
            h = h + F.silu(conv(h))
        return self.head(F.silu(self.last(F.silu(self.up(h) + fine))))


def reading_loss(logits: Tensor, vessels: Tensor) -> Tensor:
    """Cross-entropy plus half a Dice loss of (N, 1, H, W) logits and maps: scalar."""
    return F.binary_cross_entropy_with_logits(logits, vessels) + 0.5 * dice_loss(logits.sigmoid(), vessels)


def train_reader(drive: Drive, seed: int, steps: int, crop: int) -> Reader:
    """From random crops of the pairs, `crop` px wide, in other light and grain, so that no trick of few pixels passes for a vessel."""
    torch.manual_seed(seed)
    generator, device = torch.Generator().manual_seed(seed), drive.fundus.device
    model = Reader().to(device)
    optimiser = Adam(model.parameters(), 2e-3)
    for step in trange(steps, desc="reader", mininterval=5):
        chosen = torch.randint(0, len(drive.fundus), (4,), generator=generator)
        grid = random_grid(4, generator, degrees=25, zoom=(0.97, 1.12), window=2 * crop / drive.fov.shape[-1], size=crop)
        stacked = torch.cat((drive.fundus[chosen], drive.vessels[chosen], drive.fov[chosen]), 1)
        photographs, vessels, fov = warp(stacked, grid).split((3, 1, 1), 1)
        vessels = whole(vessels) * (fov > 0.5)
        tint, noise = 0.75 + 0.5 * torch.rand(4, 3, 1, 1, generator=generator), torch.randn(photographs.shape, generator=generator)
        strength = 0.03 * torch.rand(4, 1, 1, 1, generator=generator)
        x = (photographs * tint.to(device) + (strength * noise).to(device)).clamp(0, 1)
        with half(device):
            logits = model(x).float()
        loss = reading_loss(logits, vessels)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, 2 * (1 - step / steps))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval().requires_grad_(False)
