"""Measures how much memory each process of a training run takes, for whoever wants to know whether a plan held.

    before the model is built   Footprint()             the process as it is: Python, torch, the data
    each batch                  footprint.see(batch)    the largest one is remembered; the first one starts the measurement of the steps
    after training              footprint.finish(…)     →  {"device", "base", "peak", "resident", "batch", …}, the same in every process

On a CPU, `base` and `peak` are bytes of the process's own resident memory, without pages of files that it mapped, such as libraries; only
those of weights that stay in their file (an adapter's base) count, since every step reads them. The peak is the highest of samples taken
every ten milliseconds during the steps, since the system keeps a high-water mark only of all pages together. That mark is `resident`. On a GPU, `peak` is what torch's allocator handed out at
most during the steps, `resident` what it took from the device, and `base` is zero: the CUDA context is outside of both. Each is a list of
one number a rank.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping

INTERVAL = 0.01  # seconds between samples


def own_bytes(process) -> int:
    """Resident bytes of a `psutil.Process` that are no file's; all resident bytes where the system does not tell (only Linux does)."""
    memory = process.memory_info()
    return memory.rss - getattr(memory, "shared", 0)


def weights_in_file(process) -> int:
    """Resident bytes of mapped safetensors files: weights that stay as they were loaded, which every step reads (only Linux tells)."""
    if not hasattr(process, "memory_maps") or not sys.platform.startswith("linux"):
        return 0
    return sum(mapping.rss - mapping.anonymous for mapping in process.memory_maps() if mapping.path.endswith(".safetensors"))


def resident_peak(process) -> int:
    """The most bytes of main memory that this process, a `psutil.Process`, ever had resident (getrusage(2); on Windows psutil knows)."""
    try:
        import resource
    except ImportError:  # Windows
        return process.memory_info().peak_wset

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Footprint:
    """The memory of this process from now on; made before anything large is."""

    def __init__(self) -> None:
        import psutil
        import torch

        if hasattr(sys.modules.get("deepspeed"), "runtime"):  # imported, and neither hidden nor broken (deepspeed_start.py)
            # Its engine loads this, and with it torch's compiler (runtime/zero/utils.py, is_zero_supported_optimizer; torch.compile in
            # muon/original_muon.py): some 50 MiB of libraries, which are no part of the model.
            import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.batch: dict[str, int] = {}
        self.process = psutil.Process()
        self.base = own_bytes(self.process) if self.device == "cpu" else 0
        self.peak, self.over = 0, threading.Event()

    def see(self, batch: Mapping) -> None:
        """Remember the shape of `batch` if it has more tokens than those before: samples, tokens a sample, picture patches."""
        if not self.batch:
            self._begin()
        samples, tokens = batch["input_ids"].shape
        if samples * tokens > self.batch.get("samples", 0) * self.batch.get("tokens", 0):
            grids = batch.get("target_sizes", batch.get("image_grid_thw"))  # MiniCPM-V's views, Qwen's pictures, in patches
            # Other families cut pictures into views of one size: pixel_values [samples, views, 3, height, width].
            views = 0 if grids is not None or "pixel_values" not in batch else batch["pixel_values"].shape[:-3].numel()
            self.batch = {"samples": samples, "tokens": tokens, "patches": int(grids.prod(-1).sum()) if grids is not None else 0, "views": views}

    def _begin(self) -> None:
        """Forget what loading the model took."""
        import torch

        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while not self.over.wait(INTERVAL):
            self.peak = max(self.peak, own_bytes(self.process))

    def finish(self, **settings) -> dict:
        """The record, gathered from all processes, and `settings` beside it (what a planner must know). Every process must call it."""
        import torch

        self.over.set()
        if self.device == "cuda":
            own = (0, torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), self.batch)
        else:
            peak = max(self.peak, own_bytes(self.process)) + weights_in_file(self.process)
            own = (self.base, peak, resident_peak(self.process), self.batch)
        everyone: list = [own]
        if torch.distributed.is_initialized():
            everyone = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyone, own)
        base, peak, resident, batches = zip(*everyone)
        largest = max(batches, key=lambda batch: batch.get("samples", 0) * batch.get("tokens", 0))
        return {"device": self.device, "base": list(base), "peak": list(peak), "resident": list(resident), "batch": largest, **settings}
