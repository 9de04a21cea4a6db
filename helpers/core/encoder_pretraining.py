"""Pretrains the baseline's encoder on one CPU core: where is what, in which colour.

    scenes of the training side and crowds  --Pool-->  pixels, targets  --Encoder + Heads-->  loss;  out/model.safetensors, out/README.md

The task is the student's eyes' own (`dense_supervision.py`): the 64 places of the encoder's grid are the patches, and each
2×2 of them, averaged, a cell. The heads are thrown away at the end, after they have been examined on evaluation scenes.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from helpers.core.cnn_encoder import IMAGE_SIZE, Encoder
from helpers.core.dense_supervision import GRID, PATCHES, Heads, batch_targets
from helpers.core.pretraining_pool import Pool
from helpers.core.pretraining_run import PretrainingRun, make_optimizers, warm_up_and_decay

STEPS, BATCH = 2_000, 32
CROWDS_IN_BATCH = 24  # of BATCH; the rest are scenes
SCENES, CROWDS = 12_000, 16_000  # pictures drawn for it


def precision() -> torch.dtype:
    """bfloat16 where the processor multiplies it at least as fast as float32: its AVX-512."""
    return torch.bfloat16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else torch.float32


def pool_cells(annotations: torch.Tensor) -> torch.Tensor:
    """The means of each 2×2 of the 8×8 places: [batch, 64, width] → [batch, 16, width]."""
    return annotations.unflatten(1, (GRID, 2, GRID, 2)).mean((2, 4)).flatten(1, 2)


class EncoderRun(PretrainingRun):
    """The encoder's run: `BATCH` pictures a step, of which `CROWDS_IN_BATCH` are crowds."""

    name = "encoder"

    def __init__(self, work: Path, seed: int = 0, steps: int = STEPS, scenes: int = SCENES, crowds: int = CROWDS):
        self.pool = Pool(work, IMAGE_SIZE, scenes, crowds)
        torch.manual_seed(seed)
        encoder = Encoder()
        heads = Heads(encoder.width, encoder.width)
        # Muon takes matrices: a kernel is one of [outputs, inputs · height · width]. Each view shares its kernel's memory.
        self.kernels = [p for p in encoder.parameters() if p.ndim == 4]
        self.matrices = [kernel.detach().view(len(kernel), -1) for kernel in self.kernels]
        others = [p for p in (*encoder.parameters(), *heads.parameters()) if p.ndim != 4]
        settings = {"seed": seed, "steps": steps, "scenes": scenes, "crowds": crowds, "batch": BATCH, "crowds_in_batch": CROWDS_IN_BATCH}
        super().__init__(work, encoder, heads, make_optimizers(self.matrices, others), settings, seed, steps)

    def draw(self, rng: random.Random) -> tuple:
        """Pixels [batch, 3, 128, 128] and targets."""
        pixels, scenes = self.pool.draw(rng, BATCH - CROWDS_IN_BATCH, CROWDS_IN_BATCH)
        return pixels, batch_targets(scenes)

    def loss(self, batch: tuple) -> tuple:
        """The heads' loss, twice."""
        pixels, targets = batch
        with torch.autocast("cpu", precision(), enabled=precision() != torch.float32):
            annotations = self.model(pixels)
        loss = self.heads.loss(pool_cells(annotations.float()), targets, annotations.float())
        return loss, loss

    def rate(self) -> float:
        """One warm-up, one decay."""
        return warm_up_and_decay(self.step, self.end, lowest=0.01)

    def before_update(self) -> None:
        """Hands the kernels' gradients to the matrices that Muon updates."""
        for kernel, matrix in zip(self.kernels, self.matrices):
            matrix.grad = kernel.grad.reshape(matrix.shape)
