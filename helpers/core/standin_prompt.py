"""How the offline stand-in reads a prompt: by its words, in English and Chinese, as far as the course's techniques go.

Shape of the data: prompt text → `Request`: which dimensions are asked for, how much of them, in which form and length,
whether the prompt holds the model to what can be seen, how much care it asks for, which examples it gives, which text it
gives to be checked, and which kinds it asks yes or no about. No technique has a name here: a prompt acts by what it asks.

Examples ("Example: …", 例：…) and a quoted text to check (\"\"\" … \"\"\") are set apart first, so that their words ask nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from helpers.core.naming import find_names

# How likely an object that is not there is named, by detail and by whether the prompt asks for what can be seen only.
INVENT = {("everything", False): 0.065, ("everything", True): 0.008, ("normal", False): 0.04, ("normal", True): 0.005,
          ("brief", False): 0.02, ("brief", True): 0.0}

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
_LEAST = re.compile(r"at least (\d+|five|six|eight|ten|twelve|twenty) |(?:至少|不少于)\s*(\d+|[五六八十]|十二|二十)\s*[个种样件]", re.IGNORECASE)
_WRITTEN = {"five": 5, "six": 6, "eight": 8, "ten": 10, "twelve": 12, "twenty": 20, "五": 5, "六": 6, "八": 8, "十": 10, "十二": 12, "二十": 20}
_ROLE = r"\b(?:you are|act as|imagine (?:that )?you are) (?:a|an|the)\b|你是一|扮演|作为一[位名]"
_CAREFUL = r"\b(?:careful|meticulous|precise|exact|accurate|conscientious|inspector|auditor|catalogu?er)\b|一丝不苟|严谨|仔细|精确|准确|编目|检验"
_FANCIFUL = r"\b(?:poet|novelist|storyteller|imaginative|creative)\b|诗人|小说家|作家|富有想象|说书"
_STEPWISE = r"\bstep by step\b|\bfirst\b[^?]*\bthen\b|逐步|一步一步|按步骤|首先[^？]*(?:然后|再|接着)|先[^？]{2,40}再"
_EXAMPLE = re.compile(r"^[ \t]*(?:for )?(?:example|例|例子|示例|例如)[ \t]*\d*[ \t]*[:：][ \t]*(.+)$", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(r'"""\s*(.*?)\s*"""', re.DOTALL)
_CORRECT = r"\b(?:remove|delete|strike|correct|check|verify)\b|删除|去掉|核对|检查|改正|修正"
_YES_OR_NO = re.compile(r"\b(?:is there|are there)\b[^.?!\n]*\?|(?:有没有|是否有|是不是有)[^。？?\n]*[？?]|[有][^。？?\n，]{1,12}吗[？?]", re.IGNORECASE)
_LIST = r"\b(bullet|bulleted|numbered list|as a list|list (?:of )?(?:all|every|the|each)|one per line)\b|列表|逐条|分条|列出|每行一"
_IN_CHINESE = r"\bin chinese\b|用中文|以中文|中文回答"
_IN_ENGLISH = r"\bin english\b|用英文|用英语|以英文|英文回答"


@dataclass(frozen=True)
class Request:
    """What a prompt asks for.

    dimensions: in the course's order; empty when the prompt names none.  detail: "brief", "normal" or "everything".
    form: "plain", "json" or "list".  limit: (number, "words", "characters" or "sentences"), or None.
    grounded: the prompt holds the answer to what can be seen.  care: 1.0 as usual, below 1 where the prompt asks to look
    closely (a careful role, step by step), above where it asks for fancy; multiplies what is made up.  examples: answers
    the prompt shows.  draft: a text to check.  asked: kinds it asks yes or no about.  least: how many objects it insists on.
    """

    language: str
    dimensions: tuple[str, ...]
    detail: str
    form: str
    limit: tuple[int, str] | None
    grounded: bool
    fenced: bool = True
    care: float = 1.0
    examples: tuple[str, ...] = ()
    draft: str | None = None
    asked: tuple[str, ...] = ()
    least: int | None = None

    @property
    def invent(self) -> float:
        """Probability that one object which is not there is named; a limit on length leaves less room for it."""
        return INVENT[self.detail, self.grounded] * (0.5 if self.limit else 1.0) * self.care


def read_prompt(prompt: str) -> Request:
    """Understand a prompt, English or Chinese; see the module's docstring."""
    quoted = _QUOTED.search(prompt)
    examples = tuple(m[1].strip().strip("\"“”'") for m in _EXAMPLE.finditer(prompt))
    prompt = _EXAMPLE.sub(" ", _QUOTED.sub(" ", prompt))

    def asks(pattern: str) -> bool:
        return re.search(pattern, prompt, re.IGNORECASE) is not None

    language = "zh" if asks(_IN_CHINESE) or re.search(r"[\u4e00-\u9fff]", prompt) and not asks(_IN_ENGLISH) else "en"
    dimensions = tuple(name for name, cue in _CUES.items() if asks(cue))
    everything, brief = asks(_EVERYTHING), asks(_BRIEF)
    form = "json" if asks(r"\bjson\b") else "list" if asks(_LIST) else "plain"
    role, steps = asks(_ROLE), asks(_STEPWISE)
    if brief and everything:
        detail = "normal"
    elif everything:
        detail = "everything"
    elif brief or not dimensions and form == "plain" and not role and not examples:
        detail = "brief"
    else:
        detail = "normal"
    if role and asks(_FANCIFUL) and "mood" not in dimensions:
        dimensions = (*(dimensions or ("main",)), "mood")
    if steps and len(dimensions) > 1 and form == "plain":
        form = "steps"
    elif {"scene", "objects"} <= set(dimensions):  # the whole picture: `main` says what these dimensions would, as one text
        dimensions = ("main", *(["relations"] if "relations" in dimensions and detail != "everything" else []),
                      *(["mood"] if "mood" in dimensions else []))
    fenced = not asks(r"\bonly\b|只|仅|no (?:markdown|code)")
    care = (0.5 if asks(_CAREFUL) and role else 1.0) * (2.0 if asks(_FANCIFUL) and role else 1.0) * (0.5 if steps else 1.0)
    draft = quoted[1] if quoted and asks(_CORRECT) else None
    questions = " ".join(m.group() for m in _YES_OR_NO.finditer(prompt)).lower()
    asked = tuple(dict.fromkeys(n.kind for n in find_names(questions, language) if n.kind))
    least = _LEAST.search(prompt)
    number = (least[1] or least[2]).lower() if least else ""
    return Request(language, dimensions, detail, form, _limit(prompt), asks(_GROUNDED), fenced, care, examples, draft, asked,
                   (int(number) if number.isdigit() else _WRITTEN[number]) if number else None)


def _limit(prompt: str) -> tuple[int, str] | None:
    """The length that a prompt allows: (number, unit), or None."""
    if found := _LIMIT_EN.search(prompt):
        return max(1, int(found[1])), found[2].lower().rstrip("s") + "s"
    if found := _LIMIT_ZH.search(prompt):
        return max(1, int(found[1] or found[3])), "sentences" if "句" in (found[2], found[4]) else "characters"
    return None
