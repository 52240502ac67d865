"""A data set on disk: whole files, the same bytes whatever happened on the way, and nothing of anyone else's touched."""

import csv
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retsynth.edsr import EDSR
from retsynth.export import FolderLayout, export, fingerprint
from retsynth.images import COMMENT, to_array
from retsynth.pipeline import Pipeline
from train.data import read_drive


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metadata.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def exported(tiny_pipeline, tmp_path_factory) -> Path:
    """Three pairs of the run 5."""
    folder = tmp_path_factory.mktemp("export") / "deep" / "pairs"
    assert export(tiny_pipeline, folder, count=3, seed=5) == 3
    return folder


def test_folder_layout(exported, tiny_pipeline):
    names = {f"{part}/{index:04d}.png" for part in ("images", "vessels", "fov") for index in range(3)}
    assert set(contents(exported)) == names | {"metadata.csv"}
    for index, row in enumerate(rows(exported)):
        assert row["index"] == str(index)
        assert row["seed"] == "5"
        assert row["style_seed"] == "own"
        assert row["weights"] == fingerprint(tiny_pipeline)
        assert row["version"].startswith("retsynth ")
        assert row["comment"] == COMMENT
        assert {row["images_file_name"], row["vessels_file_name"], row["fov_file_name"]} <= names


def test_pair_is_what_the_pipeline_makes(exported, tiny_pipeline):
    sample = tiny_pipeline(5, first=2, upscale=False)
    expected = {"images": sample.fundus, "vessels": sample.annotation, "fov": tiny_pipeline.fov}
    for part, image in expected.items():
        with Image.open(exported / part / "0002.png") as file:
            assert np.array_equal(np.asarray(file), to_array(image))
            assert file.text["seed"] == "5"
            assert file.text["index"] == "2"
            assert file.text["weights"] == fingerprint(tiny_pipeline)
            assert file.text["Comment"] == COMMENT
    assert set(np.unique(np.asarray(Image.open(exported / "vessels/0002.png")))) == {0, 255}


class Stopping:
    """A pipeline that is interrupted when asked for its n-th image."""

    def __init__(self, pipe: Pipeline, calls: int) -> None:
        self.pipe, self.calls, self.asked = pipe, calls, []

    def __getattr__(self, name: str):
        return getattr(self.pipe, name)

    def __call__(self, seed: int, **options):
        self.asked.append(options["first"])
        if len(self.asked) > self.calls:
            raise KeyboardInterrupt
        return self.pipe(seed, **options)


