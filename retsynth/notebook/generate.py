"""Generate: from a seed to vessel maps and their fundus images, the way from one seed to another, and variations of one tree."""

import zipfile
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import gradio as gr
import numpy as np
from PIL import ExifTags, Image

from retsynth import __version__
from retsynth.images import COMMENT, overlay, read_image, to_array, write_image
from retsynth.notebook import beside, pipe, weights
from retsynth.notebook.cell import PICTURES, PRIVATE, SHOWN, SMALL, Cell, Page, Run, endpoint, own, png
from retsynth.pipeline import EYES

PAIRS = """## A seed becomes an eye
Press *New eye*: the back of an eye (the fundus) that belongs to nobody, with the map of its vessels; the same seed gives the same eye. A
residual **variational autoencoder** with a learned flow prior draws a vessel tree, a **deconvolution denoiser** makes it crisp, and
**pix2pix** paints the fundus around it (Sengupta et al. 2019). Picture *i* depends on the seed, *i* and the weights alone."""

PAIRS_CODE = """\
from PIL import Image
from retsynth.images import overlay
from retsynth.pipeline import Pipeline

options = dict(prior={prior}, temperature={temperature}, eye={eye}, style_seed={style_seed}, upscale={upscale})
sample = Pipeline.from_pretrained({weights})({seed}, count={count}, **options)
Image.fromarray(overlay(sample.fundus[:1], sample.annotation[:1]))"""

WAY = """## Between two seeds
Walking along the great circle between two noises, every step is a whole eye of its own: the generator has learned trees, not a list."""

WAY_CODE = """\
import numpy as np
from PIL import Image
from retsynth.images import to_array
from retsynth.pipeline import Pipeline

pipe = Pipeline.from_pretrained({weights})
frames = []
for t in np.linspace(0, 1, {steps}):
    z = pipe.interpolate(pipe.noise({seed}), pipe.noise({other}), t)
    style = (1 - t) * pipe.style({seed}) + t * pipe.style({other})
    vessels = pipe.annotate(pipe.denoise(pipe.sample_vessels(z)))
    frames.append(pipe.translate(vessels, style=style, seed={seed}))
Image.fromarray(np.hstack([to_array(frame) for frame in frames]))"""

NEAR = """## Variations of one tree
Mixing fresh noise into a seed's own, so that the sum stays standard normal, gives near relatives of its tree: at strength 0 the tree
itself, at 1 strangers. The first picture is the tree as it was."""

NEAR_CODE = """\
import numpy as np
from PIL import Image
from retsynth.images import to_array
from retsynth.pipeline import Pipeline

pipe = Pipeline.from_pretrained({weights})
z = pipe.noise({seed})
frames = []
for noise in [z] + [pipe.vary(z, {strength}, seed={first} + i) for i in range({count})]:
    vessels = pipe.annotate(pipe.denoise(pipe.sample_vessels(noise)))
    frames.append(pipe.translate(vessels, style=pipe.style({seed}), seed={seed}))
Image.fromarray(np.hstack([to_array(frame) for frame in frames]))"""

RANDOM_SEED = "() => Math.floor(Math.random() * 1e6)"  # short enough to be read to somebody
CAPTIONS = {"vessels": "vessel map", "fundus": "fundus", "overlay": "both", "large": "fundus, 1024 px"}
SYNTHETIC = "Synthetic images, not for diagnosis. Each downloaded PNG says so in its metadata, with the seed."


def pairs(run: Run, seed: int, count: int, prior: str, temperature: float, eye: str, style_seed: int | None, upscale: bool):
    """One eye after another, so that Stop works between them: yields the gallery so far and, at the end, the archive."""
    yield gr.skip(), gr.update(value=None, interactive=False)  # the archive there is holds other eyes
    gallery, options = [], {"prior": prior, "temperature": temperature, "eye": eye, "style_seed": style_seed}
    for i in range(count):
        done = _share(run, i, count)
        gallery += _eye(run, pipe()(seed, first=i, progress=done, upscale=upscale, **options), count, options)
        yield gr.update(value=gallery, columns=4 if upscale else 3), gr.skip()
    yield gr.skip(), gr.update(value=_archive(run, seed), interactive=True)


