"""Pretrains the tiny student on one CPU core: its eyes first, then short captions and questions.

A caption's loss alone leaves a small model blind: it learns what captions sound like and never looks. So the
vision tower first learns from dense supervision, mostly on crowds of objects (`crowds.py`): linear heads on the image
tokens predict, for each cell of the 4×4 grid, which kinds and colours are in it, how many object centres, which size, heads
on each of the 8×8 patches what lies over it, and from the mean of all cells the setting, time and weather. Then the
whole model learns dialogues (`lessons.py`), with the heads kept on at a small weight; they are thrown away at the end.

Data: scenes of the training side only, never an evaluation combination, with `RARE_KINDS` shown rarely.
Pictures are kept as uint8 [number, 112, 112, 3] in a memory-mapped file of the work folder; every step draws its
batch from a generator seeded with (seed, step), so a run that was killed continues exactly.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from helpers.core import lessons, tiny
from helpers.core.crowds import crowd
from helpers.core.errors import InputError
from helpers.core.lexicon import COLOURS, KINDS, RARE_KINDS, SETTINGS, SIZES, TIMES, WEATHERS
from helpers.core.processes import die_with_parents
from helpers.core.scenes import SCENE_SIZE, Scene, plan_scene, render

POOL = 20_000
POOL_SEED = 1 << 40  # far from every seed of `draw_scenes`
RARE_WEIGHT = 0.25
BATCH = 32
CROWDS = 16_000
HEAD_WEIGHT = 0.3
RATES = {"matrices": 5e-3, "others": 1.2e-3}  # highest learning rates of Muon and AdamW
SAVE_EVERY = 200
CENTRES = 5  # classes of the number of object centres in a cell: 0 … 4 and more


@dataclass(frozen=True)
class Plan:
    """What pretraining does, in steps of `BATCH` pictures; eyes and dialogues have a learning rate schedule each.

    crowds: how many of a batch's pictures are crowds while the eyes learn; with any, heads on the patches learn as well.
    dimensions: share of dialogues that ask a dimension of the course, answered in the words of the teacher's manner.
    """

    eye_steps: int
    dialogue_steps: int
    crowds: int = 0
    dimensions: float = 0.0


PLAN = Plan(3_200, 1_500, crowds=24, dimensions=0.35)


def pool_scene(index: int) -> Scene:
    """The `index`-th scene of pretraining."""
    return plan_scene(POOL_SEED + index, dict.fromkeys(RARE_KINDS, RARE_WEIGHT), evaluation=False)


def crowd_scene(index: int) -> Scene:
    """The `index`-th crowd of pretraining."""
    return crowd(POOL_SEED + index, dict.fromkeys(RARE_KINDS, RARE_WEIGHT))


def _pixels(source: Callable[[int], Scene], index: int):
    import numpy
    from PIL import Image
    return numpy.asarray(render(source(index)).resize((tiny.IMAGE_SIZE,) * 2, Image.Resampling.BICUBIC))


def draw_pool(work: Path, number: int, source: Callable[[int], Scene] = pool_scene):
    """The pictures of pretraining as a memory-mapped uint8 array [number, 112, 112, 3]; drawn once, kept in `work`."""
    import numpy
    name = {pool_scene: "pool", crowd_scene: "crowds"}[source]
    path, done = work / f"{name}-{number}.npy", work / f"{name}-{number}.done"
    if done.exists():
        return numpy.load(path, mmap_mode="r")
    pool = numpy.lib.format.open_memmap(path, "w+", numpy.uint8, (number, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3))
    with ProcessPoolExecutor(max_workers=min(os.cpu_count() or 1, 8), initializer=die_with_parents) as workers:
        for index, pixels in enumerate(tqdm(workers.map(partial(_pixels, source), range(number), chunksize=64), total=number, desc=f"drawing {name}", unit="picture")):
            pool[index] = pixels
    pool.flush()
    done.touch()
    return pool


def cell_targets(scene: Scene) -> dict:
    """What the heads must predict of a scene.

    kinds [16, kinds] and colours [16, colours]: 1.0 where such an object covers a quarter of the cell, or a quarter of
    the object lies in it; centres [16]: object centres in the cell; sizes [16]: index of the size of the object that covers
    most of the cell, -100 where there is none; setting, time, weather: class indices; patch_kinds and patch_colours [64]: index
    of the nearest object over the middle of each patch, the number of kinds or colours where there is none.
    """
    import torch
    cells, side = tiny.GRID ** 2, SCENE_SIZE / tiny.GRID
    kinds, colours = torch.zeros(cells, len(KINDS)), torch.zeros(cells, len(COLOURS))
    centres, sizes, most = torch.zeros(cells, dtype=torch.long), torch.full((cells,), -100), [0.0] * cells
    kind_names, colour_names, size_names = list(KINDS), list(COLOURS), list(SIZES)
    for thing in scene.objects:
        left, top, right, bottom = thing.box
        area = (right - left) * (bottom - top)
        for cell in range(cells):
            x, y = cell % tiny.GRID * side, cell // tiny.GRID * side
            overlap = max(0.0, min(right, x + side) - max(left, x)) * max(0.0, min(bottom, y + side) - max(top, y))
            if overlap >= 0.25 * min(area, side * side):
                kinds[cell, kind_names.index(thing.kind)] = 1.0
                if thing.colour:
                    colours[cell, colour_names.index(thing.colour)] = 1.0
                if overlap > most[cell]:
                    most[cell], sizes[cell] = overlap, size_names.index(thing.size)
        column, row = int((left + right) / 2 // side), int((top + bottom) / 2 // side)
        index = min(row, tiny.GRID - 1) * tiny.GRID + min(column, tiny.GRID - 1)
        centres[index] = min(centres[index] + 1, CENTRES - 1)
    patches, step = tiny.GRID * 2, side / 2
    patch_kinds = torch.full((patches * patches,), len(KINDS))
    patch_colours = torch.full((patches * patches,), len(COLOURS))
    for thing in sorted(scene.objects, key=lambda o: o.box[3]):  # drawn in this order, so the nearest one stays
        left, top, right, bottom = thing.box
        for row in range(max(0, math.ceil(top / step - 0.5)), min(patches, math.floor(bottom / step - 0.5) + 1)):
            for column in range(max(0, math.ceil(left / step - 0.5)), min(patches, math.floor(right / step - 0.5) + 1)):
                patch_kinds[row * patches + column] = kind_names.index(thing.kind)
                patch_colours[row * patches + column] = colour_names.index(thing.colour) if thing.colour else len(COLOURS)
    return {"patch_kinds": patch_kinds, "patch_colours": patch_colours, "kinds": kinds, "colours": colours, "centres": centres, "sizes": sizes, "setting": torch.tensor(list(SETTINGS).index(scene.setting)),
            "time": torch.tensor(list(TIMES).index(scene.time)), "weather": torch.tensor(list(WEATHERS).index(scene.weather))}


def _heads(width: int, patch_width: int):
    import torch
    patch_heads = {"patch_kinds": torch.nn.Linear(patch_width, len(KINDS) + 1), "patch_colours": torch.nn.Linear(patch_width, len(COLOURS) + 1)}
    outputs = {"kinds": len(KINDS), "colours": len(COLOURS), "centres": CENTRES, "sizes": len(SIZES), "setting": len(SETTINGS), "time": len(TIMES), "weather": len(WEATHERS)}
    return torch.nn.ModuleDict({name: torch.nn.Linear(width, size) for name, size in outputs.items()} | patch_heads)


def _eye_loss(heads, seen, targets: dict, patches: bool):
    """Sum of the heads' losses on what the vision tower has `seen`: image tokens [16, width] a picture, and patches [1, batch · 64, patch width]."""
    import torch
    from torch.nn import functional
    features = torch.stack(list(seen.pooler_output))
    mean = features.mean(1)
    loss = 0.0
    for name in ("kinds", "colours"):
        # The mean over classes is tiny, since nearly all are absent: scale it up to the size of the other terms.
        loss = loss + 10 * functional.binary_cross_entropy_with_logits(heads[name](features), targets[name])
    for name in ("centres", "sizes"):
        loss = loss + 0.5 * functional.cross_entropy(heads[name](features).flatten(0, 1), targets[name].flatten(), ignore_index=-100)
    for name in ("setting", "time", "weather"):
        loss = loss + 0.3 * functional.cross_entropy(heads[name](mean), targets[name])
    for name in ("patch_kinds", "patch_colours") if patches else ():
        loss = loss + functional.cross_entropy(heads[name](seen.last_hidden_state[0]), targets[name].flatten())
    return loss


