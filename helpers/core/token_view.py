"""Shows a training sample as the model reads it: every token in its own box, those that carry loss in colour.

    a Sample, a processor  --encoding.encode_sample-->  input_ids, labels [length]  --token_spans-->  [(text, supervised, count)]  -->  HTML

What is shown is what is trained on: the very ids and labels of helpers/core/encoding.py, decoded.
"""

from __future__ import annotations

import html
from pathlib import Path

from helpers.core.conversations import Sample
from helpers.core.encoding import IGNORED, encode_sample
from helpers.core.images import open_image

_BOX = "color:#111111;padding:1px 3px;margin:1px;border-radius:3px;display:inline-block;white-space:pre;"
PROMPT, ANSWER = f"<span style='{_BOX}background-color:#e4e7eb'>", f"<b style='{_BOX}background-color:#ffd58a;font-weight:600'>"


def token_spans(tokenizer, ids, labels) -> list[tuple[str, bool, int]]:
    """(text, whether it carries loss, tokens) in order: a token each, but for a run of one token (the picture's places), which is one,
    and for tokens that make a character only together.

    ids, labels: 1-D, of one length; a label is IGNORED where there is no loss.
    """
    spans: list[tuple[str, bool, int]] = []
    held: list[int] = []
    ids, carried = [int(i) for i in ids], [int(label) != IGNORED for label in labels]
    for place, (token, supervised) in enumerate(zip(ids, carried, strict=True)):
        held.append(token)
        text = tokenizer.decode(held)
        last = place + 1 == len(ids) or carried[place + 1] != supervised
        if text.endswith("\N{REPLACEMENT CHARACTER}") and not last:
            continue  # bytes of a character whose others are still to come
        if spans and not last and len(held) == 1 and spans[-1][:2] == (text, supervised) and ids[place - 1] == token:
            spans[-1] = (text, supervised, spans[-1][2] + 1)
        else:
            spans.append((text, supervised, len(held)))
        held = []
    return spans


def sample_html(processor, sample: Sample, max_length: int = 2048) -> str:
    """One sample, token by token: grey for what the model is given, coloured and bold for what it is trained to say.

    Raises: InputError for a sample that cannot be encoded.
    """
    encoded = encode_sample(processor, open_image(sample.path), sample.turns, max_length)
    spans = token_spans(processor.tokenizer, encoded["input_ids"], encoded["labels"])
    boxes = []
    for text, supervised, count in spans:
        words = html.escape(text.replace("\n", "⏎") or "∅") + (f" × {count}" if count > 1 and len(text) > 4 else "")
        boxes.append(f"{ANSWER if supervised else PROMPT}{words}{'</b>' if supervised else '</span>'}")
    learned = int((encoded["labels"] != IGNORED).sum())
    return (f"<div style='line-height:1.9'>{''.join(boxes)}</div><p><small>{PROMPT}given</span> {len(encoded['labels']) - learned} tokens, "
            f"no loss &nbsp; {ANSWER}learned</b> {learned} tokens, each with loss &nbsp; sample {html.escape(sample.id)}, "
            f"{html.escape(Path(sample.image).name)}</small></p>")
