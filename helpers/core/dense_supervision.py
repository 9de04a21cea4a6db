"""Dense supervision: what eyes must find in each part of a picture before they can learn from captions.

    Scene  --cell_targets-->  what is in each of 4×4 cells and over each of 8×8 patches
    features of cells [batch, 16, width] and patches [batch, 64, width]  --Heads-->  loss, or how much they found

A caption's loss alone leaves a small model blind: it learns what captions sound like and never looks. Linear heads on what the
eyes see tell them where to look: for each cell, which kinds and colours are in it, how many object centres, which size; for each
patch, what lies over its middle; from the mean of all cells the setting, time and weather. The heads are thrown away afterwards.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from helpers.core.lexicon import COLOURS, KINDS, SETTINGS, SIZES, TIMES, WEATHERS
from helpers.core.scenes import SCENE_SIZE, Scene

GRID = 4  # cells per side
PATCHES = 2 * GRID  # patches per side
CENTRES = 5  # classes of the number of object centres in a cell: 0 … 4 and more


def cell_targets(scene: Scene) -> dict:
    """What the heads must predict of a scene.

    kinds [16, kinds] and colours [16, colours]: 1.0 where such an object covers a quarter of the cell, or a quarter of
    the object lies in it; centres [16]: object centres in the cell; sizes [16]: index of the size of the object that covers
    most of the cell, -100 where there is none; setting, time, weather: class indices; patch_kinds and patch_colours [64]: index
    of the nearest object over the middle of each patch, the number of kinds or colours where there is none.
    """
    cells, side = GRID ** 2, SCENE_SIZE / GRID
    kinds, colours = torch.zeros(cells, len(KINDS)), torch.zeros(cells, len(COLOURS))
    centres, sizes, most = torch.zeros(cells, dtype=torch.long), torch.full((cells,), -100), [0.0] * cells
    kind_names, colour_names, size_names = list(KINDS), list(COLOURS), list(SIZES)
    for thing in scene.objects:
        left, top, right, bottom = thing.box
        area = (right - left) * (bottom - top)
        for cell in range(cells):
            x, y = cell % GRID * side, cell // GRID * side
            overlap = max(0.0, min(right, x + side) - max(left, x)) * max(0.0, min(bottom, y + side) - max(top, y))
            if overlap >= 0.25 * min(area, side * side):
                kinds[cell, kind_names.index(thing.kind)] = 1.0
                if thing.colour:
                    colours[cell, colour_names.index(thing.colour)] = 1.0
                if overlap > most[cell]:
                    most[cell], sizes[cell] = overlap, size_names.index(thing.size)
        column, row = int((left + right) / 2 // side), int((top + bottom) / 2 // side)
        index = min(row, GRID - 1) * GRID + min(column, GRID - 1)
        centres[index] = min(centres[index] + 1, CENTRES - 1)
    step = side / 2
    patch_kinds = torch.full((PATCHES ** 2,), len(KINDS))
    patch_colours = torch.full((PATCHES ** 2,), len(COLOURS))
    for thing in sorted(scene.objects, key=lambda o: o.box[3]):  # drawn in this order, so the nearest one stays
        left, top, right, bottom = thing.box
        for row in range(max(0, math.ceil(top / step - 0.5)), min(PATCHES, math.floor(bottom / step - 0.5) + 1)):
            for column in range(max(0, math.ceil(left / step - 0.5)), min(PATCHES, math.floor(right / step - 0.5) + 1)):
                patch_kinds[row * PATCHES + column] = kind_names.index(thing.kind)
                patch_colours[row * PATCHES + column] = colour_names.index(thing.colour) if thing.colour else len(COLOURS)
    return {"patch_kinds": patch_kinds, "patch_colours": patch_colours, "kinds": kinds, "colours": colours, "centres": centres, "sizes": sizes,
            "setting": torch.tensor(list(SETTINGS).index(scene.setting)), "time": torch.tensor(list(TIMES).index(scene.time)),
            "weather": torch.tensor(list(WEATHERS).index(scene.weather))}


def batch_targets(scenes: list[Scene]) -> dict:
    """`cell_targets` of several scenes, stacked: every tensor has a first dimension more."""
    targets = [cell_targets(scene) for scene in scenes]
    return {name: torch.stack([t[name] for t in targets]) for name in targets[0]}


class Heads(nn.ModuleDict):
    """A linear head for each target: on cells of `width` numbers, and on patches of `patch_width`."""

    def __init__(self, width: int, patch_width: int):
        patch_heads = {"patch_kinds": nn.Linear(patch_width, len(KINDS) + 1), "patch_colours": nn.Linear(patch_width, len(COLOURS) + 1)}
        outputs = {"kinds": len(KINDS), "colours": len(COLOURS), "centres": CENTRES, "sizes": len(SIZES), "setting": len(SETTINGS),
                   "time": len(TIMES), "weather": len(WEATHERS)}
        super().__init__({name: nn.Linear(width, size) for name, size in outputs.items()} | patch_heads)

    def loss(self, cells: torch.Tensor, targets: dict, patches: torch.Tensor | None = None) -> torch.Tensor:
        """Sum of the heads' losses on features of cells [batch, 16, width] and, where given, of patches [batch, 64, patch_width]."""
        mean = cells.mean(1)
        loss = 0.0
        for name in ("kinds", "colours"):
            # The mean over classes is tiny, since nearly all are absent: scale it up to the size of the other terms.
            loss = loss + 10 * functional.binary_cross_entropy_with_logits(self[name](cells), targets[name])
        for name in ("centres", "sizes"):
            loss = loss + 0.5 * functional.cross_entropy(self[name](cells).flatten(0, 1), targets[name].flatten(), ignore_index=-100)
        for name in ("setting", "time", "weather"):
            loss = loss + 0.3 * functional.cross_entropy(self[name](mean), targets[name])
        for name in ("patch_kinds", "patch_colours") if patches is not None else ():
            loss = loss + functional.cross_entropy(self[name](patches).flatten(0, 1), targets[name].flatten())
        return loss
