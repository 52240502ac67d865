"""What every training script needs around its losses: a run folder, resuming, data-parallel gradients, EMA, logs, sample grids.

A run that is killed at any moment goes on from its last checkpoint with the same numbers as if it had not stopped: the random numbers of a
step depend on (seed, step, rank) alone, and checkpoints are replaced atomically.
"""

import argparse
import atexit
import dataclasses
import hashlib
import inspect
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.utils import save_image
from tqdm import tqdm

from retsynth import checkpoint
from retsynth.images import write_bytes

INPUTS = ("vae", "prior", "denoiser", "start", "guide")  # options that name weight files
COMMON = {  # help for options that many scripts have
    "data": "DRIVE's folder",
    "vae": "weight file",
    "prior": "weight file",
    "denoiser": "weight file",
    "start": "weight file to start from",
    "out": "weight file to write; the run's checkpoint, log and samples go to a folder beside it",
    "steps": "of the optimiser",
    "batch": "examples of a step, in each process",
    "crop": "side of what the losses see, px",
    "size": "side of the images, px",
    "lr": "learning rate",
    "width": "channels at the first level",
    "trees": "sampled, to be painted",
    "seed": "of weights and examples",
    "log_every": "steps",
    "save_every": "steps from checkpoint to checkpoint",
    "sample_every": "steps from sample to sample, each with the weight file so far",
}
MAY_CHANGE = {"data", "out", "steps", "log_every", "save_every", "sample_every", "workers"}  # when a run that was stopped goes on


def parse(config_class: type, description: str | None = None):
    """A frozen config dataclass from the command line: one `--flag` a field; fields without a default are required. The comment beside a
    field is its help. Ends the script with one sentence, before anything is written, where DRIVE's folder or a weight file is not there."""
    comments = dict(COMMON)
    with suppress(OSError):  # a script that runs within another, under a profiler for one, has no source: less help, and no harm
        comments |= re.findall(r"^    (\w+):.*  # (.+)$", inspect.getsource(config_class), re.MULTILINE)
    parser = argparse.ArgumentParser(description=description)
    for field in dataclasses.fields(config_class):
        required = field.default is dataclasses.MISSING
        said = comments.get(field.name, "") + ("" if required else f" (default: {field.default if field.default != '' else 'none'})")
        extra = {"required": True} if required else {"default": field.default}
        parser.add_argument("--" + field.name.replace("_", "-"), type=field.type, help=said.strip().replace("%", "%%"), **extra)
    options = vars(parser.parse_args())
    for name in ("data", *INPUTS):
        if (path := options.get(name)) and not Path(path).exists():
            parser.error(f"argument --{name}: there is no {path}")
    return config_class(**options)


def half(device: torch.device) -> torch.autocast:
    """Within it convolutions compute in bfloat16 where that is fast: a half to a third of the time. Weights and sums stay float32."""
    on_cpu = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else on_cpu
    # the copies of the weights must not be cached: a training loop stays within for its whole run
    return torch.autocast(device.type, torch.bfloat16, enabled=fast, cache_enabled=False)


