"""Compare: what SSIM says of two images, where it says so, and what the number is worth."""

import html
import io
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import gradio as gr
import numpy as np
from PIL import Image, ImageFilter, ImageOps
from skimage.data import retina

from retsynth.images import read_fundus, read_mask, to_array
from retsynth.metrics import morphometry, psnr, ssim, ssim_map
from retsynth.notebook import beside, heed
from retsynth.notebook.cell import PICTURES, PRIVATE, SMALL, Cell, Page, Run, endpoint, own, png, upload, viewable

PROSE = """## How alike, and what that means
**SSIM** (Wang et al. 2004) compares two images window by window. Read it with its baselines: beside a vessel map a *blank* one scores
higher than another real one, and beside a photograph a plain disc does. So the aim is the value that real images have among themselves, not
more. Ours beside a photograph is harder to read: it was painted from that photograph's own vessels and style. Morphometry judges the
trees."""

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
MOST = 8  # candidates at a time: as many as the first tab makes
MEASURED = {"real": "real, training", "ours": "ours", "gaussian": "ours, Gaussian prior"}  # in report.json
NAMED = {"real": "real against real", "ours": "ours against real", "gaussian": "Gaussian prior", "candidates": "your candidates"}
REPAINTED = {"real": "one photograph against another", "ours": "a photograph against its vessels and style, painted again"}
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
    "radius": ("root mean square radius, half-widths", ".3f"),
}


def measure(run: Run, vessels: int, reference: str | None, candidates: list | None):
    """SSIM maps with their values, the strip plot that puts them in place, and the morphometry of vessel maps."""
    if not candidates:
        raise ValueError("there is nothing to compare yet: upload one or more candidates, or take the generated ones")
    if len(candidates) > MOST:
        raise ValueError(f"there are {len(candidates)} candidates; take {MOST} or fewer at a time")
    read = read_mask if vessels else read_fundus
    source = reference or _default(vessels)
    run.reads("reference.png", source)
    wanted, images, values, maps = _named(read, source, "the reference"), [], [], []
    for i, (path, caption) in enumerate(candidates, start=1):
        heed()
        run.reads(f"candidate-{i}.png", path)
        images.append(_named(read, path, f"candidate {i}"))
        value, local = ssim_map(images[-1], wanted)
        values.append(value)
        shown = run.png(f"ssim-{i}", heat(local), shown=i == 1, **_notes(value))
        decibels = psnr(images[-1], wanted)
        maps.append(
            (shown, f"{caption or f'candidate {i}'}: SSIM {value:.3f}, " + (f"{decibels:.1f} dB" if math.isfinite(decibels) else "equal"))
        )
    plot = strip({"candidates": values, **baselines(vessels, wanted)}, vessels)
    return maps, plot, _trees(wanted, images) if vessels else ""


def _named(read: Callable, file: bytes | str, name: str):
    """What `read` makes of the file; a refusal says which of the pictures it is about."""
    try:
        return read(file)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def named(files: list[str], what: list[str] | None = None) -> list[tuple[str, str]]:
    """Candidates with the names that the results call them by, and `what` each of them is, where that is known."""
    places = [f"candidate {i}" for i in range(1, len(files) + 1)]
    names = [f"{place}, {one}" for place, one in zip(places, what, strict=True)] if what else places
    return list(zip(files, names, strict=True))


def compare(reference: str, image: str) -> tuple[float, float | None, bytes]:
    """Measure how alike two retinal fundus images, or two vessel maps, are: SSIM, PSNR, and a map of where SSIM is low.

    Args:
        reference: the fundus image, or the vessel map, to compare with, any size.
        image: what is to be judged, of the same kind, any size.

    Returns:
        SSIM, up to 1, which means equal
        PSNR in dB, null where the images are equal
        the map of SSIM, 512 x 512 px, dark where the images differ
    """
    try:
        read, b = read_mask, read_mask(reference)
    except ValueError:
        read, b = read_fundus, _named(read_fundus, reference, "the reference")
    a = _named(read, image, "the image, beside a vessel map" if read is read_mask else "the image")
    (value, where), decibels = ssim_map(a, b), psnr(a, b)
    return value, decibels if math.isfinite(decibels) else None, png(heat(where), **_notes(value))


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
        found = {name: groups[group] for name, group in MEASURED.items() if group in groups}
        measured = {name: group.get("ssim_values") or [group["ssim"]] for name, group in found.items()}
    if not vessels and (likeness := report().get("fundus", {}).get("likeness")):
        measured = {"real": [likeness["ssim of one test photograph to another"]], "ours": [likeness["ssim"]]}
    blank = np.zeros((512, 512), np.uint8) if vessels else _plain(to_array(wanted))
    return {**measured, "blank": [ssim(to_array(wanted), blank)]}


def report() -> dict:
    """The scores measured in training, report.json beside the weights in use; empty where there is none."""
    path = beside("report.json")
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


def strip(groups: dict[str, list[float]], vessels: int) -> str:
    """A strip plot: a row for each group, a dot for each value, a bar at the mean. SVG, and a sentence for those who do not see it."""
    names = NAMED | {"blank": BLANK[vessels]} | ({} if vessels else REPAINTED)
    rows = [(names.get(name, name), name == "candidates", values) for name, values in groups.items()]
    low = min(0.2, math.floor(5 * min(min(values) for _, _, values in rows)) / 5)  # the axis goes down by fifths, to where the values do
    foot = 46 * len(rows) + 4
    ticks = "".join(_tick(tick / 5, low, foot) for tick in range(round(5 * low), 6))
    title = html.escape(
        f"SSIM with the reference or with real {'vessel maps' if vessels else 'fundus images'}: "
        + "; ".join(f"{label} {_words(values)}" for label, _, values in rows)
    )
    drawn = "".join(_row(46 * i, low, *row) for i, row in enumerate(rows))
    return (
        f"<svg class='strip-plot' viewBox='0 0 360 {foot + 18}' role='img' aria-label='{title}'>{ticks}{drawn}</svg>"
        "<p class='small-print strip-legend'><span><i class='mine'></i>one of your candidates</span><span><i></i>another "
        "comparison</span><span><i class='mean'></i>their mean, as the figure on the right</span></p>"
    )


