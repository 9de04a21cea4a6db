"""Pretrains the baseline's encoder on one CPU core: where is what, in which colour.

    scenes of the training side and crowds  --Pool-->  pixels, targets  --Encoder + Heads-->  loss;  out/model.safetensors, out/README.md

The task is the student's eyes' own (`dense_supervision.py`): the 64 places of the encoder's grid are the patches, and each
2×2 of them, averaged, a cell. The heads are thrown away at the end, after they have been examined on evaluation scenes.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from helpers.core.cnn_encoder import IMAGE_SIZE, Encoder, load_encoder
from helpers.core.dense_supervision import GRID, Heads, batch_targets
from helpers.core.lexicon import KINDS, RARE_KINDS
from helpers.core.model_card import EXAM_SEED
from helpers.core.pretraining_pool import Pool
from helpers.core.pretraining_run import PretrainingRun, make_optimizers, warm_up_and_decay
from helpers.core.scenes import plan_scene, render

STEPS, BATCH = 1_500, 32
CROWDS_IN_BATCH = 24  # of BATCH; the rest are scenes
SCENES, CROWDS = 6_000, 16_000  # pictures drawn for it


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


@torch.inference_mode()
def examine(encoder: Encoder, heads: Heads, number: int = 400) -> dict[str, float]:
    """How much the encoder sees in `number` evaluation scenes, whose combinations no training scene shares; shares from 0 to 1.

    kinds_f1, colours_f1: of the kinds and colours in a picture, found anywhere in it; kinds_in_cells_f1: found in the right cell;
    patch_kinds: patches whose object, or its absence, was told; rare_kinds_recall; setting, time, weather: pictures told right.
    """
    scenes = [plan_scene(EXAM_SEED + i, evaluation=True) for i in range(number)]
    targets, told = batch_targets(scenes), {name: [] for name in heads}
    for start in range(0, number, 50):
        annotations = encoder(torch.stack([encoder.prepare(render(scene)) for scene in scenes[start:start + 50]]))
        cells = pool_cells(annotations)
        for name, head in heads.items():
            told[name].append(head(annotations if name.startswith("patch") else cells if name in ("kinds", "colours", "centres", "sizes") else cells.mean(1)))
    told = {name: torch.cat(parts) for name, parts in told.items()}
    kinds, there = told["kinds"] > 0, targets["kinds"] > 0
    rare = [list(KINDS).index(kind) for kind in RARE_KINDS]
    seen, due = kinds.any(1)[:, rare], there.any(1)[:, rare]
    return {"pictures": number, "kinds_f1": _f1(kinds.any(1), there.any(1)), "kinds_in_cells_f1": _f1(kinds, there),
            "colours_f1": _f1((told["colours"] > 0).any(1), (targets["colours"] > 0).any(1)), "rare_kinds_recall": (seen & due).sum().item() / due.sum().item(),
            **{name: (told[name].argmax(-1) == targets[name]).float().mean().item() for name in ("patch_kinds", "setting", "time", "weather")}}


def _f1(told: torch.Tensor, there: torch.Tensor) -> float:
    """The harmonic mean of precision and recall of what was told, over all pictures together."""
    return 2 * (told & there).sum().item() / (told.sum().item() + there.sum().item())


def pretrain_encoder(
    out: Path | str, work: Path | str, seed: int = 0, steps: int = STEPS, scenes: int = SCENES, crowds: int = CROWDS, examined: int = 400,
) -> Path:
    """Pretrain the encoder on one core and write it to `out` with its card; checkpoints in `work`, from which a killed run continues.

    At the end it is examined on `examined` evaluation scenes. Returns `out`. Raises InputError where `work` holds a run with other settings.
    """
    from safetensors.torch import save_file

    out, work = Path(out), Path(work)
    work.mkdir(parents=True, exist_ok=True)
    # One thread: on the two logical cores of a small machine a second one gains little, and stalls when anything else runs.
    torch.set_num_threads(1)
    run = EncoderRun(work, seed, steps, scenes, crowds)
    run.run()
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half() for name, tensor in run.model.state_dict().items()}, out / "model.safetensors")
    card = write_card(examine(load_encoder(out), run.heads.eval(), examined), run)
    (out / "README.md").write_text(card, encoding="utf-8")
    return out


def write_card(exam: dict[str, float], run: EncoderRun) -> str:
    """The encoder's model card. exam: from `examine`.  run: the finished one."""
    asked, rows = run.settings, (
        ("kinds of object in a picture, F1", "kinds_f1"), ("kinds of object in the right one of 16 cells, F1", "kinds_in_cells_f1"),
        ("colours in a picture, F1", "colours_f1"), ("recall of the rarely shown kinds", "rare_kinds_recall"),
        ("what lies over each of 64 patches", "patch_kinds"), ("setting", "setting"), ("time of day", "time"), ("weather", "weather"))
    table = "\n".join(f"| {label} | {100 * exam[name]:.1f} % |" for label, name in rows)
    rare = ", ".join(KINDS[kind].plural_en for kind in RARE_KINDS)
    return f"""---
license: apache-2.0
pipeline_tag: image-feature-extraction
---
# cnn-encoder: a small ResNet of {sum(p.numel() for p in run.model.parameters()) / 1e6:.1f} M parameters that knows one drawn world

The eyes of the course's CNN-RNN baseline (`notebooks/03_baseline.ipynb`). A picture, scaled to {IMAGE_SIZE}×{IMAGE_SIZE} pixels, becomes a grid of 8×8 places with
{run.model.width} numbers each. It knows the scenes that `captionlab scenes` draws, and nothing else.

```python
from helpers.core.cnn_encoder import load_encoder
encoder = load_encoder("data/models/cnn-encoder")
annotations = encoder(encoder.prepare(picture)[None])    # [1, 64, {run.model.width}]
```

## How it was made

`captionlab pretrain-encoder`, seed {asked['seed']}: {asked['steps']} steps of {asked['batch']} pictures, {asked['crowds_in_batch']} of them crowds of objects, drawn from {asked['scenes']} scenes of the training
side and {asked['crowds']} crowds. Dense supervision: which kinds and colours, how many and how large in each of 16 cells; kind and colour over each of 64
patches; setting, time, weather; with linear heads that are thrown away afterwards. Muon for the kernels, AdamW for the rest; convolutions in {str(precision()).removeprefix('torch.')}.
{run.seconds / 60:.0f} minutes of one CPU core, the drawing not counted. Weights are stored as float16 and load as float32. {rare.capitalize()} were shown rarely.

## How well it sees

By its heads, on {exam['pictures']} evaluation scenes; no training scene shares their combination of objects, colours and setting.

| what | |
|---|---|
{table}

## Limits

No knowledge of photographs, or of any other way of drawing. Numbers above are for drawn scenes only.
"""
