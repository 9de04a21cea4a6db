"""An exchange as the page shows it: plain records for chat_log.js, without a word of HTML.

    Exchange, Shown, Scene | None  --exchange_view-->  {"question", "thumb", "answers": [{"text", "badge", "pieces", …}], "truth", …}
"""

from __future__ import annotations

from collections.abc import Mapping

from helpers.core.chat_truth import mark, missed, tell
from helpers.core.chat_turns import ENDED, Answer, Exchange
from helpers.core.scenes import Scene


def badge(answer: Answer, words: Mapping[str, str]) -> str:
    """Tokens, seconds, tokens a second; "" before there is anything to tell."""
    if not answer.seconds:
        return ""
    seconds = f"{answer.seconds:.1f}"
    if answer.tokens is None:
        return words["badge_unknown"].format(seconds=seconds)
    return words["badge"].format(tokens=answer.tokens, seconds=seconds, rate=f"{answer.tokens_per_second or 0:.0f}")


def answer_view(answer: Answer, words: Mapping[str, str], language: str, scene: Scene | None = None, label: str | None = None) -> dict:
    """One column. scene: the truth to mark the words by, once the answer has ended."""
    marked = scene is not None and answer.state in ENDED and bool(answer.text)
    left_out = missed(answer.text, scene, language) if marked else []
    pieces = mark(answer.text, scene, language) if marked else []
    between = ", " if language == "en" else "，"
    faults = between.join(f"{piece.text} ({piece.why})" if language == "en" else f"{piece.text}（{piece.why}）" for piece in pieces if piece.why)
    return {"system": answer.system, "label": label or answer.label, "text": answer.text, "state": answer.state, "state_word": words[answer.state],
            "why": answer.why, "badge": badge(answer, words),
            "pieces": [[piece.text, piece.mark] for piece in pieces] if marked else None,
            "faults": words["truth_wrong"].format(things=faults) if faults else "",
            "missed": words["truth_missed"].format(things=between.join(left_out)) if left_out else ""}


def exchange_view(exchange: Exchange, thumb: str, name: str, words: Mapping[str, str], language: str, *, scene: Scene | None, truth: bool,
                  last: bool, busy: bool, labels: Mapping[str, str]) -> dict:
    """A whole exchange. thumb: its picture as a data address.  scene: the picture's truth, where it is a drawn scene.
    truth: whether it is shown.  last: whether it is the newest.  labels: {system: name} in the language of `words`."""
    return {"question": exchange.question, "thumb": thumb, "name": name,
            "answers": [answer_view(answer, words, language, scene if truth else None, labels.get(answer.system)) for answer in exchange.answers],
            "truth": tell(scene, language) if truth and scene is not None else "",
            "can_again": last and not busy, "can_edit": not busy, "can_truth": scene is not None and exchange.done}
