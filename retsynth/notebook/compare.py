"""Compare: what SSIM says of two images, where it says so, and what the number is worth."""

import html
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np

from retsynth.images import png_bytes, read_fundus, read_mask, to_array
from retsynth.metrics import morphometry, psnr, ssim, ssim_map
from retsynth.notebook.cell import Cell, Page, Run, endpoint

PROSE = """## How alike, and what that means
**SSIM** (Wang et al. 2004) compares two images window by window. Read it with its baselines: between vessel maps, a *blank* map scores higher
than another real one, so the aim is the value that real images have among themselves, not more. Morphometry judges the trees."""

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

# Dark where the images differ, light where they agree; rising in lightness, so that it reads without colour as well.
HEAT = np.array([[13, 8, 35], [84, 20, 94], [160, 44, 81], [219, 92, 50], [250, 168, 40], [252, 250, 190]], float)
NAMES = {
    "density": ("vessel share of the field of view", ".3f"), "length": ("length, px", ",.0f"), "junctions": ("junctions", ".0f"),
    "end_points": ("end points", ".0f"), "calibre": ("mean calibre, px", ".2f"), "components": ("components", ".0f"),
    "largest_share": ("share of the largest", ".3f"), "box_dimension": ("box dimension", ".2f"), "tortuosity": ("tortuosity", ".3f"),
}  # fmt: skip


def measure(run: Run, vessels: int, reference: str | None, candidates: list | None):
    """SSIM maps with their values, the strip plot that puts them in place, and the morphometry of vessel maps."""
    if not candidates:
        raise ValueError("there is nothing to compare yet: upload one or more candidates, or take the generated ones")
    read = read_mask if vessels else read_fundus
    wanted = _reference(vessels, reference)
    images = [read(path) for path, _ in candidates]
    for name, image in [("reference.png", wanted), *((f"candidate-{i}.png", image) for i, image in enumerate(images))]:
        run.reads(name, png_bytes(image))
    scores = [ssim_map(image, wanted) for image in images]
    maps = [(run.png(f"ssim-{i}", heat(m)), f"candidate {i}: SSIM {value:.3f}, {psnr(images[i], wanted):.1f} dB") for i, (value, m) in enumerate(scores)]
    run.show(heat(scores[0][1]))
    return maps, strip({"candidates": [value for value, _ in scores], **baselines(vessels, wanted)}, vessels), _trees(wanted, images) if vessels else ""


def compare(reference: str, image: str) -> tuple[float, float, np.ndarray]:
    a, b = read_fundus(image), read_fundus(reference)
    value, where = ssim_map(a, b)
    return value, psnr(a, b), heat(where)


def heat(values: np.ndarray) -> np.ndarray:
    """(H, W) of SSIM, below 0 shown as 0 -> uint8 (H, W, 3)."""
    at = np.clip(values, 0, 1) * (len(HEAT) - 1)
    low = np.minimum(at.astype(int), len(HEAT) - 2)
    return (HEAT[low] + (HEAT[low + 1] - HEAT[low]) * (at - low)[..., None]).round().astype(np.uint8)


def baselines(vessels: int, wanted) -> dict[str, list[float]]:
    """SSIM of real images among themselves, of ours and of nothing at all: measured in training, the last one here."""
    kind, blank = ("vessels", np.zeros((512, 512), np.uint8)) if vessels else ("fundus", _plain(to_array(wanted)))
    measured = report().get("ssim", {}).get(kind, {})
    return {name: values for name, values in measured.items() if name != "blank"} | {"blank": [ssim(to_array(wanted), blank)]}


