"""Data sets on disk: pairs of a fundus image and its vessel annotation, written as they are made.

A layout is a class that knows where the files of pair i lie, whether they are there, and what index file goes with them; another one,
shards say, is another class beside these. Pair i depends on (seed, i) and the weights alone, so an export that was cut short
goes on where it stopped, and machines may share a run, each with its own `first`.
"""

import csv
import hashlib
import io
import os
import sys
from dataclasses import asdict
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from retsynth import __version__
from retsynth.images import COMMENT, is_cut_off, read_metadata, write_bytes, write_image
from retsynth.pipeline import EYES, Pipeline


class FolderLayout:
    """FOLDER/images, FOLDER/vessels and FOLDER/fov with 0000.png and so on in each, and metadata.csv, one row a pair."""

    # in the order of writing: where the image is, the pair is whole
    FILES = {"vessels": "vessels/{:04d}.png", "fov": "fov/{:04d}.png", "images": "images/{:04d}.png"}
    END = 2**32  # pairs below it have a name in this layout

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata = folder / "metadata.csv"
        self.whole: set[int] = set()  # pairs that were looked at already
        for name, other in LAYOUTS.items():
            if other is not type(self) and any((folder / form).parent.exists() for form in other.FILES.values()):
                raise ValueError(f"{folder} holds pairs in the layout {name!r}: take that one, or export to an empty folder")
        if not self.indices() and self.metadata.exists():
            raise self.foreign(self.metadata)
        for path in self.files(0).values():
            path.parent.mkdir(parents=True, exist_ok=True)

    def files(self, index: int) -> dict[str, Path]:
        """The files of pair `index`, in the order of writing."""
        return {part: self.folder / name.format(index) for part, name in self.FILES.items()}

    def indices(self) -> list[int]:
        """The pairs of which a file is there, in order. Raises ValueError where another file lies among them."""
        numbers = set()
        for form in self.FILES.values():
            folder, _, name = form.rpartition("/")
            tail = name.partition("}")[2]
            for path in (self.folder / folder).glob("[!.]*"):
                number = path.name.removesuffix(tail)
                if not number.isdecimal() or path.name != name.format(int(number)):
                    raise self.foreign(path)
                numbers.add(int(number))
        return sorted(numbers)

    def holds(self, index: int, origin: dict[str, object]) -> bool:
        """Whether pair `index` is there, whole, and none of its files cut off. Raises ValueError where one is of another origin, rather
        than mix or overwrite."""
        if index in self.whole:
            return True
        there = [path for path in self.files(index).values() if path.exists()]
        # another version may make another pair of the same seed and weights
        wanted = {"Software": f"retsynth {__version__}", "index": str(index), **{key: str(value) for key, value in origin.items()}}
        for path in there:
            found = read_metadata(path)
            for key, value in wanted.items():
                if found.get(key) != value:
                    raise self.foreign(path, f"its {key} is {found[key]!r}, not {value!r}" if key in found else "")
        if len(there) == len(self.FILES) and not any(is_cut_off(path) for path in there):
            self.whole.add(index)
        return index in self.whole

    def write(self, index: int, pair: dict[str, Tensor], origin: dict[str, object]) -> None:
        """Write the images (1, C, 512, 512) of pair `index`, each file whole or not at all."""
        for part, path in self.files(index).items():
            write_image(path, pair[part], index=index, **origin)

    def finish(self, origin: dict[str, object]) -> None:
        """Write metadata.csv for the whole pairs that are there; nothing where there is none."""
        listed: list[int] = []
        # until nothing is new: another process may have finished meanwhile, and its longer list was overwritten just now
        while (whole := [index for index in self.indices() if self.holds(index, origin)]) != listed:
            self._list(whole, origin)
            listed = whole

    def _list(self, whole: list[int], origin: dict[str, object]) -> None:
        """Write metadata.csv, a row for each of these pairs."""
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        parts = ("images", "vessels", "fov")
        # by these endings the `datasets` library of Hugging Face knows that a column names pictures, and loads the folder
        writer.writerow(["index", *origin, *(f"{part}_file_name" for part in parts), "version", "comment"])
        for index in whole:
            names = (self.FILES[part].format(index) for part in parts)
            writer.writerow([index, *origin.values(), *names, f"retsynth {__version__}", COMMENT])
        write_bytes(self.metadata, table.getvalue().encode())

    @staticmethod
    def foreign(path: Path, differs: str = "") -> ValueError:
        """The refusal of a file that is none of this export's."""
        why = differs or "it is damaged or from elsewhere"
        return ValueError(f"{path} is not of this export: {why}; move it away, or export to an empty folder")


