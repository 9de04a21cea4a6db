"""What a teacher's request costs: tokens of pictures and text, yuan by a dated price file.

Shape of the data: `data/prices.yaml` → `Prices` → `ModelPrice`; a request is (input tokens, output tokens).
Token counts of pictures follow the service's published rule. Those of text are estimates, because the
tokenizer is not public for every model: use them to foresee a cost, and the answers' `usage` to account for one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from helpers.core.errors import InputError
from helpers.core.paths import DATA

IMAGE_MARKS = 2      # tokens that open and close a picture
MESSAGE_TOKENS = 11  # tokens of the chat template around one question
_PIECE = re.compile(r"\s*(?:[A-Za-z]{1,6}|\d|[^\sA-Za-z\d])")


@dataclass(frozen=True)
class ModelPrice:
    """Prices and limits of one model. `tiers`: (largest input tokens, yuan per million in, yuan per million out), ascending."""

    name: str
    tiers: tuple[tuple[int, float, float], ...]
    rpm: int
    tpm: int
    token_side: int
    min_pixels: int
    max_pixels: int

    def image_tokens(self, width: int, height: int) -> int:
        """Tokens of a picture of `width`×`height` pixels: one for each square it is resized to cover, and two marks."""
        side = self.token_side
        columns, rows = max(1, round(width / side)), max(1, round(height / side))
        area = columns * rows * side * side
        if area > self.max_pixels:
            shrink = math.sqrt(width * height / self.max_pixels)
            columns, rows = max(1, math.floor(width / shrink / side)), max(1, math.floor(height / shrink / side))
        elif area < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            columns, rows = math.ceil(width * grow / side), math.ceil(height * grow / side)
        return columns * rows + IMAGE_MARKS

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Yuan for one request of that many tokens."""
        _, price_in, price_out = next((t for t in self.tiers if input_tokens <= t[0]), self.tiers[-1])
        return (input_tokens * price_in + output_tokens * price_out) / 1e6


@dataclass(frozen=True)
class Prices:
    """A price file: `date` it was looked up, where (`sources`), and one `ModelPrice` a model."""

    date: str
    sources: tuple[str, ...]
    models: dict[str, ModelPrice]

    def model(self, name: str) -> ModelPrice | None:
        """The price of a model, also by a dated snapshot's name ("qwen-vl-max-2025-08-13"); None when it is not in the file."""
        known = [m for m in self.models if name == m or re.fullmatch(re.escape(m) + r"-(latest|\d{4}-\d{2}-\d{2}|\d{4})", name)]
        return self.models[max(known, key=len)] if known else None


def load_prices(path: Path | str = DATA / "prices.yaml") -> Prices:
    """Read a price file. Raises InputError naming the file and what is wrong in it."""
    try:
        record = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        models = {}
        for name, entry in record["models"].items():
            tiers = tuple((int(t["up_to"]), float(t["input"]), float(t["output"])) for t in entry["tiers"])
            models[name] = ModelPrice(name, tiers, *(int(entry[key]) for key in ("rpm", "tpm", "token_side", "min_pixels", "max_pixels")))
        return Prices(str(record["date"]), tuple(record["sources"]), models)
    except OSError as error:
        raise InputError(f"the price file {path} cannot be read ({error.strerror}): give another one") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the price file {path} is not as it should be ({type(error).__name__}: {error}): "
                         "compare it with data/prices.yaml") from error


def token_pieces(text: str) -> list[str]:
    """Text cut into pieces of about one token each, whose concatenation is the text.

    A Chinese character or a punctuation mark is a piece, a digit is one, and up to six letters are one: within about
    a fifth of what Qwen's tokenizer counts on captions.
    """
    pieces = _PIECE.findall(text)
    left = text[sum(map(len, pieces)):]
    if left and pieces:
        pieces[-1] += left
    return pieces or ([text] if text else [])


def text_tokens(text: str) -> int:
    """About how many tokens a text has; see `token_pieces`."""
    return len(token_pieces(text))
