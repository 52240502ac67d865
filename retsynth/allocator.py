"""Memory that the process keeps from one layer to the next, instead of fetching it from the system each time."""

import ctypes
import platform

# glibc's malloc.h: the parameters of mallopt
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def keep_pages() -> bool:
    """Let malloc keep what is freed, up to 256 MB, whichever thread freed it. True where that could be asked for: glibc, so most Linux.

    A map of 32 channels at 512 px takes 33 MB, which glibc fetches from the system page by page and gives back after the layer: a third of
    the time of a super-resolution on some machines. Threads share one arena, since the others' are too small for two such maps. It concerns
    the whole process: for programs to call, before their first thread, not for libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(M_ARENA_MAX, 1), mallopt(M_MMAP_THRESHOLD, 64 << 20), mallopt(M_TRIM_THRESHOLD, 256 << 20)])
