"""A notebook cell: prose, the code that runs, its controls, Run, and the numbered output. Every tab is built from it."""

import functools
import html
import re
import time
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from retsynth.images import as_png, png_bytes
from retsynth.notebook import Nothing, Stopped, gpu, heed, ipynb, pen, pipe, said, source, stoppable, weights

# A cell's state is one word and the number of its last run, "done 3": the style sheet reads it, so no script has to touch the page.
GUTTER = """<span class="gutter" data-state="${value.split(' ')[0]}">In&nbsp;[${
  /^(running|stopping)/.test(value) ? '*' : value.split(' ')[1] || '&nbsp;'}]:</span>"""
NOTE = """<div role="status" aria-live="polite" class="${value.error ? 'note error' : 'note'}">${
  value.number ? `<span class="gutter">Out[${value.number}]:</span>` : ''}${value.error || value.text || ''}</div>"""
LISTING = """<button type="button" class="copy" aria-label="Copy the code">Copy</button>
<pre tabindex="0"><code>${retsynth.highlight(value)}</code></pre>"""
COPY = """element.addEventListener("click", (event) => {
  if (event.target.closest(".copy")) retsynth.copy(element, props.value);
});"""
# Once a run is over: was it stopped, or are its results of other values than the controls have by now?
SETTLED = "(state, note, ...values) => retsynth.settled({code!r}, {names}, {kinds}, state, note, values)"
RUNNING = "state => state.replace(/^(?!stopping)\\w+/, 'running')"
STOPPING = "state => state.replace(/^running/, 'stopping')"
FAILED = "state => state.replace(/^running/, 'error')"
STALE = "state => state.replace(/^done/, 'stale').replace(/^(error|refused)/, 'idle')"  # what was wrong may be so no longer
PRIVATE = {"api_visibility": "private"}
SMALL = {"size": "sm", "min_width": 0, "scale": 0}
KEEP = ["download", "fullscreen"]
UNSEEN = {".tif", ".tiff", ".ppm", ".pgm", ".pbm"}  # by browsers, of what `retsynth.images` reads
SHOWN = {"show_label": False, "interactive": False, "buttons": KEEP}
PICTURES = {**SHOWN, "format": "png", "object_fit": "contain", "height": "auto"}


def upload(label: str, **options: object) -> gr.Image:
    """An upload whose file reaches `retsynth.images` as it was sent: gr.Image would decode it first, and refuse in its own words."""
    as_sent = own(gr.Image, lambda image, payload: payload.path if payload else None)
    image = as_sent(label=label, type="filepath", sources=["upload", "clipboard"], alt_text=f"Uploaded: {label}", **options)
    image.upload(viewable, image, image, queue=False, show_progress="hidden", **PRIVATE)
    return image


def viewable(path: str) -> str:
    """An uploaded file itself, or, of a kind that browsers do not show, DRIVE's TIFF photographs for instance, a PNG file of it."""
    if Path(path).suffix.lower() not in UNSEEN:
        return path
    try:
        return save_bytes_to_cache(as_png(path), f"{Path(path).stem}.png", get_upload_folder())
    except ValueError:
        return path  # Run says what is wrong with it


def own(kind: type, preprocess: Callable | None = None) -> type:
    """`kind`, gr.Image or gr.Gallery, taking no files but those that were uploaded or that the page made, which gradio keeps in one folder.
    A program may name any file of the server's instead, and gradio checks only some of the ways to do so.

    A class, since gradio makes a component anew, of its class, for each visitor who gets an update of it.
    """
    preprocess = preprocess or kind.preprocess

    def check(component, payload):
        kept = Path(get_upload_folder()).resolve()
        for path in _paths(payload.model_dump() if payload else None):
            if not Path(path).resolve().is_relative_to(kept):
                raise gr.Error("this file was not uploaded: upload it first", print_exception=False)
            if not Path(path).exists():  # gradio keeps files for an hour or two
                raise gr.Error("This picture has expired on the server: make or upload it again.", print_exception=False)
        return preprocess(component, payload)

    # past gradio's metaclass, which would write a file of type hints beside this one
    return ABCMeta.__new__(type(kind), kind.__name__, (kind,), {"preprocess": check, "__module__": kind.__module__})


