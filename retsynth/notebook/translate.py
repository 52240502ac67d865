"""Draw or upload: a vessel map under the visitor's pen, and the fundus image that follows it."""

import base64
import functools
from collections.abc import Iterator
from numbers import Real
from types import SimpleNamespace

import gradio as gr
from torch import Tensor

from retsynth.images import png_bytes, read_fundus, read_image, read_mask
from retsynth.notebook import Nothing, asset, pen, pipe
from retsynth.notebook.cell import PRIVATE, SHOWN, SMALL, Cell, Page, Run, endpoint, own, png, upload
from retsynth.pipeline import CONTROLS

PROSE = """## Draw the vessels, watch the eye
White on black, inside the circle: real vessels leave the optic disc as two arcades, branch and taper, and spare the fovea. **pix2pix**
(Isola et al. 2017) paints the fundus each time you lift the pen; a style code sets its colour and light."""

CODE = """\
from PIL import Image
from retsynth.images import read_fundus, read_mask, to_array
from retsynth.pipeline import Pipeline

pipe = Pipeline.from_pretrained({weights})
mask = read_mask('vessels.png')  # the drawing: (1, 1, 512, 512) of 0 and 1
[photo]style = pipe.encode_style(read_fundus('photograph.png'))
[!photo]style = pipe.style({style})
style = pipe.adjust(style, {controls})
fundus = pipe.translate(mask, style=style, seed={seed})
Image.fromarray(to_array(fundus))""".replace("{controls}", ", ".join(f"{name}={{{name}}}" for name in CONTROLS))


def easel(**options: object) -> gr.HTML:
    """A drawing of 512 x 512 pixels, white on black, as a PNG data URL. A plain 2D canvas: gr.ImageEditor takes seconds a stroke."""
    return gr.HTML("", html_template=asset("canvas.html"), js_on_load=asset("canvas.js"), apply_default_css=False, **options)


def paint(run: Run, drawing: str, style: int, photo: str | None, seed: int, **controls: float) -> Iterator[tuple]:
    """The fundus image of a drawing, and the drawing as a file."""
    vessels = base64.b64decode(drawing.partition(",")[2])
    if not vessels or not read_image(vessels).any():
        yield None, gr.update(value=None, interactive=False)  # no image is that of an empty map
        raise Nothing("The map is blank: draw a vessel, or start from a tree or an upload.", print_exception=False)
    mask = read_mask(vessels)
    fundus, notes = painted(mask, style, photo, seed, controls)
    run.reads("vessels.png", vessels)
    if photo:
        run.reads("photograph.png", photo)
    kept = run.png("drawing_vessels", mask, **notes)
    yield run.png("drawing_fundus", fundus, shown=True, **notes), gr.update(value=kept, interactive=True)


def painted(mask: Tensor, style: int, photo: str | None, seed: int, controls: dict[str, float]) -> tuple[Tensor, dict[str, object]]:
    """The fundus image (1, 3, 512, 512) of a map, in the appearance of a photograph or, without one, of a seed; and what it was made of."""
    code = pen().encode_style(read_fundus(photo)) if photo else pen().style(style)
    fundus = pen().translate(mask, style=pen().adjust(code, **controls), seed=seed)
    return fundus, {"seed": seed, "style_seed": "a photograph's" if photo else style, **controls}


def tree(seed: int) -> str:
    """A generated vessel map for the canvas."""
    return url(pipe().annotate(pipe().denoise(pipe().sample_vessels(pipe().noise(seed)))))


def given_map(path: str | None) -> str:
    """An uploaded vessel map for the canvas."""
    return url(read_mask(path)) if path else gr.skip()


def restored(look: list | None) -> list:
    """For the sliders what page.js kept of them, so that a reload brings it back. They end where the seed of an edited eye lies beyond."""
    count = 2 + len(CONTROLS)
    if not isinstance(look, list) or len(look) != count or not all(isinstance(value, Real) for value in look):
        return [gr.skip()] * count
    seeds, controls = look[:2], look[2:]
    return [*(gr.update(value=value, maximum=max(999, value)) for value in seeds), *controls]


def _look_of(photo: str | None) -> dict:
    """The seed of the appearance, which means nothing while a photograph's is taken."""
    return gr.update(interactive=not photo, label="Appearance: the photograph's, see below" if photo else "Appearance seed")