def way(run: Run, seed: int, other: int, steps: int):
    """The eyes between two seeds, one frame after another, then all of them as an animation."""
    frames, strip = [], []
    for t in np.linspace(0, 1, steps):
        run.progress(t, desc=f"step {len(frames) + 1} of {steps}")
        frames.append(_between(seed, other, t))
        name = f"seed{seed}_to_{other}_{t:.2f}"
        strip.append((run.png(name, frames[-1], seed=seed, other=other, t=round(t, 4)), f"{t:.2f}"))
        yield strip, gr.skip()
    run.show(np.hstack([to_array(frame) for frame in frames]), seed=seed, other=other, steps=steps)
    path, images = run.folder / f"seed{seed}_to_{other}.webp", [to_array(frame) for frame in frames]
    yield gr.skip(), _animation(path, images, seed=seed, other=other, steps=steps)


def near(run: Run, seed: int, strength: float, count: int, first: int | None):
    """The eye of a seed and variations of its tree, one after another."""
    if first is None:
        raise ValueError("the first variation has no number: give a whole number from 0 on")
    frames, strip = [], []
    for i in range(count + 1):
        caption = f"variation {first + i - 1}" if i else f"seed {seed}"
        run.progress(i / (count + 1), desc=caption)
        z = pipe().noise(seed)
        vessels, fundus = _painted(pipe().vary(z, strength, seed=first + i - 1) if i else z, pipe().style(seed), seed)
        notes = {"seed": seed, "strength": strength, "variation": first + i - 1} if i else {"seed": seed}
        name = "_".join(f"{key}{value}" for key, value in notes.items())
        for kind, image, shown in (("vessels", vessels, f"{caption}, map"), ("fundus", fundus, caption)):
            strip.append((run.png(f"{name}_{kind}", image, **notes), shown))
        frames.append(fundus)
        yield (strip,)
    run.show(np.hstack([to_array(frame) for frame in frames]), seed=seed, strength=strength, variation=f"{first} to {first + count - 1}")


def vary(seed: int, strength: float, variation: int) -> tuple[bytes, bytes]:
    """Make a variation of a synthetic eye: its vessel tree changed a little or much, its appearance kept. Not for diagnosis.

    Args:
        seed: the seed of the eye to vary, a whole number from 0 to 4294967295.
        strength: from 0, which gives the eye itself, to 1, which gives another tree.
        variation: the number of the variation, a whole number from 0 on.

    Returns:
        the vessel map, 512 x 512 px, white vessels on black
        the fundus image, 512 x 512 px
    """
    vessels, fundus = _painted(pipe().vary(pipe().noise(seed), strength, seed=variation), pipe().style(seed), seed)
    notes = {"seed": seed, "strength": strength, "variation": variation}
    return png(vessels, **notes), png(fundus, **notes)


def generate(seed: int, prior: str, style_seed: int | None, eye: str = "any", large: bool = True) -> tuple[bytes, bytes]:
    """Make a synthetic eye from a seed: a vessel map and the retinal fundus image painted from it. Not for diagnosis.

    Args:
        seed: a whole number from 0 to 4294967295; the same seed gives the same eye.
        prior: "flow" for connected trees, "gaussian" for the baseline of the paper.
        style_seed: the seed of the appearance; below 0, or null, the appearance is the seed's own.
        eye: "left" or "right" for the side of the optic disc in the image, "any" for the seed's own.
        large: true for the super-resolved image, false for the one that fits the vessel map pixel by pixel.

    Returns:
        the vessel map, 512 x 512 px, white vessels on black
        the fundus image, 1024 x 1024 px, or 512 x 512 px
    """
    look = None if style_seed is None or style_seed < 0 else style_seed
    sample = pipe()(seed, prior=prior, style_seed=look, eye=eye, upscale=large)
    notes = _notes(seed=seed, prior=prior, style_seed=look, eye=eye)
    return png(sample.annotation, **notes), png(sample.large if large else sample.fundus, **notes)


def choose(eye: int | None = None) -> str:
    """What stands over the buttons that carry an eye on: which of several they take, by its number in the captions, once clicked."""
    takes = "the eye you clicked last, else the first" if eye is None else f"eye {eye}, which you clicked"
    return f"{SYNTHETIC} The buttons take {takes}. <span>The address of this page leads back to the first.</span>"


def _notes(style_seed: int | None, **options: object) -> dict[str, object]:
    """Parameters as the metadata of pictures has them, here and from the command line."""
    return {**options, "style_seed": "own" if style_seed is None else style_seed}


def _between(seed: int, other: int, t: float):
    z = pipe().interpolate(pipe().noise(seed), pipe().noise(other), t)
    return _painted(z, (1 - t) * pipe().style(seed) + t * pipe().style(other), seed)[1]


