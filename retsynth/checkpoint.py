"""Weights on disk: one safetensors file a model, the model's config in the file's metadata.

No pickle: a weight file from a stranger cannot run code. Loading is strict, so a file and the code that reads it cannot drift apart.
"""

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import nn
from torch.overrides import TorchFunctionMode

from retsynth import __version__
from retsynth.images import write_bytes

Model = TypeVar("Model", bound=nn.Module)


def save(model: nn.Module, path: str | os.PathLike, **notes: object) -> None:
    """Write `model` and its config to `path` atomically. `notes` (steps, minutes, …) go into the metadata as JSON.

    Weights are kept in half precision, which halves the file at no visible cost; they are computed with in float32.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "model": type(model).__name__,
        "config": json.dumps(asdict(model.config)),
        "version": __version__,
        "notes": json.dumps(notes),
    }
    tensors = {name: _half(tensor.detach().cpu()).contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(path, serialized(tensors, metadata))  # `save_file` leaves a file that nobody else may read


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.dtype == torch.float32 else tensor


def _full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


class Uninitialised(TorchFunctionMode):
    """Within it, layers are made without initial values, which would be work for nothing where a file's replace them.

    Not the meta device: some of what layers and buffers begin with has PyTorch import its compiler there, which takes seconds.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def load(model_class: type[Model], path: str | os.PathLike, device: torch.device | str = "cpu") -> Model:
    """Build a `model_class` from the config in `path`, load its weights strictly, return it in eval mode on `device`.

    Raises ValueError where the file is no safetensors file, holds another model, or does not fit the code.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: _full(file.get_tensor(name)) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"cannot read weights from {path}: {error}") from error
    if metadata.get("model") != model_class.__name__:
        raise ValueError(f"{path} holds {metadata.get('model')!r}, expected {model_class.__name__!r}")
    try:
        with Uninitialised():
            config = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(metadata["config"]).items()}
            model = model_class(model_class.Config(**config))
        model.load_state_dict(tensors, strict=True, assign=True)
    except (TypeError, KeyError, IndexError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not fit {model_class.__name__}: {error}") from error
    return model.to(device).eval().requires_grad_(False)


def notes(path: str | os.PathLike) -> dict:
    """The notes stored with the weights in `path`: training steps, minutes and the like."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return json.loads((file.metadata() or {}).get("notes", "{}"))


def locate(source: str | os.PathLike, name: str) -> Path:
    """The weight file `name` in a local folder, or in the model repository `source` on the Hugging Face Hub: "owner/name", or
    "owner/name@revision" for a branch, tag or commit."""
    folder = Path(source)
    if folder.is_dir():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"no {name} in {folder}: train it with `python -m train.{Path(name).stem} --data DRIVE --out {path}`")
        return path
    if folder.exists():
        raise ValueError(f"{source} is a file: give the folder that holds it and the others")
    named = re.fullmatch(r"(\w[\w.-]*/[\w.-]+)(?:@([\w./-]+))?", str(source))
    if not named:
        raise ValueError(
            f"{source} is neither a folder nor a Hub repository such as 'owner/name'; the project's own weights lie in its folder "
            "`weights`, which an installed package lacks"
        )
    try:
        return Path(hf_hub_download(named[1], name, revision=named[2]))
    except (OSError, ValueError) as error:
        raise ValueError(f"there is no folder {source}, and {name} cannot be fetched from the Hub repository: {error}") from error
