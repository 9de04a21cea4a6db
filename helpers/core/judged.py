"""Shows answers with every word that was judged in its place: what is right, what is not there, what was denied.

Shape of the data: a text, its `Reading` and the scene → HTML. A kind that is there is green and underlined, one that is not is
red and struck through, a colour that is wrong is red and dotted: colour is never the only sign. Everything is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from helpers.core.comparison import Trial
from helpers.core.report import Shown
from helpers.core.reading import Reading
from helpers.core.scenes import Scene
from helpers.core.truth import BACKDROP_KINDS

STYLE = """<style>
.judged { display: flex; flex-wrap: wrap; gap: 1.2em; }
.judged .picture { flex: 1 1 20em; max-width: 32em; border: 1px solid rgba(128, 128, 128, .45); border-radius: 6px; padding: .8em; }
.judged img { width: 180px; max-width: 100%; height: auto; display: block; }
.judged .who { font-weight: 600; margin-top: .5em; } .judged .said { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5; }
.judged ins, .judged del, .judged i.slip { padding: 0 .15em; border-radius: 3px; color: #111; }
.judged ins { background: #cdebd3; text-decoration: underline 2px #137333; }
.judged del { background: #fbd5d0; text-decoration: line-through 2px #b3261e; }
.judged i.slip { background: #fbd5d0; font-style: normal; text-decoration: underline dotted 2px #b3261e; }
.judged .missed { opacity: .85; } .judged small { opacity: .8; }
</style>"""
LEGEND = ("<p><small><ins>there</ins>: named, and in the picture &nbsp; <del>made up</del>: named, but not there &nbsp; "
          "<i class='slip'>wrong colour</i> &nbsp; missed: there, but not named</small></p>")


def judged_text(text: str, reading: Reading, scene: Scene) -> str:
    """A text as HTML, its judged words marked."""
    groups = {group.kind: group for group in scene.groups}
    spared = BACKDROP_KINDS.get(scene.setting, set()) - set(groups)
    marks: list[tuple[int, int, str, str]] = []
    for mention in reading.mentions:
        if mention.denied or mention.kind in spared:
            continue
        there = mention.kind in groups
        marks.append((mention.start, mention.end, "<ins>" if there else "<del>", "</ins>" if there else "</del>"))
        if there and groups[mention.kind].colour and groups[mention.kind].colour not in mention.colours:
            marks += [(a, b, "<i class='slip'>", "</i>") for a, b in mention.colour_spans]
    pieces, at = [], 0
    for start, end, opening, closing in sorted(set(marks)):
        if start < at or end <= start:
            continue
        pieces += [html.escape(text[at:start]), opening, html.escape(text[start:end]), closing]
        at = end
    return "".join(pieces) + html.escape(text[at:])


def entry(name: str, words: str) -> str:
    """A name and, below it, words that are HTML already."""
    return f"<div class='who'>{html.escape(name)}</div><div class='said'>{words}</div>"


def judged_gallery(trials: Sequence[Trial], language: str, source: str) -> str:
    """Pictures, each with the answers of several techniques under it, as HTML. language: of the missed kinds' names."""
    from helpers.core.lexicon import KINDS

    by_picture: dict[Path, list[Trial]] = {}
    for trial in trials:
        by_picture.setdefault(trial.path, []).append(trial)
    cards = []
    for path, group in by_picture.items():
        entries = []
        for trial in group:
            missed = ", ".join(KINDS[kind].word.said(language) for kind in sorted(trial.marks.missed))
            words = judged_text(trial.reply.text, trial.reading, trial.scene) or "<small>said nothing</small>"
            entries.append(entry(trial.technique, words) + (f"<div class='missed'><small>missed: {missed}</small></div>" if missed else ""))
        picture = Shown(group[0].scene.id, path, "", {}).data_uri
        cards.append(f"<div class='picture'><img alt='scene {html.escape(group[0].scene.id)}' src='{picture}'>{''.join(entries)}</div>")
    return f"{STYLE}<div class='judged'>{''.join(cards)}</div><div class='judged'>{LEGEND}</div><p><small>answers by {html.escape(source)}</small></p>"


def side_by_side(columns: Sequence[str], rows: Sequence[tuple[str, Path, Sequence[str]]], note: str = "") -> str:
    """Pictures with several texts beside each: rows are (title, picture, one text a column). As HTML, everything escaped."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *columns))
    body = []
    for title, path, texts in rows:
        cells = "".join(f"<td style='text-align:left;vertical-align:top;max-width:22em;white-space:pre-wrap'>{html.escape(text) or '…'}</td>" for text in texts)
        picture = f"<img alt='{html.escape(title, quote=True)}' width='180' src='{Shown(title, path, '', {}).data_uri}'>"
        body.append(f"<tr><td style='vertical-align:top'>{picture}<br><small>{html.escape(title)}</small></td>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>" + (f"<p><small>{html.escape(note)}</small></p>" if note else "")
