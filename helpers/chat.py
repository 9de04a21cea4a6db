"""A chat with the student about a picture: one widget for JupyterLab and, served by Voilà, for a browser page.

Shape of the data: a picture (one of a list of paths, or an uploaded file's bytes) and a question → the answer, shown word
by word as the student generates it. Every answer stands under its question; the newest comes first. Greedy decoding: the
same picture and question give the same words.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import ipywidgets

from helpers.core.errors import CaptionLabError
from helpers.core.images import open_image
from helpers.core.student import Student

NO_QUESTION = "Type a question first."


def uploaded_bytes(value) -> bytes | None:
    """The bytes of the newest file in a `FileUpload`'s value; None when nothing was uploaded."""
    return bytes(value[-1]["content"]) if value else None


class Chat:
    """The widget and its state; `display(chat.widget)` shows it.

    student: who answers.  pictures: paths to choose from; more can be uploaded.  question: what stands in the field at first.
    history: the turns so far as (picture's name, question, answer), the newest last.
    """

    def __init__(self, student: Student, pictures: Sequence[Path], question: str = "", max_new_tokens: int = 128):
        self.student, self.max_new_tokens = student, max_new_tokens
        self.history: list[tuple[str, str, str]] = []
        self.choice = ipywidgets.Dropdown(options=[(Path(path).name, Path(path)) for path in pictures], description="picture")
        self.upload = ipywidgets.FileUpload(accept="image/*", multiple=False, description="your own")
        self.question = ipywidgets.Text(value=question, description="question", layout=ipywidgets.Layout(width="100%"), continuous_update=False)
        self.button = ipywidgets.Button(description="Ask", button_style="primary")
        self.preview = ipywidgets.Image(layout=ipywidgets.Layout(width="280px", height="280px", object_fit="contain"))
        self.answers = ipywidgets.HTML()
        self.choice.observe(self._show, "value")
        self.upload.observe(self._show, "value")
        self.button.on_click(lambda _: self.ask())
        self._show(None)
        controls = ipywidgets.VBox([ipywidgets.HBox([self.choice, self.upload]), self.question, self.button, self.answers],
                                   layout=ipywidgets.Layout(flex="1", min_width="320px"))
        self.widget = ipywidgets.HBox([self.preview, controls], layout=ipywidgets.Layout(flex_flow="row wrap"))

    @property
    def picture(self) -> tuple[str, Path | bytes]:
        """Name and content of the picture that is talked about: the uploaded one, where there is one."""
        data = uploaded_bytes(self.upload.value)
        return (self.upload.value[-1]["name"], data) if data else (self.choice.value.name, self.choice.value)

    def _show(self, change) -> None:
        """Show the picture that was chosen; choosing from the list puts an uploaded one away."""
        if change is not None and change["owner"] is self.choice and self.upload.value:
            self.upload.value = ()
        name, content = self.picture
        try:
            open_image(content)
        except CaptionLabError as error:
            self._write(f"<p><b>{html.escape(str(error))}</b></p>")
            return
        self.preview.value = content if isinstance(content, bytes) else content.read_bytes()
        self._write("")

    def ask(self) -> None:
        """Put the question to the student and show its answer as it comes; a fault is shown as one sentence."""
        (name, content), question = self.picture, self.question.value.strip()
        if not question:
            self._write(f"<p><b>{NO_QUESTION}</b></p>")
            return
        self.button.disabled = True
        answer = ""
        try:
            for piece in self.student.stream(open_image(content), question, self.max_new_tokens):
                answer += piece
                self._write(self._turn(name, question, answer + " …"))
            self.history.append((name, question, answer.strip()))
            self._write("")
        except CaptionLabError as error:
            self._write(f"<p><b>{html.escape(str(error))}</b></p>")
        finally:
            self.button.disabled = False

    def _turn(self, name: str, question: str, answer: str) -> str:
        return (f"<p><b>{html.escape(question)}</b> <small>({html.escape(name)})</small><br>"
                f"<span class='captionlab-answer'>{html.escape(answer)}</span></p>")

    def _write(self, first: str) -> None:
        """Show `first` (HTML) and below it the turns so far."""
        self.answers.value = first + "".join(self._turn(*turn) for turn in reversed(self.history))
