"""What the offline stand-in understands of a prompt, and what it answers.

Shape of the data: prompt text → `Request` (language, dimensions, detail, format, word limit, how freely it may
invent) → answer text about a `Known` picture. It reads prompts by their words, in English and Chinese, as far as the
course's techniques go: which dimensions are asked for, how much of them, in which format and length, and whether the
prompt holds the model to what can be seen.

It errs the way vision-language models err. A vague prompt gets a short vague answer. A prompt that asks for
everything, without limits, now and then gets an object that is not there; "only what you can see" makes that rare.
Every choice comes from a seed made of the stand-in's seed, the picture's identity, the prompt and the sampling
parameters: the same question gets the same answer, in any order and at any time.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

from helpers.core import speech
from helpers.core.standin_eyes import Known

# How likely an object that is not there is named, by detail and by whether the prompt asks for what can be seen only.
INVENT = {("everything", False): 0.065, ("everything", True): 0.008, ("normal", False): 0.04, ("normal", True): 0.005,
          ("brief", False): 0.02, ("brief", True): 0.0}
USUAL_TEMPERATURE = 0.7

_NOT_SAMPLING = {"incremental_output", "result_format", "max_tokens"}  # how an answer is sent, or where it ends, not what it says

UNKNOWN = {
    "en": "I am the offline stand-in, not Qwen-VL, and I do not know this picture: "
          "I only know the kit's drawn scenes and its few photographs.",
    "zh": "我是离线替身，不是通义千问VL，不认识这张图片：我只认识本课程绘制的场景和少数几张照片。",
}

_CUES = {  # dimension → words that ask for it
    "scene": r"\b(scenes?|settings?|places?|locations?|surroundings|environment)\b|场景|地点|环境|场所|什么地方",
    "objects": r"\b(objects?|items?|things? (?:are|is|can be|you)|elements|contents)\b|物体|物品|东西|事物有|元素",
    "relations": r"\b(relations?|relationships?|positions?|spatial|where do|relative to|doing|actions?|interact\w*)\b|"
                 r"关系|位置|方位|动作|在做什么|相对",
    "atmosphere": r"\b(light|lighting|weather|time of day|sky|atmosphere)\b|光线|光照|天气|时段|时间|天空|氛围",
    "mood": r"\b(moods?|feelings?|emotions?|styles?|tone)\b|情绪|风格|感觉|心情|基调|情感",
}
_EVERYTHING = (r"\b(all|every|everything|each(?! other)|as (?:much|many|far)\b[^.?!]{0,60}\bpossible|in (?:great |full )?detail|detailed|"
               r"complete(?:ly)?|exhaustive|thorough(?:ly)?)\b|尽可能|所有|全部|详细|每一个|每个|完整|一切|详尽")
_BRIEF = r"\b(brief(?:ly)?|short(?:ly)?|concise(?:ly)?|one sentence|a few words|in a word)\b|简短|简要|简洁|简单|一句话|概括"
_GROUNDED = (r"\bonly (?:\w+ ){0,4}(?:can (?:actually |clearly |really )?see|see|visible)|\bclearly visible\b|"
             r"\b(?:do not|don't|never) (?:\w+ )?(?:guess|invent|imagine|assume|make)|"
             r"\bleave (?:it )?out\b|if (?:you are )?(?:unsure|not sure)|"
             r"只\S{0,6}(?:看到|看得见|看见|可见)|确实(?:能)?看|不要(?:猜|编|想象|臆|虚构|推测)|切勿(?:猜|编)|不确定")
_LIMIT_EN = re.compile(r"(?:at most|no more than|up to|within|under|fewer than|less than|maximum(?: of)?|in) "
                       r"(\d+) (words?|characters?|sentences?)", re.IGNORECASE)
_LIMIT_ZH = re.compile(r"(?:不超过|最多|不多于|少于|控制在|限)\s*(\d+)\s*(?:个)?(字|词|句)|(\d+)\s*(字|句)(?:话)?(?:以内|之内|内)")
_LIST = r"\b(bullet|bulleted|numbered list|as a list|list (?:of )?(?:all|every|the|each)|one per line)\b|列表|逐条|分条|列出|每行一"
_IN_CHINESE = r"\bin chinese\b|用中文|以中文|中文回答"
_IN_ENGLISH = r"\bin english\b|用英文|用英语|以英文|英文回答"


@dataclass(frozen=True)
class Request:
    """What a prompt asks for.

    dimensions: in the course's order; empty when the prompt names none.  detail: "brief", "normal" or "everything".
    form: "plain", "json" or "list".  limit: (number, "words", "characters" or "sentences"), or None.
    grounded: the prompt holds the answer to what can be seen.
    """

    language: str
    dimensions: tuple[str, ...]
    detail: str
    form: str
    limit: tuple[int, str] | None
    grounded: bool
    fenced: bool = True

    @property
    def invent(self) -> float:
        """Probability that one object which is not there is named; a limit on length leaves less room for it."""
        return INVENT[self.detail, self.grounded] * (0.5 if self.limit else 1.0)


def read_prompt(prompt: str) -> Request:
    """Understand a prompt, English or Chinese; see the module's docstring."""
    def asks(pattern: str) -> bool:
        return re.search(pattern, prompt, re.IGNORECASE) is not None

    language = "zh" if asks(_IN_CHINESE) or re.search(r"[\u4e00-\u9fff]", prompt) and not asks(_IN_ENGLISH) else "en"
    dimensions = tuple(name for name, cue in _CUES.items() if asks(cue))
    everything, brief = asks(_EVERYTHING), asks(_BRIEF)
    form = "json" if asks(r"\bjson\b") else "list" if asks(_LIST) else "plain"
    if brief and everything:
        detail = "normal"
    elif everything:
        detail = "everything"
    elif brief or not dimensions and form == "plain":
        detail = "brief"
    else:
        detail = "normal"
    if {"scene", "objects"} <= set(dimensions):  # the whole picture: `main` says what these dimensions would, as one text
        dimensions = ("main", *(["relations"] if "relations" in dimensions and detail != "everything" else []),
                      *(["mood"] if "mood" in dimensions else []))
    fenced = not asks(r"\bonly\b|只|仅|no (?:markdown|code)")
    return Request(language, dimensions, detail, form, _limit(prompt), asks(_GROUNDED), fenced)


