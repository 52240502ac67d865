"""`python -m retsynth sample | translate | upscale | compare | export`.

Exit codes: 0 done, 2 bad use or bad input, with one line on stderr for each, 130 interrupted, 143 terminated. What
needs torch is imported by the command that needs it, so that help and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from retsynth import __version__
from retsynth.allocator import keep_pages

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from retsynth.pipeline import Pipeline

WEIGHTS = Path(__file__).parents[1] / "weights"  # beside the package, in a checkout
SEEDS = 2**32
CONTROLS = ("brightness", "pigmentation", "contrast")  # those of `retsynth.pix2pix`
MAX_UPSCALE = 12_500_000  # pixels: a phone's 12 megapixels, 50 when twice as large, in about 1.3 GB of memory
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".gif"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm"} | {".heic", ".avif"}  # the last are named as what cannot be read


def main(arguments: list[str] | None = None) -> int:
    """Run one command, return its exit code."""
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup has it ignored
        signal.signal(signal.SIGHUP, _terminate)
    keep_pages()
    try:
        return args.run(args)
    except ValueError as error:
        return _complain(args, str(error))
    except OSError as error:  # a full disk, a folder that may not be written
        return _complain(args, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Terminated:
        return _complain(args, "terminated", 143)
    except KeyboardInterrupt:
        return _complain(args, "interrupted", 130)


class Terminated(KeyboardInterrupt):
    """A scheduler asked for the end, or the terminal is gone: no reason to leave an export without its list."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated


# --- commands ----------------------------------------------------------------------------------------------------------------------


def sample(args: argparse.Namespace) -> int:
    """One seed -> four files."""
    from retsynth.export import fingerprint
    from retsynth.images import write_image

    args.out.mkdir(parents=True, exist_ok=True)
    pipe = _pipeline(args)
    seed = secrets.randbelow(SEEDS) if args.seed is None else args.seed
    made = pipe(seed, prior=args.prior, temperature=args.temperature, eye=args.eye, style_seed=args.style_seed)
    origin = {"seed": seed, "style_seed": "own" if args.style_seed is None else args.style_seed, "weights": fingerprint(pipe)}
    origin |= {"prior": args.prior, "temperature": args.temperature, "eye": args.eye}
    for name, image in {"fundus": made.fundus, "vessels": made.annotation, "fov": pipe.fov, "large": made.large}.items():
        write_image(args.out / f"{name}.png", image, **origin)
    print(f"seed {seed}: fundus.png, vessels.png, fov.png and large.png in {args.out}")
    return 0


def translate(args: argparse.Namespace) -> int:
    """Vessel maps -> fundus images; in a folder, map i as image i of the run `seed`."""
    from retsynth.export import fingerprint
    from retsynth.images import read_fundus, read_mask

    jobs = _jobs(args.mask, args.out, args.photograph)
    photograph = args.photograph and _named(args.photograph, read_fundus)
    pipe = _pipeline(args)
    controls = {name: getattr(args, name) for name in CONTROLS}
    source = "a photograph's" if args.photograph else "own" if args.style_seed is None else args.style_seed
    origin = {"seed": args.seed, "style_seed": source, **controls, "weights": fingerprint(pipe)}
    given = pipe.encode_style(photograph) if args.photograph else None if args.style_seed is None else pipe.style(args.style_seed)

    def paint(path: Path, index: int) -> Tensor:
        style = pipe.style(args.seed, index) if given is None else given
        return pipe.translate(read_mask(path), pipe.adjust(style, **controls), args.seed, index)

    return _convert(args, jobs, paint, lambda index: {**origin, "index": index})


def upscale(args: argparse.Namespace) -> int:
    """Images -> images of twice the size."""
    from retsynth.export import fingerprint
    from retsynth.images import enlargement_notes, read_image

    jobs = _jobs(args.image, args.out)
    pipe = _pipeline(args)
    weights = fingerprint(pipe)

    def enlarge(path: Path, index: int) -> np.ndarray:
        return pipe.upscale_array(read_image(path, max_pixels=MAX_UPSCALE))

    return _convert(args, jobs, enlarge, lambda index: {**enlargement_notes(jobs[index][0]), "weights": weights})


