"""About: how the images are made, what they are good for and what not, scores, licence, citation, privacy."""

import os
import re

import gradio as gr

from retsynth import __version__
from retsynth.notebook import beside
from retsynth.notebook.compare import report

MASTHEAD = """<header class="masthead">
<h1>retsynth</h1><p>Synthetic fundus images of the retina, with their vessel maps</p>
<span class="badge">synthetic · not for diagnosis</span>
</header>"""

PORT = os.environ.get("GRADIO_SERVER_PORT", 7860)
ADDRESS = os.environ.get("SPACE_ID", f"http://127.0.0.1:{PORT}")  # Spaces set it, and gradio_client takes it for an address

TEXT = f"""## What this is
retsynth {__version__} makes fundus images of eyes that do not exist, each with the vessel map it was painted from, so that segmentation
networks can be trained where patients' photographs may not be had. Beside real pairs ours have added little so far; the scores below
say how much. It follows Sengupta, Zelek and Lakshminarayanan, *Generative Modeling for Retinal Fundus Image Synthesis* (2019): residual
variational autoencoder, deconvolution denoiser, pix2pix, EDSR.

## Limits
* **Not for diagnosis.** No image here shows a patient, and none may be used to judge one.
* Trained on the 20 training images of DRIVE alone: one camera, one field of view of 45°, one small group of people. Other cameras, other
  populations and most diseases are missing.
* EDSR sharpens; it does not recover what a photograph does not hold.

## Privacy
Uploads and drawings are used for your own request, shown to nobody else, and deleted within hours. A drawing also stays in your own browser
until its tab is closed; your choice of light or dark stays there until you clear the browser's data. There is no tracking, and no image is
kept.

## For programs
What the tabs are for has stable names; [the API page](?view=api) lists them with their parameters. The Python package does
all that the page does.

```python
from gradio_client import Client, handle_file
client = Client("{ADDRESS}")
vessels, fundus = client.predict(seed=7, api_name="/generate")
vessels, fundus = client.predict(seed=7, strength=0.3, variation=1, api_name="/vary")
fundus = client.predict(handle_file("vessels.png"), style=3, api_name="/translate")
fundus = client.predict(handle_file("vessels.png"), photograph=handle_file("photograph.png"), api_name="/translate")
large = client.predict(handle_file("fundus.png"), api_name="/upscale")
```

## Licence
Code, weights and generated images are under the MIT licence. The photographs of DRIVE are not part of retsynth and stay under their own
terms.

## Cite
> S. Sengupta, J. Zelek, V. Lakshminarayanan. *Generative Modeling for Retinal Fundus Image Synthesis.* 2019.
>
> J. Staal, M. D. Abràmoff, M. Niemeijer, M. A. Viergever, B. van Ginneken. *Ridge-based vessel segmentation in color images of the retina.*
> IEEE Transactions on Medical Imaging 23(4), 2004 (DRIVE).
"""

HEADLINES = {  # where each lies in report.json, and how it is written
    "Dice of a small segmenter on DRIVE's test photographs, trained on its 20 real pairs": ("fundus", "usefulness", "real", "dice", ".3f"),
    "the same, trained on 200 pairs of ours": ("fundus", "usefulness", "synthetic", "dice", ".3f"),
    "the same, trained on both": ("fundus", "usefulness", "both", "dice", ".3f"),
    "how often a classifier tells our images from photographs (0.5: by chance)": (
        "fundus",
        "realism",
        "sets",
        "two-sample accuracy",
        ".3f",
    ),
    "how often it tells copies of the training photographs from others": (
        "fundus",
        "realism",
        "sets of copies of training photographs",
        "two-sample accuracy",
        ".3f",
    ),
    "of ten measures of the vessel trees, those in which ours are like real ones": (
        "trees",
        "groups",
        "ours",
        "measures with p > 0.05",
        "",
    ),
    "super-resolution, dB above bicubic interpolation": ("superres", "gain in dB", ".1f"),
}


def tab() -> None:
    """Lay the tab out."""
    with gr.Column(elem_classes="cell about"):
        gr.Markdown(TEXT, elem_classes="text")
        if table := headlines(report()):
            gr.Markdown("## Scores", elem_classes="text")
            gr.HTML(table, js_on_load=None)
        with gr.Accordion("Every score measured with these weights", open=False):
            gr.HTML(scores(report()) if report() else "<p>No report of scores comes with the weights in use.</p>", js_on_load=None)
        with gr.Accordion("Model card", open=False):
            gr.Markdown(card() or "No model card comes with the weights in use.", elem_classes="card")


def card() -> str:
    """The model card that lies with the weights in use, without its front matter and what leads to files beside it; empty where there is
    none."""
    path = beside("README.md")
    text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL) if path else ""
    text = re.sub(r"^!\[.*?\n\n", "", text, flags=re.DOTALL | re.MULTILINE)  # a picture and its caption
    text = re.sub(r"^#", "##", text, flags=re.MULTILINE)  # the page has a first heading
    return re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


def headlines(measured: dict) -> str:
    """The scores that matter most, those of HEADLINES that the report has, as a table."""
    rows = ""
    for name, (*way, form) in HEADLINES.items():
        value = measured
        for key in way:
            value = value.get(key, {})
        rows += f"<tr><th scope='row'>{name}</th><td>{value:{form}}</td></tr>" if value != {} else ""
    return f"<div class='scroll'><table class='figures'><tbody>{rows}</tbody></table></div>" if rows else ""


def scores(measured: dict) -> str:
    """Every single number of the report as a table, named by its way through the report."""
    rows = "".join(f"<tr><th scope='row'>{name}</th><td>{value:.4g}</td></tr>" for name, value in _numbers(measured, ()))
    return f"<div class='scroll'><table class='figures'><tbody>{rows}</tbody></table></div>"


def _numbers(part: dict, way: tuple):
    for key, value in part.items():
        if isinstance(value, dict):
            yield from _numbers(value, (*way, key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield " · ".join((*way, key)).replace("_", " "), value