def _painted(z, style, seed: int) -> tuple:
    """From noise to a vessel map, (1, 1, 512, 512), and its fundus image, (1, 3, 512, 512)."""
    vessels = pipe().annotate(pipe().denoise(pipe().sample_vessels(z)))
    return vessels, pipe().translate(vessels, style=style, seed=seed)


def _eye(run: Run, sample, count: int, options: dict) -> list[tuple[str, str]]:
    """The pictures of one sample, written and captioned."""
    notes, blend = _notes(seed=sample.seed, index=sample.first, **options), overlay(sample.fundus, sample.annotation)
    pictures = {"vessels": sample.annotation, "fundus": sample.fundus, "overlay": blend, "large": sample.large}
    if sample.first == 0:
        run.show(blend, **notes)
    number = f" {sample.first}" if count > 1 else ""
    written = {
        kind: run.png(f"seed{sample.seed}_{sample.first:04d}_{kind}", image, **notes)
        for kind, image in pictures.items()
        if image is not None
    }
    return [(path, CAPTIONS[kind] + number) for kind, path in written.items()]


def _shipped() -> list[tuple[str, str]]:
    """The sample that comes with the weights, to be seen before any model is loaded; nothing where there is none."""
    vessels, fundus = beside("examples/sample_vessels.png"), beside("examples/sample_fundus.png")
    if not (vessels and fundus):
        return []
    both = Path(mkdtemp(prefix="retsynth-")) / "sample_overlay.png"
    with Image.open(fundus) as image:
        write_image(both, overlay(read_image(fundus), read_image(vessels)), **image.text)
    return [(str(vessels), CAPTIONS["vessels"]), (str(fundus), CAPTIONS["fundus"]), (str(both), CAPTIONS["overlay"])]


def _archive(run: Run, seed: int) -> str:
    path = run.folder / f"retsynth_seed{seed}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for picture in sorted((run.folder / "png").glob("*")):
            archive.write(picture, picture.name)
        archive.writestr("README.txt", f"{SYNTHETIC}\n")
    return str(path)


def _animation(path: Path, frames: list[np.ndarray], **metadata: object) -> str:
    """There and back again. WebP knows no text chunks: what a PNG would say of itself stands in the Exif fields."""
    there, exif = [Image.fromarray(frame).resize((384, 384)) for frame in frames], Image.Exif()
    notes = {**metadata, "weights": weights()}
    exif[ExifTags.Base.ImageDescription] = "; ".join([COMMENT, *(f"{name} {value}" for name, value in notes.items())])
    exif[ExifTags.Base.Software] = f"retsynth {__version__}"
    there[0].save(path, save_all=True, append_images=there[1:] + there[-2:0:-1], duration=220, loop=0, quality=85, exif=exif)
    return str(path)


def _share(run: Run, i: int, count: int):
    """The progress of sample `i` as a part of the whole."""
    eye = f"eye {i + 1} of {count}: " if count > 1 else ""
    return lambda done, text: run.progress((i + done) / count, desc=eye + text)


