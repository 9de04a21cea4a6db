"""What the baseline's tests share: a few drawn scenes with answers written from their truth, as train.json and eval.json."""

from pathlib import Path

from helpers.core.conversations import Sample, write_conversations
from helpers.core.prompts import question
from helpers.core.scenes import Scene, draw_scenes
from helpers.core.speech import answer


def write_data(folder: Path, train: int, evaluation: int, language: str = "en", seed: int = 3) -> list[Scene]:
    """Draw scenes into `folder`/scenes and write both files; returns the scenes, training first."""
    scenes = draw_scenes(folder / "scenes", train, evaluation, seed, progress=None)
    for side, file in (("Train", "train.json"), ("Val", "eval.json")):
        write_conversations(folder / file, [Sample(s.id, f"scenes/{s.file}", None, question("main", language), answer(s, language, "main", "normal"))
                                            for s in scenes if s.file.startswith(side)])
    return scenes
