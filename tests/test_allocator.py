"""Counted in page faults, in a process of its own: how malloc works is set for a whole process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, threading
import torch
from retsynth.allocator import keep_pages

assert {asked} or keep_pages()
counted = []

def layers():
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        maps = [torch.ones(1, 32, 512, 512) for _ in range(2)]
        del maps
        counted.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

worker = threading.Thread(target=layers)  # as the page's work is done
worker.start()
worker.join()
print(counted[-1])
"""


def faults(asked: bool) -> int:
    run = subprocess.run([sys.executable, "-c", FAULTS.format(asked=not asked)], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_a_layers_memory_is_used_again():
    assert faults(True) < faults(False) / 4  # which are two maps of 8192 pages, or of 16 where the system gives huge ones