def compare(args: argparse.Namespace) -> int:
    """SSIM and PSNR of images against a reference, as a table or as JSON."""
    from retsynth.images import SIZE, read_image, read_mask
    from retsynth.metrics import psnr, ssim

    reference = _named(args.reference, read_image)
    try:
        vessels = read_mask(args.reference)  # the file itself: a drawing may be in its transparency alone
    except ValueError:
        vessels = None  # a photograph

    def score(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> dict[str, float | None]:
        decibels = psnr(a, b)
        return {"ssim": round(ssim(a, b), 6), "psnr": round(decibels, 4) if math.isfinite(decibels) else None}

    rows, code = [], 0
    for path in [file for image in args.image for file in _files(image)]:
        try:
            if vessels is not None:
                rows.append({"image": str(path), "width": SIZE, "height": SIZE, **score(vessels, read_mask(path))})
            else:
                a, b = _to_one_size(reference, read_image(path))
                rows.append({"image": str(path), "width": a.shape[-2], "height": a.shape[-3], **score(a, b)})
        except ValueError as error:
            code = _complain(args, f"{path}: {error}")
    blank = None if vessels is None else score(vessels, vessels * 0)
    if args.json:
        print(json.dumps({"reference": str(args.reference), "images": rows, "blank": blank}, indent=2))
    elif rows:
        print(f"{'SSIM':>8}{'PSNR dB':>10}  image")
        for row in rows:
            print(f"{row['ssim']:8.4f}{_decibels(row):>10}  {row['image']} ({row['width']} x {row['height']})")
        if blank:
            print(f"{blank['ssim']:8.4f}{_decibels(blank):>10}  a blank map, to compare with: SSIM rewards emptiness")
    return code


def export(args: argparse.Namespace) -> int:
    """A data set of pairs."""
    from retsynth.export import export as write

    options = {"eye": args.eye, "style_seed": args.style_seed, "layout": args.layout}
    written = write(_pipeline(args), args.out, count=args.count, seed=args.seed, first=args.first, **options)
    print(f"{args.count} pairs in {args.out}, {written} of them written now")
    return 0


# --- files in and out --------------------------------------------------------------------------------------------------------------


def _files(source: Path) -> list[Path]:
    """The image files of a folder, sorted, or the one file."""
    if not source.is_dir():
        return [source]
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if not files:
        raise ValueError(f"{source}: there are no images in this folder")
    return files


def _named(path: Path, read: Callable[[Path], np.ndarray | Tensor]) -> np.ndarray | Tensor:
    """What `read` reads from a file; what it refuses is said with the file's name."""
    try:
        return read(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _jobs(source: Path, out: Path, beside: Path | None = None) -> list[tuple[Path, Path]]:
    """What to read and where to write it: a file to a PNG file or into a folder, a folder into a folder. `beside`: read as well."""
    files = _files(source)
    if source.is_dir() or out.is_dir() or not out.suffix:
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: this is a file; give a folder to write to")
        jobs = [(file, out / f"{file.stem}.png") for file in files]
    elif out.suffix.lower() != ".png":
        raise ValueError(f"{out}: images are written as PNG; call it {out.with_suffix('.png').name}")
    else:
        jobs = [(source, out)]
    written: dict[Path, Path] = {}
    for file, target in jobs:
        if target in written:
            raise ValueError(f"{written[target]} and {file.name} would both become {target.name}; rename one")
        for read in filter(None, (file, beside)):
            if target.exists() and read.exists() and target.samefile(read):
                raise ValueError(f"{read}: the result would overwrite it; write to another place")
        written[target] = file
    return jobs


def _convert(
    args: argparse.Namespace,
    jobs: list[tuple[Path, Path]],
    convert: Callable[[Path, int], Tensor | np.ndarray],
    origin: Callable[[int], dict[str, object]],
) -> int:
    """Convert file after file, counted from 0; a bad one is named on stderr and the others are done all the same."""
    from tqdm import tqdm

    from retsynth.images import write_image

    code = 0
    for index, (source, target) in enumerate(tqdm(jobs, unit="image", disable=None if len(jobs) > 1 and sys.stderr else True)):
        try:
            image = convert(source, index)
        except ValueError as error:
            code = _complain(args, f"{source}: {error}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(target, image, **origin(index))
    return code


def _to_one_size(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two photographs (H, W, 3) uint8 as they are where their sizes agree, else both as squares of 512 px around the field of view."""
    from retsynth.images import read_fundus, to_array

    return (a, b) if a.shape == b.shape else (to_array(read_fundus(a)), to_array(read_fundus(b)))


def _decibels(row: dict) -> str:
    return "equal" if row["psnr"] is None else f"{row['psnr']:.2f}"


def _pipeline(args: argparse.Namespace) -> Pipeline:
    import torch

    from retsynth.pipeline import Pipeline

    try:
        device = args.device and torch.device(args.device)
        torch.zeros(1, device=device or "cpu").item()  # there is none on "meta", and no device but those that are there
    except (RuntimeError, AssertionError):
        raise ValueError(f"--device {args.device}: there is no such device here; leave the option out") from None
    return Pipeline.from_pretrained(args.weights, device)


def _complain(args: argparse.Namespace, text: str, code: int = 2) -> int:
    """One line on stderr, whatever the text holds."""
    print(f"retsynth {args.command}: {' '.join(text.split())}", file=sys.stderr)
    return code


# --- arguments ---------------------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """argparse with one line instead of the usage when something is wrong."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _seed(text: str) -> int:
    return _whole(text, 0, SEEDS - 1)


def _count(text: str) -> int:
    return _whole(text, 1, SEEDS - 1)


def _whole(text: str, low: int, high: int) -> int:
    if not text.strip().isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, got {text!r}")
    return int(text)


def _temperature(text: str) -> float:
    return _number(text, 0, 2)


def _control(text: str) -> float:
    return _number(text, -2, 2)


def _number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"expected a number from {low} to {high}, got {text!r}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="retsynth", description="Synthetic retinal fundus images with their vessel annotations. Not for diagnosis.")
    parser.add_argument("--version", action="version", version=f"retsynth {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")

    def command(run: Callable[[argparse.Namespace], int], summary: str, models: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=summary.split(". ")[0].rstrip("."), description=summary)
        added.set_defaults(run=run)
        if models:
            where = "folder of the weights, or Hugging Face Hub repository, owner/name or owner/name@revision (default: the project's)"
            added.add_argument("--weights", default=WEIGHTS, help=where)
            added.add_argument("--device", help="cpu, cuda, ... (default: cuda where there is one)")
        return added

    style = {"type": _seed, "metavar": "S", "help": "seed of the appearance: colour, light, pigmentation (default: follows --seed)"}
    either = "side of the optic disc in the image (default: any, the seed decides)"
    eye = {"choices": ("any", "left", "right"), "default": "any", "help": either}

    one = command(sample, "Make one eye from a seed: fundus.png, its annotation vessels.png, fov.png (512 px) and large.png (1024 px).")
    one.add_argument("--seed", type=_seed, metavar="N", help="0 to 4294967295 (default: a random one, which is printed)")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    one.add_argument("--style-seed", **style)
    one.add_argument("--eye", **eye)
    one.add_argument("--prior", choices=("flow", "gaussian"), default="flow", help="law of the trees: learned, or the paper's N(0, I)")
    one.add_argument("--temperature", type=_temperature, default=1.0, metavar="T", help="spread of the trees, 0 to 2 (default: 1)")

    drawn = "Paint the fundus image of a vessel map, drawn in any colour on any plain ground, or of a folder of them, each another eye."
    paint = command(translate, drawn)
    paint.add_argument("mask", type=Path, metavar="MASK", help="image file, or folder of image files")
    paint.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="PNG file, or folder")
    looks = paint.add_mutually_exclusive_group()
    looks.add_argument("--style-seed", **style)
    looks.add_argument("--photograph", type=Path, metavar="IMAGE", help="fundus photograph whose appearance to take")
    for name in CONTROLS:
        change = f"change of {name}, in standard deviations over photographs, -2 to 2 (default: 0)"
        paint.add_argument(f"--{name}", type=_control, default=0.0, metavar="X", help=change)
    grain = "seed of grain, choroid and, without --style-seed or --photograph, appearance (default: 0)"
    paint.add_argument("--seed", type=_seed, default=0, metavar="N", help=grain)

    enlarge = command(upscale, "Make an image, or a folder of them, twice as wide and high.")
    enlarge.add_argument("image", type=Path, metavar="IMAGE", help="image file, or folder of image files")
    enlarge.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="PNG file, or folder")

    score = command(
        compare,
        "Print SSIM and PSNR against a reference. SSIM is Wang's (2004). Vessel maps are compared black and white at 512 px, beside a "
        "blank map; photographs as they are or, where sizes differ, at 512 px around the field of view.",
        models=False,
    )
    score.add_argument("reference", type=Path, metavar="REFERENCE", help="image file")
    score.add_argument("image", type=Path, nargs="+", metavar="IMAGE", help="image files, or folders of them")
    score.add_argument("--json", action="store_true", help="print JSON; psnr is null where the images are equal")

    pairs = command(export, "Write a data set of pairs. Run again after an interruption, it goes on where it stopped.")
    pairs.add_argument("--count", type=_count, required=True, metavar="N", help="number of pairs")
    pairs.add_argument("--seed", type=_seed, required=True, metavar="N", help="pair i depends on (seed, i) and the weights alone")
    pairs.add_argument("--first", type=_seed, default=0, metavar="I", help="first pair, where several machines share a run (default: 0)")
    pairs.add_argument("--eye", **eye)
    pairs.add_argument("--style-seed", **style | {"help": "one appearance for all (default: each its own)"})
    layout = (
        "folder: images/, vessels/, fov/ with 0000.png and on; drive: training/ as DRIVE has it; metadata.csv in both (default: folder)"
    )
    pairs.add_argument("--layout", choices=("folder", "drive"), default="folder", help=layout)
    pairs.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    return parser