def _optimizers(model, heads) -> dict:
    """Muon (Jordan et al., 2024) for the matrices inside the model's layers, AdamW for embeddings, norms, biases and heads.

    Muon makes every update of a matrix orthogonal, so rare directions (a kind seen in few pictures) move as fast as common ones:
    after 500 steps of eyes on crowds the heads found kinds of unseen scenes with F1 0.80, with AdamW alone 0.16.
    """
    import torch
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}  # tied: the output layer's too
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    inside = {id(p) for p in matrices}
    others = [p for p in (*model.parameters(), *heads.parameters()) if id(p) not in inside]
    groups = [{"params": [p for p in others if p.ndim > 1], "weight_decay": 0.02}, {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0}]
    return {"matrices": torch.optim.Muon(matrices, lr=RATES["matrices"], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            "others": torch.optim.AdamW(groups, lr=RATES["others"], betas=(0.9, 0.98))}


class _Pretraining:
    """State of a run: model, heads, optimizers, and the step it has reached."""

    def __init__(self, start: Path, work: Path, plan: Plan, seed: int, pool: int, crowds: int = CROWDS):
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
        self.plan, self.seed, self.end = plan, seed, plan.eye_steps + plan.dialogue_steps
        self.settings = {"seed": seed, "pool": pool, "crowd_pool": crowds, "batch": BATCH, **asdict(plan)}
        self.processor = AutoProcessor.from_pretrained(start)
        self.model = AutoModelForImageTextToText.from_pretrained(start, dtype=torch.float32)
        self.pixels = draw_pool(work, pool)
        self.crowds = draw_pool(work, crowds, crowd_scene) if plan.crowds else None
        torch.manual_seed(seed)
        self.heads = _heads(self.model.config.text_config.hidden_size, self.model.config.vision_config.hidden_size)
        self.optimizers = _optimizers(self.model, self.heads)
        self.step, self.seconds = 0, 0.0
        self.losses: list[float] = []
        self.checkpoint = work / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            if state["settings"] != self.settings:
                raise InputError(f"{self.checkpoint} belongs to a pretraining with other settings {state['settings']}: use them again, or delete that file to start afresh")
            for name, part in {"model": self.model, "heads": self.heads, **self.optimizers}.items():
                part.load_state_dict(state[name])
            self.step, self.losses, self.seconds = state["step"], state["losses"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        import torch
        part = self.checkpoint.with_suffix(".part")
        torch.save({"settings": self.settings, "model": self.model.state_dict(), "heads": self.heads.state_dict(),
                    **{name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}, "step": self.step, "losses": self.losses, "seconds": self.seconds}, part)
        os.replace(part, self.checkpoint)

    def _rate(self) -> float:
        """Share of the highest learning rate at the current step: each phase warms up over 100 steps and decays as a cosine."""
        eyes = self.plan.eye_steps
        start, end = (0, eyes) if self.step < eyes else (eyes, self.end)
        done = (self.step - start) / max(1, end - start)
        lowest, highest = (0.1, 1.0) if self.step < eyes else (0.01, 0.6)
        return min(1.0, (self.step - start + 1) / 100) * highest * (lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * done)))

    def batch(self, rng: random.Random, crowds: int = 0) -> tuple:
        """Pixels [1, 3, 14, patches], targets of the heads, and scenes of one batch, of which the last `crowds` are crowds."""
        import numpy
        import torch
        indices = [rng.randrange(len(self.pixels)) for _ in range(BATCH - crowds)]
        scenes, pictures = [pool_scene(i) for i in indices], [self.pixels[i] for i in indices]
        for index in [rng.randrange(len(self.crowds)) for _ in range(crowds)]:
            scenes.append(crowd_scene(index))
            pictures.append(self.crowds[index])
        pixels = torch.from_numpy(numpy.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        size = tiny.PATCH_SIZE
        patches = torch.nn.functional.unfold(pixels, size, stride=size)  # [batch, 3·14·14, 64]
        patches = patches.reshape(BATCH, 3, size, size, -1).permute(1, 2, 0, 4, 3).reshape(1, 3, size, -1)
        targets = [cell_targets(s) for s in scenes]
        return patches, {name: torch.stack([t[name] for t in targets]) for name in targets[0]}, scenes

    def texts(self, scenes: list[Scene], rng: random.Random):
        """Token ids [batch, length], padded on the right, and labels of one dialogue a scene; only answers carry loss."""
        tokenizer = self.processor.tokenizer
        image = self.processor.image_start_token + self.processor.image_token * tiny.GRID ** 2 + self.processor.image_end_token
        texts, answers = [], tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
        for scene in scenes:
            messages = []
            for question, answer in lessons.dialogue(scene, rng, self.plan.dimensions):
                content = [{"type": "text", "text": question}]
                messages += [{"role": "user", "content": content if messages else [{"type": "image"}, *content]}, {"role": "assistant", "content": answer}]
            texts.append(tokenizer.apply_chat_template(messages, chat_template=self.processor.chat_template, tokenize=False).replace(self.processor.image_token, image))
        encoded = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        labels = encoded.input_ids.clone()
        header = tokenizer("<|im_start|>assistant\n", add_special_tokens=False).input_ids
        for row, ids in enumerate(encoded.input_ids.tolist()):
            answering, position = False, 0
            while position < len(ids):
                if not answering and ids[position:position + len(header)] == header:
                    labels[row, position:position + len(header)] = -100
                    position, answering = position + len(header), True
                    continue
                if not answering:
                    labels[row, position] = -100
                elif ids[position] == answers[1]:
                    answering = False
                position += 1
        return encoded.input_ids, labels

    def run(self) -> None:
        """Train from the reached step to the last."""
        import torch
        self.model.train()
        grid = torch.full((BATCH, 2), tiny.GRID * 2, dtype=torch.int32)
        eyes = self.plan.eye_steps
        bar = tqdm(total=self.end, initial=self.step, desc="eyes" if self.step < eyes else "dialogues", unit="step")
        while self.step < self.end:
            began = time.monotonic()
            rng = random.Random(f"pretrain {self.seed} {self.step}")
            patches, targets, scenes = self.batch(rng, min(BATCH, self.plan.crowds) if self.step < eyes else 0)
            seen = self.model.model.get_image_features(patches, grid)
            loss = _eye_loss(self.heads, seen, targets, patches=self.plan.crowds > 0)
            if self.step >= eyes:
                ids, labels = self.texts(scenes, rng)
                # Padding lies on the right, where causal attention never looks: no mask, so the fast attention is used.
                states = self.model.model(input_ids=ids, mm_encoder_outputs={"image": seen}, use_cache=False).last_hidden_state
                answers = labels[:, 1:] != -100  # logits only where an answer is predicted: most of the vocabulary's cost saved
                said = torch.nn.functional.cross_entropy(self.model.lm_head(states[:, :-1][answers]), labels[:, 1:][answers])
                shown, loss = said, said + HEAD_WEIGHT * loss
            else:
                shown = loss
            self.model.zero_grad()
            self.heads.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for name, optimizer in self.optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = self._rate() * RATES[name]
                optimizer.step()
            self.losses.append(round(shown.item(), 4))
            self.step += 1
            self.seconds += time.monotonic() - began
            bar.update()
            if self.step == eyes:
                bar.set_description("dialogues")
            if self.step % 20 == 0:
                bar.set_postfix(loss=f"{sum(self.losses[-20:]) / 20:.3f}")
            if self.step % SAVE_EVERY == 0 or self.step == self.end:
                self.save()
        bar.close()


def save_student(model, processor, folder: Path) -> None:
    """Write model and processor to `folder`, weights as float16 (half the size) with a configuration that loads them as float32."""
    import torch
    model.to(torch.float16).save_pretrained(folder)
    model.to(torch.float32)
    processor.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def widen(part: dict) -> None:
        if "dtype" in part:
            part["dtype"] = "float32"
        for value in part.values():
            if isinstance(value, dict):
                widen(value)

    widen(config)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def pretrain(out: Path | str, work: Path | str, seed: int = 0, pool: int = POOL, plan: Plan = PLAN, crowds: int = CROWDS) -> Path:
    """Pretrain the tiny student on one core and write it to `out`; checkpoints in `work`, from which a killed run continues.

    At the end the student is examined on evaluation scenes and its model card written. Returns `out`. Raises InputError where
    `work` holds a run with other settings.
    """
    import torch

    from helpers.core.model_card import examine, write_card
    from helpers.core.student import load_student

    out, work = Path(out), Path(work)
    work.mkdir(parents=True, exist_ok=True)
    # One thread: on the two logical cores of a small machine a second one gains little, and stalls when anything else runs.
    torch.set_num_threads(1)
    start = work / "random"
    if not (start / "model.safetensors").exists():
        tiny.build_student(start, list(lessons.corpus([pool_scene(i) for i in range(min(pool, 6000))], seed)), seed=seed)
    run = _Pretraining(start, work, plan, seed, pool, crowds)
    run.run()
    save_student(run.model, run.processor, out)
    exam = examine(load_student(out))
    write_card(out, exam, run.settings, run.seconds, sum(p.numel() for p in run.model.parameters()))
    return out
