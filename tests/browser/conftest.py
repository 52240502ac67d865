"""One server with tiny weights and one Chromium for all browser tests; a fresh visitor for each."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
PATIENCE = 120_000  # ms: a busy two-core machine is slow, and no test measures time
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]


@pytest.fixture(scope="session")
def server(tiny_weights, tmp_path_factory):
    """The address of the page, served by `python app.py`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    settings = {
        "RETSYNTH_WEIGHTS": str(tiny_weights),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "OMP_NUM_THREADS": "1",
    }
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=output, stderr=subprocess.STDOUT)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE / 1000
    try:
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < deadline, f"the page did not come up:\n{log.read_text()}"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def chromium():
    """A headless system Chromium. Where there is none the tests fail: without them nobody knows whether the page works."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "the browser tests need Chromium: apt-get install chromium"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(server, chromium: Browser):
    """`visit("?tab=draw", width=390, ...)`: a new visitor's page, loaded, and before it the script `init`. No script may fail meanwhile."""
    contexts, faults = [], []

    def visit(address: str = "", width: int = 1280, height: int = 900, init: str = "", **options: object) -> Page:
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options))
        page = contexts[-1].new_page()
        page.add_init_script(init)
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{server}/{address}")
        page.locator(".cell").locator("visible=true").first.wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not faults


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False
