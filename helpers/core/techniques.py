"""The techniques of the prompt lab, from `data/prompts/techniques.yaml`, and how the calls of one become one answer.

Shape of the data: YAML → {name: `Technique`}. A technique asks one prompt, or one prompt for each of several dimensions whose
answers are joined, and then perhaps a second prompt that quotes the first answer. Prompts exist in "en" and "zh".
pydantic checks the file, jsonschema the schema of a fixed format and the answers that should meet it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from helpers.core.errors import InputError
from helpers.core.markup import parse_json
from helpers.core.paths import DATA
from helpers.core.prompts import LANGUAGES, load_prompts, question

TECHNIQUES = DATA / "prompts" / "techniques.yaml"
ANSWER = "{answer}"
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class InTwoLanguages(BaseModel):
    """A text in English and in Chinese."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    en: Text
    zh: Text

    def said(self, language: str) -> str:
        """The text in "en" or "zh"."""
        return {"en": self.en, "zh": self.zh}[language]


class Sampling(BaseModel):
    """Sampling parameters; None leaves the service's own. Ranges as in the vendor's reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    temperature: float | None = Field(None, ge=0, lt=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0)

    def told(self) -> dict[str, Any]:
        """Those that are set."""
        return self.model_dump(exclude_none=True)


class Technique(BaseModel):
    """One technique; see the head of techniques.yaml for its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    about: InTwoLanguages | None = None
    ask: InTwoLanguages | None = None
    each: tuple[str, ...] = ()
    then: InTwoLanguages | None = None
    format: dict[str, Any] | None = Field(None, alias="schema")
    parameters: Sampling = Sampling()

    @model_validator(mode="after")
    def _asks_something(self) -> Technique:
        if (self.ask is None) == (not self.each):
            raise ValueError("give either a prompt (ask) or dimensions (each)")
        dimensions = load_prompts() if self.each else {}
        if unknown := [d for d in self.each if d not in dimensions]:
            raise ValueError(f"there is no dimension {unknown[0]!r}: choose from {', '.join(dimensions)}")
        if self.then and not all(ANSWER in self.then.said(language) for language in LANGUAGES):
            raise ValueError("the second prompt (then) must quote the first answer as {answer} in both languages")
        if self.format is not None:
            try:
                Draft202012Validator.check_schema(self.format)
            except SchemaError as error:
                raise ValueError(f"the schema is no JSON Schema: {error.message}") from None
        return self

    @classmethod
    def of(cls, en: str, zh: str | None = None, **parameters) -> Technique:
        """A technique of one prompt of your own; without a Chinese text the English one stands for both.

        parameters: temperature, top_p, max_tokens, seed. Raises InputError naming what cannot be.
        """
        return _build({"ask": {"en": en, "zh": zh or en}, "parameters": parameters}, "your prompt")

    def sampled(self, **parameters) -> Technique:
        """The same technique with other sampling parameters. Raises InputError naming one that cannot be."""
        told = {**self.parameters.told(), **parameters}
        return _build({**self.model_dump(by_alias=True, exclude={"parameters"}, exclude_none=True), "parameters": told}, "the sampling parameters")

    def prompts(self, language: str) -> list[str]:
        """The first prompts: one, or one a dimension."""
        return [self.ask.said(language)] if self.ask else [question(d, language, load_prompts()) for d in self.each]

    def second(self, language: str, answer: str) -> str | None:
        """The second prompt about a first answer, or None."""
        return self.then.said(language).replace(ANSWER, answer) if self.then else None

    def fault(self, answer: str) -> str | None:
        """Why an answer does not meet the fixed format, in a few words; None where it does, or where there is no format."""
        if self.format is None:
            return None
        value, start = parse_json(answer)
        if value is None:
            return "no JSON"
        if answer[:start].strip():
            return "words around the JSON"
        error = next(iter(sorted(Draft202012Validator(self.format).iter_errors(value), key=lambda e: list(map(str, e.path)))), None)
        return f"{'.'.join(map(str, error.path)) or 'the answer'}: {error.message}" if error else None


def merge(answers: list[str], language: str) -> str:
    """The answers of several calls as one text."""
    return (" " if language == "en" else "").join(a.strip() for a in answers if a.strip())


def load_techniques(path: Path | str = TECHNIQUES) -> dict[str, Technique]:
    """Read the techniques, in the file's order. Raises InputError with one sentence: the file, the technique and what to mend."""
    name = Path(path).name
    try:
        records = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the techniques {path} cannot be read ({error.strerror}): restore the file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text: save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{name}{where} is not YAML ({getattr(error, 'problem', None) or 'it cannot be read'}): "
                         "mind indentation, and put texts with a colon in quotes") from error
    if not isinstance(records, Mapping) or not records:
        raise InputError(f"{name} holds no technique: it must map each name to its prompts")
    return {str(key): _build(record, f"{name}, technique {str(key)!r}") for key, record in records.items()}


def _build(record: object, where: str) -> Technique:
    """A technique from what the file holds. Raises InputError with one sentence."""
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: needs keys (ask, each, then …), see the head of the file")
    try:
        return Technique.model_validate(dict(record))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {place + ': ' if place else ''}{_plain(first)}") from None


def _plain(error: Mapping) -> str:
    """What pydantic found, in words for someone who edits YAML."""
    if error["type"] == "missing":
        return f"this is missing; every text needs {' and '.join(LANGUAGES)}" if error["loc"][-1] in LANGUAGES else "this is missing"
    if error["type"] == "extra_forbidden":
        return "there is no such key; see the head of the file for those there are"
    if error["type"] in ("string_too_short",):
        return "the text is empty"
    return error["msg"].removeprefix("Value error, ")