def test_interrupted_export_goes_on_to_the_same_bytes(exported, tiny_pipeline, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        export(Stopping(tiny_pipeline, 2), tmp_path, count=3, seed=5)
    assert [row["index"] for row in rows(tmp_path)] == ["0", "1"]
    (tmp_path / "images" / "0001.png").unlink()  # as if killed between two files of a pair
    again = Stopping(tiny_pipeline, 99)
    assert export(again, tmp_path, count=3, seed=5) == 2
    assert again.asked == [1, 2]  # pair 0 is kept
    (tmp_path / "fov" / "0001.png").unlink()
    assert export(tiny_pipeline, tmp_path, count=3, seed=5) == 1
    assert contents(tmp_path) == contents(exported)


def test_interrupted_before_the_first_pair_there_is_no_list(tiny_pipeline, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        export(Stopping(tiny_pipeline, 0), tmp_path, count=3, seed=5)
    assert contents(tmp_path) == {}


def test_more_pairs_of_the_same_run_are_added(exported, tiny_pipeline, tmp_path):
    export(tiny_pipeline, tmp_path, count=1, seed=5)
    assert export(tiny_pipeline, tmp_path, count=3, seed=5) == 2
    assert export(tiny_pipeline, tmp_path, count=2, seed=5) == 0
    assert contents(tmp_path) == contents(exported)  # the list still names all that are there


def test_the_layout_of_drive_is_read_as_drive_and_holds_the_same_pairs(exported, tiny_pipeline, tmp_path):
    assert export(tiny_pipeline, tmp_path, count=3, seed=5, layout="drive") == 3
    assert export(tiny_pipeline, tmp_path, count=3, seed=5, layout="drive") == 0, "TIFF files know where they come from as well"
    drive = read_drive(tmp_path, "training")
    assert drive.names == ["00", "01", "02"]
    for index, pair in enumerate(zip(drive.fundus, drive.vessels, drive.fov, strict=True)):
        for part, read in zip(("images", "vessels", "fov"), pair, strict=True):
            with Image.open(exported / part / f"{index:04d}.png") as expected:
                assert np.array_equal(np.asarray(expected), to_array(read)), part
    row = rows(tmp_path)[2]
    with Image.open(tmp_path / row["images_file_name"]) as image, Image.open(tmp_path / row["vessels_file_name"]) as vessels:
        assert set(np.unique(np.asarray(vessels))) == {0, 255}, "as in DRIVE's own files, to who reads them without a palette too"
        for text in (image.tag_v2[270], vessels.info["comment"]):
            assert json.loads(text)["Comment"] == COMMENT and json.loads(text)["index"] == "2"
    with pytest.raises(ValueError, match="empty folder"):
        export(tiny_pipeline, tmp_path, count=3, seed=6, layout="drive")


def test_machines_share_a_run_by_their_first_pairs(exported, tiny_pipeline, tmp_path):
    assert export(tiny_pipeline, tmp_path / "second", count=2, seed=5, first=1) == 2
    assert [row["index"] for row in rows(tmp_path / "second")] == ["1", "2"]
    assert export(tiny_pipeline, tmp_path / "second", count=2, seed=5, first=1) == 0
    for name, content in contents(tmp_path / "second").items():
        assert name == "metadata.csv" or content == contents(exported)[name]
    assert export(tiny_pipeline, tmp_path / "second", count=1, seed=5) == 1
    assert contents(tmp_path / "second") == contents(exported)


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    code = "import sys; from retsynth.images import write_bytes\nfor _ in range(300): write_bytes(sys.argv[1], b'x' * 1000)"
    command = [sys.executable, "-c", code, str(tmp_path / "metadata.csv")]
    writers = [subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE) for _ in range(2)]
    assert [writer.communicate(timeout=120)[1] for writer in writers] == [b"", b""]
    assert contents(tmp_path) == {"metadata.csv": b"x" * 1000}


def test_failed_write_leaves_no_half_file(tiny_pipeline, tmp_path, monkeypatch):
    write, written = Path.write_bytes, []

    def fill_the_disk(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 6:  # the image of the second pair
            write(path, content[:100])
            raise OSError(28, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill_the_disk)
        with pytest.raises(OSError, match="No space"):
            export(tiny_pipeline, tmp_path, count=3, seed=5)
    assert [row["index"] for row in rows(tmp_path)] == ["0"]
    for name, content in contents(tmp_path).items():
        assert name.endswith((".png", "metadata.csv"))
        if name.endswith(".png"):
            assert content.endswith(b"IEND\xaeB`\x82")


def test_killed_export_leaves_whole_files_and_is_finished_later(exported, tiny_pipeline, tiny_weights, tmp_path):
    code = (
        "import sys; from retsynth.export import export; from retsynth.pipeline import Pipeline;"
        "export(Pipeline.from_pretrained(sys.argv[1], 'cpu'), sys.argv[2], count=10_000, seed=5)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tiny_weights, tmp_path], cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 120
    while not (tmp_path / "images" / "0000.png").exists():
        assert process.poll() is None, "the export ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in tmp_path.rglob("[0-9]*.png"):
        with Image.open(path) as image:
            image.load()
    for partial in tmp_path.rglob(".*.partial"):
        partial.unlink()
    export(tiny_pipeline, tmp_path, count=3, seed=5)
    made = contents(tmp_path)
    assert {name: made[name] for name in contents(exported) if name.endswith(".png")} == {
        name: content for name, content in contents(exported).items() if name.endswith(".png")
    }


def test_another_seed_style_or_version_or_other_weights_do_not_mix(exported, tiny_pipeline, tmp_path, monkeypatch):
    before = contents(exported)
    other = Stopping(tiny_pipeline, 99)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="empty folder"):
        patch.setattr("retsynth.export.__version__", "0.0.0")
        export(other, exported, count=3, seed=5)
    with pytest.raises(ValueError, match="empty folder"):
        export(other, exported, count=3, seed=6)
    with pytest.raises(ValueError, match="empty folder"):
        export(other, exported, count=3, seed=5, style_seed=1)
    with pytest.raises(ValueError, match="empty folder"):
        export(other, exported, count=3, seed=5, eye="left")
    other.edsr = EDSR(tiny_pipeline.edsr.config)
    with pytest.raises(ValueError, match="empty folder"):
        export(other, exported, count=3, seed=5)
    assert not other.asked
    assert contents(exported) == before

    (tmp_path / "metadata.csv").write_text("my own list")
    with pytest.raises(ValueError, match="empty folder"):
        export(tiny_pipeline, tmp_path, count=1, seed=5)
    assert contents(tmp_path) == {"metadata.csv": b"my own list"}

    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0000.png").write_bytes(b"my own image")
    with pytest.raises(ValueError, match="empty folder"):
        export(tiny_pipeline, tmp_path, count=1, seed=5)
    assert contents(tmp_path) == {"images/0000.png": b"my own image"}


@pytest.mark.parametrize("name", ["vessels/0001.png", "fov/0000.png", "images/cat.jpg", "images/1.png", "images/0000.tif"])
@pytest.mark.parametrize("layout", ["folder", "drive"])
def test_what_lies_in_the_folders_already_is_neither_overwritten_nor_mixed_with(tiny_pipeline, tmp_path, name, layout):
    if layout == "drive":
        name = {"vessels/0001.png": "training/1st_manual/01_manual1.gif", "fov/0000.png": "training/mask/00_training_mask.gif"}.get(
            name, f"training/{name}"
        )
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    Image.new("L", (512, 512)).save(path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="empty folder"):
        export(tiny_pipeline, tmp_path, count=2, seed=5, layout=layout)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("layout", ["folder", "drive"])
def test_a_file_that_was_cut_off_is_made_anew(tiny_pipeline, tmp_path, layout):
    export(tiny_pipeline, tmp_path, count=2, seed=5, layout=layout)
    before = contents(tmp_path)
    for name in before:
        if name.endswith((".png", ".gif")):
            (tmp_path / name).write_bytes(before[name][:-1])
            assert export(tiny_pipeline, tmp_path, count=2, seed=5, layout=layout) == 1
            assert (tmp_path / name).read_bytes() == before[name]


def test_a_refusal_names_the_file_and_what_differs(exported, tiny_pipeline, tmp_path):
    with pytest.raises(ValueError, match=r"0000.png is not of this export: its seed is '5', not '6'; move it away"):
        export(tiny_pipeline, exported, count=3, seed=6)
    shutil.copytree(exported, tmp_path / "pairs")
    for content in (b"", contents(exported)["images/0001.png"][:200]):
        (tmp_path / "pairs" / "images" / "0001.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"images.0001.png is not of this export: it is damaged or from elsewhere"):
            export(tiny_pipeline, tmp_path / "pairs", count=3, seed=5)


def test_without_a_terminal_at_all_there_is_no_bar(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as where a daemon has closed it
    assert export(tiny_pipeline, tmp_path, count=1, seed=5) == 1


def test_hidden_files_do_no_harm(exported, tiny_pipeline, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / ".DS_Store").write_bytes(b"x")
    assert export(tiny_pipeline, tmp_path, count=3, seed=5) == 3
    (tmp_path / "images" / ".DS_Store").unlink()
    assert contents(tmp_path) == contents(exported)


def test_one_style_for_all(tiny_pipeline, tmp_path):
    export(tiny_pipeline, tmp_path, count=2, seed=5, eye="left", style_seed=3)
    assert [row["eye"] for row in rows(tmp_path)] == ["left", "left"]
    assert [row["style_seed"] for row in rows(tmp_path)] == ["3", "3"]
    sample = tiny_pipeline(5, first=1, eye="left", style_seed=3, upscale=False)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "images/0001.png")), to_array(sample.fundus))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layout": "tape"}, "layout must be one of folder"),
        ({"eye": "third"}, "eye must be one of"),
        ({"count": 0}, "1 or more"),
        ({"first": -1}, "0 or more"),
        ({"first": 2**32 - 1, "count": 2}, "an index is a whole number from 0 to 4294967295"),
        ({"first": 99, "count": 2, "layout": "drive"}, "names for pairs 0 to 99, not for 100"),
        ({"seed": -1}, "a seed is a whole number"),
        ({"style_seed": 2**32}, "a seed is a whole number"),
    ],
)
def test_bad_options(tiny_pipeline, tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        export(tiny_pipeline, tmp_path / "new", **({"count": 1, "seed": 5} | options))
    assert not (tmp_path / "new").exists()


def test_fingerprint_knows_every_weight(tiny_weights, tiny_pipeline):
    pipe = Pipeline.from_pretrained(tiny_weights, device="cpu")
    assert fingerprint(pipe) == fingerprint(tiny_pipeline)
    for model in (pipe.vae, pipe.prior, pipe.denoiser, pipe.pix2pix, pipe.edsr):
        tensor = list(model.state_dict().values())[-1].view(-1)
        before, kept = fingerprint(pipe), tensor[0].clone()
        tensor[0] += 1
        assert fingerprint(pipe) != before
        tensor[0] = kept
        assert fingerprint(pipe) == before
    pipe.prior.config = dataclasses.replace(pipe.prior.config, gain=1.1)  # another tree for the same seed
    assert fingerprint(pipe) != before


def test_a_new_option_with_a_default_makes_no_other_weights(tiny_weights, tiny_pipeline):
    pipe = Pipeline.from_pretrained(tiny_weights, device="cpu")
    wider = dataclasses.make_dataclass("Wider", [("novel", int, 3)], bases=(type(pipe.edsr.config),), frozen=True)
    pipe.edsr.config = wider(**dataclasses.asdict(pipe.edsr.config))
    assert fingerprint(pipe) == fingerprint(tiny_pipeline)
    pipe.edsr.config = dataclasses.replace(pipe.edsr.config, novel=4)
    assert fingerprint(pipe) != fingerprint(tiny_pipeline)


def test_a_pair_that_comes_while_the_list_is_written_is_in_it(tiny_pipeline, tmp_path, monkeypatch):
    export(tiny_pipeline, tmp_path, count=1, seed=5)
    write, others = FolderLayout._list, [1]

    def slow(self, whole, origin):  # meanwhile the other process writes a pair and a list, which this one's replaces
        if others:
            export(tiny_pipeline, tmp_path, count=1, seed=5, first=others.pop())
        write(self, whole, origin)

    monkeypatch.setattr(FolderLayout, "_list", slow)
    export(tiny_pipeline, tmp_path, count=1, seed=5)
    assert [row["index"] for row in rows(tmp_path)] == ["0", "1"]


def test_a_pairs_file_under_another_number_is_not_that_pair(exported, tiny_pipeline, tmp_path):
    shutil.copytree(exported, tmp_path / "pairs")
    shutil.copy(tmp_path / "pairs/vessels/0001.png", tmp_path / "pairs/vessels/0000.png")
    with pytest.raises(ValueError, match=r"vessels.0000.png is not of this export: its index is '1', not '0'"):
        export(tiny_pipeline, tmp_path / "pairs", count=3, seed=5)


def test_another_process_with_another_seed_in_the_same_folder_is_noticed(tiny_pipeline, tmp_path, monkeypatch):
    make = Pipeline.__call__

    def slow(self, seed, **options):  # meanwhile the other one writes the pair
        if seed == 5:
            export(tiny_pipeline, tmp_path, count=1, seed=6)
        return make(self, seed, **options)

    monkeypatch.setattr(Pipeline, "__call__", slow)
    with pytest.raises(ValueError, match="its seed is '6', not '5'"):
        export(tiny_pipeline, tmp_path, count=1, seed=5)
    assert {row["seed"] for row in rows(tmp_path)} == {"6"}


@pytest.mark.parametrize(("one", "other"), [("folder", "drive"), ("drive", "folder")])
def test_two_layouts_do_not_mix(tiny_pipeline, tmp_path, one, other):
    export(tiny_pipeline, tmp_path, count=1, seed=5, layout=one)
    (tmp_path / "metadata.csv").unlink()  # as a kill leaves it
    with pytest.raises(ValueError, match=f"holds pairs in the layout '{one}'"):
        export(tiny_pipeline, tmp_path, count=1, seed=5, layout=other)