def tab(page: Page) -> SimpleNamespace:
    """Lay the tab out; returns what others need of it."""
    with Cell(page, "generate", PAIRS, PAIRS_CODE) as cell:
        with gr.Row(elem_classes="controls"):
            seed = gr.Number(0, label="Seed", precision=0, min_width=150)
            dice = gr.Button("⚄ New eye", elem_classes="dice new", **SMALL)
            count = gr.Slider(1, 8, 1, step=1, label="Pairs", min_width=160)
            with gr.Accordion("Prior, appearance, size", open=False, elem_classes="more"):
                prior = gr.Radio(["flow", "gaussian"], value="flow", label="Prior", info="gaussian is the paper's: N(0, I)")
                temperature = gr.Slider(0.5, 1.2, 1.0, step=0.05, label="Temperature", info="lower is more usual")
                eye = gr.Radio(list(EYES), value="any", label="Eye", info="the side of the optic disc")
                style_seed = gr.Number(-1, label="Appearance seed", precision=0, minimum=-1, info="-1: each its own")
                upscale = gr.Checkbox(False, label="1024 px as well (EDSR)")
        with cell.output():
            gallery = own(gr.Gallery)(
                _shipped(), label="Pairs", columns=3, type="filepath", elem_classes="pictures", elem_id="pairs", **PICTURES
            )
            below = gr.HTML(choose(), elem_classes="small-print choose", js_on_load=None)
            with gr.Row(elem_classes="bar carry"):
                edit = gr.Button("✎ Edit its vessels", **SMALL)
                enlarge = gr.Button("⤢ Enlarge it", **SMALL)
                compare = gr.Button("≟ Compare it", **SMALL)
                archive = gr.DownloadButton("⤓ ZIP", interactive=False, **SMALL)
    shape = {"seed": seed, "count": count, "prior": prior, "temperature": temperature, "eye": eye}
    cell.connect(pairs, {**shape, "style_seed": style_seed, "upscale": upscale}, [gallery, archive])
    cell.bind(dice.click(None, None, seed, js=RANDOM_SEED, show_progress="hidden", **PRIVATE).then)
    chosen = gr.State(0)
    for trigger in (cell.run.click, dice.click):
        trigger(lambda: (0, choose()), None, [chosen, below], queue=False, show_progress="hidden", **PRIVATE)
    made = [cell.state, seed, prior, temperature, eye, style_seed]
    cell.state.change(None, made, None, js="(...made) => retsynth.share(...made)", show_progress="hidden", **PRIVATE)
    gallery.change(None, None, None, js="() => retsynth.fresh(true)", show_progress="hidden", **PRIVATE)
    (way_cell, way_seed), (near_cell, near_seed) = _between_cell(page), _near_cell(page)
    cell.state.change(
        None,
        [cell.state, seed, way_cell.state, way_seed, near_cell.state, near_seed],
        [way_seed, near_seed],
        js="(state, seed, ...others) => retsynth.follow(state, seed, others)",
        show_progress="hidden",
        **PRIVATE,
    )
    with gr.Row(visible=False):
        style = gr.Number(-1, label="style_seed", precision=0)
        endpoint(
            generate,
            [
                gr.Number(7, label="seed", precision=0),
                gr.Radio(["flow", "gaussian"], value="flow", label="prior"),
                style,
                gr.Radio(list(EYES), value="any", label="eye"),
                gr.Checkbox(True, label="large"),
            ],
            [gr.Image(format="png", label="vessels"), gr.Image(format="png", label="fundus")],
        )
        endpoint(
            vary,
            [gr.Number(7, label="seed", precision=0), gr.Number(0.3, label="strength"), gr.Number(1, label="variation", precision=0)],
            [gr.Image(format="png", label="vessels"), gr.Image(format="png", label="fundus")],
        )
    return SimpleNamespace(cell=cell, seed=seed, gallery=gallery, chosen=chosen, below=below, edit=edit, enlarge=enlarge, compare=compare)


def _between_cell(page: Page) -> tuple[Cell, gr.Number]:
    with Cell(page, "between", WAY, WAY_CODE) as cell:
        with gr.Row(elem_classes="controls"):
            seed = gr.Number(0, label="From seed", precision=0, min_width=130)
            other = gr.Number(1, label="To seed", precision=0, min_width=130)
            steps = gr.Slider(3, 12, 5, step=1, label="Steps", min_width=160)
        with cell.output():
            strip = gr.Gallery(label="Steps", columns=5, elem_classes="pictures strip until-run", **PICTURES)
            alt = "Animation from the first eye to the second and back"
            film = gr.Image(format="webp", height=320, elem_classes="film until-run", alt_text=alt, **SHOWN)
            with gr.Row(elem_classes="bar until-run"):
                pause = gr.Button("Pause or play", elem_classes="pause", **SMALL)
    pause.click(None, js="() => retsynth.pause()", show_progress="hidden", **PRIVATE)
    cell.connect(way, {"seed": seed, "other": other, "steps": steps}, [strip, film])
    return cell, seed


def _near_cell(page: Page) -> tuple[Cell, gr.Number]:
    with Cell(page, "vary", NEAR, NEAR_CODE) as cell:
        with gr.Row(elem_classes="controls"):
            seed = gr.Number(0, label="Of seed", precision=0, min_width=130)
            strength = gr.Slider(0, 1, 0.3, step=0.05, label="Strength", min_width=160)
            count = gr.Slider(1, 8, 3, step=1, label="Variations", min_width=160)
            first = gr.Number(1, label="First variation", precision=0, min_width=130)
        with cell.output():
            strip = gr.Gallery(label="Variations", columns=4, elem_classes="pictures until-run", **PICTURES)
    cell.connect(near, {"seed": seed, "strength": strength, "count": count, "first": first}, [strip])
    return cell, seed
