"""A form in a notebook: pictures one after the other, a field for what *you* see in each, and a button that scores the systems by it.

    ReferenceForm(folder, references.json, {system: output.json}, score)     display it, write, press save or just go on to the next picture

Everything written is in references.json at once, in the conversation format: close the notebook, open it tomorrow, go on. Systems' words are
hidden until a picture has its reference, since who has read a caption describes what the caption says.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import ipywidgets

from helpers.core.conversations import read_conversations, write_conversations
from helpers.core.errors import CaptionLabError, InputError
from helpers.core.images import open_image, scale_down
from helpers.core.metric_tables import score_rows
from helpers.core.own_pictures import fit, look_through, read_references

SIDE = 420  # pixels of a picture in the form
Score = Callable[..., dict]
WORDS = {
    "en": {"previous": "◀ previous", "next": "next ▶", "save": "save", "score": "score", "hint": "What do you see? Place, things, colours, numbers, what stands where.",
           "where": "{at} of {of}: {name} · {written} with a reference", "saved": "Saved: {name}.", "empty": "Nothing written, so {name} has no reference.",
           "hidden": "What the systems said is shown once you have written your own.", "said": "what the systems said"},
    "zh": {"previous": "◀ 上一张", "next": "下一张 ▶", "save": "保存", "score": "评分", "hint": "你看到了什么？地点、物体、颜色、数量、位置关系。",
           "where": "第 {at} 张，共 {of} 张：{name} · {written} 张已有参考描述", "saved": "已保存：{name}。", "empty": "没有内容，{name} 没有参考描述。",
           "hidden": "写完自己的描述后，才会显示各系统的回答。", "said": "各系统的回答"},
}


class ReferenceForm:
    """The form and what has been written in it. A notebook shows it; `write`, `go` and `score` do what its field and buttons do.

    samples: the folder's pictures.  references: those written so far, by id.  at: the number of the picture shown, from 0.
    """

    def __init__(self, folder: str | Path, references: str | Path, predictions: Mapping[str, str | Path], score: Score, language: str = "en"):
        """folder: of pictures.  references: the file to write; read first, where it is there.  predictions: {system: output.json}.
        score: (references, predictions, language) → what metrics.json holds, as `helpers.metrics.score_systems`.

        Raises InputError for a folder without usable pictures, and for a file that cannot be read.
        """
        if language not in WORDS:
            raise InputError(f"there is no language {language!r}: choose from {', '.join(WORDS)}")
        self.file, self.language, self._score = Path(references), language, score
        looked = look_through(folder, self.file, language)
        self.samples, self.references = looked.samples, read_references(self.file)
        self.predictions = {name: read_conversations(file, need_images=False) for name, file in predictions.items()}
        self.at, words = 0, WORDS[language]
        self.picture, self.where, self.said, self.message = (ipywidgets.Image(format="jpeg"), ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML())
        self.text = ipywidgets.Textarea(placeholder=words["hint"], layout=ipywidgets.Layout(width="100%", height="110px"))
        self.buttons = {name: ipywidgets.Button(description=words[name], layout=ipywidgets.Layout(width="auto")) for name in ("previous", "save", "next", "score")}
        self.buttons["previous"].on_click(lambda _: self._leave(self.at - 1))
        self.buttons["next"].on_click(lambda _: self._leave(self.at + 1))
        self.buttons["save"].on_click(lambda _: self._leave(self.at))
        self.buttons["score"].on_click(lambda _: self._pressed_score())
        right = ipywidgets.VBox([self.where, self.text, ipywidgets.HBox(list(self.buttons.values())), self.said], layout=ipywidgets.Layout(flex="1 1 320px", min_width="260px"))
        self.widget = ipywidgets.VBox([ipywidgets.HBox([self.picture, right], layout=ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="14px")),
                                       self.message])
        self._tell(*looked.remarks)
        self.go(0)

    def go(self, at: int) -> None:
        """Show the picture number `at`; the first comes after the last."""
        self.at = at % len(self.samples)
        sample, stream = self.samples[self.at], io.BytesIO()
        scale_down(open_image(sample.path), SIDE).save(stream, "JPEG", quality=88)
        self.picture.value = stream.getvalue()
        self.text.value = self.references[sample.id].answer if sample.id in self.references else ""
        self._refresh()

    def write(self, text: str, name: str | None = None) -> None:
        """Give a picture its reference, and save; an empty text takes it away. name: the picture's id; None: the one shown.

        Raises InputError for a picture that is not there, ResourceError when the file cannot be written.
        """
        sample = next((s for s in self.samples if s.id == (name or self.samples[self.at].id)), None)
        if sample is None:
            raise InputError(f"There is no picture {name!r} in the form; there are: {', '.join(s.id for s in self.samples)}.")
        written = dict(self.references)
        if text.strip():
            written[sample.id] = replace(sample, answer=text.strip(), turns=[])
        else:
            written.pop(sample.id, None)
        order = {s.id: place for place, s in enumerate(self.samples)}
        written = dict(sorted(written.items(), key=lambda item: order.get(item[0], len(order))))
        if written != self.references:
            write_conversations(self.file, written.values())
            self.references = written
        if sample.id == self.samples[self.at].id:
            self.text.value = text.strip()
            self._refresh()

    def score(self) -> dict:
        """The systems' scores on the pictures that have a reference: what metrics.json holds, and "remarks" on what was left out.

        Raises InputError when no picture has a reference, or no system has described any.
        """
        if not self.predictions:
            raise InputError("No system has described these pictures yet; let one do so first (captionlab caption --images).")
        references, predictions, remarks = fit(self.references, self.predictions)
        return {**self._score(references, predictions, self.language), "remarks": remarks}

    def _leave(self, to: int) -> None:
        """Save what stands in the field, and show another picture or this one."""
        sample = self.samples[self.at]
        try:
            self.write(self.text.value)
        except CaptionLabError as error:
            self._tell(str(error))
            return
        self._tell(WORDS[self.language]["saved" if sample.id in self.references else "empty"].format(name=sample.path.name))
        self.go(to)

    def _pressed_score(self) -> None:
        try:
            self.write(self.text.value)
            result = self.score()
        except CaptionLabError as error:
            self._tell(str(error))
            return
        heading, *rows = score_rows(result)
        cells = "".join(f"<tr><th style='text-align:left'>{html.escape(row[0])}</th>" + "".join(f"<td style='padding-left:1em'>{html.escape(cell)}</td>" for cell in row[1:]) + "</tr>"
                        for row in rows)
        names = "".join(f"<th style='padding-left:1em'>{html.escape(name)}</th>" for name in heading)
        unavailable = [f"{metric} was not computed: {why}" for metric, why in result["unavailable"].items()]
        self.message.value = f"<table><tr>{names}</tr>{cells}</table>" + _paragraphs([*result["remarks"], *unavailable])

    def _refresh(self) -> None:
        """The line above the field, and the systems' words, if this picture has its reference."""
        sample, words = self.samples[self.at], WORDS[self.language]
        self.where.value = html.escape(words["where"].format(at=self.at + 1, of=len(self.samples), name=sample.path.name, written=sum(s.id in self.references for s in self.samples)))
        said = [(name, next((s.answer for s in answers if s.id == sample.id), None)) for name, answers in self.predictions.items()]
        shown = "".join(f"<p style='margin:2px 0'><b>{html.escape(name)}</b>: {html.escape(text)}</p>" for name, text in said if text is not None)
        self.said.value = (f"<small>{words['said']}</small>{shown}" if sample.id in self.references else f"<small>{words['hidden']}</small>") if shown else ""

    def _tell(self, *sentences: str) -> None:
        self.message.value = _paragraphs(sentences)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        written = sum(sample.id in self.references for sample in self.samples)
        display(self.widget._repr_mimebundle_() | {"text/plain": f"a form for {len(self.samples)} pictures, {written} of them with a reference"}, raw=True)


def _paragraphs(sentences) -> str:
    return "".join(f"<p style='margin:2px 0'>{html.escape(sentence)}</p>" for sentence in sentences)
