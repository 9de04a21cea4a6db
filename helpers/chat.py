"""A chat about pictures, as one widget: in JupyterLab, and as a page that Voilà serves from the same notebook.

    chat = open_chat()            the profile's student, what the course trained, the teacher; scenes and photographs
    chat.widget                   the whole interface; `display` it
    chat.ask("What is this?")     what the button does: returns at once, the answer grows in a thread
    chat.wait()                   until every system has answered; gives the exchange

Shape of the data: a picture and a question → an `Exchange` of the `Conversation` with an `Answer` of every ticked system, which
read the earlier exchanges about the same picture as well. Systems answer one after the other, since they share the
machine: what the badge tells is each one's own speed. The parts live in helpers/core/chat_*.py.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

import psutil

from helpers.core.chat_answering import Answering
from helpers.core.chat_decoding import SAMPLING, Decoding
from helpers.core.chat_layout import lay_out
from helpers.core.chat_models import Models, find_offers
from helpers.core.chat_pictures import Choice, Refused, data_uri, gallery_of_photos, gallery_of_scenes, receive, shown, thumbnail, too_large
from helpers.core.chat_sharing import open_models
from helpers.core.chat_turns import Answer, Conversation, Exchange, Shown
from helpers.core.chat_view import answer_view, exchange_view
from helpers.core.chat_words import LANGUAGES, words
from helpers.core.errors import CaptionLabError, InputError
from helpers.core.paths import ROOT
from helpers.core.profiles import Profile, load_profile
from helpers.core.prompts import load_prompts
from helpers.core.scenes import draw_scenes

MAX_QUESTION = 2000  # characters


def open_chat(profile: Profile | None = None, results: Path | str = ROOT / "results", *, scenes: int = 8, seed: int = 6, language: str = "en",
              chosen: Sequence[str] = ("pretrained",), others: Mapping[str, object] | None = None) -> Chat:
    """A chat with all there is on this machine: what the course in `results` trained, `scenes` drawn scenes and the photographs.

    others: further systems by name, objects with `stream(picture, question)` or `describe([picture], question)`.
    """
    profile = profile or load_profile()
    folder = Path(mkdtemp(prefix="captionlab-chat-"))
    drawn = draw_scenes(folder, train=0, eval=scenes, seed=seed, progress=None)
    models = open_models(find_offers(profile, results, folder, others), profile, results, others or ())
    length = profile.generate.max_new_tokens
    return Chat(models, [*gallery_of_scenes(folder, drawn), *gallery_of_photos()], language, chosen, Decoding(max_new_tokens=length))


class Chat:
    """The widget and what it stands for.

    models: who can answer.  gallery: pictures to choose from, the first is shown.  language: of the interface, "en" or "zh".
    chosen: keys of the systems that answer first.  decoding: how words are chosen at first.
    conversation: what was said.  picture: what is talked about, a `Shown`; None where nothing was chosen.
    """

    def __init__(self, models: Models, gallery: Sequence[Choice], language: str = "en", chosen: Sequence[str] = ("pretrained",),
                 decoding: Decoding = Decoding()):
        self.models, self.gallery = models, {choice.key: choice for choice in gallery}
        self.conversation, self.picture = Conversation(), None
        self._language, self._words = language, words(language)
        self._turning = threading.RLock()
        self.answering = Answering(models, self._show_answer, self._settle)
        self._thumbs: dict[str, str] = {}
        self._with_truth: set[int] = set()
        self.page = page = lay_out(models, decoding, language, self._ticked)
        self.widget, self.panel, self.log, self.composer, self.boxes, self.knobs = page.widget, page.panel, page.log, page.composer, page.boxes, page.knobs
        self.switch, self.clear_button, self.save_button = page.switch, page.clear, page.save
        self._connect()
        self._relabel()
        if gallery:
            self.choose(gallery[0].key)
        if chosen:
            self.use(*chosen)

    # ---- the interface -------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Tie the widgets to the methods below."""
        self.panel.on_choose, self.panel.on_upload = self._chosen, self.upload
        self.panel.on_too_large = lambda name: self._refuse(too_large(name))
        self.panel.on_broken = lambda name: self.panel.say(self._words["upload_broken"].format(name=name))
        self.log.on_hello, self.log.on_action = self._show_all, self._act
        self.composer.on_ask, self.composer.on_stop, self.composer.on_cancel_edit = self._asked, self.stop, self._cancel_edit
        self.switch.observe(lambda change: self._set_language(change["new"]), "value")
        self.clear_button.on_click(lambda _: self.clear())
        self.save_button.on_click(lambda _: self._hand_over())
        self.models.told = self._show_models

    @property
    def language(self) -> str:
        """The interface's language, "en" or "zh"; set it to change every word."""
        return self._language

    @language.setter
    def language(self, language: str) -> None:
        """Change every word."""
        if language not in LANGUAGES:
            raise InputError(f"there is no language {language!r}: choose from {', '.join(LANGUAGES)}")
        self.switch.value = language

    @property
    def busy(self) -> bool:
        """Whether an answer is being written."""
        return self.composer.busy

    def _set_language(self, language: str) -> None:
        self._language, self._words = language, words(language)
        self._relabel()
        self._show_all()

    def _relabel(self) -> None:
        """Put every word of the interface into its language."""
        say = self._words
        self.page.show_words(say)
        self.panel.gallery = [{"key": key, "label": choice.title[self._language], "thumb": self._thumb_of(choice)} for key, choice in self.gallery.items()]
        self.composer.suggestions = [[say.get(f"dimension_{name}", name), texts[self._language]] for name, texts in load_prompts().items()]
        self._show_models()
        if self.picture is not None:
            self._show_picture()

    def _thumb_of(self, choice: Choice) -> str:
        if choice.key not in self._thumbs:
            self._thumbs[choice.key] = thumbnail(choice.path, 96)
        return self._thumbs[choice.key]

    def _show_models(self) -> None:
        self.boxes.show(self._words, self._language, psutil.Process().memory_info().rss)

    # ---- the picture ---------------------------------------------------------------------------------------------------

    def choose(self, key: str) -> None:
        """Talk about a picture of the gallery. Raises InputError for one that is not there or cannot be read."""
        if key not in self.gallery:
            raise InputError(f"there is no picture {key!r} in the gallery")
        self.picture = shown(self.gallery[key], self._language)
        self.panel.chosen, self.panel.notice = key, ""
        self._show_picture()

    def _chosen(self, key: str) -> None:
        """A click on the gallery; a page that sends another key is not answered."""
        if key in self.gallery:
            try:
                self.choose(key)
            except CaptionLabError as error:
                self.panel.say(str(error))

    def upload(self, data: bytes, name: str) -> bool:
        """Talk about a picture that somebody sent, or say in one sentence why not. Returns whether it was taken."""
        try:
            received = receive(data, name)
        except Refused as refused:
            self._refuse(refused)
            return False
        self.picture = received.picture
        self.panel.chosen = ""
        self._show_picture()
        self.panel.say(" ".join(received.notes.get(self._language, [])))
        return True

    def _refuse(self, refused: Refused) -> None:
        self.panel.say(refused.words[self._language])

    def _show_picture(self) -> None:
        choice = self.gallery.get(self.panel.chosen)
        with self.panel.hold_sync():
            self.panel.name = choice.title[self._language] if choice else self.picture.name
            self.panel.preview = data_uri(self.picture.jpeg)

    # ---- asking --------------------------------------------------------------------------------------------------------

    def use(self, *keys: str) -> None:
        """Let these systems answer, side by side; loads them in the background. Raises InputError for one that is not there."""
        self.models.choose(keys)
        self.boxes.tick(list(keys))
        self._show_models()

    def _ticked(self, keys: list[str]) -> None:
        self.models.choose(keys)
        self._show_models()

    def ask(self, question: str | None = None) -> bool:
        """Put a question (the one in the field, where none is given) to the ticked systems; returns at once.

        False, and nothing is asked, where an answer is being written or something is missing; the chat says what.
        """
        question = (self.composer.value if question is None else question).strip()
        with self._turning:
            why = ("busy" if self.busy else "no_question" if not question else "question_long" if len(question) > MAX_QUESTION
                   else "no_picture" if self.picture is None else "no_model" if not self.models.chosen else "")
            if why:
                self.composer.notice = self._words[why].format(most=MAX_QUESTION)
                return False
            picture, decoding = self.picture, self.knobs.decoding
            editing = self.composer.editing
            if 0 <= editing < len(self.conversation.exchanges):
                picture = self.conversation.pictures[self.conversation.exchanges[editing].picture]
                self._cut(editing)
            self.composer.editing, self.composer.notice, self.composer.value = -1, "", ""
            self._begin(question, picture, decoding)
            return True

    def _begin(self, question: str, picture: Shown, decoding: Decoding) -> None:
        """Start the thread that answers."""
        answers = [Answer(key, self.models.offers[key].label[self._language]) for key in self.models.chosen]
        exchange = Exchange(picture.key, question, self._language, decoding.told(), answers, self.knobs.remember.value)
        self.conversation.add(exchange, picture)
        self.composer.busy = True
        self._show_latest()
        self.answering.begin(self.conversation, exchange, picture, decoding)

    def _settle(self) -> None:
        """All answers have come to an end."""
        with self._turning:
            self.composer.busy = False
            self._show_models()
            self._show_latest()

    def regenerate(self) -> bool:
        """Ask the last question again, with the settings and systems of now and, when sampling, the next seed."""
        with self._turning:
            if self.busy or not self.conversation.exchanges:
                return False
            if self.knobs.decoding.mode == SAMPLING:
                self.knobs.next_seed()
            last = self.conversation.exchanges[-1]
            picture = self.conversation.pictures[last.picture]
            if not self.models.chosen:
                self.composer.notice = self._words["no_model"]
                return False
            self._cut(len(self.conversation.exchanges) - 1)
            self._begin(last.question, picture, self.knobs.decoding)
            return True

    def edit(self, index: int, question: str | None = None) -> bool:
        """Change question number `index` (from 0): with `question` it is asked at once, without it waits in the field.

        Sending it replaces that exchange and all after it.
        """
        if self.busy or not 0 <= index < len(self.conversation.exchanges):
            return False
        self.composer.editing = index
        self.composer.value = self.conversation.exchanges[index].question
        return self.ask(question) if question is not None else True

    def stop(self) -> None:
        """End the answer that is being written; what is there of it stays."""
        self.answering.stop()

    def wait(self, timeout: float | None = None) -> Exchange | None:
        """Until the answers are there (or `timeout` seconds): the last exchange, or None."""
        self.answering.wait(timeout)
        return self.conversation.exchanges[-1] if self.conversation.exchanges else None

    def clear(self) -> None:
        """Forget the conversation; an answer that is being written ends."""
        with self._turning:
            self.stop()
            self.conversation = Conversation()
            self._with_truth.clear()
            self._thumbs = {key: thumb for key, thumb in self._thumbs.items() if key in self.gallery}
            self.composer.editing, self.composer.notice = -1, ""
            self.log.send({"kind": "truncate", "length": 0})

    def _cut(self, length: int) -> None:
        self.conversation.cut(length)
        self._with_truth = {index for index in self._with_truth if index < length}
        self.log.send({"kind": "truncate", "length": length})

    def _asked(self, question: str) -> None:
        self.composer.value = question
        self.ask(question)

    def _cancel_edit(self) -> None:
        self.composer.editing, self.composer.value = -1, ""

    def _act(self, action: str, index: int) -> None:
        """A button of an exchange."""
        if action == "again":
            self.regenerate()
        elif action == "edit":
            self.edit(index)
        else:
            self.show_truth(index)

    # ---- showing -------------------------------------------------------------------------------------------------------

    def _labels(self) -> dict[str, str]:
        return {key: offer.label[self._language] for key, offer in self.models.offers.items()}

    def _scene_of(self, exchange: Exchange):
        shown_picture = self.conversation.pictures[exchange.picture]
        return self.gallery[shown_picture.scene].scene if shown_picture.scene in self.gallery else None

    def _view(self, index: int) -> dict:
        exchange = self.conversation.exchanges[index]
        picture = self.conversation.pictures[exchange.picture]
        if picture.key not in self._thumbs:
            self._thumbs[picture.key] = thumbnail(picture.jpeg)
        return exchange_view(exchange, self._thumbs[picture.key], picture.name, self._words, self._language, scene=self._scene_of(exchange),
                             truth=index in self._with_truth, last=index == len(self.conversation.exchanges) - 1, busy=self.busy, labels=self._labels())

    def _show_exchange(self, index: int) -> None:
        self.log.send({"kind": "exchange", "index": index, "exchange": self._view(index)})

    def _show_latest(self) -> None:
        """The newest exchange, and the one before, which is the newest no more."""
        length = len(self.conversation.exchanges)
        for index in range(max(0, length - 2), length):
            self._show_exchange(index)

    def _show_answer(self, exchange: Exchange, answer: Answer) -> None:
        if self.conversation.exchanges and self.conversation.exchanges[-1] is exchange:  # else it was cleared meanwhile
            self.log.send({"kind": "answer", "index": len(self.conversation.exchanges) - 1, "column": exchange.answers.index(answer),
                           "answer": answer_view(answer, self._words, self._language, label=self._labels().get(answer.system))})

    def _show_all(self) -> None:
        """Everything, for a browser that knows nothing yet."""
        self.log.send({"kind": "all", "exchanges": [self._view(index) for index in range(len(self.conversation.exchanges))]})

    def show_truth(self, index: int = -1, show: bool | None = None) -> None:
        """Show (or hide) what a drawn scene really holds at exchange `index`, with right and wrong words marked."""
        index = index if index >= 0 else len(self.conversation.exchanges) + index
        if not 0 <= index < len(self.conversation.exchanges) or self._scene_of(self.conversation.exchanges[index]) is None:
            return
        wanted = index not in self._with_truth if show is None else show
        (self._with_truth.add if wanted else self._with_truth.discard)(index)
        self._show_exchange(index)

    # ---- saving --------------------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> Path:
        """Write the conversation as JSON, Markdown and pictures into the zip file `path`."""
        path = Path(path)
        path.write_bytes(self.conversation.to_zip(self._words["title"]))
        return path

    def _hand_over(self) -> None:
        """Let the browser save the same zip file: a page has no access to this machine's files."""
        name = f"conversation-{datetime.now():%Y%m%d-%H%M%S}.zip"
        self.log.hand_over(name, "application/zip", self.conversation.to_zip(self._words["title"]))

    def close(self) -> None:
        """End what runs, give the models' memory back."""
        self.stop()
        self.wait()
        self.models.close()
