"""The notebook page, one file a tab. The models load in a background thread while the page is already up."""

import inspect
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path

try:
    import spaces  # Hugging Face ZeroGPU: must come before CUDA is touched
except ImportError:
    spaces = None

import gradio as gr

from retsynth.allocator import keep_pages

ZERO_GPU = spaces is not None and spaces.config.Config.zero_gpu  # the package may be installed elsewhere, where it does nothing
FAULT = "Something went wrong here, not with your input. Please try again."

_loading: Future | None = None
_beside_gpu = None  # on ZeroGPU: the same models on the CPU
_source: str | os.PathLike | None = None
_sign: ContextVar[str | None] = ContextVar("sign", default=None)  # the file that tells the run of this context to stop


class Stopped(gr.Error):
    """The visitor pressed Stop. Of all that is raised, ZeroGPU brings a gr.Error alone back from the process in which the work is done."""


class Nothing(gr.Error):
    """There is nothing to work on, and no mistake: what an empty sheet gives. Its sentence is said without alarm."""


def load(source: str | os.PathLike) -> None:
    """Start to load the models in `source`, a folder or a Hub repository, without waiting for them."""
    global _loading, _beside_gpu, _source
    _source = source
    keep_pages()

    def from_pretrained(device: str | None = None):
        from retsynth.pipeline import Pipeline  # torch alone takes seconds to import

        pipeline = Pipeline.from_pretrained(source, device)
        pipeline.before_each_layer(heed)
        _fingerprint(pipeline)  # now, rather than in each of the processes that ZeroGPU starts
        return pipeline

    if ZERO_GPU:  # its stand-in for CUDA works in this thread alone, and what it packs must be there
        _loading = Future()
        _loading.set_result(from_pretrained())
        _beside_gpu = from_pretrained("cpu")
        return
    _loading = ThreadPoolExecutor(1).submit(from_pretrained)
    _loading.add_done_callback(lambda done: done.exception() and logging.error("no models: %s", done.exception()))


def pipe():
    """The one `Pipeline` all visitors share; waits until it is loaded, raises ValueError where that failed."""
    if _loading is None:
        raise ValueError("no models are loaded")
    while wait((_loading,), timeout=0.2).not_done:
        heed()
    if error := _loading.exception():  # it names the server's folders, which are not the visitor's business
        raise ValueError("the models could not be loaded: the server's log says why") from error
    return _loading.result()


def pen():
    """The `Pipeline` that follows the pen: `pipe`, or on ZeroGPU one on the CPU, which has painted a stroke before a GPU would be had."""
    return _beside_gpu or pipe()


def beside(name: str) -> Path | None:
    """The file `name` that lies with the weights in use, in their folder or Hub repository; None where it does not."""
    return _located(_source, name) if _source is not None else None


@cache
def _located(source: str | os.PathLike, name: str) -> Path | None:
    from retsynth.checkpoint import locate

    try:
        return locate(source, name)
    except ValueError:
        return None


def source() -> str:
    """The weights in use as the page's code names them: a folder by its name alone, since where it lies is not the visitor's business."""
    return Path(_source).resolve().name if Path(_source).is_dir() else str(_source)


def weights() -> str:
    """The fingerprint of the weights that are loaded, for the metadata of each picture."""
    return _fingerprint(pen())


@lru_cache(1)
def _fingerprint(pipeline) -> str:
    from retsynth.export import fingerprint

    return fingerprint(pipeline)


def gpu(function: Callable, on_gpu: bool = True) -> Callable:
    """Ask ZeroGPU for a GPU while `function` runs, unless it is not to be `on_gpu`; elsewhere the identity.

    A visitor who has fewer seconds left than are asked for is refused, so no more than the longest run needs, eight pairs with their files.
    """
    return spaces.GPU(duration=20)(function) if ZERO_GPU and on_gpu else function


@contextmanager
def said() -> Iterator[None]:
    """Within, what goes wrong becomes a gr.Error of one sentence: a ValueError's own, or that the fault was not the visitor's."""
    try:
        yield
    except gr.Error:
        raise
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except Exception as error:
        logging.exception("a fault")  # to the server's log: the page gets no trace and no path
        raise gr.Error(FAULT, print_exception=False) from error


def heed() -> None:
    """Raise `Stopped` where the run that this belongs to was told to stop. Cheap enough to ask before each layer of a network."""
    sign = _sign.get()
    if sign and os.path.exists(sign):  # noqa: PTH110 - a Path would cost more than the question
        raise Stopped


def stoppable(handler: Callable) -> Callable:
    """`handler` as a generator of what it returns or yields, with the path of a file before its own arguments: once the file is there, the
    work ends with `Stopped`; whatever else is raised is `said`. A file, since on ZeroGPU the work is done in another process."""
    over = object()

    def results(*values: object, **named: object) -> Iterator:
        given = handler(*values, **named)
        yield from given if inspect.isgenerator(given) else [given]

    def watched(sign: str, *values: object, **named: object) -> Iterator:
        given = results(*values, **named)
        while True:
            before = _sign.set(sign)  # for this step alone: the next one may run in another thread
            try:
                with said():
                    step = next(given, over)
            finally:
                _sign.reset(before)
            if step is over:
                return
            yield step

    return watched


def asset(name: str) -> str:
    """The text of a file that lies beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
