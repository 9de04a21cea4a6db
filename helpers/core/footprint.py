"""Measures how much memory each process of a training run takes, for whoever wants to know whether a plan held.

    before the model is built   Footprint()                 the process as it is: Python, torch, the data
    each batch                  footprint.see(batch)        the largest one is remembered
    after training              footprint.finish()  →  {"device", "base", "peak", "reserved", "batch"}, the same in every process

On a CPU, `base` and `peak` are resident bytes of the process (RSS and its high-water mark, getrusage(2)): what training took is their
difference. On a GPU, `peak` is what torch's allocator handed out at most, `reserved` what it took from the device, and `base` is zero:
the CUDA context is outside of both. `base`, `peak` and `reserved` are lists of one number a rank.
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
            self.base = 0
        else:
            self.base = psutil.Process().memory_info().rss

    def see(self, batch: Mapping) -> None:
        """Remember the shape of `batch` if it has more tokens than those before: samples, tokens a sample, picture patches."""
        samples, tokens = batch["input_ids"].shape
        if samples * tokens > self.batch.get("samples", 0) * self.batch.get("tokens", 0):
            grids = batch.get("target_sizes")
            self.batch = {"samples": samples, "tokens": tokens, "patches": int(grids.prod(-1).sum()) if grids is not None else 0}

    def finish(self) -> dict:
        """The record, gathered from all processes. Every process must call it."""
        import torch

        if self.device == "cuda":
            own = (self.base, torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), self.batch)
        else:
            own = (self.base, resident_peak(), 0, self.batch)
        everyone: list = [own]
        if torch.distributed.is_initialized():
            everyone = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyone, own)
        base, peak, reserved, batches = zip(*everyone)
        largest = max(batches, key=lambda batch: batch.get("samples", 0) * batch.get("tokens", 0))
        return {"device": self.device, "base": list(base), "peak": list(peak), "reserved": list(reserved), "batch": largest}


def resident_peak() -> int:
    """The most bytes of main memory that this process ever had resident."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