def _paths(payload: object) -> Iterator[str]:
    """Every file that a message from a browser or a program names."""
    for key, value in payload.items() if isinstance(payload, dict) else enumerate(payload) if isinstance(payload, list) else ():
        if key == "path" and value:
            yield value
        else:
            yield from _paths(value)


def fill(code: str, values: dict) -> str:
    """`code` with the values put in: {name} becomes a literal; a line that starts with [name] or [!name] stays where it is set or not.

    page.js has the same rules, so that the code on the page follows the controls without the server.
    """
    lines = []
    for line in code.splitlines():
        condition = re.match(r"\[(!?)(\w+)\]", line)
        if condition and bool(values[condition[2]]) == bool(condition[1]):
            continue
        lines.append(line[condition.end() if condition else 0 :])
    return re.sub(r"\{(\w+)\}", lambda name: repr(values[name[1]]), "\n".join(lines))


def png(image, **metadata: object) -> bytes:
    """A PNG file of `image` that says how it came about: synthetic, the version, `metadata`, and the fingerprint of the weights."""
    return png_bytes(image, **{**metadata, "weights": weights()})


@dataclass(frozen=True)
class Run:
    """What a handler may use while its cell runs. All it leaves lies in `folder`, which is gone once the page has its copies."""

    folder: Path
    progress: Callable[..., None]

    def png(self, name: str, image, shown: bool = False, **metadata: object) -> str:
        """Write `image` losslessly, with its metadata, for the page to show and the visitor to keep; returns the path.

        `shown`: put it under the cell's code in the visitor's notebook file as well.
        """
        data = png(image, **metadata)
        if shown:
            self._write("shown", f"{name}.png", data)
        return self._write("png", f"{name}.png", data)

    def show(self, image, **metadata: object) -> None:
        """Put `image` under the cell's code in the visitor's notebook file."""
        self._write("shown", f"{time.monotonic_ns()}.png", png(image, **metadata))

    def reads(self, name: str, source: bytes | str) -> None:
        """Carry the file `name` that the cell's code reads, its content or the path of an upload, in the visitor's notebook file."""
        if isinstance(source, bytes):
            self._write("reads", name, source)
        else:
            self._write("uploads", f"{name}.path", source.encode())

    def files(self, kind: str) -> dict[str, bytes]:
        """The "shown" or "reads" files of this run, or the paths of "uploads" that it read, by name, in the order of their names."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / kind).glob("*"))}

    def _write(self, kind: str, name: str, data: bytes) -> str:
        heed()
        path = self.folder / kind / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return str(path)


class Cell:
    """One cell of the page. Use as a context for its controls, then `with cell.output():` for its results, then `connect`."""

    def __init__(self, page: "Page", name: str, prose: str, code: str, seeds: str = "seed"):
        self.page, self.name, self.prose, self.code = page, name, prose, code.replace("{weights}", repr(source()))
        self.seeds = seeds  # what its seed is the seed of
        self.events: list = []
        self.folder = gr.State(None, time_to_live=3600)  # of the visitor's run that goes on, where Stop leaves its sign
        page.cells.append(self)

    def __enter__(self) -> "Cell":
        self.column = gr.Column(elem_classes="cell", elem_id=f"cell-{self.name}").__enter__()
        gr.Markdown(self.prose, elem_classes="prose-cell")
        with gr.Column(elem_classes="in", min_width=0):
            self.state = gr.HTML("idle", html_template=GUTTER, js_on_load=None, apply_default_css=False, elem_classes="state")
            with gr.Accordion("Python", open=False, elem_classes="code"):
                self.source = gr.HTML("", html_template=LISTING, js_on_load=COPY, apply_default_css=False, elem_classes="listing")
        return self

    def __exit__(self, *error: object) -> None:
        self.column.__exit__(*error)

    @contextmanager
    def output(self) -> Iterator[None]:
        """The bar with Run, then the place of the results."""
        with gr.Row(elem_classes="bar"):
            self.run = gr.Button("▶ Run", variant="primary", elem_classes="run", **SMALL)
            self.clear = gr.Button("Clear output", elem_classes="clear", **SMALL)
            self.stop = gr.Button("■ Stop", elem_classes="stop", **SMALL)
        with gr.Column(elem_classes="out", min_width=0):
            self.note = gr.HTML({}, html_template=NOTE, js_on_load=None, apply_default_css=False, elem_classes="note-block")
            yield

    def connect(self, handler: Callable, inputs: dict, outputs: list, on_gpu: bool = True) -> None:
        """Run calls `handler(run, **inputs)` and puts what it returns, or yields as it goes, into `outputs`. `on_gpu`: worth
        asking for one, where that is to be asked for."""
        self.handler, self.inputs, self.outputs = gpu(stoppable(handler), on_gpu), inputs, outputs
        self.pipe, self.line = (pipe if on_gpu else pen), _line(on_gpu)
        controls, names, kinds = list(inputs.values()), list(inputs), [_kind(control) for control in inputs.values()]
        self.source.value = fill(self.code, self._given(control.value for control in controls))
        gr.on(
            [control.change for control in controls],
            None,
            controls,
            self.source,
            js=f"(...values) => retsynth.fill({self.code!r}, {names}, values, {kinds})",
            show_progress="hidden",
            **PRIVATE,
        )
        self.stale(functools.partial(gr.on, [control.input for control in controls if hasattr(control, "input")]))
        self.bind(self.run.click)
        for control in controls:
            if isinstance(control, gr.Number):
                self.bind(control.submit)  # Enter

    def bind(self, trigger: Callable, **options: object) -> None:
        """Let `trigger`, an event such as `button.click`, run the cell as well. Where that follows the controls, by `trigger_mode`, a run
        whose values have changed meanwhile has its next one coming, and nothing is to be said of it."""
        watched = {} if "trigger_mode" in options else self.inputs
        settled = SETTLED.format(code=self.code, names=list(watched), kinds=[_kind(control) for control in watched.values()])
        trigger(None, self.state, self.state, js=RUNNING, show_progress="hidden", **PRIVATE)
        event = trigger(
            self._run,
            [self.page.history, *self.inputs.values()],
            [self.state, self.note, self.page.history, self.page.notebook, *self.outputs, self.folder],
            show_progress_on=self.note,
            **self.line,
            **PRIVATE,
            **options,
        )
        event.failure(None, self.state, self.state, js=FAILED, show_progress="hidden", **PRIVATE)
        seen = [self.state, self.note]
        event.then(None, [*seen, *watched.values()], seen, js=settled, show_progress="hidden", **PRIVATE)
        self.events.append(event)

    def stale(self, trigger: Callable) -> None:
        """Let `trigger` mark the results as those of other inputs."""
        trigger(None, self.state, self.state, js=STALE, show_progress="hidden", **PRIVATE)

    def end(self, button: gr.Button):
        """Let `button` end the run that goes on; returns the last of its events."""
        # in this order: a run that heeds its sign may be over before the next listener is asked, and `cancels` waits for it
        button.click(None, self.state, self.state, js=STOPPING, show_progress="hidden", **PRIVATE)
        button.click(_stop, self.folder, None, queue=False, show_progress="hidden", **PRIVATE)
        return button.click(None, cancels=self.events, show_progress="hidden", **PRIVATE)  # those that still wait for their turn

    def empty(self) -> list:
        """State, note and outputs as before any run."""
        blank = {gr.Gallery: [], gr.DownloadButton: gr.update(value=None, interactive=False)}
        return ["idle", {}, *(next((value for kind, value in blank.items() if isinstance(output, kind)), None) for output in self.outputs)]

    def aside(self, trigger: Callable, handler: Callable, inputs: list, output, on_gpu: bool = True) -> None:
        """Let `trigger` put `handler(*inputs)` into `output`, one of the cell's controls. A refusal is said in the cell."""
        handler = gpu(stoppable(handler), on_gpu)

        def act(*values: object) -> Iterator[list]:
            with _folder() as folder:
                yield [gr.skip()] * 3 + [folder]
                try:
                    with said():
                        for result in handler(_sign(folder), *values):
                            yield [gr.skip(), gr.skip(), result, gr.skip()]
                except Stopped:
                    return
                except gr.Error as error:
                    gr.Warning(str(error.message))  # as well: the cell's note may be out of view
                    yield ["refused", _refusal(error), gr.skip(), gr.skip()]  # what the last run gave is right as before

        seen = [self.state, self.note, output, self.folder]
        self.events.append(trigger(act, inputs, seen, show_progress_on=self.note, **_line(on_gpu), **PRIVATE))

    def _run(self, history: list, *values: object, progress=gr.Progress()) -> Iterator[list]:  # gradio finds it by its default
        number, began = (history[-1].number + 1 if history else 1), time.perf_counter()
        inputs, skip = self._given(values), [gr.skip()] * len(self.outputs)
        with _folder() as folder:
            yield [gr.skip()] * 4 + skip + [folder]
            skip.append(gr.skip())
            run = Run(Path(folder), progress)
            try:
                with said():
                    for results in self.handler(_sign(folder), run, **inputs):
                        results = results if isinstance(results, (list, tuple)) else [results]
                        yield [gr.skip()] * 4 + list(results) + [gr.skip()]
                    note, history = self._record(run, history, number, began, inputs)
                yield [f"done {number}", note, history, gr.update(interactive=True), *skip]
            except Stopped:
                return  # what the run has given so far stays
            except Nothing as hint:
                yield ["idle", {"text": html.escape(str(hint.message))}, gr.skip(), gr.skip(), *skip]
            except gr.Error as error:
                yield ["error", _refusal(error), gr.skip(), gr.skip(), *skip]

    def _given(self, values: Iterable) -> dict:
        """The controls' values by name; None for a number below 0 where that stands for it, since a browser shows an empty box as 0."""
        given = dict(zip(self.inputs, values, strict=True))
        return {name: None if _kind(self.inputs[name]) == 2 and (value or 0) < 0 else value for name, value in given.items()}

    def _record(self, run: Run, history: list, number: int, began: float, inputs: dict) -> tuple[dict, list]:
        """What stands under the cell after a run, and the history with the run in it."""
        seed = [f"{self.seeds} {inputs['seed']}"] if "seed" in inputs else []
        facts = [f"{time.perf_counter() - began:.2f} s", self.pipe().device.type.upper(), *seed]
        shown = list(run.files("shown").values())
        reads = run.files("reads") | {name.removesuffix(".path"): Path(path.decode()) for name, path in run.files("uploads").items()}
        executed = ipynb.Executed(number, self.name, self.prose, fill(self.code, inputs), shown, reads)
        history = [*(past for past in history if past.name != self.name), executed]
        # what the code has of them: a drawing is not sent back
        values = [value if f"{{{name}}}" in self.code else bool(value) for name, value in inputs.items()]
        return {"number": number, "text": " · ".join(facts), "values": values}, history


