"""One compute thread and no page-fault noise, set before any framework is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
}
"""A thread pool would hide overhead: while one thread waits, others go on computing."""

KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
}
"""glibc hands large blocks back to the system after each call, and the page faults of getting
them again were seen to cost a third of a call, on one side only. The last setting is for XLA: the
heaps of its worker threads are handed back whatever the others say (25,345 faults for one
gradient of the small model on JAX, none with it)."""

GIVE_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
}
"""For memory the opposite: what is freed leaves the process at once. Else the same run of the same
code was seen to grow by 18 or by 76 MB, as the pieces of its heap happened to lie."""


def require(settings: dict[str, str]) -> None:
    """Start this command again with ``settings`` if the process began without them.

    The C library and the thread pools read them when they are loaded, so assigning
    ``os.environ`` in a running process would come too late.
    """
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | settings)


def resident(field: str) -> float:
    """Return this process's resident memory in MB: ``"VmRSS"`` now, ``"VmHWM"`` its peak."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Set the peak of :func:`resident` down to what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
