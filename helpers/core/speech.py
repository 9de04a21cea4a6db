"""Says what a scene shows, in English or Chinese: the words of the offline stand-in and of pretraining.

Everything said comes from the scene's truth. `alt_text` is the short caption that the tiny student is
pretrained on; `answer` composes what the stand-in replies, by dimension and detail. Wording varies with
a `seed` string, never with order or time. `invent` is the one deliberate fault: the probability that
one object which is not there is named as well, as vision-language models do when asked for everything.
"""

from __future__ import annotations

import random
import re

from helpers.core.lexicon import ACTIONS, COLOURS, KINDS, KINDS_OF_SETTING, NUMBERS, SETTINGS, SIZES
from helpers.core.naming import find_names
from helpers.core.scenes import Group, Scene

# What the drawn world can be asked about. Pretraining draws its questions from these: one more makes another student.
DIMENSIONS = ("main", "scene", "objects", "relations", "atmosphere", "mood")
DETAILS = ("brief", "normal", "everything")

_PLACE_EN = {"park": "in a park", "beach": "on a beach", "street": "on a city street", "farm": "on a farm", "desert": "in a desert",
             "forest": "in a forest", "mountains": "in the mountains", "harbour": "in a harbour", "room": "in a living room"}
_TIME_EN = {"day": "during the day", "sunset": "at sunset", "night": "at night"}
_TIME_ZH = {"day": "白天", "sunset": "傍晚", "night": "夜晚"}
_SKY_EN = {
    ("clear", "day"): "the sky is clear and the sun is shining", ("clear", "sunset"): "the sky is clear and the low sun glows orange",
    ("clear", "night"): "the sky is clear, with a moon and stars", ("cloudy", "day"): "the sky is cloudy",
    ("cloudy", "sunset"): "the evening sky is cloudy", ("cloudy", "night"): "the night sky is cloudy",
    ("rainy", "day"): "it is raining", ("rainy", "sunset"): "it is raining at dusk", ("rainy", "night"): "it is raining in the dark",
    ("snowy", "day"): "it is snowing", ("snowy", "sunset"): "it is snowing at dusk", ("snowy", "night"): "it is snowing in the dark",
}
_SKY_ZH = {
    ("clear", "day"): "天空晴朗，阳光明媚", ("clear", "sunset"): "天空晴朗，夕阳呈橘红色", ("clear", "night"): "天空晴朗，有月亮和星星",
    ("cloudy", "day"): "天空多云", ("cloudy", "sunset"): "傍晚的天空多云", ("cloudy", "night"): "夜空多云",
    ("rainy", "day"): "天空正在下雨", ("rainy", "sunset"): "傍晚正在下雨", ("rainy", "night"): "夜里正在下雨",
    ("snowy", "day"): "天空正在下雪", ("snowy", "sunset"): "傍晚正在下雪", ("snowy", "night"): "夜里正在下雪",
}
_LIGHT_EN = {"day": "bright daylight", "sunset": "warm evening light", "night": "little light"}
_LIGHT_ZH = {"day": "光线明亮", "sunset": "光线温暖", "night": "光线昏暗"}
_MOOD_EN = {"clear": ("cheerful", "peaceful"), "cloudy": ("quiet", "calm"), "rainy": ("a little gloomy", "melancholy"), "snowy": ("cold but dreamy", "hushed")}
_MOOD_ZH = {"clear": ("欢快", "宁静"), "cloudy": ("平静", "安静"), "rainy": ("有些忧郁", "沉闷"), "snowy": ("寒冷而梦幻", "静谧")}


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def noun_phrase(group: Group, language: str, size: bool = True, colour: bool = True) -> str:
    """A group as a caption names it: "two small red balls", "一个穿蓝色衣服的大孩子"."""
    kind = KINDS[group.kind]
    hue = COLOURS[group.colour].said(language) if colour and group.colour else ""
    big = SIZES[group.size].said(language) if size else ""
    if language == "en":
        noun = kind.word.en if group.count == 1 else kind.plural_en
        words = " ".join(w for w in (big, "" if kind.garment else hue, noun) if w)
        words += f" in {hue}" if kind.garment and hue else ""
        return _article(words) if group.count == 1 else f"{NUMBERS[group.count].en} {words}"
    number = NUMBERS[group.count].zh + kind.measure
    describing = f"穿{hue}衣服的" if kind.garment and hue else f"{hue}的" if hue else ""
    return number + describing + big + kind.word.zh


def the(group: Group, language: str) -> str:
    """A group that was already named: "the balls", "孩子"."""
    kind = KINDS[group.kind]
    return f"the {kind.word.en if group.count == 1 else kind.plural_en}" if language == "en" else kind.word.zh


def enumerate_phrases(phrases: list[str], language: str) -> str:
    """Joins phrases as a list: "a, b and c", "甲、乙和丙"."""
    if len(phrases) == 1:
        return phrases[0]
    joint, last = (", ", " and ") if language == "en" else ("、", "和")
    return joint.join(phrases[:-1]) + last + phrases[-1]


