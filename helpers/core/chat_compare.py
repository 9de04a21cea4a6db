"""Compares the systems of a conversation about drawn scenes: every answer with its right and wrong words, and how many there are.

    Conversation, gallery  --judge-->  [Judged(picture, label, pieces, right, wrong, missed), …]  --judged_table-->  HTML

One `Judged` is one system's answer about one picture; exchanges about pictures whose contents are not known are left out.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helpers.core.chat_pictures import Choice, data_uri
from helpers.core.chat_truth import RIGHT, WRONG, Piece, mark, missed
from helpers.core.chat_turns import Conversation, Shown
from helpers.core.judged import MADE_UP, THERE

SIDE = 150  # pixels of a picture in the table


@dataclass(frozen=True)
class Judged:
    """One answer. right, wrong: words that name things, colours and numbers as they are, and as they are not; missed: kinds that are there and were not named."""

    picture: Shown
    label: str
    pieces: list[Piece]
    right: int
    wrong: int
    missed: int


def judge(conversation: Conversation, gallery: Mapping[str, Choice], language: str = "en") -> list[Judged]:
    """Every answer about a drawn scene, in order. gallery: choices by key, as `Chat.gallery`.  language: of the reasons."""
    found = []
    for exchange in conversation.exchanges:
        picture = conversation.pictures[exchange.picture]
        scene = gallery[picture.scene].scene if picture.scene in gallery else None
        for answer in exchange.answers if scene is not None else ():
            pieces = mark(answer.text, scene, language)
            marks = [piece.mark for piece in pieces]
            found.append(Judged(picture, answer.label, pieces, marks.count(RIGHT), marks.count(WRONG), len(missed(answer.text, scene, language))))
    return found


def judged_table(judged: Sequence[Judged]) -> str:
    """A row a picture, a column a system, as HTML with everything escaped: right words underlined, wrong ones struck through, with what would be right."""
    labels, cells = list(dict.fromkeys(one.label for one in judged)), {}
    for one in judged:
        cells[one.picture.key, one.label] = "".join(map(_as_html, one.pieces)) or "…"
    rows = []
    for picture in {one.picture.key: one.picture for one in judged}.values():
        shown = f"<img alt='{html.escape(picture.name, quote=True)}' width='{SIDE}' style='min-width:{SIDE}px' src='{data_uri(picture.jpeg)}'>"
        rows.append("<tr>" + "".join(_cell("td", words) for words in (shown, *(cells.get((picture.key, label), "") for label in labels))) + "</tr>")
    head = "".join(_cell("th", html.escape(label)) for label in ("", *labels))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table><p><small>{THERE}right</ins> &nbsp; {MADE_UP}wrong</del> (what would be right)</small></p>"


def _cell(kind: str, words: str) -> str:
    """A cell of the table. Its style stands in it: a notebook that was not run here yet is shown without style sheets."""
    return f"<{kind} align='left' valign='top' style='text-align:left;vertical-align:top'>{words}</{kind}>"


def _as_html(piece: Piece) -> str:
    said = html.escape(piece.text)
    if piece.mark == RIGHT:
        return f"{THERE}{said}</ins>"
    return f"{MADE_UP}{said}</del> <small>({html.escape(piece.why)})</small>" if piece.mark == WRONG else said
