"""The questions of the course, from `data/prompts/dimensions.yaml`.

Shape of the data: {dimension: {"en": question, "zh": question}}, dimensions in the file's order, "main" first.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from helpers.core.errors import InputError
from helpers.core.paths import DATA

DIMENSIONS = ("main", "scene", "objects", "relations", "atmosphere", "mood")  # of the file as it is shipped
LANGUAGES = ("en", "zh")


def load_prompts(path: Path | str = DATA / "prompts" / "dimensions.yaml") -> dict[str, dict[str, str]]:
    """Read the questions. Raises InputError naming the file and the dimension or language that it lacks."""
    try:
        prompts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the questions {path} cannot be read ({error.strerror}): restore the file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML ({str(error).splitlines()[0]}): mend or restore the file") from error
    if not isinstance(prompts, dict):
        raise InputError(f"{path} holds no questions: it must map each dimension to its en and zh text")
    for dimension, texts in prompts.items():
        if not isinstance(texts, dict) or not all(isinstance(texts.get(lang), str) and texts[lang].strip() for lang in LANGUAGES):
            raise InputError(f"{path}: the dimension {dimension!r} needs a question in each of {', '.join(LANGUAGES)}")
    return prompts


def question(dimension: str, language: str, prompts: dict[str, dict[str, str]] | None = None) -> str:
    """The question of a dimension in "en" or "zh". Raises InputError naming what there is instead."""
    prompts = load_prompts() if prompts is None else prompts
    if dimension not in prompts:
        raise InputError(f"there is no dimension {dimension!r}: choose from {', '.join(prompts)}")
    if language not in LANGUAGES:
        raise InputError(f"there is no language {language!r}: choose from {', '.join(LANGUAGES)}")
    return prompts[dimension][language]