def prominent(scene: Scene) -> list[Group]:
    """The groups, the one with the largest drawn area first."""
    def area(group: Group) -> float:
        return sum((b[2] - b[0]) * (b[3] - b[1]) for b in (scene.objects[m].box for m in group.members))
    return sorted(scene.groups, key=area, reverse=True)


def in_reading_order(scene: Scene) -> list[Group]:
    """The groups from left to right."""
    return sorted(scene.groups, key=lambda g: min(scene.objects[m].box[0] for m in g.members))


def alt_text(scene: Scene, language: str, groups: int = 2) -> str:
    """The short caption of pretraining: the most prominent `groups` groups and the setting, no size, time or weather."""
    things = enumerate_phrases([noun_phrase(g, language, size=False) for g in prominent(scene)[:groups]], language)
    return f"{things} {_PLACE_EN[scene.setting]}" if language == "en" else f"{SETTINGS[scene.setting].zh}里有{things}"


def invented_group(scene: Scene, rng: random.Random) -> Group:
    """An object that would be at home in the setting but is not in the scene."""
    there = {g.kind for g in scene.groups}
    kind = rng.choice([k for k in KINDS_OF_SETTING[scene.setting] if k not in there])
    return Group(kind, rng.choice(KINDS[kind].colours) if KINDS[kind].colours else None, "medium", 1, [])


def _scene_sentence(scene: Scene, language: str, rng: random.Random) -> str:
    if language == "en":
        start = rng.choice(("The picture shows a scene", "This is a scene"))
        return f"{start} {_PLACE_EN[scene.setting]} {_TIME_EN[scene.time]}."
    return rng.choice(("这张照片记录了", "画面展示了")) + f"{_TIME_ZH[scene.time]}{SETTINGS[scene.setting].zh}的场景。"


def _objects_sentence(scene: Scene, language: str, rng: random.Random, invented: Group | None, size: bool = True, colour: bool = True) -> str:
    return _naming_sentence(in_reading_order(scene) + ([invented] if invented else []), language, rng, size, colour)


def _naming_sentence(groups: list[Group], language: str, rng: random.Random, size: bool, colour: bool) -> str:
    things = enumerate_phrases([noun_phrase(g, language, size, colour) for g in groups], language)
    if language == "en":
        verb = "is" if groups[0].count == 1 else "are"
        return rng.choice((f"There {verb} {things}.", f"It contains {things}."))
    return rng.choice(("画面中有", "图中可以看到")) + things + "。"


_RELATION_EN = {"left of": "to the left of", "above": "above", "in front of": "in front of", "on": "on"}
_RELATION_ZH = {"left of": "{a}在{b}的左边", "above": "{a}在{b}的上方", "in front of": "{a}在{b}的前面", "on": "{a}在{b}上面"}


def _relations_sentence(scene: Scene, language: str) -> str:
    clauses = []
    for r in scene.relations:
        a, b = scene.groups[r.subject], scene.groups[r.object]
        if r.relation == "right of":
            continue
        if language == "en":
            clauses.append(f"{the(a, language)} {'is' if a.count == 1 else 'are'} {_RELATION_EN[r.relation]} {the(b, language)}")
        else:
            clauses.append(_RELATION_ZH[r.relation].format(a=the(a, language), b=the(b, language)))
    if not clauses:
        return ""
    sentence = (", ".join(clauses[:-1]) + " and " + clauses[-1] if len(clauses) > 1 else clauses[0]) if language == "en" else "，".join(clauses)
    return sentence[0].upper() + sentence[1:] + ("." if language == "en" else "。")


def _actions_sentence(scene: Scene, language: str) -> str:
    clauses = []
    for group in in_reading_order(scene):
        kind = KINDS[group.kind]
        role = next((r for r in ("flies", "floats") if r in kind.roles), kind.group)
        lifted = any(r.relation == "above" for r in scene.relations if scene.groups[r.subject] is group)
        if role == "flies" and group.kind == "bird" and not lifted:
            role = "animal"
        one, many, chinese = ACTIONS[role]
        clauses.append(f"{the(group, language)} {one if group.count == 1 else many}" if language == "en" else the(group, language) + chinese)
    sentence = enumerate_phrases(clauses, language) if language == "en" else "，".join(clauses)
    return sentence[0].upper() + sentence[1:] + ("." if language == "en" else "。")


def _atmosphere_sentence(scene: Scene, language: str) -> str:
    if language == "en":
        sky = _SKY_EN[scene.weather, scene.time]
        where = "Through the window, " + sky if scene.setting == "room" else sky[0].upper() + sky[1:]
        return f"{where}; there is {_LIGHT_EN[scene.time]}."
    return ("窗外" if scene.setting == "room" else "") + _SKY_ZH[scene.weather, scene.time] + "，" + _LIGHT_ZH[scene.time] + "。"


