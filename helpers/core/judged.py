"""Shows answers with every word that was judged in its place: what is right, what is not there, what was denied.

Shape of the data: a text, its `Reading` and the scene → HTML. A kind that is there is green and underlined, one that is not is
red and struck through, a colour that is wrong is red and in italics: colour is never the only sign. Everything is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from helpers.core.comparison import Trial
from helpers.core.reading import Reading
from helpers.core.report import Shown
from helpers.core.scenes import Scene
from helpers.core.truth import BACKDROP_KINDS

# Styles stand in each element: a notebook that was not run here yet is shown without its style sheets.
_MARK = "color:#111111;padding:0px 2px;"
THERE = f"<ins style='{_MARK}background-color:#cdebd3;text-decoration:underline'>"
MADE_UP = f"<del style='{_MARK}background-color:#fbd5d0;text-decoration:line-through'>"
SLIP = f"<i style='{_MARK}background-color:#fbd5d0'>"
LEGEND = (f"<p><small>{THERE}there</ins>: named, and in the picture &nbsp; {MADE_UP}made up</del>: named, but not there &nbsp; "
          f"{SLIP}wrong colour</i> &nbsp; missed: there, but not named</small></p>")


def judged_text(text: str, reading: Reading, scene: Scene) -> str:
    """A text as HTML, its judged words marked."""
    groups = {group.kind: group for group in scene.groups}
    spared = BACKDROP_KINDS.get(scene.setting, set()) - set(groups)
    marks: list[tuple[int, int, str, str]] = []
    for mention in reading.mentions:
        if mention.denied or mention.kind in spared:
            continue
        there = mention.kind in groups
        marks.append((mention.start, mention.end, THERE if there else MADE_UP, "</ins>" if there else "</del>"))
        if there and groups[mention.kind].colour and groups[mention.kind].colour not in mention.colours:
            marks += [(a, b, SLIP, "</i>") for a, b in mention.colour_spans]
    pieces, at = [], 0
    for start, end, opening, closing in sorted(set(marks)):
        if start < at or end <= start:
            continue
        pieces += [html.escape(text[at:start]), opening, html.escape(text[start:end]), closing]
        at = end
    return "".join(pieces) + html.escape(text[at:])


def entry(name: str, words: str) -> str:
    """A name and, below it, words that are HTML already."""
    return f"<div><b>{html.escape(name)}</b></div><div style='white-space:pre-wrap'>{words}</div>"


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
            entries.append(entry(trial.technique, words) + (f"<div><small>missed: {missed}</small></div>" if missed else ""))
        picture = Shown(group[0].scene.id, path, "", {}).data_uri
        cards.append(f"<tr><td valign='top' width='190' style='vertical-align:top;min-width:190px'><img alt='scene {html.escape(group[0].scene.id)}' width='180' src='{picture}'></td>"
                     f"<td align='left' valign='top' style='text-align:left;vertical-align:top'>{''.join(entries)}</td></tr>")
    return f"<table><tbody>{''.join(cards)}</tbody></table>{LEGEND}<p><small>answers by {html.escape(source)}</small></p>"


def side_by_side(columns: Sequence[str], rows: Sequence[tuple[str, Path, Sequence[str]]], note: str = "") -> str:
    """Pictures with several texts beside each: rows are (title, picture, one text a column). As HTML, everything escaped."""
    # Left at each cell: JupyterLab's own style sets tables to the right.
    head = "".join(f"<th align='left' style='text-align:left'>{html.escape(name)}</th>" for name in ("", *columns))
    body = []
    for title, path, texts in rows:
        cells = "".join(f"<td align='left' valign='top' style='text-align:left;vertical-align:top;white-space:pre-wrap'>{html.escape(text) or '…'}</td>" for text in texts)
        picture = f"<img alt='{html.escape(title, quote=True)}' width='180' src='{Shown(title, path, '', {}).data_uri}'>"
        body.append(f"<tr><td align='left' valign='top' width='190' style='text-align:left;vertical-align:top;min-width:190px'>{picture}<br><small>{html.escape(title)}</small></td>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>" + (f"<p><small>{html.escape(note)}</small></p>" if note else "")
