"""Run a training script and end it by SIGKILL as its Nth optimiser step begins: `python killed.py N SCRIPT --data …`."""

import os
import runpy
import signal
import sys

from train.loop import Run

count, script = int(sys.argv[1]), sys.argv[2]
update = Run.update


def update_or_die(*args, **kwargs) -> None:
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    update(*args, **kwargs)


Run.update = update_or_die
sys.argv = sys.argv[2:]
runpy.run_module(f"train.{script}", run_name="__main__")
