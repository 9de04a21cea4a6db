"""How much the chat costs over the model it stands on: first token, tokens a second, and memory over many turns.

    python benchmarks/chat.py             200 turns: about five minutes
    python benchmarks/chat.py --quick     40 turns

speed   The tiny student answers the same question about the same pictures by plain `generate` and by the chat, by turns, so that
        both meet the same moments of a busy machine. Both are made to write exactly as many tokens (greedy;
        the end is forbidden until then). Told: the median of the pairs' ratios of tokens a second, encoding of the picture included on
        both sides; the median and the largest time from `ask` to the first token.
memory  The chat's process over all turns, with pictures changing: resident memory (RSS) after a tenth of them and at the end.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # also from a checkout that is not installed

QUESTION = "Please describe this picture in detail."
TOKENS = 48


def open_room(results: str):
    """The chat with the pretrained tiny student, loaded, whose answers never end before TOKENS tokens."""
    from helpers.chat import open_chat

    chat = open_chat(results=results, scenes=8)
    chat.models.wait()
    student = chat.models.get("pretrained").base.student
    student.model.generation_config.min_new_tokens = TOKENS  # the same for both sides, so that both make as many tokens
    chat.knobs.sliders["max_new_tokens"].value = TOKENS
    chat.knobs.remember.value = False
    return chat, student


def plain(student, picture) -> tuple[float, int]:
    """Seconds and tokens of one plain `generate`, the picture's encoding included."""
    import torch

    from helpers.core.encoding import collate, encode_question

    started = time.perf_counter()
    batch = collate([encode_question(student.processor, picture, QUESTION)], student.processor.tokenizer.pad_token_id, "left")
    with torch.inference_mode():
        ids = student.model.generate(**batch, do_sample=False, max_new_tokens=TOKENS)
    return time.perf_counter() - started, ids.shape[1] - batch["input_ids"].shape[1]


def chatted(chat) -> tuple[float, int, float]:
    """Seconds, tokens and seconds to the first token of one answer in the chat, from `ask` on."""
    first = []
    shown = chat.answering._shown

    def watch(exchange, answer) -> None:
        shown(exchange, answer)
        if answer.text and not first:
            first.append(time.perf_counter())

    chat.answering._shown = watch
    started = time.perf_counter()
    assert chat.ask(QUESTION), chat.composer.notice
    answer = chat.wait().answers[0]
    seconds = time.perf_counter() - started
    chat.answering._shown = shown
    if not answer.text or answer.why:
        raise SystemExit(f"the chat gave no answer: {answer.why or answer.state}")
    return seconds, TOKENS if answer.state == "cut" else answer.tokens, first[0] - started


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 turns instead of 200")
    parser.add_argument("--turns", type=int, help="how many turns")
    parser.add_argument("--results", default="results", help="the folder that captionlab course wrote")
    options = parser.parse_args()
    turns = options.turns or (40 if options.quick else 200)

    import psutil

    from helpers.core.images import open_image

    load = os.getloadavg()[0]
    chat, student = open_room(options.results)
    keys = list(chat.gallery)[:8]
    process, sizes, ratios, firsts = psutil.Process(), [], [], []
    for key in keys[:2]:  # warm both sides
        chat.choose(key)
        plain(student, open_image(chat.picture.jpeg))
        chatted(chat)
    chat.clear()
    for turn in range(turns):
        chat.choose(keys[turn % len(keys)])
        picture = open_image(chat.picture.jpeg)
        # Every other pair the other way round, so that neither side always comes first.
        if turn % 2:
            peer, ours = plain(student, picture), chatted(chat)
        else:
            ours, peer = chatted(chat), plain(student, picture)
        if ours[1] != peer[1]:
            raise SystemExit(f"the chat made {ours[1]} tokens and generate {peer[1]}: they cannot be compared")
        ratios.append((ours[1] / ours[0]) / (peer[1] / peer[0]))
        firsts.append(ours[2])
        gc.collect()
        sizes.append(process.memory_info().rss / 2**20)
    tenth = max(1, turns // 10)
    rows = [
        ("answers, tokens each", f"{turns}, {TOKENS}"),
        ("tokens a second, chat to generate", f"{statistics.median(ratios):.2f} times (median of pairs; quartiles "
                                              f"{statistics.quantiles(ratios, n=4)[0]:.2f} to {statistics.quantiles(ratios, n=4)[2]:.2f}); bar: 0.90"),
        ("first token after asking", f"{statistics.median(firsts):.3f} s median, {max(firsts):.3f} s at most; bar: 0.3 s"),
        ("memory (RSS)", f"{sizes[tenth - 1]:.0f} MiB after {tenth} turns, {sizes[-1]:.0f} MiB after {turns}: {sizes[-1] / sizes[tenth - 1]:.3f} times"),
        ("machine", f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after"),
    ]
    chat.close()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")


if __name__ == "__main__":
    main()
