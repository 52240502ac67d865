"""What the tests of all networks share."""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` with every weight and buffer drawn anew by its name, so that no layer starts at zero or as the identity; in eval mode."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.15)
    return model.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def dead_parameters(model: nn.Module, loss: Callable[[], Tensor]) -> list[str]:
    """Names of the parameters that `loss` does not reach. First steps move the layers that start at zero and block the others."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(4):
        optimiser.step()
        optimiser.zero_grad()
        loss().backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
