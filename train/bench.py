"""How fast each stage is, beside what this machine can do and beside the papers' networks: `python -m train.bench`.

Every figure comes from one process on one day, so compare within a run: timings are wall-clock, FLOPs count a multiplication and an
addition as two, those with the zeros of padded or phased weights included, and the peak is the fastest plain 3 x 3 convolution found here.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from retsynth import export
from retsynth.allocator import keep_pages
from retsynth.pipeline import Pipeline
from train.peers import EDSRBaseline, UNet256

APP = Path(__file__).parents[1] / "app.py"


class Timing(NamedTuple):
    """Seconds: the median of the runs and their quartiles."""

    median: float
    low: float
    high: float


def measure(call: Callable[[], object], runs: int, device: torch.device) -> Timing:
    """Time `call`, after one run to warm up."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    seconds = seconds[1:]
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if runs > 1 else 3 * seconds
    return Timing(statistics.median(seconds), low, high)


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the convolutions and matrix products in `call`."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes: what the GPU held at most during `call`, or what the whole process did on a CPU (Linux; None elsewhere)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the high-water mark
        call()
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@torch.inference_mode()
def convolution_peak(runs: int, device: torch.device) -> float:
    """FLOP/s of the fastest of a few 3 x 3 convolutions with as many channels out as in."""
    best = 0.0
    for channels, size in ((64, 256), (128, 128), (256, 64)):
        x = torch.randn(1, channels, size, size, device=device).to(memory_format=torch.channels_last)
        convolution = nn.Conv2d(channels, channels, 3, padding=1).to(device, memory_format=torch.channels_last)
        call = partial(convolution, x)
        best = max(best, count_flops(call) / measure(call, runs, device).median)
    return best