def random_numbers(*key: int) -> torch.Generator:
    """A generator on the CPU that depends on these numbers alone; torch keeps 32 bits of a seed, so they are mixed first."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


class Run:
    """One training run. Its folder lies beside the weight file it makes: `--out weights/vae.safetensors` -> weights/vae.run/.

    The folder holds options.json, log.jsonl, state.safetensors (everything to resume from) and samples/*.png. A run that finds another's
    checkpoint there raises ValueError. Start it under `torchrun` and each process takes its own random batches while `update` averages
    their gradients.
    """

    def __init__(self, config) -> None:
        self.config = config
        self.out = Path(config.out)
        self.folder = self.out.with_suffix(".run")
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)  # else its threads now and then abort the process as it exits
        if self.rank == 0:
            (self.folder / "samples").mkdir(parents=True, exist_ok=True)
            self._claim()
        self.parts: dict[str, nn.Module | Optimizer] = {}
        self.step = 0
        self.seconds = 0.0

    def _claim(self) -> None:
        """Write options.json. Raises ValueError where the folder's checkpoint is another run's, which would be taken for this one's."""
        path, options = self.folder / "options.json", dataclasses.asdict(self.config)
        files = {name: Path(file) for name in INPUTS if (file := options.get(name))}
        contents = {f"{name} file": hashlib.sha256(file.read_bytes()).hexdigest()[:12] for name, file in files.items() if file.is_file()}
        options = json.loads(json.dumps(options | contents, default=str))
        if path.exists() and (self.folder / "state.safetensors").exists():
            before = json.loads(path.read_text())
            for name, value in options.items():
                if name not in MAY_CHANGE and before.get(name, value) != value:
                    raise ValueError(
                        f"{self.folder} holds a run with {name} {before[name]!r}, not {value!r}: remove it, or choose another --out"
                    )
        path.write_text(json.dumps(options, indent=2))

    def restore(self, **parts: nn.Module | Optimizer) -> None:
        """Name every module and optimiser that changes during the run; load them where the run folder has a checkpoint, to whose step the
        log is rewound."""
        self.parts = parts
        path = self.folder / "state.safetensors"
        if path.exists():
            with safe_open(path, framework="pt", device="cpu") as file:
                saved = {name: file.get_tensor(name) for name in file.keys()}
                progress = json.loads(file.metadata()["progress"])
            for name, part in parts.items():
                own = {key.removeprefix(name + "/"): value for key, value in saved.items() if key.startswith(name + "/")}
                _unflatten_optimiser(part, own) if isinstance(part, Optimizer) else part.load_state_dict(own, strict=True)
            self.step, self.seconds = progress["step"], progress["seconds"]
            if self.step >= self.config.steps and not self.out.exists():
                raise ValueError(f"{self.folder} holds a finished run, but {self.out} is gone: remove the folder, or ask for more --steps")
        if self.rank == 0:
            self._rewind_log()
        if self.world > 1:  # every process starts from rank 0's weights
            for part in parts.values():
                if isinstance(part, nn.Module):
                    for tensor in part.state_dict().values():
                        dist.broadcast(tensor, 0)

    def _rewind_log(self) -> None:
        """Keep of log.jsonl what lies before this step. The rest is of steps that a killed run made after its checkpoint and that come
        again; its last line may be cut off."""
        path = self.folder / "log.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                if json.loads(line)["step"] < self.step:
                    kept.append(line + "\n")
        write_bytes(path, "".join(kept).encode())

    def steps(self) -> Iterator[tuple[int, torch.Generator]]:
        """Count from where the run stands to `config.steps`, each time with that step's own random generator (on the CPU)."""
        progress = tqdm(total=self.config.steps, initial=self.step, desc=self.out.stem, disable=self.rank > 0, mininterval=5)
        with half(self.device), progress as bar:
            while self.step < self.config.steps:
                started = time.monotonic()
                yield self.step, random_numbers(self.config.seed, self.step, self.rank)
                self.seconds += time.monotonic() - started
                self.step += 1
                if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                    self.save()
                bar.update()

    def update(self, optimiser: Optimizer, loss: Tensor, clip: float = 0.0) -> None:
        """One optimiser step on `loss`, its gradients averaged over all processes.

        The learning rate warms up over the first 100 steps and falls to nothing over the last fifth of `config.steps`, both linearly.
        """
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        if self.world > 1:
            flat = torch.cat([p.grad.flatten() for p in parameters])
            dist.all_reduce(flat)
            for p, grad in zip(parameters, (flat / self.world).split([p.numel() for p in parameters]), strict=True):
                p.grad.copy_(grad.view_as(p))
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        rate = min(1.0, (self.step + 1) / 100, 5 * (1 - self.step / self.config.steps))
        for group in optimiser.param_groups:
            group["lr"] = optimiser.defaults["lr"] * rate
        optimiser.step()

    def log(self, **values: Tensor | float) -> None:
        """Append one line to log.jsonl every `config.log_every` steps."""
        if self.rank == 0 and self.step % self.config.log_every == 0:
            line = {"step": self.step, "seconds": round(self.seconds, 1)}
            line |= {key: round(float(torch.as_tensor(value).detach()), 5) for key, value in values.items()}
            with open(self.folder / "log.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")

    def once(self, name: str, make: Callable[[], dict[str, Tensor]], *sources: str | os.PathLike, **options: object) -> dict[str, Tensor]:
        """The tensors of `make()`, which depend on the files `sources` and on `options` alone: made by one process, once a run, kept in its
        folder, and made anew where a file or an option is another."""
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
        for source in sources:
            digest.update(Path(source).read_bytes())
        path = self.folder / f"{name}-{digest.hexdigest()[:12]}.safetensors"
        if self.rank == 0 and not path.exists():
            save_file(make(), path.with_suffix(".partial"))
            os.replace(path.with_suffix(".partial"), path)
        if self.world > 1:  # the others wait
            dist.barrier()
        return load_file(path)

    def due(self) -> bool:
        """Whether this step ends with a sample grid and new weights on disk (every `config.sample_every` steps, and the last)."""
        ends = (self.step + 1) % self.config.sample_every == 0 or self.step + 1 == self.config.steps
        return self.rank == 0 and ends

    def grid(self, images: Tensor, columns: int, name: str = "") -> None:
        """Write (N, C, H, W) in [0, 1] as samples/STEP.png."""
        save_image(images.clamp(0, 1), self.folder / "samples" / f"{self.step + 1:06d}{name}.png", nrow=columns)

    def save(self) -> None:
        """Replace the checkpoint. A kill while writing leaves the previous one whole."""
        if self.rank > 0:
            return
        tensors = {}
        for name, part in self.parts.items():
            state = _flatten_optimiser(part) if isinstance(part, Optimizer) else part.state_dict()
            # clones: tied or EMA tensors may share storage, which safetensors refuses
            tensors |= {f"{name}/{key}": value.detach().cpu().clone().contiguous() for key, value in state.items()}
        partial = self.folder / "state.partial"
        save_file(tensors, partial, {"progress": json.dumps({"step": self.step, "seconds": self.seconds})})
        os.replace(partial, self.folder / "state.safetensors")

    def notes(self, **more: object) -> dict:
        """What to store with the weights: the steps and minutes behind them, those of the weights started from included, the options that
        are not the script's defaults with `more` beside them, and the same of each run before this one."""
        paths = (*INPUTS, *MAY_CHANGE)
        changed = {
            field.name: getattr(self.config, field.name)
            for field in dataclasses.fields(self.config)
            if field.name not in paths and getattr(self.config, field.name) != field.default
        } | more
        before = checkpoint.notes(start) if (start := getattr(self.config, "start", "")) else {}
        steps, minutes = self.step + 1, round(self.seconds / 60, 1)
        runs = [*earlier_runs(before), {"steps": steps, "minutes": minutes, "options": changed}]
        steps, minutes = steps + before.get("steps", 0), round(minutes + before.get("minutes", 0), 1)
        return {"steps": steps, "minutes": minutes, "processes": self.world, "options": changed, "runs": runs}


def earlier_runs(notes: dict) -> list[dict]:
    """The runs behind a weight file by its notes: steps, minutes and options of each. Older files tell of one in all."""
    return notes.get("runs") or [{key: notes[key] for key in ("steps", "minutes", "options") if key in notes}] * ("steps" in notes)


def _flatten_optimiser(optimiser: Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {f"{index}/{key}": torch.as_tensor(value) for index, entry in state.items() for key, value in entry.items()}


def _unflatten_optimiser(optimiser: Optimizer, saved: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


class EMA(nn.Module):
    """An exponential moving average of a model's weights, the ones that are saved; it follows quickly during the first steps."""

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        super().__init__()
        self.decay = decay
        self.model = type(model)(model.config).to(next(model.parameters()).device).eval().requires_grad_(False)
        self.model.load_state_dict(model.state_dict())

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs.detach(), 1 - decay)
            else:
                mine.copy_(theirs)
