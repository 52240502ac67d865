"""Compare: what SSIM says of two images, where it says so, and what the number is worth."""

import html
import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
from PIL import Image
from skimage.data import retina

from retsynth.images import read_fundus, read_mask, to_array
from retsynth.metrics import morphometry, psnr, ssim, ssim_map
from retsynth.notebook.cell import PICTURES, PRIVATE, SMALL, Cell, Page, Run, endpoint, png, upload

PROSE = """## How alike, and what that means
**SSIM** (Wang et al. 2004) compares two images window by window. Read it with its baselines: beside a vessel map, a *blank* one scores
higher than another real one, so the aim is the value that real images have among themselves, not more. Morphometry judges the trees."""

CODE = """\
from pathlib import Path
[vessels]from retsynth.images import read_mask as read
[!vessels]from retsynth.images import read_fundus as read
from retsynth.metrics import psnr, ssim_map

reference = read('reference.png')
for path in sorted(Path().glob('candidate-*.png')):
    image = read(path)
    value, heat = ssim_map(image, reference)
    print(path.name, round(value, 4), round(psnr(image, reference), 2))"""

LEGEND = "<div class='legend'><span>SSIM 0, unlike</span><i></i><span>1, alike</span></div>"
# Dark where the images differ, light where they agree; rising in lightness, so that it reads without colour as well.
HEAT = np.array([[13, 8, 35], [84, 20, 94], [160, 44, 81], [219, 92, 50], [250, 168, 40], [252, 250, 190]], float)
MEASURED = {"real": "real, training", "ours": "ours", "gaussian": "ours, Gaussian prior"}  # in report.json
NAMED = {"real": "real against real", "ours": "ours against real", "gaussian": "Gaussian prior", "candidates": "your candidates"}
BLANK = ("plain disc", "blank map")  # what an image without any content is called
MEASURES = {
    "density": ("vessel share of the field of view", ".3f"),
    "length": ("length, px", ",.0f"),
    "junctions": ("junctions", ".0f"),
    "end_points": ("end points", ".0f"),
    "calibre": ("mean calibre, px", ".2f"),
    "components": ("components", ".0f"),
    "largest_share": ("share of the largest", ".3f"),
    "box_dimension": ("box dimension", ".2f"),
    "tortuosity": ("tortuosity", ".3f"),
}


def measure(run: Run, vessels: int, reference: str | None, candidates: list | None):
    """SSIM maps with their values, the strip plot that puts them in place, and the morphometry of vessel maps."""
    if not candidates:
        raise ValueError("there is nothing to compare yet: upload one or more candidates, or take the generated ones")
    read = read_mask if vessels else read_fundus
    files = [Path(path).read_bytes() for path, _ in candidates]
    source = Path(reference).read_bytes() if reference else _default(vessels)
    wanted, images = read(source), [read(file) for file in files]
    scores = [ssim_map(image, wanted) for image in images]
    maps = []
    for i, (image, (value, local)) in enumerate(zip(images, scores, strict=True), start=1):
        run.reads(f"candidate-{i}.png", files[i - 1])
        shown = run.png(f"ssim-{i}", heat(local), shown=i == 1, **_notes(value))
        maps.append((shown, f"candidate {i}: SSIM {value:.3f}, {psnr(image, wanted):.1f} dB"))
    run.reads("reference.png", source)
    plot = strip({"candidates": [value for value, _ in scores], **baselines(vessels, wanted)}, vessels)
    return maps, plot, _trees(wanted, images) if vessels else ""


def named(files: list[str]) -> list[tuple[str, str]]:
    """Candidates with the names that the results call them by."""
    return [(file, f"candidate {i}") for i, file in enumerate(files, start=1)]


def compare(reference: str, image: str) -> tuple[float, float, bytes]:
    """Measure how alike two retinal fundus images are: SSIM, PSNR, and a map of where SSIM is low.

    Args:
        reference: the fundus image to compare with, any size.
        image: the fundus image to judge, any size.

    Returns:
        SSIM, up to 1, which means equal
        PSNR in dB
        the map of SSIM, 512 x 512 px, dark where the images differ
    """
    a, b = read_fundus(image), read_fundus(reference)
    value, where = ssim_map(a, b)
    return value, psnr(a, b), png(heat(where), **_notes(value))


def _notes(value: float) -> dict[str, object]:
    return {"shows": "SSIM map", "ssim": round(value, 4)}


def heat(values: np.ndarray) -> np.ndarray:
    """(H, W) of SSIM, below 0 shown as 0 -> uint8 (H, W, 3)."""
    at = np.clip(values, 0, 1) * (len(HEAT) - 1)
    low = np.minimum(at.astype(int), len(HEAT) - 2)
    return (HEAT[low] + (HEAT[low + 1] - HEAT[low]) * (at - low)[..., None]).round().astype(np.uint8)


def baselines(vessels: int, wanted) -> dict[str, list[float]]:
    """SSIM of real images among themselves and of ours with them, as measured in training; and, measured here, of nothing at all."""
    measured = {}
    if vessels and (groups := report().get("trees", {}).get("groups")):
        measured = {name: [groups[group]["ssim"]] for name, group in MEASURED.items() if group in groups}
    if not vessels and (likeness := report().get("fundus", {}).get("likeness")):
        measured = {"real": [likeness["ssim of one test photograph to another"]], "ours": [likeness["ssim"]]}
    blank = np.zeros((512, 512), np.uint8) if vessels else _plain(to_array(wanted))
    return {**measured, "blank": [ssim(to_array(wanted), blank)]}