class DriveLayout(FolderLayout):
    """As DRIVE's training half lies on disk, for what reads DRIVE: FOLDER/training with images/00_training.tif,
    1st_manual/00_manual1.gif and mask/00_training_mask.gif and so on; and metadata.csv in FOLDER. The images are of 512 x 512 px, where
    DRIVE's are of 565 x 584, and there is no test half."""

    FILES = {
        "vessels": "training/1st_manual/{:02d}_manual1.gif",
        "fov": "training/mask/{:02d}_training_mask.gif",
        "images": "training/images/{:02d}_training.tif",
    }
    END = 100  # programs that read DRIVE take the first two characters of a name for the number


LAYOUTS = {"folder": FolderLayout, "drive": DriveLayout}


def export(
    pipe: Pipeline,
    folder: str | os.PathLike,
    *,
    count: int,
    seed: int,
    first: int = 0,
    eye: str = "any",
    style_seed: int | None = None,
    layout: str = "folder",
) -> int:
    """Write `count` pairs of the run `seed`, from pair `first` on, to `folder`, with a progress bar; memory does not grow with `count`.

    `eye` puts all discs on the "left" or "right" (default: each on its own side), `style_seed` gives all images one appearance (default:
    each its own). Pairs that the same call and weights wrote there before are kept. An interruption leaves whole files only, and
    metadata.csv lists the pairs that are there, those of other calls with the same options too. Returns the number of pairs written now.

    Raises ValueError for an unknown layout or eye, a count below 1, a first below 0, numbers too large, or a folder with another layout, or
    pairs of another origin, in it, before anything is written.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"the layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}")
    if first < 0:
        raise ValueError(f"first must be 0 or more, got {first}")
    if eye not in EYES:
        raise ValueError(f"eye must be one of {EYES}, got {eye!r}")
    pipe.noise(seed, first + count - 1)  # which refuses what is out of range
    if first + count > LAYOUTS[layout].END:
        raise ValueError(f"the layout {layout!r} has names for pairs 0 to {LAYOUTS[layout].END - 1}, not for {first + count - 1}")
    if style_seed is not None:
        pipe.style(style_seed)
    origin = {"seed": seed, "eye": eye, "style_seed": "own" if style_seed is None else style_seed, "weights": fingerprint(pipe)}
    target = LAYOUTS[layout](Path(folder))
    there = {index for index in target.indices() if target.holds(index, origin)}
    written = 0
    try:
        for index in tqdm(range(first, first + count), desc="pairs", unit="pair", disable=None if sys.stderr else True):
            if index not in there:
                sample = pipe(seed, first=index, eye=eye, style_seed=style_seed, upscale=False)
                if target.holds(index, origin):  # by now: another process exports to this folder
                    continue
                target.write(index, {"images": sample.fundus, "vessels": sample.annotation, "fov": pipe.fov}, origin)
                written += 1
    finally:
        target.finish(origin)
    return written


def fingerprint(pipe: Pipeline) -> str:
    """Twelve hexadecimal digits of the SHA-256 over all weights and configs: which model made an image."""
    digest = hashlib.sha256()
    for model in (pipe.vae, pipe.prior, pipe.denoiser, pipe.pix2pix, pipe.edsr):
        # of a config what differs from the defaults: a new field in it makes no other model
        digest.update(repr(sorted(asdict(model.config).items() - asdict(type(model.config)()).items())).encode())
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
