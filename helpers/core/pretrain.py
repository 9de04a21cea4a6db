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
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.core import lessons, tiny
from helpers.core.pretraining_pool import Pool, pool_scene
from helpers.core.pretraining_run import PretrainingRun, make_optimizers, warm_up_and_decay
from helpers.core.scenes import Scene

POOL = 20_000
BATCH = 32
CROWDS = 16_000
HEAD_WEIGHT = 0.3


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


def _parameters(model, heads) -> tuple[list, list]:
    """The matrices inside the model's layers, and all that is none or belongs to an embedding or a head."""
    import torch
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}  # tied: the output layer's too
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    inside = {id(p) for p in matrices}
    return matrices, [p for p in (*model.parameters(), *heads.parameters()) if id(p) not in inside]


class _Pretraining(PretrainingRun):
    """The student's run: first eyes, then dialogues."""

    name = "pretrain"

    def __init__(self, start: Path, work: Path, plan: Plan, seed: int, pool: int, crowds: int = CROWDS):
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from helpers.core.dense_supervision import Heads
        self.plan = plan
        self.processor = AutoProcessor.from_pretrained(start)
        model = AutoModelForImageTextToText.from_pretrained(start, dtype=torch.float32)
        self.pool = Pool(work, tiny.IMAGE_SIZE, pool, crowds if plan.crowds else 0)
        torch.manual_seed(seed)
        heads = Heads(model.config.text_config.hidden_size, model.config.vision_config.hidden_size)
        settings = {"seed": seed, "pool": pool, "crowd_pool": crowds, "batch": BATCH, **asdict(plan)}
        super().__init__(work, model, heads, make_optimizers(*_parameters(model, heads)), settings, seed, plan.eye_steps + plan.dialogue_steps)

    def phase(self) -> str:
        """Which of the two phases the current step belongs to."""
        return "eyes" if self.step < self.plan.eye_steps else "dialogues"

    def rate(self) -> float:
        """Each phase warms up and decays by itself."""
        eyes = self.plan.eye_steps
        if self.step < eyes:
            return warm_up_and_decay(self.step, eyes, lowest=0.1)
        return warm_up_and_decay(self.step - eyes, self.end - eyes, lowest=0.01, highest=0.6)

    def draw(self, rng: random.Random) -> tuple:
        """Patches, targets, scenes; and while dialogues are learned, token ids and labels."""
        if self.step < self.plan.eye_steps:
            return self.batch(rng, min(BATCH, self.plan.crowds))
        patches, targets, scenes = self.batch(rng)
        return patches, targets, scenes, *self.texts(scenes, rng)

    def loss(self, batch: tuple) -> tuple:
        """The heads' loss alone, or beside the loss of an answer's tokens."""
        import torch
        patches, targets, _, *texts = batch
        grid = torch.full((BATCH, 2), tiny.GRID * 2, dtype=torch.int32)
        seen = self.model.model.get_image_features(patches, grid)
        over_patches = seen.last_hidden_state[0].unflatten(0, (BATCH, -1)) if self.plan.crowds else None
        dense = self.heads.loss(torch.stack(list(seen.pooler_output)), targets, over_patches)
        if not texts:
            return dense, dense
        ids, labels = texts
        # Padding lies on the right, where causal attention never looks: no mask, so the fast attention is used.
        states = self.model.model(input_ids=ids, mm_encoder_outputs={"image": seen}, use_cache=False).last_hidden_state
        answers = labels[:, 1:] != -100  # logits only where an answer is predicted: most of the vocabulary's cost saved
        said = torch.nn.functional.cross_entropy(self.model.lm_head(states[:, :-1][answers]), labels[:, 1:][answers])
        return said, said + HEAD_WEIGHT * dense

    def batch(self, rng: random.Random, crowds: int = 0) -> tuple:
        """Pixels [1, 3, 14, patches], targets of the heads, and scenes of one batch, of which the last `crowds` are crowds."""
        import torch

        from helpers.core.dense_supervision import batch_targets
        pixels, scenes = self.pool.draw(rng, BATCH - crowds, crowds)
        size = tiny.PATCH_SIZE
        patches = torch.nn.functional.unfold(pixels, size, stride=size)  # [batch, 3·14·14, 64]
        patches = patches.reshape(BATCH, 3, size, size, -1).permute(1, 2, 0, 4, 3).reshape(1, 3, size, -1)
        return patches, batch_targets(scenes), scenes

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
