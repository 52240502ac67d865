"""The notebook page, one file a tab. The models load in a background thread while the page is already up."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

try:
    import spaces  # Hugging Face ZeroGPU: must come before CUDA is touched
except ImportError:
    spaces = None

_loading: Future | None = None


def load(source: str | os.PathLike) -> None:
    """Start to load the models in `source`, a folder or a Hub repository, without waiting for them."""
    global _loading

    def from_pretrained():
        from retsynth.pipeline import Pipeline  # torch alone takes seconds to import

        return Pipeline.from_pretrained(source)

    _loading = ThreadPoolExecutor(1).submit(from_pretrained)
    if spaces:
        _loading.result()  # ZeroGPU packs the weights when the page is launched, so they must be there
    _loading.add_done_callback(lambda done: done.exception() and logging.error("no models: %s", done.exception()))


def pipe():
    """The one `Pipeline` all visitors share; waits until it is loaded, raises ValueError where that failed."""
    if _loading is None:
        raise ValueError("no models are loaded")
    if error := _loading.exception():  # it names the server's folders, which are not the visitor's business
        raise ValueError("the models could not be loaded: the server's log says why") from error
    return _loading.result()


def gpu(function: Callable) -> Callable:
    """Ask ZeroGPU for a GPU while `function` runs; elsewhere the identity."""
    return spaces.GPU(duration=60)(function) if spaces else function


def asset(name: str) -> str:
    """The text of a file that lies beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
