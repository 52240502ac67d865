import json
from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim import Adam

from retsynth import checkpoint
from retsynth.edsr import EDSR, EDSRConfig
from tests.networks import noise, seeded
from train import loop
from train.loop import EMA, Run, parse, random_numbers

TINY = EDSRConfig(width=8, blocks=1)


@dataclass(frozen=True)
class Config:
    data: str
    out: str = "model.safetensors"
    steps: int = 6
    lr: float = 0.1
    seed: int = 3
    log_every: int = 2
    save_every: int = 2
    sample_every: int = 4


@pytest.fixture
def config(tmp_path):
    return Config(data="", out=str(tmp_path / "model.safetensors"))


def train(config, stop=None):
    """A few steps of a regression on random numbers; `stop` leaves the loop in the middle of that step, as a kill would."""
    run = Run(config)
    torch.manual_seed(config.seed)
    model = nn.Linear(4, 2)
    optimiser = Adam(model.parameters(), config.lr)
    run.restore(model=model, optimiser=optimiser)
    for step, generator in run.steps():
        x = torch.randn(8, 4, generator=generator)
        loss = (model(x) - x[:, :2]).square().mean()
        run.update(optimiser, loss)
        run.log(loss=loss)
        if step == stop:
            break
    return run, model, optimiser


def test_flags_are_the_fields_of_the_config(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["train", "--data", str(tmp_path), "--save-every", "7", "--lr", "1e-3"])
    assert parse(Config) == Config(data=str(tmp_path), save_every=7, lr=1e-3)


@pytest.mark.parametrize(
    "flags, complaint",
    [
        ([], "--data"),
        (["--data", ".", "--steps", "many"], "--steps"),
        (["--data", ".", "--no", "1"], "--no"),
        (["--data", "away"], "--data: there is no away"),
    ],
)
def test_bad_flags_are_named(monkeypatch, capsys, flags, complaint):
    monkeypatch.setattr("sys.argv", ["train", *flags])
    with pytest.raises(SystemExit) as stop:
        parse(Config)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_options_are_saved_beside_the_run(config, tmp_path):
    Run(config)
    assert json.loads((tmp_path / "model.run" / "options.json").read_text()) == {**vars(config)}


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_an_interrupted_run_ends_like_an_unbroken_one(tmp_path, stop):
    _, whole, _ = train(Config("", str(tmp_path / "whole.safetensors")))
    broken = Config("", str(tmp_path / "broken.safetensors"))
    train(broken, stop)
    run, resumed, _ = train(broken)
    assert run.step == 6
    assert torch.equal(whole.weight, resumed.weight)


def test_a_resumed_run_counts_the_time_before_it(config):
    first, again = Run(config), Run(config)
    first.restore(model=nn.Linear(1, 1))
    first.step, first.seconds = 2, 90.0
    first.save()
    again.restore(model=nn.Linear(1, 1))
    assert (again.step, again.seconds) == (2, 90.0)


def test_a_finished_run_goes_on_when_asked_for_more_steps(tmp_path):
    long, short = Config("", str(tmp_path / "long.safetensors"), steps=9), Config("", str(tmp_path / "short.safetensors"), steps=5)
    _, whole, _ = train(long)
    train(short)
    _, extended, _ = train(Config("", short.out, steps=9))
    assert torch.equal(whole.weight, extended.weight)


def test_a_run_leaves_the_checkpoint_of_another_alone(tmp_path):
    mine = Config("", str(tmp_path / "model.safetensors"))
    train(mine, 2)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model.run").glob("*.*")}
    with pytest.raises(ValueError, match="holds a run with seed 3, not 1: remove it"):
        Run(replace(mine, seed=1))
    assert {path.name: path.read_bytes() for path in (tmp_path / "model.run").glob("*.*")} == before


def test_a_run_knows_the_weights_that_it_learned_from_by_their_content(tmp_path):
    @dataclass(frozen=True)
    class Warm(Config):
        start: str = ""

    checkpoint.save(seeded(EDSR(TINY)), tmp_path / "start.safetensors")
    mine = Warm("", str(tmp_path / "model.safetensors"), start=str(tmp_path / "start.safetensors"))
    train(mine, 2)
    Run(mine)
    checkpoint.save(seeded(EDSR(TINY), 1), tmp_path / "start.safetensors")
    with pytest.raises(ValueError, match="holds a run with start file"):
        Run(mine)


def test_a_finished_run_whose_weights_are_gone_says_so(config):
    train(config)
    with pytest.raises(ValueError, match="is gone: remove the folder"):
        train(config)


def test_a_kill_while_saving_leaves_the_previous_checkpoint(config, monkeypatch):
    train(config, stop=3)
    state = (Run(config).folder / "state.safetensors").read_bytes()

    def write_half(tensors, path, metadata):
        path.write_bytes(state[:50])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "save_file", write_half)
        train(config)
    assert (Run(config).folder / "state.safetensors").read_bytes() == state
    run, _, _ = train(config)
    assert run.step == 6


