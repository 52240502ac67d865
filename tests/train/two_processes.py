"""Started by torchrun: every training script, with a look at all processes' weights at the end: `two_processes.py DATA FOLDER`."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.train import tiny
from train import edsr
from train.loop import Run

data, folder = map(Path, sys.argv[1:])
steps = Run.steps


def from_all(tensor: Tensor) -> list[Tensor]:
    """The tensors that stand at this place in each process."""
    everyone = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, tensor.detach())
    return everyone


def steps_then_compare(run: Run):
    yield from steps(run)
    for name, part in run.parts.items():
        for parameter in part.parameters() if isinstance(part, nn.Module) else ():
            first, *others = from_all(parameter)
            assert all(torch.equal(first, other) for other in others), f"{run.out.stem}: {name} differs between the processes"


def check_averaging() -> None:
    """One step on two processes starts from rank 0's weights and follows the mean of both gradients."""
    run = Run(edsr.Config(data="", out=str(folder / "mean.safetensors"), steps=1))
    model = nn.Linear(3, 1, bias=False)
    nn.init.constant_(model.weight, run.rank)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    run.restore(model=model)
    for _, generator in run.steps():
        x = torch.randn(5, 3, generator=generator)
        run.update(optimiser, model(x).mean())
    ours, theirs = from_all(x)
    assert not torch.equal(ours, theirs)
    rate = optimiser.param_groups[0]["lr"]
    mean = torch.cat((ours, theirs)).mean(0, keepdim=True)
    torch.testing.assert_close(model.weight.detach() / -rate, mean, atol=0.01, rtol=0)  # products may be taken in bfloat16


Run.steps = steps_then_compare
check_averaging()
for script in tiny.OPTIONS:
    tiny.train(script, data, folder, models=folder)