def _words(values: list[float]) -> str:
    many = f", {len(values)} values from {min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{many}"


def _at(value: float, low: float) -> float:
    """The place of an SSIM between `low` and 1 on the plot's axis."""
    return 10 + (value - low) / (1 - low) * 290


def _tick(value: float, low: float, foot: int) -> str:
    x = f"{_at(value, low):.0f}"
    return f"<line class='grid' x1='{x}' x2='{x}' y1='4' y2='{foot}'/><text class='tick' x='{x}' y='{foot + 14}'>{value:.1f}</text>"


def _row(y: int, low: float, label: str, mine: bool, values: list[float]) -> str:
    mean, kind, middle = _at(float(np.mean(values)), low), "mine" if mine else "other", y + 32
    # the more values, the smaller the dots; neighbours are moved up and down, so that they can be told apart
    radius, spread = (3.5, 5) if len(values) < 12 else (2, 9)
    heights = [middle + (i * 7 % 13 / 6 - 1) * spread if len(values) > 1 else middle for i in range(len(values))]
    dots = "".join(
        f"<circle class='{kind}' cx='{_at(value, low):.1f}' cy='{height:.1f}' r='{radius}'/>"
        for value, height in zip(values, heights, strict=True)
    )
    bar = f"<line class='mean' x1='{mean:.1f}' x2='{mean:.1f}' y1='{middle - 11}' y2='{middle + 11}'/>"
    name = f"<text class='label' x='10' y='{y + 15}'>{html.escape(label)}</text>"
    return f"{name}{bar}{dots}<text class='value' x='312' y='{middle + 4}'>{np.mean(values):.3f}</text>"


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


def example_photograph() -> str:
    """The file of a real photograph, to compare with where a visitor brings none."""
    return _example()[0]


def _default(vessels: int) -> bytes:
    """A reference for those who bring none: a real photograph from scikit-image's wheel, or the vessel map that comes with the weights."""
    if not vessels:
        return _photograph()
    shipped = beside("examples/sample_vessels.png")
    if not shipped:
        raise ValueError("there is no reference map yet: upload one")
    return shipped.read_bytes()


@cache
def _photograph() -> bytes:
    file = io.BytesIO()
    Image.fromarray(retina()).save(file, "PNG", compress_level=1)
    return file.getvalue()


@cache
def _example() -> tuple[str, list[tuple[str, str]]]:
    """A photograph, and what to compare with it: itself out of focus, itself mirrored and a synthetic eye where one comes with the weights.
    Written at the first wish for it."""
    folder = Path(mkdtemp(prefix="retsynth-"))
    photograph = Image.fromarray(retina()).resize((512, 512), Image.Resampling.LANCZOS)
    blurred, mirrored = photograph.filter(ImageFilter.GaussianBlur(2)), ImageOps.mirror(photograph)
    for name, image in {"photograph": photograph, "blurred": blurred, "mirrored": mirrored}.items():
        image.save(folder / f"{name}.png")
    candidates = {"out of focus": folder / "blurred.png", "mirrored": folder / "mirrored.png"}
    if synthetic := beside("examples/sample_fundus.png"):
        candidates["a synthetic eye"] = shutil.copy(synthetic, folder / "synthetic.png")  # gradio hands out no file from just anywhere
    return str(folder / "photograph.png"), named([str(file) for file in candidates.values()], list(candidates))


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
            example = gr.Button("Try an example", elem_classes="dice example", **SMALL)
        with gr.Row(elem_classes="controls"):
            reference = upload("Reference (empty: a real photograph, or a synthetic map)", height=220, min_width=240)
            options = {"type": "filepath", "format": "png", "sources": ["upload"], "file_types": ["image"], "object_fit": "contain"}
            candidates = own(gr.Gallery)(label="Candidates", columns=4, height=220, min_width=240, interactive=True, **options)
        with cell.output():
            maps = gr.Gallery(label="SSIM maps", columns=3, elem_classes="pictures maps until-run", **PICTURES)
            gr.HTML(LEGEND, js_on_load=None, elem_classes="until-run")
            plot = gr.HTML(js_on_load=None, elem_classes="plot until-run")
            trees = gr.HTML(js_on_load=None, elem_classes="until-run")
    cell.connect(measure, {"vessels": vessels, "reference": reference, "candidates": candidates}, [maps, plot, trees], on_gpu=False)
    quick = {"queue": False, "show_progress": "hidden", **PRIVATE}
    shown = example.click(lambda: (0, *_example()), None, [vessels, reference, candidates], **quick)
    cell.bind(shown.then)
    for changed in (candidates.upload, candidates.delete):
        changed(lambda given: named([viewable(file) for file, _ in given or []]), candidates, candidates, **quick)
        cell.stale(changed)
    with gr.Row(visible=False):
        results = [gr.Number(label="ssim"), gr.Number(label="psnr"), gr.Image(format="png", label="ssim_map")]
        endpoint(compare, [upload("reference"), upload("image")], results, on_gpu=False)
    return SimpleNamespace(cell=cell, vessels=vessels, reference=reference, candidates=candidates, take=take)
