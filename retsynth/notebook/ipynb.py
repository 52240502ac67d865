"""The visitor's run as a runnable .ipynb: the cells that ran, with their parameters, what they read and what they showed."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from retsynth import __version__
from retsynth.notebook import source

INSTALL = "# Synthetic images, not for diagnosis. Made with retsynth {version}: install it, and run this beside the weights, {source!r}."


@dataclass(frozen=True)
class Executed:
    """One cell as it ran: its code with the values of the time, the PNG files it showed, and the files its code reads."""

    number: int
    name: str
    prose: str
    code: str
    shown: list[bytes]
    reads: dict[str, bytes | Path]  # an upload by where it lies: the history of a visit holds no more of it


def notebook(history: list[Executed]) -> dict:
    """The cells of `history` as a notebook of format 4.5, which carries everything it reads."""
    cells = [_code("about", None, INSTALL.format(version=__version__, source=source()))]
    for executed in history:
        cells.append({"id": f"{executed.name}-prose", "cell_type": "markdown", "metadata": {}, "source": executed.prose})
        if executed.reads:
            cells.append(_code(f"{executed.name}-files", None, _files(executed.reads)))
        cells.append(_code(executed.name, executed.number, executed.code, [_picture(png) for png in executed.shown]))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}}, "cells": cells}


def write(path: Path, history: list[Executed]) -> Path:
    """Write the notebook of `history` to `path`."""
    path.write_text(json.dumps(notebook(history), indent=1), encoding="utf-8")
    return path


def _code(identity: str, number: int | None, source: str, outputs: list | None = None) -> dict:
    return {"id": identity, "cell_type": "code", "metadata": {}, "execution_count": number, "source": source, "outputs": outputs or []}


def content(source: bytes | Path) -> bytes:
    """What a cell's code read. Raises ValueError where an upload is gone."""
    if isinstance(source, Path) and not source.exists():
        raise ValueError("an upload of this visit has expired on the server: run its cell again")
    return source.read_bytes() if isinstance(source, Path) else source


def _files(reads: dict[str, bytes | Path]) -> str:
    lines = ["# the files that the next cell reads", "from base64 import b64decode", "from pathlib import Path", ""]
    return "\n".join(
        lines + [f"Path({name!r}).write_bytes(b64decode({base64.b64encode(content(data)).decode()!r}))" for name, data in reads.items()]
    )


def _picture(png: bytes) -> dict:
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": "synthetic image, not for diagnosis"}
    return {"output_type": "display_data", "data": data, "metadata": {}}
