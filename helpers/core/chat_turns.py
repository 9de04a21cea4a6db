"""What has been said in a chat, and how it is saved: pictures, questions, and the answers of one or several systems.

    Conversation
      pictures   {key: Shown}         each picture once, as JPEG bytes; the key is the start of their SHA-256
      exchanges  [Exchange]           one question about one picture, and an Answer of every system that was asked

What a system reads before it answers, its memory, is made of the earlier exchanges about the same picture: their questions
and that system's own answers (`memory`). The conversation is written as JSON and as Markdown; both name the pictures by
file, and `to_zip` packs all of it. In the Markdown, what people and models wrote appears as they typed it: every character
that Markdown or HTML would read is escaped.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from dataclasses import asdict, dataclass, field

from helpers.core.conversations import Turn

FORMAT = "captionlab-chat-1"
REMEMBERED = 6  # earlier exchanges that a system reads again, at most
# How an answer ended, or stands: the last four are ends.
WAITING, LOADING, WRITING, COMPLETE, STOPPED, CUT, FAILED = "waiting", "loading", "writing", "complete", "stopped", "cut", "failed"
ENDED = (COMPLETE, STOPPED, CUT, FAILED)


@dataclass(frozen=True)
class Shown:
    """A picture of the conversation. name: as people know it.  jpeg: its bytes, upright RGB.  scene: key of a drawn scene, or None."""

    key: str
    name: str
    jpeg: bytes
    scene: str | None = None

    @classmethod
    def of(cls, name: str, jpeg: bytes, scene: str | None = None) -> Shown:
        """A picture with the key that its bytes give it."""
        return cls(hashlib.sha256(jpeg).hexdigest()[:16], name, jpeg, scene)

    @property
    def file(self) -> str:
        """Where it lies in a saved conversation."""
        return f"pictures/{self.key}.jpg"


@dataclass
class Answer:
    """What one system said. tokens: made, without the one that ends the turn; None where the system does not tell.

    seconds: from sending to the last token.  first_token: seconds to the first.  why: of a failure, one sentence.
    """

    system: str
    label: str
    text: str = ""
    state: str = WAITING
    tokens: int | None = None
    seconds: float = 0.0
    first_token: float | None = None
    why: str = ""

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens over all seconds, the reading of the picture included; None where there is nothing to divide."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None


@dataclass
class Exchange:
    """One question and its answers. language: of the interface when it was asked.  decoding: the settings it was answered with."""

    picture: str
    question: str
    language: str
    decoding: dict
    answers: list[Answer] = field(default_factory=list)
    remember: bool = True

    @property
    def done(self) -> bool:
        """Whether every answer has come to an end."""
        return all(answer.state in ENDED for answer in self.answers)

    def answer_of(self, system: str) -> Answer | None:
        """The answer of a system, or None where it was not asked."""
        return next((answer for answer in self.answers if answer.system == system), None)


class Conversation:
    """The exchanges so far, the newest last, and the pictures they are about."""

    def __init__(self):
        self.pictures: dict[str, Shown] = {}
        self.exchanges: list[Exchange] = []

    def add(self, exchange: Exchange, picture: Shown) -> Exchange:
        """Append an exchange about `picture`; returns it."""
        self.pictures[picture.key] = picture
        self.exchanges.append(exchange)
        return exchange

    def cut(self, length: int) -> None:
        """Keep the first `length` exchanges, and of the pictures those they are about."""
        del self.exchanges[length:]
        used = {exchange.picture for exchange in self.exchanges}
        self.pictures = {key: picture for key, picture in self.pictures.items() if key in used}

    def memory(self, exchange: Exchange, system: str) -> list[Turn]:
        """The turns that `system` reads before it answers `exchange`, the question itself last.

        Remembered are the exchanges just before, at most `REMEMBERED`, about the same picture, to which it had something to say.
        """
        turns: list[Turn] = []
        before = self.exchanges[:self.exchanges.index(exchange)]
        if exchange.remember:
            for earlier in reversed(before[-REMEMBERED:]):
                answer = earlier.answer_of(system)
                if earlier.picture != exchange.picture or answer is None or answer.state == FAILED or not answer.text.strip():
                    break
                turns[:0] = [Turn("user", earlier.question), Turn("assistant", answer.text.strip())]
        return [*turns, Turn("user", exchange.question)]

    def to_dict(self) -> dict:
        """The conversation as JSON can hold it; pictures by their file names."""
        exchanges = []
        for exchange in self.exchanges:
            record = asdict(exchange) | {"picture": self.pictures[exchange.picture].file, "name": self.pictures[exchange.picture].name}
            for answer, kept in zip(record["answers"], exchange.answers, strict=True):
                answer["tokens_per_second"] = kept.tokens_per_second
            exchanges.append(record)
        return {"format": FORMAT, "exchanges": exchanges}

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"

    def to_markdown(self, title: str) -> str:
        """The conversation as a page to read, in which nothing that was typed has a meaning to Markdown."""
        lines, picture = [f"# {as_typed(title)}", ""], None
        for exchange in self.exchanges:
            if exchange.picture != picture:
                picture = exchange.picture
                shown = self.pictures[picture]
                lines += [f"![{as_typed(shown.name)}]({shown.file})", ""]
            lines += [f"**{as_typed(exchange.question)}**", ""]
            for answer in exchange.answers:
                lines += [f"*{as_typed(answer.label)}* ({answer.state})", "", f"> {as_typed(answer.text or answer.why)}", ""]
        return "\n".join(lines)

    def to_zip(self, title: str) -> bytes:
        """conversation.json, conversation.md and pictures/ in one zip file."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("conversation.json", self.to_json())
            archive.writestr("conversation.md", self.to_markdown(title))
            for shown in self.pictures.values():
                archive.writestr(zipfile.ZipInfo(shown.file), shown.jpeg)  # JPEG is compressed already; a ZipInfo carries no clock
        return buffer.getvalue()


def as_typed(text: str) -> str:
    """Text for one paragraph of Markdown that shows it exactly: punctuation escaped, HTML as entities, lines joined by breaks."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]()#+\-.!|~$:@/\"'=^])", r"\\\1", text)
    return "\\\n> ".join(text.split("\n")) if "\n" in text else text
