"""The pictures of pretraining: scenes of the training side and crowds of objects, drawn once and kept.

    work/pool-20000-112.npy, work/crowds-16000-112.npy    uint8 [number, size, size, 3], memory-mapped

Never an evaluation combination, and `RARE_KINDS` shown rarely, so that what is trained afterwards has something to learn. The tiny student
(`pretrain.py`) and the baseline's encoder (`encoder_pretraining.py`) draw from the same scenes, each in the size that it sees.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from helpers.core.crowds import crowd
from helpers.core.lexicon import RARE_KINDS
from helpers.core.processes import die_with_parents
from helpers.core.scenes import Scene, plan_scene, render

POOL_SEED = 1 << 40  # far from every seed of `draw_scenes`
RARE_WEIGHT = 0.25


def pool_scene(index: int) -> Scene:
    """The `index`-th scene of pretraining."""
    return plan_scene(POOL_SEED + index, dict.fromkeys(RARE_KINDS, RARE_WEIGHT), evaluation=False)


def crowd_scene(index: int) -> Scene:
    """The `index`-th crowd of pretraining."""
    return crowd(POOL_SEED + index, dict.fromkeys(RARE_KINDS, RARE_WEIGHT))


def draw_pool(work: Path, number: int, size: int, source: Callable[[int], Scene] = pool_scene):
    """The first `number` pictures of `source` as a memory-mapped uint8 array [number, size, size, 3]; drawn once, kept in `work`."""
    import numpy
    name = {pool_scene: "pool", crowd_scene: "crowds"}[source]
    path, done = work / f"{name}-{number}-{size}.npy", work / f"{name}-{number}-{size}.done"
    if done.exists():
        return numpy.load(path, mmap_mode="r")
    pool = numpy.lib.format.open_memmap(path, "w+", numpy.uint8, (number, size, size, 3))
    with ProcessPoolExecutor(max_workers=min(os.cpu_count() or 1, 8), initializer=die_with_parents) as workers:
        drawn = workers.map(partial(_pixels, source, size), range(number), chunksize=64)
        for index, pixels in enumerate(tqdm(drawn, total=number, desc=f"drawing {name}", unit="picture")):
            pool[index] = pixels
    pool.flush()
    done.touch()
    return pool


def _pixels(source: Callable[[int], Scene], size: int, index: int):
    """One picture as uint8 [size, size, 3]."""
    import numpy
    from PIL import Image
    return numpy.asarray(render(source(index)).resize((size, size), Image.Resampling.BICUBIC))


class Pool:
    """Scenes and crowds of pretraining with their pictures of `size`×`size` pixels in `work`; `crowds` may be 0."""

    def __init__(self, work: Path, size: int, scenes: int, crowds: int):
        self.scenes = draw_pool(work, scenes, size)
        self.crowds = draw_pool(work, crowds, size, crowd_scene) if crowds else None

    def draw(self, rng: random.Random, scenes: int, crowds: int = 0) -> tuple:
        """A batch: pictures as float [scenes + crowds, 3, size, size] from -1 to 1, and their `Scene`s; the crowds come last."""
        import numpy
        import torch
        indices = [rng.randrange(len(self.scenes)) for _ in range(scenes)]
        planned, pictures = [pool_scene(i) for i in indices], [self.scenes[i] for i in indices]
        for index in [rng.randrange(len(self.crowds)) for _ in range(crowds)]:
            planned.append(crowd_scene(index))
            pictures.append(self.crowds[index])
        return torch.from_numpy(numpy.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1, planned
