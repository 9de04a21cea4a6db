"""How an answer's words are chosen: by searching for the likeliest text, or by drawing lots.

    Decoding(mode="beam", beams=3)          → generate(num_beams=3, do_sample=False, …)
    Decoding(mode="sampling", top_p=0.8)    → generate(do_sample=True, top_p=0.8, …)

`KNOBS` says what each setting may be; the widget makes its sliders from it, and `Decoding` refuses what lies outside.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from helpers.core.errors import InputError

BEAM, SAMPLING = "beam", "sampling"


@dataclass(frozen=True)
class Knob:
    """A setting: least and largest value, step, and the modes in which it counts."""

    least: float
    most: float
    step: float
    modes: tuple[str, ...] = (BEAM, SAMPLING)


KNOBS = {
    "beams": Knob(1, 8, 1, (BEAM,)),
    "temperature": Knob(0.1, 2.0, 0.05, (SAMPLING,)),
    "top_p": Knob(0.05, 1.0, 0.05, (SAMPLING,)),
    "top_k": Knob(0, 200, 1, (SAMPLING,)),
    "repetition_penalty": Knob(1.0, 2.0, 0.05),
    "max_new_tokens": Knob(1, 1024, 1),
    "seed": Knob(0, 2**31 - 1, 1, (SAMPLING,)),
}


@dataclass(frozen=True)
class Decoding:
    """The settings of one answer.

    beams: texts followed at once; 1 takes the likeliest token each time.  temperature: under 1 sharpens, over 1 flattens.
    top_p: draw from the likeliest tokens that together have this probability.  top_k: from so many at most, 0: all.
    repetition_penalty: over 1 makes a token that was there less likely.  max_new_tokens: length at most.
    seed: the same seed, question and model draw the same words.  Raises InputError for a value outside of `KNOBS`.
    """

    mode: str = BEAM
    beams: int = 1
    temperature: float = 0.7
    top_p: float = 0.8
    top_k: int = 100
    repetition_penalty: float = 1.0
    max_new_tokens: int = 128
    seed: int = 0

    def __post_init__(self):
        if self.mode not in (BEAM, SAMPLING):
            raise InputError(f"there is no decoding {self.mode!r}: choose {BEAM} or {SAMPLING}")
        for name, knob in KNOBS.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not knob.least <= value <= knob.most:
                raise InputError(f"{name} is {value!r} and must be from {knob.least:g} to {knob.most:g}")

    def options(self) -> dict:
        """What transformers' `generate` takes."""
        common = {"max_new_tokens": self.max_new_tokens, "repetition_penalty": self.repetition_penalty}
        if self.mode == BEAM:
            return common | {"do_sample": False, "num_beams": self.beams}
        return common | {"do_sample": True, "num_beams": 1, "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}

    def parameters(self) -> dict:
        """What DashScope takes: it samples always and searches no beams, so a search becomes a temperature near 0."""
        common = {"max_tokens": self.max_new_tokens, "seed": self.seed, "repetition_penalty": self.repetition_penalty}
        if self.mode == BEAM:
            return common | {"temperature": 0.01}
        return common | {"temperature": min(self.temperature, 1.99), "top_p": min(self.top_p, 0.99)} | ({"top_k": self.top_k} if self.top_k else {})

    def told(self) -> dict:
        """The settings that count in this mode, for the record."""
        return {"mode": self.mode} | {name: value for name, value in asdict(self).items() if name in KNOBS and self.mode in KNOBS[name].modes}