@cache
def report() -> dict:
    """The scores measured in training, report.json beside the weights; empty where there is none."""
    path = Path(__file__).parents[2] / "weights" / "report.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def strip(groups: dict[str, list[float]], vessels: int) -> str:
    """A strip plot: a row for each group, a dot for each value, a bar at the mean. SVG, and a sentence for those who do not see it."""
    names = {"real": "real against real", "ours": "ours against real", "gaussian": "Gaussian prior", "candidates": "your candidates"} | {
        "blank": BLANK[vessels]
    }
    rows = [(names.get(name, name), name == "candidates", values) for name, values in groups.items()]
    foot = 24 + 34 * len(rows)
    ticks = "".join(_tick(tick, foot) for tick in (0.2, 0.4, 0.6, 0.8, 1.0))
    words = "; ".join(f"{label} {np.mean(values):.3f}" for label, _, values in rows)
    title = html.escape(f"Mean SSIM with the reference or with real {'vessel maps' if vessels else 'fundus images'}: {words}")
    drawn = "".join(_row(26 + 34 * i, *row) for i, row in enumerate(rows))
    return f"<svg class='strip-plot' viewBox='0 0 700 {foot + 28}' role='img' aria-label='{title}'>{ticks}{drawn}</svg>"


def _at(value: float) -> float:
    """The place of an SSIM between 0.2 and 1 on the plot's axis."""
    return 150 + (min(max(value, 0.2), 1.0) - 0.2) / 0.8 * 490


def _tick(value: float, foot: int) -> str:
    line = f"<line class='grid' x1='{_at(value):.0f}' x2='{_at(value):.0f}' y1='8' y2='{foot}'/>"
    return line + f"<text class='tick' x='{_at(value):.0f}' y='{foot + 18}'>{value:.1f}</text>"


def _row(y: int, label: str, mine: bool, values: list[float]) -> str:
    mean, kind = float(np.mean(values)), "mine" if mine else "other"
    dots = "".join(f"<circle class='{kind}' cx='{_at(v):.1f}' cy='{y + (j * 7) % 11 - 5}' r='4'/>" for j, v in enumerate(values))
    bar = f"<line class='mean' x1='{_at(mean):.1f}' x2='{_at(mean):.1f}' y1='{y - 12}' y2='{y + 12}'/>"
    name = f"<text class='label' x='136' y='{y + 5}'>{html.escape(label)}</text>"
    return f"{name}{dots}{bar}<text class='value' x='652' y='{y + 5}'>{mean:.3f}</text>"


def _trees(wanted, images: list) -> str:
    """The morphometry of the maps side by side."""
    columns = [asdict(morphometry(to_array(image) > 127)) for image in (wanted, *images)]
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("", "reference", *(f"candidate {i + 1}" for i in range(len(images)))))
    rows = "".join(
        f"<tr><th scope='row'>{label}</th>{''.join(f'<td>{column[key]:{form}}</td>' for column in columns)}</tr>"
        for key, (label, form) in MEASURES.items()
        if key in columns[0]
    )
    return f"<div class='scroll'><table class='figures'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


@cache
def _default(vessels: int) -> bytes:
    """A reference for those who bring none: a real photograph from scikit-image's wheel, or a synthetic vessel map."""
    if not vessels:
        file = io.BytesIO()
        Image.fromarray(retina()).save(file, "PNG", compress_level=1)
        return file.getvalue()
    shipped = Path(__file__).parents[2] / "weights" / "examples" / "sample_vessels.png"
    if not shipped.exists():
        raise ValueError("there is no reference map yet: upload one")
    return shipped.read_bytes()


def _plain(fundus: np.ndarray) -> np.ndarray:
    """The field of view filled with its mean colour: what an image without any content scores."""
    inside = fundus.max(-1) > 20
    return np.where(inside[..., None], fundus[inside].mean(0), 0).astype(np.uint8)


def tab(page: Page) -> SimpleNamespace:
    """Lay the tab out; returns what others need of it."""
    with Cell(page, "compare", PROSE, CODE) as cell:
        with gr.Row(elem_classes="controls"):
            vessels = gr.Radio([("Fundus images", 0), ("Vessel maps", 1)], value=0, label="Compare", min_width=200)
            take = gr.Button("Take the generated", elem_classes="dice", **SMALL)
        with gr.Row(elem_classes="controls"):
            reference = upload("Reference (empty: a real photograph, or a synthetic map)", height=220, min_width=240)
            options = {"type": "filepath", "format": "png", "sources": ["upload"], "file_types": ["image"], "object_fit": "contain"}
            candidates = gr.Gallery(label="Candidates", columns=4, height=220, min_width=240, interactive=True, **options)
        with cell.output():
            maps = gr.Gallery(label="SSIM maps", columns=3, elem_classes="pictures until-run", **PICTURES)
            gr.HTML(LEGEND, js_on_load=None, elem_classes="until-run")
            plot = gr.HTML(js_on_load=None, elem_classes="plot")
            trees = gr.HTML(js_on_load=None)
    cell.connect(measure, {"vessels": vessels, "reference": reference, "candidates": candidates}, [maps, plot, trees])
    quick = {"queue": False, "show_progress": "hidden", **PRIVATE}
    candidates.upload(lambda given: named([file for file, _ in given or []]), candidates, candidates, **quick)
    with gr.Row(visible=False):
        results = [gr.Number(label="ssim"), gr.Number(label="psnr"), gr.Image(format="png", label="ssim_map")]
        endpoint(compare, [upload("reference"), upload("image")], results)
    return SimpleNamespace(cell=cell, vessels=vessels, reference=reference, candidates=candidates, take=take)