def _kind(control: gr.components.Component) -> int:
    """How page.js writes a control's value: 0 as it is, 1 as a whole number, 2 as one that below 0 stands for None."""
    return 1 + (control.minimum == -1) if getattr(control, "precision", None) == 0 else 0


def _line(on_gpu: bool) -> dict[str, object]:
    """Where a run waits for its turn, one after another: what a CPU does in an instant, a pen's stroke above all, not behind the rest."""
    return {"concurrency_id": "model" if on_gpu else "pen", "concurrency_limit": 1}


def _refusal(error: gr.Error) -> dict:
    text = str(error.message)
    return {"error": html.escape(text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else "."))}


def _folder() -> TemporaryDirectory:
    return TemporaryDirectory(prefix="retsynth-")


def _sign(folder: str) -> str:
    """The file that tells the run in `folder` to stop."""
    return str(Path(folder) / "stop")


def _notebook(history: list) -> Iterator[str]:
    """The notebook file of all that ran, written when it is asked for: each stroke of a pen is a run, and a file may hold many uploads."""
    if not history:
        raise gr.Error("What ran here has expired on the server: run it again, then take the notebook.", print_exception=False)
    with _folder() as folder, said():
        yield str(ipynb.write(Path(folder) / "retsynth.ipynb", history))


