"""Examines the tiny student on evaluation scenes that no training ever saw, and writes its model card.

`examine` returns plain numbers (shares between 0 and 1); `write_card` puts them, with the settings of the run that made
the weights, into README.md beside the weights. Run again with `captionlab pretrain`, which ends with both.
"""

from __future__ import annotations

import random
from pathlib import Path

from helpers.core import lessons, speech
from helpers.core.lexicon import KINDS, RARE_KINDS
from helpers.core.prompts import question
from helpers.core.scenes import plan_scene, render
from helpers.core.truth import score, summarise

EXAM_SEED = 1 << 50


def examine(student, number: int = 400) -> dict:
    """Ask `student` (helpers.core.student.Student) about `number` evaluation scenes, half of them in each language.

    Returns the share of alt-texts right to the letter, objects and colours against the truth (only what the alt-text should
    name counts as missed), recall of the rare kinds, and the share of right answers by part asked about.
    """
    scenes = [plan_scene(EXAM_SEED + i, evaluation=True) for i in range(number)]
    pictures = [render(scene) for scene in scenes]
    languages = ["en" if i % 2 == 0 else "zh" for i in range(number)]
    questions = [question("main", language) for language in languages]
    captions = student.describe(pictures, questions, max_new_tokens=64, progress="describing")
    wanted = [speech.alt_text(scene, language) for scene, language in zip(scenes, languages)]
    result: dict = {"pictures": number}
    for language in ("en", "zh"):
        pairs = [c == w for c, w, used in zip(captions, wanted, languages) if used == language]
        result[f"alt_text_exact_{language}"] = sum(pairs) / len(pairs)
    marks = [score(c, s, language) for c, s, language in zip(captions, scenes, languages)]
    due = [score(w, s, language) for w, s, language in zip(wanted, scenes, languages)]
    for given, owed in zip(marks, due):
        given.missed &= owed.named
    result |= summarise(marks)
    rare = [(k in given.named) for given, owed in zip(marks, due) for k in owed.named if k in RARE_KINDS]
    if rare:
        result["rare_kinds_recall"] = sum(rare) / len(rare)
    rng = random.Random(EXAM_SEED)
    for part in ("colour", "count", "presence", "relation", "surroundings"):
        asked = [(picture, lesson) for scene, picture, language in zip(scenes, pictures, languages)
                 if (lesson := lessons.PARTS[part](scene, language, rng))]
        answers = student.describe([picture for picture, _ in asked], [asking for _, (asking, _) in asked], max_new_tokens=48, progress=f"asking about {part}")
        result[f"answers_{part}"] = sum(a == reply for a, (_, (_, reply)) in zip(answers, asked)) / len(asked)
    return result


def write_card(folder: Path, exam: dict, settings: dict, seconds: float, parameters: int) -> Path:
    """Write README.md beside the weights in `folder`.

    exam: from `examine`.  settings: of `pretrain`.  seconds: of training on one core.
    """
    def percent(name: str) -> str:
        return f"{100 * exam[name]:.1f} %" if name in exam else "not measured"

    rare = ", ".join(KINDS[kind].plural_en for kind in RARE_KINDS)
    card = f"""---
license: apache-2.0
language: [en, zh]
pipeline_tag: image-text-to-text
library_name: transformers
---
# minicpmv-tiny: a MiniCPM-V of {parameters / 1e6:.1f} M parameters that knows one drawn world

A `MiniCPMV4_6ForConditionalGeneration`, the same transformers class as `openbmb/MiniCPM-V-4.6`, small enough to be trained and asked on
two CPU cores. It stands in for the real model where there is no GPU: it knows the scenes that `captionlab scenes` draws, and nothing else.
Of a photograph it says what it would say of a drawing. It answers in short alt-text, in English and Chinese; fine-tuning teaches it more.

```python
from transformers import AutoModelForImageTextToText, AutoProcessor
processor = AutoProcessor.from_pretrained("data/models/minicpmv-tiny")
model = AutoModelForImageTextToText.from_pretrained("data/models/minicpmv-tiny")
```

## How it was made

`captionlab pretrain`, seed {settings['seed']}, on {settings['pool']} scenes of the training side and {settings['crowd_pool']} crowds of objects, drawn for this purpose, {settings['batch']} pictures a step:

1. {settings['eye_steps']} steps of eyes, {settings['crowds']} pictures of each a crowd
2. {settings['dialogue_steps']} steps of dialogues, {100 * settings['dimensions']:.0f} % of the second questions about a dimension of the course

Eyes: dense supervision of the vision tower (which kinds, colours, how many and how large in each of 16 cells; kind and colour over each of 64 patches; setting, time, weather),
with heads that are thrown away afterwards. Dialogues: short captions and questions in both languages. Muon for the matrices inside the layers, AdamW for the rest. {seconds / 60:.0f} minutes on one CPU core. Weights are stored as
float16 and load as float32. {rare.capitalize()} were shown rarely, so that fine-tuning has something to learn.

## How well it does

On {exam['pictures']} evaluation scenes, half of them asked in each language; no training scene shares their combination of objects, colours and setting.

| what | share |
|---|---|
| alt-text right to the letter, English | {percent('alt_text_exact_en')} |
| alt-text right to the letter, Chinese | {percent('alt_text_exact_zh')} |
| objects: recall of those the alt-text should name | {percent('object_recall')} |
| objects: precision | {percent('object_precision')} |
| colours of named objects | {percent('colour_accuracy')} |
| counts of named objects | {percent('count_accuracy')} |
| recall of the rarely shown kinds | {percent('rare_kinds_recall')} |
| answers about colour | {percent('answers_colour')} |
| answers about number | {percent('answers_count')} |
| answers about presence | {percent('answers_presence')} |
| answers about position | {percent('answers_relation')} |
| answers about place, time and weather | {percent('answers_surroundings')} |

## Limits

No knowledge of the world, of photographs, or of any question it was not taught. Numbers above are for drawn scenes only.
"""
    path = folder / "README.md"
    path.write_text(card, encoding="utf-8")
    return path