def peers(device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """The papers' networks on the same task as a stage of ours, set up for speed as ours are: channels last, no gradients."""
    image = torch.rand(1, 3, 512, 512, device=device).to(memory_format=torch.channels_last)
    networks = {"U-Net-256 (pix2pix)": UNet256(), "EDSR-baseline": EDSRBaseline()}
    ready = {name: network.eval().to(device, memory_format=torch.channels_last) for name, network in networks.items()}
    return {name: torch.inference_mode()(partial(network, image)) for name, network in ready.items()}


def stages(pipe: Pipeline) -> dict[str, Callable[[], object]]:
    """Every stage of the pipeline on one image, and the whole chain."""
    noise = pipe.noise(0)
    sample = pipe(0, upscale=False)
    return {
        "vessels": lambda: pipe.sample_vessels(noise),
        "denoise": lambda: pipe.denoise(sample.vessels),
        "translate": lambda: pipe.translate(sample.annotation, style=sample.style),
        "upscale": lambda: pipe.upscale(sample.fundus),
        "chain": lambda: pipe(0),
    }


def bench_device(weights: str, device: torch.device, runs: int, batches: list[int]) -> dict:
    """The table of one device: each stage, the chain, the peers, and the cost of a sample in batches of several sizes."""
    pipe = Pipeline.from_pretrained(weights, device)
    peak = convolution_peak(runs, device)
    rows = {}
    for calls in (partial(stages, pipe), partial(peers, device)):  # peers last, so that their weights are no part of our stages' memory
        for name, call in tqdm(calls().items(), desc=str(device)):
            flops, memory, timing = count_flops(call), peak_memory(call, device), measure(call, runs, device)
            rows[name] = {
                "seconds": timing.median,
                "quartiles": [timing.low, timing.high],
                "gflop": flops / 1e9,
                "gflops": flops / timing.median / 1e9,
                "share_of_peak": flops / timing.median / peak,
                "peak_mb": memory and memory / 1e6,
            }
    curve = {n: measure(lambda n=n: pipe(0, count=n), max(1, runs // 5), device).median / n for n in tqdm(batches, desc="batches")}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "peak_gflops": peak / 1e9,
        "rows": rows,
        "translate_speedup": rows["U-Net-256 (pix2pix)"]["seconds"] / rows["translate"]["seconds"],
        "upscale_speedup": rows["EDSR-baseline"]["seconds"] / rows["upscale"]["seconds"],
        "seconds_a_sample_in_batches_of": curve,
    }


def processor() -> str:
    """The processor's name, and how many threads PyTorch uses of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def time_export(weights: str, count: int) -> float:
    """Seconds a pair in an export of `count` pairs."""
    pipe = Pipeline.from_pretrained(weights)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        export.export(pipe, Path(folder), count=count, seed=0)
        return (time.perf_counter() - started) / count


def time_cold_start(limit: float = 120.0) -> float:
    """Seconds from starting `python app.py` to the page's first answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    page = subprocess.Popen([sys.executable, APP], env=os.environ | {"GRADIO_SERVER_PORT": str(port)}, **quiet)
    try:
        while time.perf_counter() - started < limit and page.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.05)
    finally:
        page.terminate()
        page.wait()
    raise RuntimeError(f"app.py gave no page within {limit:.0f} s: run it by hand to see why")


def print_device(result: dict) -> None:
    print(f"\n{result['device']}; fastest 3 x 3 convolution {result['peak_gflops']:.0f} GFLOP/s\n")
    print(f"{'':22}{'median s':>10}{'quartiles':>18}{'GFLOP':>9}{'GFLOP/s':>9}{'of peak':>9}{'peak MB':>9}")
    for name, row in result["rows"].items():
        quartiles = "{:.3f} .. {:.3f}".format(*row["quartiles"])
        memory = f"{row['peak_mb']:.0f}" if row["peak_mb"] else "-"
        print(
            f"{name:22}{row['seconds']:>10.3f}{quartiles:>18}{row['gflop']:>9.1f}{row['gflops']:>9.1f}{row['share_of_peak']:>9.0%}{memory:>9}"
        )
    for stage, peer in (("translate", "U-Net-256"), ("upscale", "EDSR-baseline")):
        print(f"{stage} is {result[stage + '_speedup']:.1f} times as fast as {peer}")
    curve = ", ".join(f"{n}: {seconds:.2f}" for n, seconds in result["seconds_a_sample_in_batches_of"].items())
    print(f"seconds a sample in batches of {curve}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="weights", help="folder of the weights, or a Hub repository (default: weights)")
    parser.add_argument("--runs", type=int, default=20, help="timed runs of each stage (default: 20)")
    parser.add_argument(
        "--batches", type=int, nargs="*", default=[1, 2, 4, 8, 16], help="batch sizes of the cost curve (default: 1 2 4 8 16)"
    )
    parser.add_argument("--exports", type=int, nargs="*", default=[1, 10, 100], help="sizes of the timed exports (default: 1 10 100)")
    parser.add_argument("--starts", type=int, default=3, help="how often to start the page (default: 3)")
    parser.add_argument("--json", type=Path, help="write the figures into this JSON file under `speed`, and keep what else it holds")
    options = parser.parse_args(arguments)

    keep_pages()  # as the page and the command line do
    result = {"date": date.today().isoformat(), "torch": torch.__version__, "runs": options.runs, "devices": {}}
    for name in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        result["devices"][name] = bench_device(options.weights, torch.device(name), options.runs, options.batches)
        print_device(result["devices"][name])
    result["seconds_a_pair_in_exports_of"] = {n: time_export(options.weights, n) for n in tqdm(options.exports, desc="exports")}
    result["cold_start_seconds"] = [time_cold_start() for _ in tqdm(range(options.starts), desc="starts")]
    for n, seconds in result["seconds_a_pair_in_exports_of"].items():
        print(f"export of {n}: {seconds:.2f} s a pair")
    if options.starts:
        print(f"from process start to the page's first answer: {statistics.median(result['cold_start_seconds']):.1f} s")
    if options.json:
        report = json.loads(options.json.read_text()) if options.json.exists() else {}
        partial_file = options.json.with_name(options.json.name + ".partial")
        partial_file.write_text(json.dumps(report | {"speed": result}, indent=2) + "\n")
        os.replace(partial_file, options.json)


if __name__ == "__main__":
    main()
