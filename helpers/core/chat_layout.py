"""How the chat's parts stand on the page: the picture on the left, the conversation on the right, one below the other on a phone.

    lay_out(models, decoding, language, on_ticked)  →  Page, whose `widget` is the whole interface

Only the arrangement is made here; chat.css draws it, by the classes that are set here ("captionlab-…").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ipywidgets

from helpers.core.chat_decoding import Decoding
from helpers.core.chat_models import Models
from helpers.core.chat_parts import Composer, Log, PicturePanel
from helpers.core.chat_settings import Knobs, ModelBoxes

LANGUAGE_NAMES = {"English": "en", "中文": "zh"}


class Whole(ipywidgets.VBox):
    """The whole interface. Where no kernel runs, on a page that only shows what a notebook has stored, it is one sentence."""

    def __repr__(self) -> str:
        return "The chat. It needs a kernel: run this cell."


@dataclass(frozen=True)
class Page:
    """The parts by name. folds[name]: the button that shows and hides that part of the settings."""

    panel: PicturePanel
    log: Log
    composer: Composer
    boxes: ModelBoxes
    knobs: Knobs
    title: ipywidgets.HTML
    switch: ipywidgets.ToggleButtons
    clear: ipywidgets.Button
    save: ipywidgets.Button
    folds: Mapping[str, ipywidgets.ToggleButton]
    widget: Whole

    def show_words(self, words: Mapping[str, str]) -> None:
        """Put the words that stand on the page itself into a language."""
        self.title.value = f"<h2>{words['title']}</h2>"
        self.clear.description, self.save.description = words["clear"], words["save"]
        for name, fold in self.folds.items():
            fold.description = words[name]
        self.panel.words = self.log.words = self.composer.words = dict(words)
        self.panel.notice = self.composer.notice = ""
        self.knobs.show(words)


def lay_out(models: Models, decoding: Decoding, language: str, on_ticked: Callable[[list[str]], None]) -> Page:
    """Make every widget and put it in its place. on_ticked: told of the systems that somebody ticks."""
    boxes, knobs = ModelBoxes(models, on_ticked), Knobs(decoding)
    folds = {"models": ipywidgets.ToggleButton(value=True), "decoding": ipywidgets.ToggleButton(value=False)}
    page = Page(PicturePanel(), Log(), Composer(), boxes, knobs, ipywidgets.HTML(), ipywidgets.ToggleButtons(options=list(LANGUAGE_NAMES.items()), value=language),
                ipywidgets.Button(), ipywidgets.Button(), folds, Whole())
    settings = ipywidgets.VBox([ipywidgets.HBox(list(folds.values())), boxes.widget, knobs.widget])
    top = ipywidgets.HBox([page.title, page.clear, page.save, page.switch])
    side, main = ipywidgets.VBox([page.panel]), ipywidgets.VBox([page.log, page.composer, settings])
    body = ipywidgets.Box([side, main])
    page.widget.children = [top, body]
    for widget, *names in ((page.widget, "chat"), (top, "top"), (side, "side"), (main, "main"), (body, "body"), (page.title, "title"), (page.switch, "language"),
                           (settings, "settings"), (page.clear, "tool", "clear"), (page.save, "tool", "save"),
                           (folds["models"], "tool", "fold-models"), (folds["decoding"], "tool", "fold-decoding")):
        for name in names:
            widget.add_class(f"captionlab-{name}")
    for fold, inside in zip(folds.values(), (boxes.widget, knobs.widget)):
        inside.layout.display = None if fold.value else "none"
        fold.observe(lambda change, inside=inside: setattr(inside.layout, "display", None if change["new"] else "none"), "value")
    return page
