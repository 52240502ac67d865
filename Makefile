# make demo   set up, then serve the page
# make test   set up, then run every check and test
# PYTHON=python3.12 picks the interpreter, PORT=7861 the page's port.

PYTHON ?= python3
PORT ?= 7860
BIN := .venv/bin
PAGE := http://127.0.0.1:$(PORT)

.PHONY: help demo test chromium clean

help:
	@sed -n '1,3s/^# //p' Makefile

demo: .venv/installed
	@[ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] || $(BIN)/python -c "$$OPEN_WHEN_UP" $(PAGE) &
	@GRADIO_SERVER_PORT=$(PORT) $(BIN)/python app.py

test: .venv/installed-dev chromium
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

# A stamp file a requirements file: pip runs again only where the requirements have changed.
.venv/installed: requirements.txt
.venv/installed-dev: requirements.txt requirements-dev.txt
.venv/installed .venv/installed-dev:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "retsynth needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c "import venv, ensurepip" 2>/dev/null || { echo "$(PYTHON) has no venv module: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements$(@:.venv/installed%=%).txt
	@touch .venv/installed $@

chromium:
	@found() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; \
	root() { if [ "$$(id -u)" = 0 ]; then "$$@"; else sudo "$$@"; fi; }; \
	found || { root apt-get update -qq && root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium; } >/dev/null; \
	found || { echo "The browser tests need Chromium, and apt could not install it: put chromium on the PATH" >&2; exit 1; }

clean:
	rm -rf .venv

define OPEN_WHEN_UP
import sys, time, urllib.request, webbrowser
for _ in range(120):
    time.sleep(1)
    try:
        urllib.request.urlopen(sys.argv[1])
    except OSError:
        continue
    webbrowser.open(sys.argv[1])
    break
endef
export OPEN_WHEN_UP