def _limit(prompt: str) -> tuple[int, str] | None:
    """The length that a prompt allows: (number, unit), or None."""
    if found := _LIMIT_EN.search(prompt):
        return max(1, int(found[1])), found[2].lower().rstrip("s") + "s"
    if found := _LIMIT_ZH.search(prompt):
        return max(1, int(found[1] or found[3])), "sentences" if "句" in (found[2], found[4]) else "characters"
    return None


def reply(known: Known | None, prompt: str, seed: int = 0, parameters: dict | None = None) -> str:
    """The stand-in's answer to a prompt about a picture; `known` None: a picture it does not know, and it says so.

    parameters: the request's sampling parameters; a higher temperature invents more.
    """
    request = read_prompt(prompt)
    if known is None:
        return UNKNOWN[request.language]
    parameters = {name: value for name, value in (parameters or {}).items() if name not in _NOT_SAMPLING}
    key = f"{seed}|{known.identity}|{prompt}|{json.dumps(parameters, sort_keys=True)}"
    heat = min(2.0, 0.5 + 0.5 * parameters.get("temperature", USUAL_TEMPERATURE) / USUAL_TEMPERATURE)
    speak = _photo_text if known.photo else _scene_text
    text = speak(known, request, key, request.invent * heat)
    if request.limit and request.form == "plain":
        for detail in ("normal", "brief"):
            if fits(text, request.limit):
                break
            text = speak(known, _with_detail(request, detail), key, request.invent * heat)
        text = shorten(text, request.limit, request.language)
    return text


def _with_detail(request: Request, detail: str) -> Request:
    dimensions = request.dimensions if detail != "brief" else request.dimensions[:1]
    return Request(request.language, dimensions, detail, request.form, request.limit, request.grounded, request.fenced)


def _scene_text(known: Known, request: Request, key: str, invent: float) -> str:
    """What is said of a drawn scene."""
    scene, language = known.scene, request.language
    dimensions = request.dimensions or ("main",)
    if request.form == "json":
        record = speech.facts(scene, language, key, invent)
        record |= {d: speech.answer(scene, language, d, request.detail, key) for d in dimensions if d in ("relations", "mood")}
        return _as_json(record, request)
    if request.form == "list":
        rng = random.Random(key)
        groups = speech.in_reading_order(scene) + ([speech.invented_group(scene, rng)] if rng.random() < invent else [])
        return "\n".join("- " + speech.noun_phrase(group, language, size=request.detail == "everything") for group in groups)
    texts = [speech.answer(scene, language, d, request.detail, key, invent if d in ("main", "objects") else 0.0) for d in dimensions]
    return (" " if language == "en" else "").join(t for t in texts if t)


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