@cache
def report() -> dict:
    """The scores measured in training, report.json beside the weights; empty where there is none."""
    path = Path(__file__).parents[2] / "weights" / "report.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def strip(groups: dict[str, list[float]], vessels: int) -> str:
    """A strip plot: a row for each group, a dot for each value, a bar at the mean. SVG and a sentence for those who do not see it."""
    low, high, left, right, step = 0.2, 1.0, 150, 640, 34
    at = lambda value: left + (min(max(value, low), high) - low) / (high - low) * (right - left)  # noqa: E731
    labels = {"real": "real against real", "ours": "ours against real", "candidates": "your candidates", "blank": "blank" if vessels else "plain disc"}
    parts, words, foot = [], [], 24 + step * len(groups)
    for tick in np.linspace(low, high, 5):
        parts.append(f"<line class='grid' x1='{at(tick):.0f}' x2='{at(tick):.0f}' y1='8' y2='{foot}'/><text class='tick' x='{at(tick):.0f}' y='{foot + 18}'>{tick:.1f}</text>")
    for i, (name, values) in enumerate(groups.items()):
        y, label, mean = 26 + step * i, labels.get(name, name), float(np.mean(values))
        parts.append(f"<text class='label' x='{left - 14}' y='{y + 5}'>{html.escape(label)}</text>")
        parts += [f"<circle class='{'mine' if name == 'candidates' else 'other'}' cx='{at(v):.1f}' cy='{y + (j * 7) % 11 - 5}' r='4'/>" for j, v in enumerate(values)]
        parts.append(f"<line class='mean' x1='{at(mean):.1f}' x2='{at(mean):.1f}' y1='{y - 12}' y2='{y + 12}'/><text class='value' x='{right + 12}' y='{y + 5}'>{mean:.3f}</text>")
        words.append(f"{label}: mean {mean:.3f}")
    title = f"SSIM against real {'vessel maps' if vessels else 'fundus images'}. " + "; ".join(words)
    return f"<svg class='strip-plot' viewBox='0 0 700 {foot + 28}' role='img' aria-label='{html.escape(title)}'>{''.join(parts)}</svg>"


def _trees(wanted, images: list) -> str:
    """The morphometry of the maps side by side."""
    columns = [asdict(morphometry(to_array(image) > 127)) for image in (wanted, *images)]
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("", "reference", *(f"candidate {i}" for i in range(len(images)))))
    rows = "".join(
        f"<tr><th scope='row'>{label}</th>{''.join(f'<td>{column[key]:{form}}</td>' for column in columns)}</tr>"
        for key, (label, form) in NAMES.items() if key in columns[0]
    )  # fmt: skip
    return f"<div class='scroll'><table class='figures'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _reference(vessels: int, path: str | None):
    if path:
        return (read_mask if vessels else read_fundus)(path)
    if not vessels:
        from skimage.data import retina  # a real photograph inside scikit-image's wheel

        return read_fundus(retina())
    shipped = Path(__file__).parents[2] / "weights" / "examples" / "sample_vessels.png"
    if not shipped.exists():
        raise ValueError("there is no reference map yet: upload one")
    return read_mask(shipped)


def _plain(fundus: np.ndarray) -> np.ndarray:
    """The field of view filled with its mean colour: what an image without any content scores."""
    inside = fundus.max(-1) > 20
    return np.where(inside[..., None], fundus[inside].mean(0), 0).astype(np.uint8)


def tab(page: Page) -> SimpleNamespace:
    """Lay the tab out; returns what others need of it."""
    with Cell(page, "compare", PROSE, CODE) as cell:
        with gr.Row(elem_classes="controls"):
            vessels = gr.Radio([("Fundus images", 0), ("Vessel maps", 1)], value=0, label="Compare", min_width=200)
            take = gr.Button("Take the generated", size="sm", min_width=140, scale=0, elem_classes="dice")
        with gr.Row(elem_classes="controls"):
            reference = gr.Image(
                label="Reference (empty: a real photograph, or a synthetic map)", type="filepath", format="png", sources=["upload", "clipboard"], height=220, min_width=240,
            )  # fmt: skip
            candidates = gr.Gallery(label="Candidates", type="filepath", format="png", columns=4, height=220, interactive=True, object_fit="contain", min_width=240, file_types=["image"], sources=["upload"])
        with cell.output():
            maps = gr.Gallery(label="SSIM maps", show_label=False, columns=4, format="png", interactive=False, height="auto", object_fit="contain", elem_classes="pictures")
            gr.HTML("<div class='legend'><span>SSIM 0, unlike</span><i></i><span>1, alike</span></div>", js_on_load=None, elem_classes="legend-block")
            plot = gr.HTML(js_on_load=None, elem_classes="plot")
            trees = gr.HTML(js_on_load=None)
    cell.connect(measure, {"vessels": vessels, "reference": reference, "candidates": candidates}, [maps, plot, trees])
    with gr.Row(visible=False):
        endpoint(
            compare,
            [gr.Image(type="filepath", label="reference"), gr.Image(type="filepath", label="image")],
            [gr.Number(label="ssim"), gr.Number(label="psnr"), gr.Image(format="png", label="ssim_map")],
            "SSIM, PSNR in dB and the SSIM map of two fundus images.",
        )
    return SimpleNamespace(cell=cell, vessels=vessels, reference=reference, candidates=candidates, take=take)
