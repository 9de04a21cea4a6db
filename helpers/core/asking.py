"""Asks techniques about pictures: many calls under way at once, each kept in a label store so that none is paid twice.

Shape of the data: techniques × pictures → {(technique, picture): `Reply`}, a reply being one or more `Call`s and one text. The
store's key is (picture's bytes, model, exact prompt, sampling parameters): a prompt that was changed is asked, the others are
read. Two techniques that begin with the same prompt share that call; each reports it as its own, as it would cost alone.
The seconds a call took are kept in the label's usage, so that a table made from the store shows them too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from helpers.core.commits import Commits
from helpers.core.endpoints import is_stand_in
from helpers.core.errors import InputError
from helpers.core.images import EncodedImage, encode_image
from helpers.core.labels import STAND_IN_SOURCE, Label, LabelKey, LabelStore, canonical
from helpers.core.qwen_vl import QwenVL
from helpers.core.techniques import Technique, merge

LAB = "lab"  # the dimension under which the lab's answers stand in a store


@dataclass(frozen=True)
class Call:
    """One request and its answer. seconds: from sending it to having it, waiting for its turn included.  new: asked just now."""

    prompt: str
    text: str
    status: str
    finish_reason: str
    source: str
    input_tokens: int
    output_tokens: int
    seconds: float
    why: str = ""
    new: bool = False


@dataclass(frozen=True)
class Reply:
    """What a technique got for a picture. `text`: the last call's, or those of the dimensions joined; "" where one failed."""

    text: str
    calls: tuple[Call, ...]

    @property
    def answered(self) -> bool:
        """Whether every call was answered."""
        return all(call.status == "ok" for call in self.calls)


class _Asker:
    """The calls of one run, in one event loop."""

    def __init__(self, client: QwenVL, store: LabelStore, language: str, concurrency: int, hashes: Mapping[Path, str]):
        self.client, self.store, self.language, self.hashes = client, store, language, hashes
        self.free = asyncio.Semaphore(concurrency)
        self.own = is_stand_in(client.base_url)
        self.asked: dict[LabelKey, asyncio.Task] = {}
        self.commits = Commits(store)

    async def reply(self, technique: Technique, picture: EncodedImage, path: Path, sampling: dict) -> Reply:
        """All calls of a technique about one picture; its first prompts at once, the second after them."""
        sampling = {**sampling, **technique.parameters.told()}
        calls = await asyncio.gather(*(self._call(prompt, picture, path, sampling) for prompt in technique.prompts(self.language)))
        text = merge([call.text for call in calls], self.language)
        second = technique.second(self.language, text)
        if second and all(call.status == "ok" for call in calls):
            calls = [*calls, await self._call(second, picture, path, sampling)]
            text = calls[-1].text
        reply = Reply(text, tuple(calls))
        return reply if reply.answered else Reply("", reply.calls)

    async def _call(self, prompt: str, picture: EncodedImage, path: Path, sampling: dict) -> Call:
        key = LabelKey(self.hashes[path], self.client.model, prompt, canonical(sampling))
        if key not in self.asked:
            self.asked[key] = asyncio.create_task(self._once(key, picture, sampling))
        return await self.asked[key]

    async def _once(self, key: LabelKey, picture: EncodedImage, sampling: dict) -> Call:
        """The stored answer, or a new one, stored."""
        label = self.store.get(key)
        if label and (label.status == "failed" or label.source == STAND_IN_SOURCE and not self.own):
            label = None
        new = label is None
        if label is None:
            async with self.free:
                started = time.monotonic()
                answer = await self.client.ask_async(picture, key.prompt, **sampling)
                usage = {**answer.usage, "seconds": round(time.monotonic() - started, 4)}
            text = answer.text if answer.status == "ok" else ""
            label = Label(key, LAB, self.language, answer.status, text, answer.finish_reason, usage, answer.request_id, answer.source,
                          answer.code, answer.message)
            await self.commits.put(label)
        tokens = (int(label.usage.get(name) or 0) for name in ("input_tokens", "output_tokens"))
        return Call(key.prompt, label.answer, label.status, label.finish_reason, label.source, *tokens, float(label.usage.get("seconds") or 0),
                    " ".join(part for part in (label.code, label.message) if part), new)


def ask_all(techniques: Mapping[str, Technique], pictures: Sequence[Path], open_client: Callable[[], QwenVL], store: Path | str, language: str,
            sampling: dict | None = None, concurrency: int = 8, progress: str | None = "asking",
            seen: Callable[[str, Path, Reply], None] | None = None) -> dict[tuple[str, Path], Reply]:
    """Ask every technique about every picture.

    open_client: makes the client; it is used in a thread of its own, so this works in a notebook too.  sampling: parameters of
    every request, under those of a technique.  seen: told of each reply as it comes, from that thread.
    Raises InputError for no technique or picture and for a picture that cannot be sent, TeacherError for an answer that ends the
    run; what was answered until then is in the store, and the same call continues.
    """
    if not techniques or not pictures:
        raise InputError("there is nothing to ask: give at least one technique and one picture")
    with LabelStore(store) as labels:
        hashes = labels.hash_pictures(list(pictures))
        if missing := next((p for p in pictures if p not in hashes), None):
            raise InputError(f"the picture {missing} cannot be read: check the path")
        replies: dict[tuple[str, Path], Reply] = {}

        async def run() -> None:
            client = open_client()
            asker = _Asker(client, labels, language, concurrency, hashes)
            with tqdm(total=len(techniques) * len(pictures), desc=progress, unit="answer", disable=progress is None) as bar:
                async def one(name: str, path: Path, picture: EncodedImage) -> None:
                    reply = replies[name, path] = await asker.reply(techniques[name], picture, path, sampling or {})
                    bar.update()
                    if seen:
                        seen(name, path, reply)

                try:
                    # Picture by picture in small groups, so that not all encoded pictures are in memory at once.
                    for begin in range(0, len(pictures), 2 * concurrency):
                        group = [(path, encode_image(path, client.max_side)) for path in pictures[begin:begin + 2 * concurrency]]
                        async with asyncio.TaskGroup() as tasks:
                            for path, picture in group:
                                for name in techniques:
                                    tasks.create_task(one(name, path, picture))
                except* Exception as faults:  # the first one says what happened; the others were cancelled or say the same
                    raise faults.exceptions[0] from None
                finally:
                    await client.close()

        with ThreadPoolExecutor(1, thread_name_prefix="asking") as thread:
            thread.submit(lambda: asyncio.run(run())).result()
        return {(name, path): replies[name, path] for name in techniques for path in pictures}
