"""Super-resolve: any image to twice its size, beside what bicubic interpolation makes of it."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import gradio as gr
import numpy as np
from gradio.data_classes import FileData
from PIL import Image
from skimage.data import retina

from retsynth.images import enlargement_notes, read_image
from retsynth.metrics import psnr, ssim
from retsynth.notebook import asset, pipe
from retsynth.notebook.cell import KEEP, PRIVATE, SMALL, Cell, Page, Run, endpoint, png, upload

SIDE = 1024  # px, the longest side taken on the page: two cores need about 8 s for it

PROSE = """## Twice the size
**EDSR** (Lim et al. 2017) was trained to restore photographs of the retina that had been halved. Drag the divider: bicubic interpolation on
the left, EDSR on the right. What no pixel holds it cannot know: it sharpens edges, it does not find disease."""

CODE = """\
import numpy as np
from PIL import Image
from retsynth.images import read_image
from retsynth.metrics import psnr, ssim
from retsynth.pipeline import Pipeline

pipe = Pipeline.from_pretrained({weights})
picture = Image.fromarray(read_image('upload.png'))
picture.thumbnail((1024, 1024))  # the page's limit
[halve]reference = picture.crop((0, 0, picture.width // 2 * 2, picture.height // 2 * 2))
[halve]picture = reference.resize((reference.width // 2, reference.height // 2), Image.Resampling.BICUBIC)
large = pipe.upscale_array(np.asarray(picture))
bicubic = np.asarray(picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC))
[halve]for image in (bicubic, large):
[halve]    print(psnr(image, np.asarray(reference)), ssim(image, np.asarray(reference)))
Image.fromarray(large)"""


def enlarge(run: Run, upload: str | None, halve: bool):
    """Both enlargements for the slider and the loupe, the file to keep, and the scores where the upload is its own reference."""
    if not upload:
        raise ValueError("there is no image yet: upload one, or press 'Enlarge it' under a generated eye")
    picture, reference = _prepare(read_image(upload), halve)
    run.progress(0.1, desc=f"EDSR, {picture.width} x {picture.height} to {picture.width * 2} x {picture.height * 2}")
    large = pipe().upscale_array(np.asarray(picture))
    bicubic = np.asarray(picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC))
    run.reads("upload.png", upload)
    name = Path(upload).stem[:100]  # what is kept is called after what it was made of
    before = run.png(f"{name}_bicubic", bicubic, Comment="Enlarged. Not for diagnosis.", method="bicubic", halved=halve)
    after = run.png(f"{name}_x2", large, shown=True, **enlargement_notes(upload) | {"method": "EDSR", "halved": halve})
    loupe = {"before": FileData(path=before).model_dump(), "after": FileData(path=after).model_dump()}
    return (before, after), loupe, gr.update(value=after, interactive=True), _scores(bicubic, large, reference)


def upscale(image: str) -> bytes:
    """Enlarge an image to twice its size with EDSR, trained on photographs of the retina. It sharpens; it does not find disease.

    Args:
        image: the image, any size; one with a side beyond 1024 px is shrunk to that first.

    Returns:
        the image at twice the size
    """
    return png(pipe().upscale_array(np.asarray(_prepare(read_image(image), False)[0])), **enlargement_notes(image) | {"method": "EDSR"})


def _prepare(image: np.ndarray, halve: bool) -> tuple[Image.Image, np.ndarray | None]:
    """What goes into the network, and, where the upload is to be restored, what should come out."""
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    if not halve:
        return picture, None
    reference = picture.crop((0, 0, picture.width // 2 * 2, picture.height // 2 * 2))
    return reference.resize((reference.width // 2, reference.height // 2), Image.Resampling.BICUBIC), np.asarray(reference)


def _scores(bicubic: np.ndarray, large: np.ndarray, reference: np.ndarray | None) -> str:
    size = f"{large.shape[1]} x {large.shape[0]} px"
    if reference is None:
        return f"<p>{size}. No reference exists for an enlargement beyond the upload: tick the box above to halve it first and measure.</p>"
    rows = "".join(
        f"<tr><th scope='row'>{name}</th><td>{psnr(image, reference):.2f} dB</td><td>{ssim(image, reference):.4f}</td></tr>"
        for name, image in (("bicubic", bicubic), ("EDSR", large))
    )
    head = "<tr><th scope='col'>against the upload</th><th scope='col'>PSNR</th><th scope='col'>SSIM</th></tr>"
    return f"<table class='figures'><thead>{head}</thead><tbody>{rows}</tbody></table><p>{size}</p>"


@cache
def _example() -> str:
    """The photograph in scikit-image's wheel at the size of ours, written at the first wish for it."""
    path = Path(mkdtemp(prefix="retsynth-")) / "retina.png"
    Image.fromarray(retina()).resize((512, 512), Image.Resampling.LANCZOS).save(path)
    return str(path)


def tab(page: Page) -> SimpleNamespace:
    """Lay the tab out; returns what others need of it."""
    with Cell(page, "enlarge", PROSE, CODE) as cell:
        given = upload("Image", height=220)
        example = gr.Button("Try a real photograph", elem_classes="example", **SMALL)
        halve = gr.Checkbox(False, label="Halve it first, then restore: the upload is its own reference")
        with cell.output():
            with gr.Row(elem_classes="easel-row until-run"):
                with gr.Column(min_width=280):
                    options = {"format": "png", "type": "filepath", "interactive": False, "max_height": 560, "buttons": KEEP}
                    slider = gr.ImageSlider(label="bicubic | EDSR", show_label=False, elem_id="before-after", **options)
                    position = gr.Slider(0, 100, 50, step=1, label="Divider: bicubic on its left, EDSR on its right", elem_id="divider")
                loupe = gr.HTML({}, html_template=asset("loupe.html"), js_on_load=asset("loupe.js"), apply_default_css=False, min_width=280)
            scores = gr.HTML(js_on_load=None, elem_classes="small-print until-run")
            with gr.Row(elem_classes="bar carry until-run"):
                keep = gr.DownloadButton("⤓ Enlarged PNG", interactive=False, **SMALL)
    cell.connect(enlarge, {"upload": given, "halve": halve}, [slider, loupe, keep, scores])
    cell.bind(example.click(_example, None, given, queue=False, show_progress="hidden", **PRIVATE).then)
    quick = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last", **PRIVATE}
    position.input(lambda at: gr.update(slider_position=at), position, slider, **quick)
    with gr.Row(visible=False):
        endpoint(upscale, [upload("image")], [gr.Image(format="png", label="large")])
    return SimpleNamespace(cell=cell, upload=given)
