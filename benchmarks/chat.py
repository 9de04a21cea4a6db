"""How much the chat costs over the model it stands on: first token, tokens a second, and memory over many turns.

    python benchmarks/chat.py             60 pairs and 200 turns: some three minutes on a machine with nothing else to do
    python benchmarks/chat.py --quick     20 pairs and 40 turns

speed   The tiny student answers the same question about the same pictures by plain `generate` and by the chat, by turns, so that
        both meet the same moments of a busy machine. Both are made to write exactly as many tokens (greedy;
        the end is forbidden until then). Told: the median of the pairs' ratios of tokens a second, encoding of the picture included on
        both sides; the median and the largest time from `ask` to the first token.
memory  A kernel of its own, as JupyterLab starts one, with the notebook's chat in it. Every turn is sent as a page sends it, by messages of
        its widgets: another picture, a question. Told: the kernel's resident memory (RSS) after the first 20 turns, half, and all.

Each part ends with a verdict; the exit status is 1 where a bar was missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # also from a checkout that is not installed

QUESTION = "Please describe this picture in detail."
TOKENS = 48
FIRST_TOKEN, RATIO, GROWTH = 0.3, 0.9, 0.02  # the bars: seconds, chat to generate, share of the memory after the first turns
WARM = 20  # turns in which libraries take what they keep
PATIENCE = 300  # seconds for a kernel to do anything
OPEN = """
import os
from helpers.chat import open_chat
chat = open_chat(results={results!r}, scenes=8)
chat.models.wait()
keys = list(chat.gallery)
"""


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


def measure_speed(results: str, pairs: int) -> list[tuple[str, str, bool]]:
    """Rows of the table: name, what was measured, whether the bar is met."""
    from helpers.core.images import open_image

    chat, student = open_room(results)
    keys = list(chat.gallery)[:8]
    ratios, firsts = [], []
    for key in keys[:2]:  # warm both sides
        chat.choose(key)
        plain(student, open_image(chat.picture.jpeg))
        chatted(chat)
    for pair in range(pairs):
        chat.choose(keys[pair % len(keys)])
        picture = open_image(chat.picture.jpeg)
        # Every other pair the other way round, so that neither side always comes first.
        if pair % 2:
            peer, ours = plain(student, picture), chatted(chat)
        else:
            ours, peer = chatted(chat), plain(student, picture)
        if ours[1] != peer[1]:
            raise SystemExit(f"the chat made {ours[1]} tokens and generate {peer[1]}: they cannot be compared")
        ratios.append((ours[1] / ours[0]) / (peer[1] / peer[0]))
        firsts.append(ours[2])
    chat.close()
    low, ratio, high = statistics.quantiles(ratios, n=4)
    first = statistics.median(firsts)
    return [("tokens a second, chat to generate", f"{ratio:.2f} times (median of {pairs} pairs of {TOKENS} tokens; quartiles {low:.2f} to {high:.2f}); bar: {RATIO:.2f}", ratio >= RATIO),
            ("first token after asking", f"{first:.3f} s (median; {max(firsts):.3f} s at most); bar: {FIRST_TOKEN} s", first <= FIRST_TOKEN)]


class Kernel:
    """A Jupyter kernel with the chat in it, and the messages that a page would send to its widgets."""

    def __init__(self, results: str):
        import psutil
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3", startup_timeout=PATIENCE, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=str(ROOT))
        self.run(OPEN.format(results=str(Path(results).resolve())))
        self.process = psutil.Process(self.value("os.getpid()"))
        self.panel, self.composer = self.value("chat.panel.model_id"), self.value("chat.composer.model_id")
        self.keys = self.value("keys")

    def run(self, code: str, **more) -> dict:
        """Run code and wait for its end; what it says is read and dropped, as a page reads it."""
        reply = self.client.execute(code, reply=True, timeout=PATIENCE, **more)
        while self.client.iopub_channel.msg_ready():
            self.client.get_iopub_msg(timeout=PATIENCE)
        if reply["content"]["status"] != "ok":
            raise SystemExit(f"the kernel failed: {reply['content'].get('evalue')}")
        return reply

    def value(self, expression: str):
        """What an expression is there; a literal."""
        import ast

        return ast.literal_eval(self.run("", user_expressions={"it": expression})["content"]["user_expressions"]["it"]["data"]["text/plain"])

    def turn(self, number: int) -> None:
        """Choose a picture and ask, by messages; wait for the answer."""
        for widget, content in ((self.panel, {"kind": "choose", "key": self.keys[number % len(self.keys)]}), (self.composer, {"kind": "ask", "question": f"{QUESTION} ({number})"})):
            self.client.shell_channel.send(self.client.session.msg("comm_msg", {"comm_id": widget, "data": {"method": "custom", "content": content}}))
        self.run("chat.wait(); assert chat.conversation.exchanges[-1].answers[0].text")

    def close(self) -> None:
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def measure_memory(results: str, turns: int) -> list[tuple[str, str, bool]]:
    """The row of the table, as above."""
    kernel, sizes = Kernel(results), []
    try:
        for number in range(turns):
            kernel.turn(number)
            sizes.append(kernel.process.memory_info().rss / 2**20)
        answered = kernel.value("len(chat.conversation.exchanges)")
    finally:
        kernel.close()
    if answered != turns:
        raise SystemExit(f"the kernel has {answered} exchanges, not {turns}")
    warm = min(turns, max(WARM, turns // 10))
    growth = sizes[-1] / sizes[warm - 1] - 1
    said = f"{sizes[warm - 1]:.0f} MiB after {warm} turns, {sizes[turns // 2 - 1]:.0f} after {turns // 2}, {sizes[-1]:.0f} after {turns}: {growth:+.1%}; bar: {GROWTH:+.0%}"
    return [("memory of the kernel (RSS)", said, growth <= GROWTH)]


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 pairs and 40 turns")
    parser.add_argument("--pairs", type=int, help="pairs of answers whose speed is compared")
    parser.add_argument("--turns", type=int, help="turns over which memory is watched")
    parser.add_argument("--results", default="results", help="the folder that captionlab course wrote")
    options = parser.parse_args()

    load = os.getloadavg()[0]
    rows = [*measure_speed(options.results, options.pairs or (20 if options.quick else 60)), *measure_memory(options.results, options.turns or (40 if options.quick else 200))]
    width = max(len(name) for name, *_ in rows)
    for name, value, met in rows:
        print(f"{'met   ' if met else 'MISSED'}  {name:{width}}  {value}")
    print(f"        {'machine':{width}}  {os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after")
    if not all(met for *_, met in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