def url(mask: Tensor) -> str:
    """(1, 1, 512, 512) in [0, 1] -> PNG data URL."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(mask)).decode()


def translate(
    vessels: str, style: int, seed: int, photograph: str | None = None, brightness: float = 0, pigmentation: float = 0, contrast: float = 0
) -> bytes:
    """Paint a synthetic retinal fundus image from a vessel map. Not for diagnosis.

    Args:
        vessels: the vessel map, an image of light vessels on dark or dark on light, any size.
        style: the seed of the appearance, a whole number from 0 to 4294967295.
        seed: the seed of the grain and the choroid's texture, in the same range.
        photograph: a fundus photograph whose appearance is taken, in place of that of the seed.
        brightness: how much brighter, in standard deviations over photographs, from -2 to 2.
        pigmentation: how much redder, likewise.
        contrast: how much clearer, likewise; less is what haze does.

    Returns:
        the fundus image, 512 x 512 px
    """
    controls = dict(zip(CONTROLS, (brightness, pigmentation, contrast), strict=True))
    for name, amount in controls.items():
        if not isinstance(amount, Real) or not -2 <= amount <= 2:
            raise ValueError(f"{name} must be a number from -2 to 2, got {amount!r}")
    fundus, notes = painted(read_mask(vessels), style, photograph, seed, controls)
    return png(fundus, **notes)


def tab(page: Page) -> SimpleNamespace:
    """Lay the tab out; returns what others need of it."""
    with Cell(page, "draw", PROSE, CODE, seeds="grain seed") as cell, cell.output(), gr.Row(elem_classes="easel-row"):
        with gr.Column(min_width=280):
            canvas = easel(elem_id="drawing")
            with gr.Row(elem_classes="controls"):
                tree_seed = gr.Number(0, label="Start from the tree of seed", precision=0, min_width=150)
                plant = gr.Button("Take this tree", elem_classes="dice plant", **SMALL)
                given = gr.UploadButton("Upload a map", file_types=["image"], type="filepath", elem_classes="dice given", **SMALL)
        with gr.Column(min_width=280):
            alt = "Synthetic fundus image of the drawn vessel map"
            fundus = own(gr.Image)(label="Fundus", type="filepath", format="png", elem_id="painted", alt_text=alt, **SHOWN)
            with gr.Row(elem_classes="bar carry"):
                map_file = gr.DownloadButton("⤓ Vessel map", interactive=False, **SMALL)
                enlarge = gr.Button("⤢ Enlarge it", **SMALL)
                compare = gr.Button("≟ Compare it", **SMALL)
            with gr.Row(elem_classes="controls"):
                style = gr.Slider(0, 999, 0, step=1, label="Appearance seed", min_width=150)
                seed = gr.Slider(0, 999, 0, step=1, label="Grain seed", min_width=150)
            with gr.Row(elem_classes="controls looks"):
                controls = {name: gr.Slider(-2, 2, 0, step=0.1, label=name.capitalize(), min_width=110) for name in CONTROLS}
            with gr.Accordion("Take the appearance of a photograph, not of a seed", open=False) as photo_of:
                photo = upload("Photograph", show_label=False, height=180)
    cell.connect(paint, {"drawing": canvas, "style": style, "photo": photo, "seed": seed, **controls}, [fundus, map_file], on_gpu=False)
    photo.change(_look_of, photo, style, queue=False, show_progress="hidden", **PRIVATE)
    for control in (canvas, style, seed, photo, *controls.values()):
        cell.bind(control.change, trigger_mode="always_last")
    look = [style, seed, *controls.values()]
    gr.on([each.change for each in look], None, look, js="(...look) => retsynth.keep(look)", show_progress="hidden", **PRIVATE)
    cell.aside(functools.partial(gr.on, [plant.click, tree_seed.submit]), tree, [tree_seed], canvas)
    cell.aside(given.upload, given_map, [given], canvas, on_gpu=False)
    with gr.Row(visible=False):
        endpoint(
            translate,
            [
                upload("vessels"),
                gr.Number(0, label="style", precision=0),
                gr.Number(0, label="seed", precision=0),
                upload("photograph"),
                *(gr.Number(0, label=name) for name in CONTROLS),
            ],
            [gr.Image(format="png", label="fundus")],
            on_gpu=False,
        )
    kept = gr.JSON(visible=False)
    shown = {"style": style, "seed": seed, "photo": photo, "photo_of": photo_of, "controls": list(controls.values())}
    shown |= {"look": look, "kept": kept}
    return SimpleNamespace(cell=cell, canvas=canvas, fundus=fundus, tree_seed=tree_seed, enlarge=enlarge, compare=compare, **shown)
