"""Each command does what its help says; what is wrong is answered with exit code 2 and one line a fault, never a traceback."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retsynth import __version__, cli
from retsynth.cli import main
from retsynth.export import fingerprint
from retsynth.images import COMMENT, read_fundus, read_mask, to_array, to_tensor
from retsynth.metrics import psnr, ssim
from retsynth.pix2pix import CONTROLS

ROOT = Path(__file__).parents[1]
COMMANDS = ("sample", "translate", "upscale", "compare", "export")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tiny_weights, capsys):
    """`run("upscale", path, …)`: exit code, lines of stdout, lines of stderr, with the tiny weights."""

    def run(command: str, *arguments: object) -> tuple[int, list[str], list[str]]:
        models = [] if command in ("compare", "paint") else ["--weights", tiny_weights, "--device", "cpu"]
        try:
            code = main([str(argument) for argument in (command, *models, *arguments)])
        except SystemExit as exit_:  # argparse's own errors
            code = exit_.code
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


@pytest.fixture
def picture(tmp_path, fundus_photograph) -> Path:
    """A 60 x 40 px colour image."""
    path = tmp_path / "picture.png"
    Image.fromarray(fundus_photograph(1)[200:240, 200:260]).save(path)
    return path


@pytest.fixture
def drawing(tmp_path, vessel_tree) -> Path:
    """A vessel map."""
    path = tmp_path / "drawing.png"
    Image.fromarray(vessel_tree(1)).save(path)
    return path


# --- what the commands do ------------------------------------------------------------------------------------------------------------


def test_sample_writes_four_files_that_say_what_they_are(run, tiny_pipeline, tmp_path):
    code, out, err = run("sample", "--seed", 7, "--out", tmp_path / "new" / "eye")
    assert (code, err) == (0, [])
    assert "seed 7" in out[0]
    made = tiny_pipeline(7)
    expected = {"fundus": made.fundus, "vessels": made.annotation, "fov": tiny_pipeline.fov, "large": made.large}
    assert names(tmp_path / "new" / "eye") == {f"{name}.png" for name in expected}
    for name, image in expected.items():
        with Image.open(tmp_path / "new" / "eye" / f"{name}.png") as file:
            assert np.array_equal(np.asarray(file), to_array(image))
            assert file.text["Comment"] == COMMENT
            assert file.text["Software"] == f"retsynth {__version__}"
            assert file.text["seed"] == "7"
            assert file.text["weights"] == fingerprint(tiny_pipeline)


def test_sample_options_reach_the_pipeline(run, tiny_pipeline, tmp_path):
    run("sample", "--seed", 7, "--out", tmp_path, "--prior", "gaussian", "--temperature", 0.5, "--style-seed", 3, "--eye", "left")
    made = tiny_pipeline(7, prior="gaussian", temperature=0.5, style_seed=3)
    assert np.array_equal(pixels(tmp_path / "fundus.png"), to_array(made.fundus))
    for eye in ("left", "right"):
        run("sample", "--seed", 7, "--out", tmp_path, "--eye", eye)
        assert np.array_equal(pixels(tmp_path / "fundus.png"), to_array(tiny_pipeline(7, eye=eye).fundus))


def test_sample_without_a_seed_prints_the_one_it_took(run, tmp_path):
    code, out, _ = run("sample", "--out", tmp_path / "a")
    seed = out[0].split()[1].rstrip(":")
    run("sample", "--out", tmp_path / "b", "--seed", seed)
    assert code == 0
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names(tmp_path / "a"))


def test_translate_a_file(run, drawing, tiny_pipeline, tmp_path):
    code, _, err = run("translate", drawing, "-o", tmp_path / "out" / "fundus.png", "--style-seed", 4, "--seed", 9)
    assert (code, err) == (0, [])
    expected = tiny_pipeline.translate(read_mask(drawing), 4, 9)
    assert np.array_equal(pixels(tmp_path / "out" / "fundus.png"), to_array(expected))
    run("translate", drawing, "-o", tmp_path / "default.png")
    assert np.array_equal(pixels(tmp_path / "default.png"), to_array(tiny_pipeline.translate(read_mask(drawing))))


def test_translate_in_the_appearance_of_a_photograph_and_with_controls(run, drawing, tiny_pipeline, fundus_photograph, tmp_path):
    photograph = tmp_path / "photograph.png"
    Image.fromarray(fundus_photograph(3)).save(photograph)
    assert run("translate", drawing, "-o", tmp_path / "a.png", "--photograph", photograph, "--contrast", -1, "--seed", 9)[0] == 0
    style = tiny_pipeline.adjust(tiny_pipeline.encode_style(read_fundus(photograph)), contrast=-1)
    assert np.array_equal(pixels(tmp_path / "a.png"), to_array(tiny_pipeline.translate(read_mask(drawing), style, 9)))
    assert {"style_seed": "a photograph's", "contrast": "-1.0"}.items() <= Image.open(tmp_path / "a.png").text.items()
    assert run("translate", drawing, "-o", tmp_path / "b.png", "--style-seed", 4, "--brightness", 1.5)[0] == 0
    style = tiny_pipeline.adjust(tiny_pipeline.style(4), brightness=1.5)
    assert np.array_equal(pixels(tmp_path / "b.png"), to_array(tiny_pipeline.translate(read_mask(drawing), style)))
    assert cli.CONTROLS == CONTROLS


def test_each_map_of_a_folder_is_another_eye(run, drawing, tiny_pipeline, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    for name in ("a.png", "b.png"):
        (maps / name).write_bytes(drawing.read_bytes())
    assert run("translate", maps, "-o", tmp_path / "out", "--seed", 9)[0] == 0
    for index, name in enumerate(("a.png", "b.png")):
        expected = tiny_pipeline.translate(read_mask(drawing), seed=9, index=index)
        assert np.array_equal(pixels(tmp_path / "out" / name), to_array(expected))
        assert Image.open(tmp_path / "out" / name).text["index"] == str(index)
    assert not np.array_equal(pixels(tmp_path / "out" / "a.png"), pixels(tmp_path / "out" / "b.png"))


def test_upscale_a_file_into_a_folder(run, picture, tiny_pipeline, tmp_path):
    code, _, err = run("upscale", picture, "-o", tmp_path / "large")
    assert (code, err) == (0, [])
    large = pixels(tmp_path / "large" / "picture.png")
    assert large.shape == (80, 120, 3)
    assert np.array_equal(large, to_array(tiny_pipeline.upscale(to_tensor(pixels(picture)))))


def test_folder_in_folder_out_and_a_bad_file_stops_no_other(run, picture, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.png", "a.PNG"):
        (folder / name).write_bytes(picture.read_bytes())
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden.png").write_text("not looked at")
    code, _, err = run("upscale", folder, "-o", tmp_path / "out")
    assert code == 2
    assert len(err) == 1
    assert "c.jpg: this is not an image" in err[0]
    assert names(tmp_path / "out") == {"a.png", "b.png"}


def test_export(run, tmp_path):
    code, out, err = run("export", "--count", 2, "--seed", 1, "--layout", "folder", "--out", tmp_path / "pairs")
    assert (code, err) == (0, [])
    assert out == [f"2 pairs in {tmp_path / 'pairs'}, 2 of them written now"]
    assert len(names(tmp_path / "pairs")) == 7
    assert run("export", "--count", 2, "--seed", 1, "--out", tmp_path / "pairs")[1][0].endswith("0 of them written now")


# --- compare -------------------------------------------------------------------------------------------------------------------------


def test_compare_photographs(run, fundus_photograph, tmp_path):
    a, b = fundus_photograph(1), fundus_photograph(2)
    for name, image in (("a", a), ("b", b), ("wide", np.pad(b, ((0, 0), (100, 100), (0, 0))))):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    code, out, err = run("compare", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.png", tmp_path / "wide.png")
    assert (code, err) == (0, [])
    assert out[1].split()[:2] == [f"{ssim(a, b):.4f}", f"{psnr(a, b):.2f}"]
    assert out[2].split()[:2] == ["1.0000", "equal"]
    assert "(512 x 512)" in out[3]  # the wide one is cropped around its field of view
    assert float(out[3].split()[0]) == pytest.approx(ssim(a, b), abs=0.05)
    assert not any("blank" in line for line in out)


def test_compare_vessel_maps_beside_a_blank_one(run, vessel_tree, tmp_path):
    a, b = vessel_tree(1), vessel_tree(2)
    Image.fromarray(a).save(tmp_path / "a.png")
    Image.fromarray(~b).save(tmp_path / "b.png")  # dark vessels on white
    code, out, err = run("compare", tmp_path / "a.png", tmp_path / "b.png")
    assert (code, err) == (0, [])
    assert out[1].split()[:2] == [f"{ssim(a, b):.4f}", f"{psnr(a, b):.2f}"]
    assert out[2].split()[0] == f"{ssim(a, np.zeros_like(a)):.4f}"
    assert "blank map" in out[2]


def test_compare_sees_drawings_that_are_transparent_but_for_their_strokes(run, vessel_tree, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        strokes = np.zeros((512, 512, 4), np.uint8)
        strokes[..., 3] = vessel_tree(seed) * 255
        Image.fromarray(strokes).save(tmp_path / f"{name}.png")
    code, out, err = run("compare", tmp_path / "a.png", tmp_path / "b.png")
    assert (code, err) == (0, [])
    assert out[1].split()[0] == f"{ssim(vessel_tree(1), vessel_tree(2)):.4f}"


def test_compare_json(run, vessel_tree, picture, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        Image.fromarray(vessel_tree(seed)).save(tmp_path / f"{name}.png")
    code, out, _ = run("compare", "--json", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.png")
    result = json.loads("\n".join(out))
    assert code == 0
    assert result["reference"] == str(tmp_path / "a.png")
    assert [row["image"] for row in result["images"]] == [str(tmp_path / "b.png"), str(tmp_path / "a.png")]
    assert result["images"][0]["ssim"] == pytest.approx(ssim(vessel_tree(1), vessel_tree(2)), abs=1e-6)
    assert result["images"][1] == {"image": str(tmp_path / "a.png"), "width": 512, "height": 512, "ssim": 1.0, "psnr": None}
    assert result["blank"]["ssim"] == pytest.approx(ssim(vessel_tree(1), np.zeros((512, 512))), abs=1e-6)
    _, out, _ = run("compare", "--json", picture, picture)
    assert json.loads("\n".join(out))["blank"] is None


def test_compare_names_the_bad_image_and_scores_the_others(run, picture, tmp_path):
    (tmp_path / "empty.png").touch()
    code, out, err = run("compare", picture, tmp_path / "empty.png", picture)
    assert code == 2
    assert err == [f"retsynth compare: {tmp_path / 'empty.png'}: the file is empty; choose an image file"]
    assert len(out) == 2
    code, out, err = run("compare", tmp_path / "none.png", picture)
    assert (code, out, err) == (2, [], [f"retsynth compare: {tmp_path / 'none.png'}: there is no such file"])


# --- bad use -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sample"], "--out"),
        (["sample", "--out", "{tmp}", "--seed", "-1"], "from 0 to 4294967295, got '-1'"),
        (["sample", "--out", "{tmp}", "--seed", "4294967296"], "from 0 to 4294967295"),
        (["sample", "--out", "{tmp}", "--seed", "seven"], "got 'seven'"),
        (["sample", "--out", "{tmp}", "--temperature", "hot"], "from 0 to 2, got 'hot'"),
        (["sample", "--out", "{tmp}", "--prior", "uniform"], "uniform"),
        (["sample", "--out", "{tmp}/picture.png"], "picture.png"),
        (["sample", "--out", "{tmp}", "--device", "abacus"], "--device abacus: there is no such device"),
        (["sample", "--out", "{tmp}", "--device", "meta"], "--device meta: there is no such device"),
        (["translate", "/dev/zero", "--out", "{tmp}/x.png"], "this is a device, not an image"),
        (["sample", "--out", "{tmp}", "--weights", "{tmp}"], "no vae.safetensors"),
        (["translate", "{tmp}/picture.png", "-o", "{tmp}/out.png"], "looks like a photograph; upload a black and white vessel map"),
        (["translate", "{tmp}/drawing.png"], "-o"),
        (
            ["translate", "{tmp}/drawing.png", "-o", "{tmp}/x.png", "--photograph", "{tmp}/missing.png"],
            "missing.png: there is no such file",
        ),
        (["translate", "{tmp}/drawing.png", "-o", "{tmp}/x.png", "--contrast", "3"], "a number from -2 to 2, got '3'"),
        (["translate", "{tmp}/drawing.png", "-o", "{tmp}/x.png", "--photograph", "{tmp}/picture.png", "--style-seed", "1"], "not allowed"),
        (["translate", "{tmp}/missing.png", "-o", "{tmp}/out.png"], "missing.png: there is no such file"),
        (["translate", "{tmp}/drawing.png", "-o", "{tmp}/out.jpg"], "call it out.png"),
        (["translate", "{tmp}/drawing.png", "-o", "{tmp}/drawing.png"], "would overwrite"),
        (["translate", "{tmp}/drawing.png", "-o", "{tmp}"], "would overwrite"),
        (
            ["translate", "{tmp}/drawing.png", "-o", "{tmp}/picture.png", "--photograph", "{tmp}/picture.png"],
            "picture.png: the result would",
        ),
        (["upscale", "{tmp}", "-o", "{tmp}"], "would overwrite"),
        (["upscale", "{tmp}", "-o", "{tmp}/picture.png"], "give a folder"),
        (["upscale", "{tmp}/none", "-o", "{tmp}/out"], "no images in this folder"),
        (["upscale", "{tmp}/twins", "-o", "{tmp}/out"], "a.bmp and a.png would both become a.png"),
        (["upscale", "{tmp}/large.png", "-o", "{tmp}/out"], "too large; shrink it to 12.5 megapixels"),
        (["compare", "{tmp}/picture.png"], "IMAGE"),
        (["compare", "{tmp}/notes.txt", "{tmp}/picture.png"], "notes.txt: this is not an image"),
        (["compare", "{tmp}/drawing.png", "{tmp}/picture.png"], "picture.png: this looks like a photograph"),
        (["export", "--count", "0", "--seed", "1", "--out", "{tmp}/new"], "from 1 to"),
        (["export", "--count", "1", "--seed", "1", "--out", "{tmp}/new", "--layout", "tape"], "tape"),
        (["export", "--count", "1", "--seed", "1", "--out", "{tmp}/twins"], "empty folder"),
        (["paint"], "paint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_use_is_exit_code_2_and_one_line(run, picture, drawing, tmp_path, arguments, sentence):
    (tmp_path / "none").mkdir()
    (tmp_path / "twins").mkdir()
    for name in ("a.png", "a.bmp"):
        Image.open(picture).save(tmp_path / "twins" / name)
    (tmp_path / "twins" / "metadata.csv").write_text("somebody else's")
    (tmp_path / "notes.txt").write_text("some notes")
    Image.new("1", (5000, 4000)).save(tmp_path / "large.png")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    code, _, err = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith("retsynth")
    assert sentence in err[0]
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_nothing_is_overwritten_through_a_link(run, drawing, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "drawing.png").symlink_to(drawing)
    before = drawing.read_bytes()
    code, _, err = run("translate", drawing, "-o", tmp_path / "out")
    assert code == 2
    assert "would overwrite" in err[0]
    assert drawing.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(run, command):
    code, out, err = run(command, "--help")
    text = " ".join(out)
    assert (code, err) == (0, [])
    assert f"retsynth {command}" in text
    documented = {"sample": "--seed", "translate": "--style-seed", "upscale": "--weights", "compare": "--json", "export": "--layout"}
    assert documented[command] in text


# --- the process ---------------------------------------------------------------------------------------------------------------------


def test_help_and_mistakes_do_not_load_torch():
    code = (
        "import sys; from retsynth.cli import main\n"
        "for arguments in (['--help'], ['export', '--help'], ['sample', '--seed', 'x']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
        "print('loaded:', [name for name in ('torch', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "loaded: []" in done.stdout


def test_module_lists_its_commands():
    done = subprocess.run([sys.executable, "-m", "retsynth", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert "Not for diagnosis" in " ".join(done.stdout.split())


ENDS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 143, "terminated")]


@pytest.mark.parametrize(("sign", "code", "says"), ENDS)
def test_interrupt_ends_cleanly(tiny_weights, tmp_path, sign, code, says):
    command = [sys.executable, "-m", "retsynth", "export", "--count", "10000", "--seed", "1", "--out", tmp_path, "--weights", tiny_weights]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heard = partial(signal.signal, sign, signal.SIG_DFL)  # what a shell starts in the background does not hear SIGINT
    process = subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, preexec_fn=heard, **pipes)
    deadline = time.monotonic() + 120
    while not (tmp_path / "images" / "0000.png").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sign)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert err.strip() == f"retsynth export: {says}"
    assert not list(tmp_path.rglob("*.partial"))
    assert (tmp_path / "metadata.csv").exists()