def _mood_sentence(scene: Scene, language: str, rng: random.Random) -> str:
    if language == "en":
        return f"The mood is {rng.choice(_MOOD_EN[scene.weather])}, in the style of a flat illustration."
    return f"整个画面是扁平插画风格，给人{rng.choice(_MOOD_ZH[scene.weather])}的感觉。"


def answer(scene: Scene, language: str, dimension: str = "main", detail: str = "everything", seed: str = "", invent: float = 0.0) -> str:
    """What the stand-in says of a scene.

    dimension: one of DIMENSIONS.  detail: "brief" names the one or two largest things without colour or size,
    "normal" adds colours, place and time, "everything" adds sizes, relations and light.
    seed: chooses the wording and whether something is invented; the same arguments give the same text.
    invent: probability (0 to 1) that one object is named that is not there.
    """
    rng = random.Random(f"{seed}|{scene.seed}|{language}|{dimension}|{detail}")
    invented = invented_group(scene, rng) if rng.random() < invent else None
    joint = " " if language == "en" else ""
    if detail == "brief":
        groups = prominent(scene)[:rng.choice((1, 2))] + ([invented] if invented else [])
        things = enumerate_phrases([noun_phrase(g, language, size=False, colour=False) for g in groups], language)
        if dimension == "scene":
            return _PLACE_EN[scene.setting].capitalize() + "." if language == "en" else SETTINGS[scene.setting].zh + "。"
        if dimension in ("main", "objects"):
            return f"{things[0].upper()}{things[1:]}." if language == "en" else things + "。"
    everything = detail == "everything"
    sentences = {
        "main": lambda: [_scene_sentence(scene, language, rng), _objects_sentence(scene, language, rng, invented, size=everything),
                         *([_relations_sentence(scene, language), _atmosphere_sentence(scene, language)] if everything else [])],
        "scene": lambda: [_scene_sentence(scene, language, rng)],
        "objects": lambda: [_objects_sentence(scene, language, rng, invented, size=everything)],
        "relations": lambda: [_relations_sentence(scene, language), _actions_sentence(scene, language)],
        "atmosphere": lambda: [_atmosphere_sentence(scene, language)],
        "mood": lambda: [_mood_sentence(scene, language, rng)],
    }[dimension]()
    return joint.join(s for s in sentences if s)


def compose(scene: Scene, language: str, parts: tuple[str, ...], *, groups: list[Group] | None = None, size: bool = True, colour: bool = True,
            seed: str = "") -> str:
    """Sentences of one's own choice: `parts` of "scene", "objects", "relations", "actions", "atmosphere", "mood", in that order.

    groups: what the objects' sentence names, None for what is there.  seed: chooses the wording.
    """
    rng = random.Random(f"{seed}|{scene.seed}|{language}|compose")
    groups = in_reading_order(scene) if groups is None else groups
    sentences = {"scene": lambda: _scene_sentence(scene, language, rng), "objects": lambda: _naming_sentence(groups, language, rng, size, colour),
                 "relations": lambda: _relations_sentence(scene, language), "actions": lambda: _actions_sentence(scene, language),
                 "atmosphere": lambda: _atmosphere_sentence(scene, language), "mood": lambda: _mood_sentence(scene, language, rng)}
    return (" " if language == "en" else "").join(s for part in parts if (s := sentences[part]()))


def without(sentence: str, kinds: set[str], language: str) -> str:
    """A sentence with the parts of its enumeration that name one of `kinds` left out; "" where nothing would be left."""
    def names(text: str) -> bool:
        return any(n.kind in kinds for n in find_names(text.lower(), language))

    if not names(sentence):
        return sentence
    lead = re.match(r"(?:There (?:is|are) |It contains |In it (?:is|are) )|(?:画面中有|图中可以看到)", sentence)
    head = lead.group() if lead else ""
    stop = sentence[-1] if sentence[-1] in ".。!！" else ""
    body = sentence[len(head):len(sentence) - len(stop)]
    parts = [p for p in re.split(r", | and " if language == "en" else r"、|和|，", body) if p]
    kept = [p for p in parts if not names(p)]
    if not kept:
        return ""
    text = enumerate_phrases(kept, language) if "，" not in body else "，".join(kept)
    return head + (text if head else text[0].upper() + text[1:]) + stop


def facts(scene: Scene, language: str, seed: str = "", invent: float = 0.0) -> dict:
    """The same knowledge as a JSON-ready dict, for prompts that ask for JSON: setting, time, weather, objects."""
    from helpers.core.lexicon import TIMES, WEATHERS
    rng = random.Random(f"{seed}|{scene.seed}|{language}|facts")
    groups = in_reading_order(scene) + ([invented_group(scene, rng)] if rng.random() < invent else [])
    return {
        "setting": SETTINGS[scene.setting].said(language), "time": TIMES[scene.time].said(language), "weather": WEATHERS[scene.weather].said(language),
        "objects": [{"name": KINDS[g.kind].word.said(language), "count": g.count, "colour": COLOURS[g.colour].said(language) if g.colour else None,
                     "size": SIZES[g.size].said(language) or None} for g in groups],
    }
