"""The chat's settings as ipywidgets: which models answer, and how words are chosen. All texts come from `chat_words`.

    ModelBoxes   a checkbox a system, below it what it is and what it holds in memory
    Knobs        the method, a slider a setting with its explanation, and whether earlier turns are remembered
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping

import ipywidgets

from helpers.core.chat_decoding import BEAM, KNOBS, SAMPLING, Decoding
from helpers.core.chat_models import ABSENT, BROKEN, BUSY, READY, Models
from helpers.core.chat_turns import REMEMBERED

MIB = 2**20


def note(text: str = "") -> ipywidgets.HTML:
    """A small line of text; set it with `say`."""
    made = ipywidgets.HTML(html.escape(text))
    made.add_class("captionlab-note")
    return made


def say(widget: ipywidgets.HTML, text: str) -> None:
    """Put text into an HTML widget as text."""
    escaped = html.escape(text)
    if widget.value != escaped:
        widget.value = escaped


class ModelBoxes:
    """Checkboxes for the systems. on_change: told of the ticked keys when somebody ticks one."""

    def __init__(self, models: Models, on_change: Callable[[list[str]], None]):
        self.models, self._on_change, self._quiet = models, on_change, False
        self.hint = note()
        self.total = note()
        self.boxes: dict[str, ipywidgets.Checkbox] = {}
        self.notes: dict[str, ipywidgets.HTML] = {}
        rows = []
        for key, offer in models.offers.items():
            box = ipywidgets.Checkbox(indent=False, disabled=offer.missing is not None)
            box.observe(self._changed, "value")
            self.boxes[key], self.notes[key] = box, note()
            row = ipywidgets.VBox([box, self.notes[key]])
            row.add_class("captionlab-model")
            rows.append(row)
        rows = ipywidgets.Box(rows)
        self.widget = ipywidgets.VBox([self.hint, rows, self.total])
        rows.add_class("captionlab-models-list")
        self.widget.add_class("captionlab-models")

    @property
    def ticked(self) -> list[str]:
        """The keys that are ticked."""
        return [key for key, box in self.boxes.items() if box.value]

    def tick(self, keys: list[str]) -> None:
        """Tick these alone; tells nobody."""
        self._quiet = True
        try:
            for key, box in self.boxes.items():
                box.value = key in keys
        finally:
            self._quiet = False

    def _changed(self, _) -> None:
        if not self._quiet:
            self._on_change(self.ticked)

    def show(self, words: Mapping[str, str], language: str, kernel_bytes: int) -> None:
        """Names, states and memory in the language of `words`. kernel_bytes: what the whole process holds."""
        held = self.models.memory()
        say(self.hint, words["models_hint"])
        for key, offer in self.models.offers.items():
            self.boxes[key].description = offer.label[language]
            state = self.models.state(key)
            told = {ABSENT: words["model_absent"], BUSY: words["model_loading"],
                    READY: words["model_ready"].format(mib=f"{held.get(key, 0) / MIB:.1f}") if held.get(key) else words["model_remote"],
                    BROKEN: words["model_failed"].format(why=self.models.why(key, language))}[state]
            parts = [offer.note[language], offer.missing[language] if offer.missing else told]
            say(self.notes[key], " · ".join(part for part in parts if part))
        say(self.total, words["memory_shared" if self.models.shared else "memory"].format(mib=f"{sum(held.values()) / MIB:.1f}", all=f"{kernel_bytes / MIB:.0f}"))


class Knobs:
    """Sliders for `Decoding`, of which only those that count in the chosen mode are shown."""

    def __init__(self, decoding: Decoding):
        self.mode = ipywidgets.ToggleButtons(options=[(BEAM, BEAM), (SAMPLING, SAMPLING)], value=decoding.mode)
        self.mode.add_class("captionlab-mode")
        self.sliders: dict[str, ipywidgets.Widget] = {}
        self.hints: dict[str, ipywidgets.HTML] = {}
        self.rows: dict[str, ipywidgets.VBox] = {}
        for name, knob in KNOBS.items():
            value = getattr(decoding, name)
            kind = ipywidgets.BoundedIntText if name == "seed" else ipywidgets.IntSlider if isinstance(knob.step, int) else ipywidgets.FloatSlider
            self.sliders[name] = kind(value=value, min=knob.least, max=knob.most, step=knob.step, style={"description_width": "initial"})
            self.hints[name] = note()
            self.rows[name] = ipywidgets.VBox([self.sliders[name], self.hints[name]])
            self.rows[name].add_class("captionlab-knob")
        self.remember = ipywidgets.Checkbox(value=True, indent=False)
        self.hints["remember"] = note()
        remember = ipywidgets.VBox([self.remember, self.hints["remember"]])
        remember.add_class("captionlab-knob")
        knobs = ipywidgets.Box([*self.rows.values(), remember])
        knobs.add_class("captionlab-knobs")
        self.widget = ipywidgets.VBox([self.mode, knobs])
        self.widget.add_class("captionlab-decoding")
        self.mode.observe(lambda _: self._fit(), "value")
        self._fit()

    def _fit(self) -> None:
        """Show the settings that count."""
        for name, knob in KNOBS.items():
            self.rows[name].layout.display = None if self.mode.value in knob.modes else "none"

    @property
    def decoding(self) -> Decoding:
        """The settings as they stand."""
        return Decoding(mode=self.mode.value, **{name: slider.value for name, slider in self.sliders.items()})

    @decoding.setter
    def decoding(self, decoding: Decoding) -> None:
        """Put the sliders where these settings are."""
        self.mode.value = decoding.mode
        for name, slider in self.sliders.items():
            slider.value = getattr(decoding, name)

    def next_seed(self) -> None:
        """Go on to the next seed, so that answering again draws other words."""
        seed = self.sliders["seed"]
        seed.value = (seed.value + 1) % (seed.max + 1)

    def show(self, words: Mapping[str, str]) -> None:
        """Names and explanations."""
        mode = self.mode.value
        self.mode.options = [(words[BEAM], BEAM), (words[SAMPLING], SAMPLING)]  # which chooses the first
        self.mode.value = mode
        for name, slider in self.sliders.items():
            slider.description = words[name]
            say(self.hints[name], words[f"{name}_hint"])
        self.remember.description = words["remember"]
        say(self.hints["remember"], words["remember_hint"].format(number=REMEMBERED))
