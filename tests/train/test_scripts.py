import importlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from retsynth import checkpoint
from retsynth.pix2pix import Pix2Pix
from tests.train import tiny
from train import pix2pix, vae
from train.loop import parse

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def python(*arguments: object) -> subprocess.CompletedProcess:
    """Run Python in the repository's root with one thread, as the tests themselves do: sums then come out the same to the last bit."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True)


def weights(folder: Path, script: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{script}.safetensors")


def logged_steps(folder: Path, script: str) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / f"{script}.run" / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("script", tiny.OPTIONS)
def test_help_says_what_each_option_is(monkeypatch, capsys, script):
    module = importlib.import_module(f"train.{script}")
    monkeypatch.setattr("sys.argv", [script, "--help"])
    with pytest.raises(SystemExit):
        parse(module.Config, module.__doc__)
    options = capsys.readouterr().out.partition("\noptions:\n")[2]
    said = {flag: " ".join(text.split()) for flag, text in re.findall(r"^  --([a-z0-9-]+) [A-Z0-9_]+((?:.|\n(?!  -))*)", options, re.M)}
    assert {field.name.replace("_", "-") for field in fields(module.Config)} == set(said)
    for field in fields(module.Config):
        text, _, default = said[field.name.replace("_", "-")].partition(" (default: ")
        assert text, field.name
        assert field.default is MISSING or default == f"{field.default if field.default != '' else 'none'})"


@pytest.fixture(scope="module")
def unbroken(tiny_drive, tmp_path_factory):
    """A folder with the result of every script, run from start to end."""
    folder = tmp_path_factory.mktemp("unbroken")
    for script in tiny.OPTIONS:
        tiny.train(script, tiny_drive, folder, models=folder)
    return folder


@pytest.mark.parametrize("script", tiny.OPTIONS)
def test_a_run_leaves_weights_options_log_and_samples(unbroken, script):
    folder = unbroken / f"{script}.run"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(tiny.STEPS))
    assert all(torch.isfinite(torch.tensor(list(line.values()))).all() for line in lines)
    assert json.loads((folder / "options.json").read_text())["steps"] == tiny.STEPS
    assert {image.name[:6] for image in (folder / "samples").iterdir()} == {"000002", "000004"}
    assert all(tensor.isfinite().all() for tensor in weights(unbroken, script).values())


@pytest.mark.parametrize("script", tiny.OPTIONS)
def test_a_killed_run_goes_on_to_the_same_weights(unbroken, tiny_drive, tmp_path, script):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in tiny.options(script, tiny_drive, tmp_path, models=unbroken).items()]
    killed = python(HERE / "killed.py", tiny.KILLED_AT[script], script, *flags)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert logged_steps(tmp_path, script) == [0, 1, 2]  # killed in the fourth step, one after the checkpoint
    tiny.train(script, tiny_drive, tmp_path, models=unbroken)
    assert logged_steps(tmp_path, script) == list(range(tiny.STEPS))
    expected, resumed = weights(unbroken, script), weights(tmp_path, script)
    assert expected.keys() == resumed.keys()
    assert [name for name in expected if not torch.equal(expected[name], resumed[name])] == []


def test_two_processes_train_every_script_in_step(unbroken, tiny_drive, tmp_path):
    run = python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", HERE / "two_processes.py", tiny_drive, tmp_path)
    assert run.returncode == 0, run.stderr
    for script in tiny.OPTIONS:
        assert logged_steps(tmp_path, script) == list(range(tiny.STEPS))  # written by one process only
        one, two = weights(unbroken, script), weights(tmp_path, script)
        assert any(not torch.equal(one[name], two[name]) for name in one)  # the second process brought batches of its own


def test_with_noise_in_the_latent_the_decoder_alone_learns(unbroken, tiny_drive, tmp_path):
    start = unbroken / "vae.safetensors"
    flags = tiny.options("vae", tiny_drive, tmp_path, models=unbroken) | {"start": str(start), "noise": 0.6}
    vae.main(vae.Config(**flags))
    before, after = load_file(start), weights(tmp_path, "vae")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}


def test_while_the_discriminators_learn_alone_the_translation_stays_as_it_was(unbroken, tiny_drive, tmp_path):
    of_seven = checkpoint.load(Pix2Pix, unbroken / "pix2pix.safetensors")  # photographs; here there are four
    of_seven.config, of_seven.style_codes = replace(of_seven.config, looks=7), torch.zeros(7, of_seven.config.style_channels)
    start = tmp_path / "start.safetensors"
    checkpoint.save(of_seven, start)
    flags = tiny.options("pix2pix", tiny_drive, tmp_path, models=unbroken) | {"start": str(start), "warm": 3, "steps": 4}
    state = tmp_path / "pix2pix.run" / "state.safetensors"
    pix2pix.main(pix2pix.Config(**flags | {"steps": 3}))
    warm, law = load_file(state), {"style_codes", "style_factor", "style_controls"}
    before, after = load_file(start), {name.removeprefix("model/"): x for name, x in warm.items() if name.startswith("model/")}
    assert {name for name in before if not torch.equal(before[name], after[name])} <= law
    assert len(after["style_codes"]) == 4
    pix2pix.main(pix2pix.Config(**flags))
    after = load_file(state)
    assert warm["judge/0/step"] == 3 and not any(name.startswith("optimiser/") for name in warm)
    assert not torch.equal(after["model/to_rgb.weight"], before["to_rgb.weight"])