def _stop(folder: str | None) -> None:
    if folder:
        with suppress(OSError):  # the run is over, and its folder gone
            Path(_sign(folder)).touch()


class Page:
    """What all cells of one page share: the visitor's history, the notebook file made of it, and the tool bar."""

    def __init__(self):
        self.cells: list[Cell] = []
        self.history = gr.State([], time_to_live=3600)
        of_cells = {"elem_classes": "of-cells", **SMALL}  # not for a tab without any
        with gr.Row(elem_classes="toolbar"):
            self.run_all = gr.Button("▶▶ Run all", **of_cells)
            self.stop_all = gr.Button("■ Stop", **of_cells)
            self.clear_all = gr.Button("Clear all", **of_cells)
            self.theme = gr.Button("◐ Light / dark", **SMALL)
            self.notebook = gr.Button("⤓ .ipynb", interactive=False, elem_id="notebook", **SMALL)
            self.file = gr.DownloadButton(visible="hidden", elem_id="notebook-file")  # pressed once its file is there

    def finish(self) -> None:
        """Connect what needs every cell whole: Stop, Clear, and the tool bar, which presses the buttons of the tab in view."""
        for cell in self.cells:
            cell.end(cell.stop)
            emptied = [cell.state, cell.note, *cell.outputs]
            cell.end(cell.clear).then(cell.empty, None, emptied, queue=False, show_progress="hidden", **PRIVATE)
        written = self.notebook.click(_notebook, self.history, self.file, show_progress="hidden", **PRIVATE)
        written.success(None, js="() => retsynth.download()", **PRIVATE)
        self.theme.click(None, js="() => retsynth.theme()", show_progress="hidden", **PRIVATE)
        for button, name in ((self.run_all, "run"), (self.stop_all, "stop"), (self.clear_all, "clear")):
            button.click(None, js=f"() => retsynth.press('{name}')", show_progress="hidden", **PRIVATE)


def endpoint(function: Callable, inputs: list, outputs: list, on_gpu: bool = True) -> None:
    """Offer `function` to programs under its own name, with its docstring. The PNG files that it returns as bytes reach the caller as they
    are, metadata and all; what it refuses with a ValueError, the caller gets as one sentence."""
    work = gpu(said()(function), on_gpu)

    @functools.wraps(function)  # programs see its parameters' names and its docstring
    def call(*values: object) -> list:
        results = work(*values)
        results = results if isinstance(results, tuple) else (results,)
        given = [
            save_bytes_to_cache(result, f"{output.label}.png", output.GRADIO_CACHE) if isinstance(result, bytes) else result
            for result, output in zip(results, outputs, strict=True)
        ]
        return given if len(given) > 1 else given[0]

    gr.Button(visible=False).click(call, inputs, outputs, api_name=function.__name__, **_line(on_gpu))
