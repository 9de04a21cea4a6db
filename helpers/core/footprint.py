"""Measures how much memory each process of a training run takes, for whoever wants to know whether a plan held.

    before the model is built   Footprint()                 the process as it is: Python, torch, the data
    each batch                  footprint.see(batch)        the largest one is remembered
    after training              footprint.finish(…)         →  {"device", "base", "peak", "mapped", …}, the same in every process

On a CPU, `base` and `peak` are resident bytes of the process (RSS and its high-water mark, getrusage(2)), `mapped` those of files that it
mapped meanwhile, such as the weights it was loaded from, which the system can drop at any time: what training took is peak - base - mapped.
On a GPU, `peak` is what torch's allocator handed out at most, `reserved` what it took from the device, and the rest is zero:
the CUDA context is outside of both. `base`, `peak`, `mapped` and `reserved` are lists of one number a rank.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping


class Footprint:
    """The memory of this process from now on; made before anything large is."""

    def __init__(self) -> None:
        import psutil
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.batch: dict[str, int] = {}
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.base = self.files = 0
        else:
            memory = psutil.Process().memory_info()
            self.base, self.files = memory.rss, mapped(memory)

    def see(self, batch: Mapping) -> None:
        """Remember the shape of `batch` if it has more tokens than those before: samples, tokens a sample, picture patches."""
        samples, tokens = batch["input_ids"].shape
        if samples * tokens > self.batch.get("samples", 0) * self.batch.get("tokens", 0):
            grids = batch.get("target_sizes")
            self.batch = {"samples": samples, "tokens": tokens, "patches": int(grids.prod(-1).sum()) if grids is not None else 0}

    def finish(self, **settings) -> dict:
        """The record, gathered from all processes, and `settings` beside it (what a planner must know). Every process must call it."""
        import psutil
        import torch

        if self.device == "cuda":
            own = (0, torch.cuda.max_memory_allocated(), 0, torch.cuda.max_memory_reserved(), self.batch)
        else:
            own = (self.base, resident_peak(), max(0, mapped(psutil.Process().memory_info()) - self.files), 0, self.batch)
        everyone: list = [own]
        if torch.distributed.is_initialized():
            everyone = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyone, own)
        base, peak, files, reserved, batches = zip(*everyone)
        largest = max(batches, key=lambda batch: batch.get("samples", 0) * batch.get("tokens", 0))
        return {"device": self.device, "base": list(base), "peak": list(peak), "mapped": list(files), "reserved": list(reserved),
                "batch": largest, **settings}


def mapped(memory) -> int:
    """Of psutil's `memory_info()`, the resident bytes that belong to files; 0 where the system does not tell (only Linux does)."""
    return getattr(memory, "shared", 0)


def resident_peak() -> int:
    """The most bytes of main memory that this process ever had resident."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
