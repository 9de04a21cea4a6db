"""Lets the systems answer a question, one after the other, in a thread, so that whoever asked stays free to press Stop.

    Answering(models, shown, over).begin(conversation, exchange, picture, decoding)
        shown(exchange, answer)   whenever an answer has grown or changed its state; called in the thread
        over()                    when the last one has ended, however it ended

Whatever goes wrong in one answer is told in that answer: the others, and the next question, go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from helpers.core import kept_threads
from helpers.core.chat_decoding import Decoding
from helpers.core.chat_models import Models
from helpers.core.chat_turns import FAILED, LOADING, STOPPED, WRITING, Answer, Conversation, Exchange, Shown
from helpers.core.chat_words import explain
from helpers.core.errors import CaptionLabError
from helpers.core.images import open_image


class Answering:
    """One question at a time. The caller sees to that: it begins none before `over` was called for the last."""

    def __init__(self, models: Models, shown: Callable[[Exchange, Answer], None], over: Callable[[], None]):
        self.models, self._shown, self._over = models, shown, over
        self._stop, self._ended = threading.Event(), None

    def begin(self, conversation: Conversation, exchange: Exchange, picture: Shown, decoding: Decoding) -> None:
        """Start; returns at once."""
        self._stop, self._ended = threading.Event(), threading.Event()
        kept_threads.start(partial(self._run, conversation, exchange, picture, decoding, self._stop), self._ended)

    def stop(self) -> None:
        """End what is being written; what is there of it stays."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Until the last question is answered, or for `timeout` seconds."""
        if self._ended is not None:
            self._ended.wait(timeout)

    def _run(self, conversation: Conversation, exchange: Exchange, picture: Shown, decoding: Decoding, stop: threading.Event) -> None:
        try:
            image = open_image(picture.jpeg, picture.name)
            for answer in exchange.answers:
                self._answer(conversation, exchange, answer, image, decoding, stop)
        finally:
            self._over()

    def _answer(self, conversation: Conversation, exchange: Exchange, answer: Answer, image, decoding: Decoding, stop: threading.Event) -> None:
        try:
            answer.state = LOADING
            self._shown(exchange, answer)
            system = self.models.get(answer.system, stop)
            if system is None:
                answer.state = STOPPED
                return
            answer.state = WRITING
            for progress in system.stream(image, conversation.memory(exchange, answer.system), decoding, stop):
                answer.text, answer.tokens = progress.text, progress.tokens
                answer.seconds, answer.first_token = progress.seconds, progress.first_token
                answer.state = progress.end or WRITING
                self._shown(exchange, answer)
        except Exception as error:
            answer.state, answer.why = FAILED, explain(error, exchange.language)
            if not isinstance(error, CaptionLabError):
                logging.getLogger(__name__).info("an answer of %s failed", answer.system, exc_info=error)  # a warning would land in a cell
        finally:
            self._shown(exchange, answer)