def test_random_numbers_depend_on_seed_step_and_rank(tmp_path, monkeypatch):
    def draws(seed, rank):
        monkeypatch.setenv("RANK", str(rank))
        run = Run(Config("", str(tmp_path / "model.safetensors"), seed=seed, save_every=100))
        run.save = lambda: None
        return [torch.randn(1, generator=generator).item() for _, generator in run.steps()]

    (tmp_path / "model.run").mkdir()
    assert draws(0, 0) == draws(0, 0)
    everything = draws(0, 0) + draws(0, 1) + draws(1, 0)
    assert len(set(everything)) == len(everything)


def test_update_warms_up_clips_and_winds_down(config):
    run = Run(replace(config, steps=1000))
    weight = nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.SGD([weight], 0.5)
    run.step = 9
    run.update(optimiser, (weight * torch.tensor([3.0, 4.0, 0.0])).sum(), clip=1.0)
    # gradient (3, 4, 0) has norm 5; at the tenth of 100 warm-up steps the rate is a tenth
    torch.testing.assert_close(weight.data, -0.05 * torch.tensor([0.6, 0.8, 0.0]))
    run.step = 500
    run.update(optimiser, weight.sum())
    assert optimiser.param_groups[0]["lr"] == 0.5
    run.step = 950  # halfway through the last fifth
    run.update(optimiser, weight.sum())
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.125)


def test_log_lines(config):
    run, _, _ = train(config)
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4]
    assert all(line.keys() == {"step", "seconds", "loss"} for line in lines)


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5])
def test_after_a_kill_the_log_has_each_step_once(config, stop):
    config = replace(config, log_every=1)
    run, _, _ = train(config, stop)
    log = run.folder / "log.jsonl"
    log.write_text(log.read_text()[:-9])  # killed while it wrote its last line
    train(config)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(6))


def test_sample_grids_and_when_they_are_due(config):
    run = Run(config)
    due = []
    for step, _ in run.steps():
        if run.due():
            due.append(step)
            run.grid(torch.rand(4, 3, 8, 8), columns=2)
    assert due == [3, 5]
    images = sorted((run.folder / "samples").iterdir())
    assert [image.name for image in images] == ["000004.png", "000006.png"]
    assert Image.open(images[0]).size == (2 * 8 + 3 * 2, 2 * 8 + 3 * 2)


def test_notes_count_the_step_in_progress(config):
    run = Run(config)
    for step, _ in run.steps():
        if run.due():
            assert run.notes()["steps"] == step + 1
    assert run.notes()["processes"] == 1


def test_ema_follows_its_equation():
    model = seeded(EDSR(TINY))
    ema = EMA(model, decay=0.9)
    assert all(torch.equal(a, b) for a, b in zip(ema.model.state_dict().values(), model.state_dict().values(), strict=True))
    expected = model.head.bias.clone()
    for step in range(200):
        model.head.bias.data = noise(8, seed=step)
        ema.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.head.bias
    torch.testing.assert_close(ema.model.head.bias, expected)
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_what_is_kept_in_the_run_folder_belongs_to_its_sources(config, tmp_path):
    run, weights = Run(config), tmp_path / "vae.safetensors"
    weights.write_bytes(b"first")
    made = iter(range(9))

    def once(run, size):
        return int(run.once("bank", lambda: {"x": torch.tensor(next(made))}, weights, size=size)["x"])

    assert once(run, 512) == once(Run(config), 512) == 0
    assert once(run, 256) == 1
    weights.write_bytes(b"second")
    assert once(run, 512) == 2 and len(list(run.folder.glob("bank-*.safetensors"))) == 3


def test_a_kill_while_keeping_leaves_nothing_that_is_taken_for_whole(config, monkeypatch):
    def write_half(tensors, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "save_file", write_half)
        Run(config).once("bank", lambda: {"x": torch.zeros(1)})
    assert Run(config).once("bank", lambda: {"x": torch.ones(1)})["x"] == 1


def test_notes_count_what_came_before_the_start(config, tmp_path):
    @dataclass(frozen=True)
    class Warm(Config):
        start: str = ""

    before = tmp_path / "before.safetensors"
    checkpoint.save(seeded(EDSR(TINY)), before, steps=40, minutes=2.5, options={"lr": 0.2})
    run = Run(Warm(data="", out=config.out, start=str(before)))
    run.step, run.seconds = 9, 90
    notes = run.notes()
    assert (notes["steps"], notes["minutes"]) == (50, 4.0)
    first, second = {"steps": 40, "minutes": 2.5, "options": {"lr": 0.2}}, {"steps": 10, "minutes": 1.5, "options": {}}
    assert notes["runs"] == [first, second]
    checkpoint.save(seeded(EDSR(TINY)), before, **notes)
    again = Run(Warm(data="", out=str(tmp_path / "again.safetensors"), start=str(before), lr=0.3))
    assert again.notes()["runs"] == [first, second, {"steps": 1, "minutes": 0, "options": {"lr": 0.3}}]


def test_random_numbers_depend_on_all_of_their_key():
    keys = [(0, 5, 0), (0, 5, 0, 1), (0, 5, 1), (0, 6, 0), (1, 5, 0), (2**32, 5, 0)]
    drawn = [torch.rand(1, generator=random_numbers(*key)).item() for key in keys]
    assert len(set(drawn)) == len(keys)
    assert torch.rand(1, generator=random_numbers(*keys[1])).item() == drawn[1]
