"""What the offline stand-in answers.

Shape of the data: prompt → `standin_prompt.Request` → answer text about a `Known` picture.

Its rules of behaviour are those of a stand-in: chosen to err the way vision-language models are known to err, seeded, and
no measurement of any model.

- A vague prompt gets a short vague answer; one that asks for everything gets it, and now and then an object that is not
  there (Rohrbach et al., 2018); "only what you can see", a careful role or working step by step make that rarer.
- Pressed for more objects than there are, it makes some up.
- Not asked for everything, it overlooks some of the smaller things, and counts three or more in passing.
- Examples are followed in their manner: it tells of colours, sizes, places and weather what they tell.
- Given a text to check, it strikes most of what is not there, and rarely something that is.
- Asked whether there is something, it says yes a little too often (Li et al., 2023, arXiv:2305.10355).
- A higher temperature or top-p makes up more and slips in colours; a lower one makes up less. At temperature 0 the seed
  changes nothing.

Every choice comes from a seed made of the stand-in's seed, the picture's identity, the prompt and the sampling
parameters: the same question gets the same answer, in any order and at any time.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

from helpers.core import speech
from helpers.core.lexicon import KINDS, TIMES, WEATHERS
from helpers.core.naming import find_names
from helpers.core.reading import read
from helpers.core.scenes import Group, Scene
from helpers.core.standin_eyes import Known
from helpers.core.standin_prompt import Request, read_prompt

USUAL_TEMPERATURE, USUAL_TOP_P = 0.7, 0.8
OVERLOOKED = 0.2     # how likely a thing that is not the largest is left out of an answer that need not be complete
MISCOUNTED = 0.25    # how likely three or more are then counted as one more or less
PRESSED = 0.5        # how likely each object that is asked for but not there is made up
PRESSED_GROUNDED = 0.1
SLIP = 0.05          # how likely a colour is wrong, for each unit of heat above the usual
STRUCK = 0.9         # how likely something that is not there is struck out of a text to check
STRUCK_WRONGLY = 0.02
YES_TO_NOTHING = 0.08

_NOT_SAMPLING = {"incremental_output", "result_format", "max_tokens"}  # how an answer is sent, or where it ends, not what it says

UNKNOWN = {
    "en": "I am the offline stand-in, not Qwen-VL, and I do not know this picture: "
          "I only know the kit's drawn scenes and its few photographs.",
    "zh": "我是离线替身，不是通义千问VL，不认识这张图片：我只认识本课程绘制的场景和少数几张照片。",
}


def reply(known: Known | None, prompt: str, seed: int = 0, parameters: dict | None = None) -> str:
    """The stand-in's answer to a prompt about a picture; `known` None: a picture it does not know, and it says so.

    parameters: the request's sampling parameters; a higher temperature invents more.
    """
    request = read_prompt(prompt)
    if known is None:
        return UNKNOWN[request.language]
    parameters = {name: value for name, value in (parameters or {}).items() if name not in _NOT_SAMPLING}
    heat = _heat(parameters)
    if parameters.get("temperature") == 0:
        parameters.pop("seed", None)
    key = f"{seed}|{known.identity}|{prompt}|{json.dumps(parameters, sort_keys=True)}"
    if heat > 1 and known.scene:
        known = replace(known, scene=_slip(known.scene, random.Random(key + "|slip"), SLIP * (heat - 1)))
    if request.draft is not None:
        return _checked(known, request, key, heat)
    if request.asked:
        return _yes_or_no(known, request, key, heat)
    speak = _photo_text if known.photo else _scene_text
    text = speak(known, request, key, request.invent * heat)
    if request.limit and request.form == "plain":
        for detail in ("normal", "brief"):
            if fits(text, request.limit):
                break
            text = speak(known, _with_detail(request, detail), key, request.invent * heat)
        text = shorten(text, request.limit, request.language)
    return text


def _in_passing(scene: Scene, rng: random.Random, care: float) -> Scene:
    """The scene as one sees it who need not tell everything: some things overlooked, some miscounted; relations of what is left."""
    largest = speech.prominent(scene)[0]
    kept = [i for i, g in enumerate(scene.groups) if g is largest or rng.random() >= OVERLOOKED * care]
    groups = [replace(g, count=g.count + (-1 if g.count == 4 else rng.choice((-1, 1)))) if g.count > 2 and rng.random() < MISCOUNTED * care else g
              for g in scene.groups]
    relations = [replace(r, subject=kept.index(r.subject), object=kept.index(r.object)) for r in scene.relations if {r.subject, r.object} <= set(kept)]
    return replace(scene, groups=[groups[i] for i in kept], relations=relations)


def _heat(parameters: dict) -> float:
    """How much the sampling parameters loosen an answer: 1.0 at the usual ones, at most 2."""
    warm = parameters.get("temperature", USUAL_TEMPERATURE) / USUAL_TEMPERATURE
    wide = parameters.get("top_p", USUAL_TOP_P) / USUAL_TOP_P  # a narrow top-p cuts off what heat would let through
    return min(2.0, 0.5 + 0.5 * warm * wide)


def _slip(scene: Scene, rng: random.Random, chance: float) -> Scene:
    """The scene as it is seen in a hurry: now and then another colour."""
    groups = [replace(g, colour=rng.choice([c for c in KINDS[g.kind].colours if c != g.colour])) if g.colour and rng.random() < chance else g
              for g in scene.groups]
    return replace(scene, groups=groups)


def _with_detail(request: Request, detail: str) -> Request:
    dimensions = request.dimensions if detail != "brief" else request.dimensions[:1]
    return replace(request, dimensions=dimensions, detail=detail)


def _scene_text(known: Known, request: Request, key: str, invent: float) -> str:
    """What is said of a drawn scene."""
    scene, language = known.scene, request.language
    dimensions = request.dimensions or ("main",)
    if request.detail == "normal" and {"main", "objects"} & set(dimensions) and not request.least:
        scene = _in_passing(scene, random.Random(key + "|passing"), request.care)
    if request.examples and request.form == "plain":
        return _in_the_manner_of(request.examples, scene, language, key, invent)
    if request.least and request.form != "json":
        groups = speech.in_reading_order(scene) + _made_up(scene, request, key)
        if request.form == "list":
            return "\n".join("- " + speech.noun_phrase(g, language, size=False) for g in groups)
        return speech.compose(scene, language, ("scene", "objects"), groups=groups, size=False, seed=key)
    if request.form == "json":
        record = speech.facts(scene, language, key, invent)
        record |= {d: speech.answer(scene, language, d, request.detail, key) for d in dimensions if d in ("relations", "mood")}
        return _as_json(record, request)
    if request.form == "list":
        rng = random.Random(key)
        groups = speech.in_reading_order(scene) + ([speech.invented_group(scene, rng)] if rng.random() < invent else [])
        return "\n".join("- " + speech.noun_phrase(group, language, size=request.detail == "everything") for group in groups)
    texts = [speech.answer(scene, language, d, request.detail, key, invent if d in ("main", "objects") else 0.0) for d in dimensions]
    if request.form == "steps":
        return "\n".join(_step(number, text, language) for number, text in enumerate((t for t in texts if t), 1))
    return (" " if language == "en" else "").join(t for t in texts if t)


def _step(number: int, text: str, language: str) -> str:
    return f"Step {number}: {text}" if language == "en" else f"第{'一二三四五六七'[number - 1]}步：{text}"


def _in_the_manner_of(examples: tuple[str, ...], scene: Scene, language: str, key: str, invent: float) -> str:
    """An answer that tells what the examples tell: sizes, colours, relations, and time or weather, each if one of them does."""
    shown = " ".join(examples).lower()
    readings = [read(example, language) for example in examples]
    times = [w for table in (TIMES, WEATHERS) for word in table.values() for w in word.understood(language)]
    rng = random.Random(key)
    groups = speech.in_reading_order(scene) + ([speech.invented_group(scene, rng)] if rng.random() < invent else [])
    parts = ("scene", "objects", *(["relations"] if any(r.relations for r in readings) else []), *(["atmosphere"] if any(t in shown for t in times) else []))
    sizes = r"\b(?:small|little|large|big)\b" if language == "en" else "[小大]"
    return speech.compose(scene, language, parts, groups=groups, size=bool(re.search(sizes, shown)),
                          colour=any(m.colours for r in readings for m in r.mentions), seed=key)


def _made_up(scene: Scene, request: Request, key: str) -> list[Group]:
    """What is named only because the prompt insists on more objects than there are."""
    rng = random.Random(key + "|pressed")
    chance = PRESSED_GROUNDED if request.grounded else PRESSED
    made: list[Group] = []
    for _ in range(min(request.least, 12) - len(scene.groups)):
        seen = replace(scene, groups=scene.groups + made)
        if rng.random() < chance and (group := speech.invented_group(seen, rng)).kind not in {g.kind for g in seen.groups}:
            made.append(group)
    return made


def _checked(known: Known, request: Request, key: str, heat: float) -> str:
    """A given text with most of what is not in the picture struck out. Of a photograph, as it was."""
    if known.scene is None:
        return request.draft
    rng = random.Random(key)
    there = {g.kind for g in known.scene.groups}
    named = dict.fromkeys(n.kind for n in find_names(request.draft.lower(), request.language) if n.kind)
    doubted = {kind for kind in named if rng.random() < (STRUCK_WRONGLY * heat if kind in there else STRUCK)}
    kept = [speech.without(sentence, doubted, request.language) for sentence in _sentences(request.draft)]
    return (" " if request.language == "en" else "").join(sentence for sentence in kept if sentence)


def _yes_or_no(known: Known, request: Request, key: str, heat: float) -> str:
    """An answer to "is there …?", one sentence a kind; yes to what is not there a little too often."""
    rng, answers = random.Random(key), []
    for kind in request.asked:
        word = KINDS[kind].word.said(request.language)
        group = next((g for g in known.scene.groups if g.kind == kind), None) if known.scene else None
        if known.photo:
            seen = kind in read(known.photo.descriptions["objects"][request.language], request.language).said
            group = Group(kind, None, "medium", 1, []) if seen else None
        if group is None and known.scene and rng.random() < YES_TO_NOTHING * heat * request.care * (0.3 if request.grounded else 1.0):
            colours = KINDS[kind].colours
            group = Group(kind, rng.choice(colours) if colours else None, "medium", 1, [])
        phrase = speech.noun_phrase(group, request.language, size=False) if group else ""
        if request.language == "en":
            verb = "are" if group and group.count > 1 else "is"
            answers.append(f"Yes, there {verb} {phrase}." if group else f"No, there is no {word} in the picture.")
        else:
            answers.append(f"有，图中有{phrase}。" if group else f"没有，图中没有{word}。")
    return (" " if request.language == "en" else "").join(answers)


def _photo_text(known: Known, request: Request, key: str, invent: float) -> str:
    """What is said of a photograph: its written descriptions; nothing is invented, for there is no truth to invent against."""
    texts = known.photo.descriptions
    dimensions = request.dimensions or ("main",)
    if request.detail == "brief":
        return known.photo.title[request.language] + ("." if request.language == "en" else "。")
    if request.form == "json":
        return _as_json({d: texts[d][request.language] for d in (dimensions if dimensions != ("main",) else tuple(texts))}, request)
    joined = (" " if request.language == "en" else "").join(texts[d][request.language] for d in dimensions)
    if request.form == "list":
        return "\n".join("- " + s for s in _sentences(joined))
    return joined


def _as_json(record: dict, request: Request) -> str:
    text = json.dumps(record, ensure_ascii=False, indent=2)
    return f"```json\n{text}\n```" if request.fenced else text


def _sentences(text: str) -> list[str]:
    return [s.strip() for s in re.findall(r"[^.。！？!?]+[.。！？!?]*", text) if s.strip()]


def length(text: str, unit: str) -> int:
    """The length of a text in "words" (separated by spaces), "characters" (without spaces) or "sentences"."""
    if unit == "sentences":
        return len(_sentences(text))
    return len(text.split()) if unit == "words" else len(re.sub(r"\s", "", text))


def fits(text: str, limit: tuple[int, str]) -> bool:
    """Whether a text keeps to a limit."""
    return length(text, limit[1]) <= limit[0]


def shorten(text: str, limit: tuple[int, str], language: str) -> str:
    """Cut a text to a limit: at the end of a sentence where one fits, else after a word or character."""
    if fits(text, limit):
        return text
    number, unit = limit
    joint = " " if language == "en" else ""
    kept: list[str] = []
    for sentence in _sentences(text):
        if not fits(joint.join([*kept, sentence]), limit):
            break
        kept.append(sentence)
    if kept:
        return joint.join(kept)
    if unit == "words":
        return " ".join(text.split()[:number])
    return text[:number]
