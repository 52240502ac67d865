"""The notebook page without a browser: its code does what it says, the notebook file runs, and nothing leaks from one run to the next."""

import ast
import base64
import contextlib
import functools
import importlib.util
import inspect
import io
import json
import os
import pickle
import re
import runpy
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import nbclient
import nbformat
import numpy as np
import pytest
import torch
from gradio.components.gallery import GalleryData, GalleryImage
from gradio.data_classes import ImageData
from gradio.utils import get_function_description, get_upload_folder
from PIL import Image, ImageOps

from retsynth import __version__, notebook
from retsynth.export import fingerprint
from retsynth.images import COMMENT, ENLARGED, read_fundus, read_mask, to_array, write_image
from retsynth.notebook import about, compare, generate, ipynb, pipe, translate
from retsynth.notebook import cell as cells
from retsynth.pipeline import CONTROLS, Pipeline

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def page(tiny_weights):
    """The page with tiny weights: its cells by name, and its Blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETSYNTH_WEIGHTS", str(tiny_weights))
        patch.syspath_prepend(str(ROOT))
        sys.modules.pop("app", None)
        import app

        yield app


@pytest.fixture
def pictures(tmp_path, vessel_tree, fundus_photograph):
    """Files a visitor might hand over, by name."""
    Image.fromarray(vessel_tree(3)).save(tmp_path / "map.png")
    Image.fromarray(fundus_photograph(3)[::2, ::2]).save(tmp_path / "photo.png")
    Image.fromarray(fundus_photograph(4)).save(tmp_path / "other.jpg")
    return {path.name: str(path) for path in tmp_path.iterdir()}


LOOK = dict.fromkeys(CONTROLS, -0.5)


def given(name: str, pictures: dict) -> dict:
    """Values for the controls of the cell `name`."""
    drawing = "data:image/png;base64," + base64.b64encode(Path(pictures["map.png"]).read_bytes()).decode()
    return {
        "generate": {"seed": 11, "count": 2, "prior": "gaussian", "temperature": 0.9, "eye": "left", "style_seed": 5, "upscale": True},
        "generate left": {"seed": 11, "count": 1, "prior": "flow", "temperature": 1, "eye": "left", "style_seed": None, "upscale": False},
        "between": {"seed": 3, "other": 4, "steps": 3},
        "vary": {"seed": 3, "strength": 0.4, "count": 2, "first": 5},
        "draw": {"drawing": drawing, "style": 4, "photo": None, "seed": 2, **LOOK},
        "draw with a photograph": {"drawing": drawing, "style": 4, "photo": pictures["photo.png"], "seed": 2, **LOOK},
        "enlarge": {"upload": pictures["photo.png"], "halve": False},
        "enlarge halved": {"upload": pictures["other.jpg"], "halve": True},
        "compare": {"vessels": 0, "reference": None, "candidates": [(pictures["photo.png"], None), (pictures["other.jpg"], None)]},
        "compare maps": {"vessels": 1, "reference": pictures["map.png"], "candidates": [(pictures["map.png"], None)]},
    }[name]


CASES = [
    "generate",
    "generate left",
    "between",
    "vary",
    "draw",
    "draw with a photograph",
    "enlarge",
    "enlarge halved",
    "compare",
    "compare maps",
]


def run(page, name: str, values: dict, history: list | None = None) -> list:
    """Run a cell as the page does; the last value of everything it gave."""
    cell = next(cell for cell in page.demo.cells if cell.name == name.split()[0])
    latest: list = []
    for given in cell._run(history or [], *(values[control] for control in cell.inputs), progress=lambda *done, **text: None):
        latest += [None] * (len(given) - len(latest))
        for i, value in enumerate(given):
            if not (isinstance(value, dict) and value.get("__type__") == "update" and len(value) == 1):
                latest[i] = value
    return latest


def pasted(code: str) -> object:
    """What the last line of `code` is worth, as a notebook would show it."""
    body = ast.parse(code).body
    scope: dict = {}
    if not isinstance(body[-1], ast.Expr):
        return exec(compile(code, "cell", "exec"), scope)
    exec(compile(ast.Module(body[:-1], []), "cell", "exec"), scope)
    return eval(compile(ast.Expression(body[-1].value), "cell", "eval"), scope)


@pytest.mark.parametrize("name", CASES)
def test_the_code_of_a_cell_gives_the_same_pixels(page, pictures, name, tiny_weights, tmp_path, monkeypatch):
    result = run(page, name, given(name, pictures))
    assert result[0] == "done 1", result[1]
    executed = result[2][-1]
    for file, data in executed.reads.items():
        (tmp_path / file).write_bytes(ipynb.content(data))
    (tmp_path / tiny_weights.name).symlink_to(tiny_weights)
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        shown = pasted(executed.code)
    if name.startswith("compare"):
        values = [float(line.split()[1]) for line in printed.getvalue().splitlines()]
        assert values == pytest.approx([float(re.search(r"SSIM ([\d.]+)", caption)[1]) for _, caption in result[4]], abs=6e-4)
    else:
        assert np.array_equal(np.asarray(shown), np.asarray(Image.open(io.BytesIO(executed.shown[0]))))


def test_variations_of_strength_0_are_the_tree_itself(page):
    results = [run(page, "vary", {"seed": 3, "strength": strength, "count": 2, "first": 1}) for strength in (0, 0.8)]
    captions = ["seed 3, map", "seed 3", "variation 1, map", "variation 1", "variation 2, map", "variation 2"]
    assert [caption for _, caption in results[1][4]] == captions
    files = [Path(file).name for file, _ in results[1][4][2:4]]
    assert files == [f"seed3_strength0.8_variation1_{kind}.png" for kind in ("vessels", "fundus")]
    none, some = (np.asarray(Image.open(io.BytesIO(result[2][-1].shown[0]))) for result in results)
    assert np.array_equal(none[:, :512], none[:, 512:1024]) and np.array_equal(none[:, :512], none[:, 1024:])
    assert np.array_equal(some[:, :512], none[:, :512]), "the first is the tree as it was"
    assert not np.array_equal(some[:, 512:1024], some[:, 1024:]) and not np.array_equal(some[:, 512:1024], some[:, :512])


def test_the_notebook_file_is_valid_and_runs(page, pictures, tiny_weights, tmp_path):
    history: list = []
    for name in ("generate", "draw with a photograph", "enlarge halved", "compare"):
        history = run(page, name, given(name, pictures), history)[2]
    (tmp_path / tiny_weights.name).symlink_to(tiny_weights)
    notebook = nbformat.reads(json.dumps(ipynb.notebook(history)), as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    embedded = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len(embedded) == 4 and all("image/png" in output.data for output in embedded)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])) == 3


def test_runs_are_numbered_and_the_file_holds_the_last_run_of_each_cell(page, pictures):
    first = run(page, "draw", given("draw", pictures))
    second = run(page, "draw", given("draw", pictures) | {"style": 9}, first[2])
    assert [second[0], second[1]["number"], len(second[2])] == ["done 2", 2, 1]
    assert "style(9)" in second[2][0].code
    assert ipynb.notebook(second[2])["cells"][-1]["execution_count"] == 2
    assert len(first[2]) == 1 and first[2][0].number == 1, "a run must not change the history it was given"


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("generate", {"seed": -1}, "seed"),
        ("generate", {"seed": None}, "seed"),
        ("vary", {"seed": None}, "seed"),
        ("vary", {"first": None}, "first variation"),
        ("vary", {"strength": 2}, "between 0 and 1, got 2"),
        ("draw", {"drawing": "data:image/png;base64,AAAA"}, "image"),
        ("enlarge", {"upload": None}, "upload one"),
        ("enlarge", {"upload": __file__}, "image"),
        ("compare", {"candidates": None}, "candidates"),
        ("compare", {"candidates": [("photo.png", None)] * 9}, "9 candidates"),
        ("compare maps", {"candidates": [("photo.png", None)]}, "Candidate 1: this looks like a photograph"),
        ("compare maps", {"reference": "photo.png"}, "The reference: this looks like a photograph"),
    ],
)
def test_bad_input_is_answered_in_the_cell_with_one_sentence(page, pictures, name, change, says):
    if change.get("reference"):
        change = {"reference": pictures[change["reference"]]}
    if change.get("candidates"):
        change = {"candidates": [(pictures[path], None) for path, _ in change["candidates"]]}
    result = run(page, name, given(name, pictures) | change)
    assert result[0] == "error"
    sentence = result[1]["error"]
    assert says in sentence and sentence.endswith((".", "?")) and "Traceback" not in sentence and "/" not in sentence.replace(" / ", "")


def test_a_fault_of_ours_reaches_the_log_and_not_the_page(page, pictures, monkeypatch, caplog):
    monkeypatch.setattr(translate, "pen", lambda: 1 / 0)
    result = run(page, "draw", given("draw", pictures))
    assert result[0] == "error" and "went wrong" in result[1]["error"] and "division" not in result[1]["error"]
    assert "ZeroDivisionError" in caplog.text


def test_nothing_stays_on_disk_after_a_run(page, pictures, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(tmp_path.glob("retsynth-*"))
    assert run(page, "draw", given("draw", pictures))[0] == "done 1"
    assert set(tmp_path.glob("retsynth-*")) == before


@pytest.mark.parametrize("when", ["before", "within a stage"])
def test_stop_ends_the_work_where_it_is(page, pictures, monkeypatch, tmp_path, when):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    cell, folders, passed = next(cell for cell in page.demo.cells if cell.name == "enlarge"), [], []
    edsr = pipe().edsr
    hooks = [edsr.tail[0].register_forward_pre_hook(lambda *_: passed.append("the last layer"))]
    if when == "within a stage":
        hooks.append(edsr.head.register_forward_hook(lambda *_: cells._stop(folders[0])))
    steps = cell._run([], *given("enlarge", pictures).values(), progress=lambda *done, **text: None)
    try:
        folders.append(next(steps)[-1])
        if when == "before":
            cells._stop(folders[0])
        assert list(steps) == [] and passed == []
    finally:
        for hook in hooks:
            hook.remove()
    assert list((tmp_path / "runs").glob("retsynth-*")) == []
    cells._stop(folders[0])  # too late, and no fault
    cells._stop(None)
    assert run(page, "enlarge", given("enlarge", pictures))[0] == "done 1", "the next run is not stopped"


def test_stop_ends_the_wait_for_the_models(page, pictures, monkeypatch):
    monkeypatch.setattr(notebook, "_loading", Future())  # never done
    cell = next(cell for cell in page.demo.cells if cell.name == "enlarge")
    steps = cell._run([], *given("enlarge", pictures).values(), progress=lambda *done, **text: None)
    cells._stop(next(steps)[-1])
    assert list(steps) == []


def test_stop_ends_a_tree_for_the_canvas(page):
    ended = []

    def tree(seed):
        ended.append(cells._stop(folder))
        return pipe().sample_vessels(pipe().noise(seed))

    cell = next(cell for cell in page.demo.cells if cell.name == "draw")
    acts: list = []
    cell.aside(lambda act, *places, **options: acts.append(act), tree, [], None)
    cell.events.pop()
    steps = acts[0](7)
    folder = next(steps)[-1]
    assert list(steps) == [] and ended == [None]


SAYS = {  # what the metadata of each cell's pictures says of how they came about
    "generate": {"seed": "11", "prior": "gaussian", "temperature": "0.9", "eye": "left", "style_seed": "5"},
    "between": {"seed": "3", "other": "4"},
    "vary": {"seed": "3"},
    "draw": {"seed": "2", "style_seed": "4"} | dict.fromkeys(CONTROLS, "-0.5"),
    "draw with a photograph": {"style_seed": "a photograph's"},
    "enlarge halved": {"halved": "True"},
    "compare": {"shows": "SSIM map"},
}


@pytest.mark.parametrize("name", SAYS)
def test_pictures_say_what_they_are_and_how_they_came_about(page, pictures, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    cell, values = next(cell for cell in page.demo.cells if cell.name == name.split()[0]), given(name, pictures)
    seen, expected = set(), {"weights": fingerprint(pipe()), "Software": f"retsynth {__version__}"} | SAYS[name]
    for _ in cell._run([], *(values[control] for control in cell.inputs), progress=lambda *done, **text: None):
        for path in (tmp_path / "runs").rglob("*"):
            if path.suffix == ".png" and path.parent.name != "reads":
                text = Image.open(path).text
                assert "ot for diagnosis" in text["Comment"] and expected.items() <= text.items()
                assert str(ROOT) not in str(text) and str(tmp_path) not in str(text), "no path of the server's"
                seen.add(path)
            if path.suffix == ".webp":
                says = Image.open(path).getexif()[270]
                assert "ot for diagnosis" in says and "other 4" in says and fingerprint(pipe()) in says
    assert seen


def test_endpoints_give_files_that_say_what_they_are(page, pictures, tmp_path):
    calls = {block.api_name: block for block in page.demo.fns.values() if block.api_visibility == "public"}
    expected = {
        "generate": ((7, "flow", 3, "left", False), {"seed": "7", "prior": "flow", "style_seed": "3", "eye": "left"}),
        "vary": ((7, 0.5, 2), {"seed": "7", "strength": "0.5", "variation": "2"}),
        "translate": ((pictures["map.png"], 3, 9, None, 0, 0.5, 0), {"seed": "9", "style_seed": "3", "pigmentation": "0.5"}),
        "upscale": ((pictures["photo.png"],), {"method": "EDSR"}),
        "compare": ((pictures["photo.png"], pictures["other.jpg"]), {"shows": "SSIM map"}),
    }
    assert set(calls) == set(expected)
    for name, (values, says) in expected.items():
        results = calls[name].fn(*values)
        files = [result for result in (results if isinstance(results, list) else [results]) if isinstance(result, str)]
        assert len(files) == (2 if name in ("generate", "vary") else 1)
        for file in files:
            text = Image.open(file).text
            assert {"weights": fingerprint(pipe()), **says}.items() <= text.items() and "ot for diagnosis" in text["Comment"], name


def test_endpoints_answer_what_they_cannot_do_with_one_sentence(page, pictures):
    calls = {block.api_name: block.fn for block in page.demo.fns.values() if block.api_visibility == "public"}
    refused = {
        "generate": ((None, "flow", -1, "any", True), "a seed is a whole number"),
        "vary": ((7, None, 1), "strength"),
        "translate": ((None, 0, 0, None, 0, 0, 0), "there is no image"),
        "upscale": ((None,), "there is no image"),
        "compare": ((pictures["photo.png"], None), "there is no image"),
    }
    for name, (values, says) in refused.items():
        with pytest.raises(gr.Error) as error:
            calls[name](*values)
        assert says in error.value.message and not error.value.print_exception, name


def test_no_input_takes_a_file_of_the_server_that_nobody_uploaded(page):
    """A program may name any path in its message."""
    ours, checked = str(ROOT / "weights/examples/sample_fundus.png"), set()
    uploaded = Path(get_upload_folder()) / "test" / "uploaded.png"
    uploaded.parent.mkdir(parents=True, exist_ok=True)
    uploaded.write_bytes(Path(ours).read_bytes())
    for component in {place for block in page.demo.fns.values() for place in block.inputs}:
        messages = {
            gr.Image: lambda path: ImageData(path=path),
            gr.Gallery: lambda path: GalleryData(root=[GalleryImage(image=ImageData(path=path), caption=None)]),
        }
        if message := next((message for kind, message in messages.items() if isinstance(component, kind)), None):
            component = type(component)(**component.constructor_args | {"value": None, "render": False})  # as after an update of it
            for path in (ours, "/dev/zero", str(uploaded.parent / ".." / ".." / ".." / ours)):
                with pytest.raises(gr.Error, match="not uploaded"):
                    component.preprocess(message(path))
            assert component.preprocess(message(str(uploaded)))
            checked.add(component.label)
        else:
            assert isinstance(component, gr.HTML | gr.State | gr.Number | gr.Slider | gr.Radio | gr.Checkbox | gr.UploadButton | gr.JSON), (
                component
            )
    assert checked >= {"Pairs", "Candidates", "Fundus", "Image", "Photograph", "image", "reference", "vessels"}


def test_an_endpoint_takes_null_for_an_appearance_of_its_own_and_gives_null_for_no_difference(page, pictures):
    calls = {block.api_name: block.fn for block in page.demo.fns.values() if block.api_visibility == "public"}
    own, null = (calls["generate"](7, "flow", style) for style in (-1, None))
    assert [Path(file).read_bytes() for file in own] == [Path(file).read_bytes() for file in null]
    assert calls["compare"](pictures["photo.png"], pictures["photo.png"])[:2] == [1, None]


def test_an_enlarged_photograph_is_not_called_synthetic(page, pictures):
    calls = {block.api_name: block.fn for block in page.demo.fns.values() if block.api_visibility == "public"}
    assert "Synthetic" not in Image.open(calls["upscale"](pictures["photo.png"])).text["Comment"]


def test_an_enlargement_is_kept_under_the_name_of_what_it_is_of(page, pictures):
    *_, keep, _, _ = run(page, "enlarge", given("enlarge", pictures))
    assert Path(keep["value"]).name == "photo_x2.png"


def test_an_empty_sheet_is_no_mistake(page, pictures):
    state, note, history, *_ = run(page, "draw", given("draw", pictures) | {"drawing": ""})
    assert (state, history) == ("idle", None) and "draw a vessel" in note["text"]


def test_an_enlarged_synthetic_image_says_both(page, pictures, tmp_path, fundus_photograph):
    calls = {block.api_name: block.fn for block in page.demo.fns.values() if block.api_visibility == "public"}
    write_image(tmp_path / "eye.png", fundus_photograph(0), seed=9)
    text = Image.open(calls["upscale"](str(tmp_path / "eye.png"))).text
    assert (text["seed"], text["Comment"]) == ("9", f"{COMMENT} {ENLARGED}")


def test_a_refusal_to_compare_says_which_image_it_is_about(pictures):
    with pytest.raises(ValueError, match="the image, beside a vessel map: this looks like a photograph"):
        compare.compare(pictures["map.png"], pictures["photo.png"])
    with pytest.raises(ValueError, match="the reference: this is not an image"):
        compare.compare(__file__, pictures["photo.png"])
    with pytest.raises(ValueError, match="the image: this is not an image"):
        compare.compare(pictures["photo.png"], __file__)


def test_the_headlines_are_figures_of_the_report():
    report = json.loads((ROOT / "weights" / "report.json").read_text())
    shown = re.findall(r"<td>([^<]+)</td>", about.headlines(report))
    assert len(shown) == len(about.HEADLINES)
    assert shown[0] == f"{report['fundus']['usefulness']['real']['dice']:.3f}" and shown[-1] == f"{report['superres']['gain in dB']:.1f}"
    assert about.headlines({"superres": {"gain in dB": 2.0}}).count("<tr>") == 1
    assert about.headlines({}) == ""


def zero_gpu(duration):
    """What `spaces.GPU` does to a function, without a GPU: it works in another process, from where values and gr.Errors alone come back."""

    def copied(value):
        return pickle.loads(pickle.dumps(value))

    @contextlib.contextmanager
    def elsewhere():
        try:
            yield
        except gr.Error as error:
            raise copied(error) from None
        except Exception as error:
            raise gr.Error(type(error).__name__, title="ZeroGPU worker error", print_exception=False) from None

    def decorated(function):
        @functools.wraps(function)
        def steps(*values, **named):
            with elsewhere():
                for step in function(*values, **named):
                    yield copied(step)

        @functools.wraps(function)
        def once(*values):
            with elsewhere():
                return copied(function(*values))

        return steps if inspect.isgeneratorfunction(function) else once

    return decorated


@pytest.fixture
def on_zero_gpu(page, monkeypatch):
    """The page as a ZeroGPU Space builds it; the models loaded, by device and thread; the functions that ask for a GPU."""
    asking, loaded, load = [], [], Pipeline.from_pretrained
    monkeypatch.setattr(notebook, "spaces", SimpleNamespace(GPU=lambda duration: lambda f: (asking.append(f), zero_gpu(duration)(f))[1]))
    monkeypatch.setattr(notebook, "ZERO_GPU", True)
    for name in ("_loading", "_beside_gpu", "_source"):
        monkeypatch.setattr(notebook, name, getattr(notebook, name))

    def from_pretrained(source, device):
        loaded.append((device, threading.current_thread()))
        return load(source, "cpu")

    monkeypatch.setattr(Pipeline, "from_pretrained", from_pretrained)
    demo = page.build()
    return SimpleNamespace(demo=demo, loaded=loaded, asking=asking)


def test_on_zero_gpu_the_models_load_in_the_thread_that_asks(on_zero_gpu):
    """The stand-in for CUDA that ZeroGPU has outside its own processes is a mode of one thread."""
    assert on_zero_gpu.loaded == [(None, threading.current_thread()), ("cpu", threading.current_thread())] and notebook._loading.done()


def test_on_zero_gpu_cells_run_refuse_and_stop_as_elsewhere(on_zero_gpu, pictures):
    for name in ("draw", "generate left", "compare"):
        assert run(on_zero_gpu, name, given(name, pictures))[0] == "done 1"
    result = run(on_zero_gpu, "draw", given("draw", pictures) | {"drawing": ""})
    assert (result[0], result[1]["text"][:16]) == ("idle", "The map is blank")
    cell = next(cell for cell in on_zero_gpu.demo.cells if cell.name == "draw")
    steps = cell._run([], *given("draw", pictures).values(), progress=print)
    cells._stop(next(steps)[-1])
    assert list(steps) == []
    calls = {block.api_name: block.fn for block in on_zero_gpu.demo.fns.values() if block.api_visibility == "public"}
    with pytest.raises(gr.Error, match="a seed is a whole number"):
        calls["generate"](-1, "flow", -1)


def test_on_zero_gpu_a_fault_of_ours_reaches_the_log_and_not_the_page(on_zero_gpu, pictures, monkeypatch, caplog):
    monkeypatch.setattr(generate, "pipe", lambda: 1 / 0)
    result = run(on_zero_gpu, "generate", given("generate", pictures))
    assert "went wrong" in result[1]["error"] and "ZeroDivisionError" in caplog.text


def test_on_zero_gpu_what_a_cpu_does_at_once_asks_for_no_gpu(on_zero_gpu, pictures, monkeypatch):
    names = [inspect.unwrap(function).__name__ for function in on_zero_gpu.asking]
    assert len(names) == 8 and not {"compare", "translate"} & set(names), "four cells and the tree for the canvas; three endpoints"
    monkeypatch.setattr(notebook, "_loading", None)  # what is on the GPU is out of reach
    assert "CPU" in run(on_zero_gpu, "draw with a photograph", given("draw with a photograph", pictures))[1]["text"]


def test_fill_puts_in_values_and_keeps_the_lines_that_apply():
    code = "a = {seed}\n[photo]b = {photo}\n[!photo]c = {name}"
    assert cells.fill(code, {"seed": 7, "photo": None, "name": "it's"}) == 'a = 7\nc = "it\'s"'
    assert cells.fill(code, {"seed": None, "photo": "x.png", "name": ""}) == "a = None\nb = 'x.png'"


def test_heat_rises_in_lightness_from_unlike_to_alike():
    colours = compare.heat(np.linspace(-0.5, 1, 300)[None])[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(colours) >= -1).all() and colours[0] < 20 and colours[-1] > 230
    assert np.array_equal(compare.heat(np.array([[1.0]]))[0, 0], [252, 250, 190])


def test_the_strip_plot_places_each_value(page):
    svg = compare.strip({"real": [0.4, 0.5], "candidates": [0.6]}, vessels=1)
    places = [float(x) for x in re.findall(r"<circle class='\w+' cx='([\d.]+)'", svg)]
    assert places == pytest.approx([10 + 290 * (value - 0.2) / 0.8 for value in (0.4, 0.5, 0.6)], abs=0.1)
    assert "real against real 0.450, 2 values from 0.400 to 0.500; your candidates 0.600" in svg


def test_the_strip_plot_has_room_for_values_below_its_usual_axis(page):
    svg = compare.strip({"real": [0.05, 0.5], "candidates": [-0.17]}, vessels=0)
    places = [float(x) for x in re.findall(r"<circle class='\w+' cx='([\d.]+)'", svg)]
    assert places == pytest.approx([10 + 290 * (value + 0.2) / 1.2 for value in (0.05, 0.5, -0.17)], abs=0.1)
    assert re.findall(r"<text class='tick'[^>]*>([-\d.]+)<", svg) == ["-0.2", "0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]


@pytest.fixture
def beside(monkeypatch, tmp_path, vessel_tree, fundus_photograph):
    """The weights in use lie in a folder without weights, but with report, card and a sample."""
    (tmp_path / "elsewhere" / "examples").mkdir(parents=True)
    write_image(tmp_path / "elsewhere/examples/sample_vessels.png", vessel_tree(0).astype(np.uint8) * 255, seed=3)
    write_image(tmp_path / "elsewhere/examples/sample_fundus.png", fundus_photograph(0), seed=3)
    (tmp_path / "elsewhere" / "report.json").write_text('{"trees": {"groups": {"ours": {"ssim": 0.41}}}}')
    (tmp_path / "elsewhere" / "README.md").write_text(
        "---\nlicense: mit\n---\n# Another\n\n![Eyes](examples/a.png)\n*Made.*\n\nSee [it](B.md)."
    )
    monkeypatch.setattr(notebook, "_source", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


@pytest.fixture
def nothing_beside(monkeypatch, tmp_path):
    (tmp_path / "bare").mkdir()
    monkeypatch.setattr(notebook, "_source", str(tmp_path / "bare"))


def test_the_shipped_sample_is_on_the_page_before_any_model(beside):
    shown = generate._shipped()
    assert [caption for _, caption in shown] == ["vessel map", "fundus", "both"]
    assert all(Image.open(path).text["seed"] == "3" and "ot for diagnosis" in Image.open(path).text["Comment"] for path, _ in shown)


def test_what_is_said_of_the_weights_lies_beside_the_weights_in_use(beside):
    assert notebook.source() == "elsewhere", "no more of its path than its name"
    assert compare.report()["trees"]["groups"]["ours"]["ssim"] == 0.41
    assert about.card().strip() == "## Another\n\nSee it.", "a page has one first heading, and nothing that lies beside the card"
    assert compare._default(1) == (beside / "examples/sample_vessels.png").read_bytes()


def test_weights_come_without_report_card_and_sample(nothing_beside):
    assert (compare.report(), about.card(), generate._shipped()) == ({}, "", [])
    with pytest.raises(ValueError, match="no reference map yet"):
        compare._default(1)
    with gr.Blocks() as blocks:
        about.tab()
    said = " ".join(str(block.value) for block in blocks.blocks.values() if getattr(block, "value", None))
    assert "No report of scores comes with" in said and "No model card comes with" in said


def test_a_repository_is_named_in_full(monkeypatch):
    monkeypatch.setattr(notebook, "_source", "somebody/retsynth")
    assert notebook.source() == "somebody/retsynth"


@pytest.mark.parametrize("sample", ["with a sample", "without"])
def test_the_example_of_the_comparison_runs(page, pictures, beside, sample):
    if sample == "without":
        (beside / "examples" / "sample_fundus.png").unlink()
    compare._example.cache_clear()
    reference, candidates = compare._example()
    result = run(page, "compare", {"vessels": 0, "reference": reference, "candidates": candidates})
    compare._example.cache_clear()
    assert result[0] == "done 1" and len(result[4]) == (3 if sample == "with a sample" else 2)
    blurred, mirrored = (float(re.search(r"SSIM ([\d.]+)", caption)[1]) for _, caption in result[4][:2])
    assert blurred > 0.8 > mirrored


def test_the_baselines_come_from_the_report(monkeypatch, vessel_tree):
    groups = {"real, training": {"ssim": 0.43, "ssim_values": [0.4, 0.44, 0.45]}, "ours": {"ssim": 0.41}}
    monkeypatch.setattr(compare, "report", lambda: {"trees": {"groups": groups}})
    found = compare.baselines(1, torch.from_numpy(vessel_tree(0)).float()[None, None])
    assert (found["real"], found["ours"]) == ([0.4, 0.44, 0.45], [0.41]) and 0.3 < found["blank"][0] < 0.9
    monkeypatch.setattr(compare, "report", dict)
    assert list(compare.baselines(1, torch.from_numpy(vessel_tree(0)).float()[None, None])) == ["blank"]


def test_only_the_public_actions_are_offered_to_programs(page):
    named = page.demo.get_api_info()["named_endpoints"]
    assert set(named) == {"/generate", "/vary", "/translate", "/upscale", "/compare"}
    assert all(endpoint["description"] for endpoint in named.values())
    assert [p["parameter_name"] for p in named["/generate"]["parameters"]] == ["seed", "prior", "style_seed", "eye", "large"]


def test_programs_get_pairs_of_one_size_where_they_ask_for_them(page):
    generate = next(block.fn for block in page.demo.fns.values() if block.api_name == "generate")
    for large, side in ((True, 1024), (False, 512)):
        vessels, fundus = (Image.open(file) for file in generate(7, "flow", -1, "right", large))
        sample = pipe()(7, eye="right")
        assert np.array_equal(np.asarray(vessels), to_array(sample.annotation))
        assert fundus.size == (side, side)
        assert np.array_equal(np.asarray(fundus), to_array(sample.large if large else sample.fundus))


def test_programs_paint_in_the_appearance_of_a_photograph_and_with_controls(page, pictures):
    translate = next(block.fn for block in page.demo.fns.values() if block.api_name == "translate")
    mask = read_mask(pictures["map.png"])
    for photograph, controls in ((pictures["photo.png"], (0, 0, 0)), (None, (1, -0.5, 2)), (pictures["photo.png"], (0, 0, -1))):
        style = pipe().encode_style(read_fundus(photograph)) if photograph else pipe().style(3)
        style = pipe().adjust(style, **dict(zip(CONTROLS, controls, strict=True)))
        file = translate(pictures["map.png"], 3, 9, photograph, *controls)
        assert np.array_equal(np.asarray(Image.open(file)), to_array(pipe().translate(mask, style, 9)))
        assert Image.open(file).text["style_seed"] == ("a photograph's" if photograph else "3")
    for amount in (2.5, float("nan"), None):
        with pytest.raises(gr.Error, match="pigmentation must be a number from -2 to 2"):
            translate(pictures["map.png"], 3, 9, None, 0, amount, 0)


def test_programs_compare_vessel_maps_as_vessel_maps(page, pictures, tmp_path):
    compare = next(block.fn for block in page.demo.fns.values() if block.api_name == "compare")
    inverse = tmp_path / "inverse.png"
    ImageOps.invert(Image.open(pictures["map.png"]).convert("L")).save(inverse)
    assert compare(pictures["map.png"], str(inverse))[:2] == [1, None]
    with pytest.raises(gr.Error, match="photograph"):
        compare(pictures["map.png"], pictures["photo.png"])


def test_the_pen_waits_for_no_generation(page):
    lines = {block.api_name: block.concurrency_id for block in page.demo.fns.values() if block.api_visibility == "public"}
    assert lines == {"generate": "model", "vary": "model", "upscale": "model", "translate": "pen", "compare": "pen"}
    draw, generate = (next(cell for cell in page.demo.cells if cell.name == name) for name in ("draw", "generate"))
    assert (draw.line["concurrency_id"], generate.line["concurrency_id"]) == ("pen", "model")


def test_agents_read_what_each_action_does(page):
    for block in page.demo.fns.values():
        if block.api_visibility == "public":
            says, parameters, returns = get_function_description(block.fn)
            assert says.endswith(".") and parameters and all(parameters.values()) and returns, block.api_name


@pytest.mark.parametrize("installed", [True, False])
def test_the_actions_are_tools_for_agents_where_mcp_is_installed(page, monkeypatch, installed):
    launched, find = [], importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: installed or None if name == "mcp" else find(name, *rest))
    monkeypatch.setattr(gr.Blocks, "launch", lambda blocks, **options: launched.append(options))
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    assert launched[0]["mcp_server"] is installed


def test_the_page_builds_without_waiting_for_weights(tmp_path):
    """A folder without weights: the page is there, and a cell says what is missing."""
    code = "import app; c = app.demo.cells[0]; print([r[1] for r in c._run([], 7, 1, 'flow', 1.0, 'any', None, False, progress=print)][-1])"
    environment = os.environ | {"RETSYNTH_WEIGHTS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "could not be loaded" in done.stdout, done.stderr
    assert "vae.safetensors" in done.stderr and str(tmp_path) not in done.stdout, "the log says what is missing, the page names no folder"


def test_a_look_that_a_page_kept_is_brought_back_and_nothing_else():
    style, seed, *controls = translate.restored([75932, 7, 1.5, 0, -2])
    assert (style["value"], style["maximum"], seed["value"], seed["maximum"], controls) == (75932, 75932, 7, 999, [1.5, 0, -2])
    for garbage in (None, [], [1, 2], "12345", [1, 2, "3", 4, 5], {"a": 1}):
        assert translate.restored(garbage) == [gr.skip()] * 5
