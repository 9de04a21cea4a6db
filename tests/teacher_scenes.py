"""Drawn scenes and a key for the tests of everything around the teacher."""

from pathlib import Path

from helpers.core.scenes import Scene, draw_scenes

KEY = "sk-test-0123456789abcdef"
MODEL = "qwen3-vl-plus"


def drawn(folder: Path, train: int = 10, evaluation: int = 4, seed: int = 5) -> list[Scene]:
    """Draws a few scenes into `folder` and returns their truth."""
    return draw_scenes(folder, train, evaluation, seed, progress=None)
