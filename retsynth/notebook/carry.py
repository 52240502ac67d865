"""Carry a picture on from the tab that made it to the tab that works on it."""

from types import SimpleNamespace

import gradio as gr

from retsynth.images import read_mask, read_metadata
from retsynth.notebook.cell import PRIVATE
from retsynth.notebook.compare import example_photograph, named
from retsynth.notebook.generate import choose
from retsynth.notebook.translate import url


def connect(tabs: gr.Tabs, made: SimpleNamespace, drawn: SimpleNamespace, large: SimpleNamespace, compared: SimpleNamespace) -> None:
    """Connect the buttons under the generated eyes and under the drawing with the other tabs."""

    waiting = {"enlarge": large.cell, "compare": compared.cell}  # for a run; the drawing runs by itself
    quick = {"show_progress": "hidden", **PRIVATE}  # through the queue: what an event beside it refuses never reaches the page

    def to(tab: str, button: gr.Button, handler, inputs: list, outputs: list) -> None:
        moved = button.click(handler, inputs, outputs, **quick)
        there = moved.success(lambda: gr.Tabs(selected=tab), None, tabs, queue=False, show_progress="hidden", **PRIVATE)
        there.then(None, js=f"() => retsynth.arrive('{tab}')", show_progress="hidden", **PRIVATE)
        if tab in waiting:
            waiting[tab].bind(moved.success)

    made.gallery.select(_picked, made.gallery, [made.chosen, made.below], queue=False, show_progress="hidden", **PRIVATE)
    looks = [drawn.style, drawn.seed, drawn.photo, drawn.photo_of, *drawn.controls]
    to("draw", made.edit, lambda *at: [*_edited(*at), *(0 for _ in drawn.controls)], [made.gallery, made.chosen], [drawn.canvas, *looks])
    to("enlarge", made.enlarge, lambda *at: _eye(*at)[1], [made.gallery, made.chosen], [large.upload])
    to(
        "compare",
        made.compare,
        lambda gallery, chosen, *at: _beside(_eye(gallery, chosen)[1], *at),
        [made.gallery, made.chosen, compared.vessels, compared.reference],
        [compared.vessels, compared.reference, compared.candidates],
    )
    to("enlarge", drawn.enlarge, _there, [drawn.fundus], [large.upload])
    to(
        "compare",
        drawn.compare,
        lambda fundus, *at: _beside(_there(fundus), *at),
        [drawn.fundus, compared.vessels, compared.reference],
        [compared.vessels, compared.reference, compared.candidates],
    )
    taken = compared.take.click(_all, [made.gallery, compared.vessels], compared.candidates, **quick)
    compared.cell.stale(taken.success)


def _edited(gallery: list | None, chosen: int) -> list:
    """An eye's vessels for the canvas, with its appearance: the seeds that painted it, or, of a run's second eye and those after it, which
    no seed alone stands for, the eye as the photograph whose appearance is taken."""
    vessels, fundus, *_ = _eye(gallery, chosen)
    notes = read_metadata(fundus)
    seed, index, look = (int(notes.get(name, 0)) if notes.get(name) != "own" else None for name in ("seed", "index", "style_seed"))
    look, alone = seed if look is None else look, look is not None or index == 0
    values = [gr.update(value=value, maximum=max(999, value)) for value in (look, seed)]
    return [url(read_mask(vessels)), *values, None if alone else fundus, gr.update(open=not alone)]


def _beside(fundus: str, vessels: int, reference: str | None) -> tuple:
    """A fundus image as the one candidate, beside the photograph that is there or one that comes with scikit-image."""
    return 0, gr.skip() if reference and not vessels else example_photograph(), named([fundus], ["a synthetic eye"])


def _picked(gallery: list | None, event: gr.SelectData) -> tuple[int, str]:
    eyes = _eyes(gallery)
    return event.index, choose(event.index // len(eyes[0]) if len(eyes) > 1 else None)


def _eyes(gallery: list | None) -> list[list[str]]:
    """The gallery's files, eye by eye: vessel map, fundus, and what else is shown of it."""
    eyes: list[list[str]] = []
    for path, caption in gallery or []:
        if caption.startswith("vessel map"):
            eyes.append([])
        eyes[-1].append(path)
    return eyes


def _eye(gallery: list | None, chosen: int) -> list[str]:
    """The eye that the chosen picture belongs to."""
    eyes = _eyes(gallery)
    if not eyes:
        raise gr.Error("There is no eye to carry on yet: press Run first.", print_exception=False)
    return eyes[min(chosen // len(eyes[0]), len(eyes) - 1)]


def _all(gallery: list | None, vessels: int) -> list[tuple[str, str]]:
    if not gallery:
        raise gr.Error("There are no generated eyes yet: press Run on the first tab.", print_exception=False)
    return named([eye[0 if vessels else 1] for eye in _eyes(gallery)])


def _there(fundus: str | None) -> str:
    if not fundus:
        raise gr.Error("There is no fundus image yet: draw a vessel first.", print_exception=False)
    return fundus
