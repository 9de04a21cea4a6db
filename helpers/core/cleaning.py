"""Makes an answer fit to be learned from, and says what was changed, or why it is not fit.

Shape of the data: an answer as the teacher wrote it, its language and its finish reason → `Cleaned`: the text to train
on, the names of what was changed (CHANGES), and the reason to leave it out (REASONS), or None.

The rule of the house: talk about the answer goes, talk about the picture stays. "Sure, here is a description:" tells
nothing of the picture and is cut off; "This image shows a red house" is a sentence whose verb is its beginning, and stays
as it is. Where an answer refuses, even in part, it is left out: a label less is cheaper than a student that learns to
refuse. Answers that stand under several pictures stay, since "It is raining." may be true of many.

Markdown is read by markdown-it-py (CommonMark), never by patterns of our own. Which language an answer is in is told by
its letters, which for English and Chinese decide every length of text; of texts in Latin letters, py3langid then says
whether they are English at all, from 8 words on. Measured with `speech.answer` over 600 scenes and the kit's photographs:
of 7 218 English texts of 8 words or more none was taken for another language; asked about short ones too and among all its
97 languages, py3langid was wrong about 1 012 of 9 581.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

CHANGES = ("spaces", "markdown", "leading phrase", "closing phrase")
REASONS = ("cut off", "empty", "refused in words", "wrong language", "too short")
LEAST_WORDS = {"en": 3, "zh": 4}    # English words, Chinese characters
CERTAIN_FROM, CERTAIN = 8, 0.95     # words, and probability, from which another European language is believed
_EUROPEAN = ["en", "fr", "de", "es", "it", "pt", "nl", "pl", "tr", "id", "vi"]

_ABOUT_EN = (r"(?:(?:a|an|the|my|your|some)\s+)?(?:(?:\w+[-\w]*|,)\s+){0,4}?"
             r"(?:description|caption|summary|breakdown|overview|analysis|answer|response|what (?:i|we|you) (?:can )?see"
             r"|list of (?:(?:all|every|the|visible) ){0,3}(?:objects?|items?|things?|elements?)|details of the (?:image|picture|photo))")
_OPENERS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|ok(?:ay)?|no problem|gladly|great question|happy to help)\s*[,.!:，。！]\s*",
    rf"(?:here(?:'s|’s| is| are)|(?:the )?following is|below is|this is)\s+{_ABOUT_EN}\b[^:：.\n]{{0,80}}[:：]\s*",
    r"(?:(?:image|picture|photo|scene)\s+)?(?:description|caption|analysis|answer|response|output)\s*(?:[:：]|\n)\s*",
    r"based on (?:the|this|your) (?:image|picture|photo(?:graph)?)(?: (?:you(?:'ve| have)? )?(?:provided|shared|uploaded|sent))?\s*,\s*",
    r"(?:好的|好|当然(?:可以)?|没问题|可以的?|明白(?:了)?)\s*[,.!，。！：:]\s*",
    r"(?:以下|下面|这)(?:就)?(?:是|为)(?:我)?(?:对|关于|根据)?[^：:。\n]{0,24}?(?:描述|说明|介绍|分析|列表|清单|内容|回答|答案|总结|物体|概述)[：:]\s*",
    r"(?:图片|图像|照片|画面)?(?:描述|说明|分析|回答|答案)\s*(?:[：:]|\n)\s*",
    r"(?:根据|基于)(?:您|你)?(?:所)?(?:提供|上传|发送|给出)的(?:这张)?(?:图片|图像|照片|画面)\s*[,，]\s*",
))
_CLOSERS = re.compile(
    r"(?:(?<=[.!?。！？])|\n)\s*(?:(?:i )?hope (?:this|that) helps|let me know if|(?:please )?feel free to|if you (?:need|have|want|would like)"
    r"|is there anything else|would you like me to|希望(?:这|以上|我的)?[^。！\n]{0,12}(?:帮助|帮到)|如果(?:您|你)(?:还)?(?:需要|有)|如需|请随时)[^\n]*$",
    re.IGNORECASE)
_CANNOT_EN = r"(?:can(?:no|['’])t|can not|am (?:unable|not able)|['’]m (?:unable|not able)|won['’]t|could not|couldn['’]t|do not|don['’]t|am not|['’]m not)"
_REFUSALS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    rf"(?:(?:i['’]m|i am)\s+(?:very |so |really )?sorry|sorry|i apologi[sz]e|apologies|unfortunately)\b[^.。!\n]{{0,40}}?\b(?:i\s*|we\s*){_CANNOT_EN}\b",
    r"(?:i['’]m|i am)\s+(?:very |so |really )?sorry\s*[,.，]",
    r"i\s*(?:can(?:no|['’])t|can not|am (?:unable|not able) to|['’]m (?:unable|not able) to|won['’]t)\s+"
    r"(?:\w+ )?(?:assist|help|describe|identify|view|see|analy[sz]e|process|provide|fulfil|comply|answer|recogni[sz]e|determine)",
    rf"as an? (?:ai|language model|artificial)[^.\n]{{0,60}}?\bi\s*{_CANNOT_EN}\b",
    r"i do(?: not|n['’]t) (?:know|recogni[sz]e|have access to) (?:this|the|any) (?:image|picture|photo)",
    r"(?:很|非常|十分)?(?:抱歉|对不起|不好意思|遗憾)[^。\n]{0,30}?(?:无法|不能|没有办法|没法|不便|不可以|不会)",
    r"(?:很|非常|十分)?(?:抱歉|对不起)\s*[,，。！]",
    r"作为(?:一个|一名)?\s*(?:ai|人工智能|语言模型|大模型|助手)[^。\n]{0,40}?(?:无法|不能|没有办法|不会)",
    r"我(?:目前|暂时|现在)?(?:无法|不能|没有办法)(?:直接)?(?:查看|描述|识别|看到|提供|回答|处理|分析|辨认|满足|协助|帮助)",
    r"我不认识(?:这张|该|此)(?:图片|图像|照片)",
))


@dataclass(frozen=True)
class Cleaned:
    """An answer after cleaning. `changes`: names out of CHANGES.  `reason`: one out of REASONS to leave it out, or None."""

    text: str
    changes: tuple[str, ...] = ()
    reason: str | None = None


def clean_answer(answer: str, language: str, finish_reason: str = "stop", least_words: int | None = None) -> Cleaned:
    """Clean one answer. language: "en" or "zh".  finish_reason: the service's; "length" means that the answer was cut off.

    least_words: fewer English words or Chinese characters are too short; None for LEAST_WORDS. An answer in JSON keeps
    its form (a fence of Markdown around it goes) and is judged by the texts that it holds.
    """
    changes = []
    text = answer
    for name, change in (("spaces", tidy_spaces), ("markdown", strip_markdown), ("leading phrase", strip_leading),
                         ("closing phrase", strip_closing)):
        after = change(text)
        if after != text:
            changes.append(name)
        text = after
    return Cleaned(text, tuple(changes), _reason(text, language, finish_reason, least_words))


def _reason(text: str, language: str, finish_reason: str, least_words: int | None) -> str | None:
    """Why a cleaned text is not fit to be learned from, or None."""
    if finish_reason == "length":
        return "cut off"
    if not text:
        return "empty"
    if is_refusal(text):
        return "refused in words"
    prose = _prose(text)
    if not in_language(prose, language):
        return "wrong language"
    return "too short" if count_words(prose, language) < (LEAST_WORDS[language] if least_words is None else least_words) else None


def tidy_spaces(text: str) -> str:
    """No spaces around the text, none before the end of a line, no runs of empty lines; "\\r\\n" becomes "\\n"."""
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t\u3000]+\n", "\n", text.replace("\r\n", "\n"))).strip()


def strip_markdown(text: str) -> str:
    """The words of a text without Markdown: headings, lists and tables become lines, emphasis and fences go.

    A text that has no Markdown comes back as it is, to the letter; so does JSON.
    """
    if _is_json(text):
        return text
    tokens = _parser().parse(text)
    # CommonMark does not see emphasis that ends in Chinese punctuation before a letter: **物体：**一只狗.
    left = re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"\1", text)
    if not any(_is_markup(token) for token in tokens):
        return left
    plain = tidy_spaces("".join(_lines(tokens)))
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"\1", plain)


@cache
def _parser():
    """CommonMark and tables, without HTML (it stays as text) and without indented code, which answers do not mean."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable(["code", "reference", "autolink"])


def _is_markup(token) -> bool:
    """Whether a token is anything but a paragraph of plain lines. A list that starts at "1984." is a sentence, not a list."""
    if token.type == "inline":
        return any(child.type not in ("text", "softbreak", "hardbreak", "text_special") for child in token.children)
    if token.type == "ordered_list_open":
        return int(token.attrGet("start") or 1) <= 1
    return token.type not in ("paragraph_open", "paragraph_close", "ordered_list_close", "list_item_open", "list_item_close")


def _lines(tokens: list) -> Iterator[str]:
    """The words of parsed Markdown, each block with the line breaks after it."""
    depth, cells = 0, []
    for token in tokens:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            depth += 1
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            depth -= 1
            yield "" if depth else "\n"
        elif token.type == "list_item_open" and token.markup in (".", ")") and token.info.isdigit() and int(token.info) > 20:
            yield f"{token.info}{token.markup} "
        elif token.type == "inline":
            cells.append("".join(_words(token.children)))
        elif token.type in ("fence", "code_block"):
            yield f"{token.content.strip()}\n\n"
        elif token.type == "tr_close":
            yield ", ".join(cell for cell in cells if cell) + "\n"
            cells = []
        elif token.type in ("paragraph_close", "heading_close"):
            yield "".join(cells) + ("\n" if depth or token.type == "heading_close" else "\n\n")
            cells = []


def _words(tokens: list) -> Iterator[str]:
    """The words inside one block."""
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            yield "\n"
        else:
            yield token.content  # of a picture: its alternative text


def strip_leading(text: str) -> str:
    """The text without opening words that talk about the answer ("Sure, here is a description:", "好的，以下是…：")."""
    if _is_json(text):
        return text
    start = 0
    while found := next((match for opener in _OPENERS if (match := opener.match(text, start)) and match.end() > start), None):
        start = found.end()
    rest = text[start:]
    return rest if not start else rest[:1].upper() + rest[1:]


def strip_closing(text: str) -> str:
    """The text without closing words to the reader ("I hope this helps!", "希望对您有帮助。")."""
    while found := _CLOSERS.search(text):
        text = text[:found.start()].rstrip()
    return text


def is_refusal(text: str) -> bool:
    """Whether an answer begins by refusing: "I'm sorry, but I cannot…", "抱歉，我无法…". Words further on do not count."""
    return any(refusal.match(text) for refusal in _REFUSALS)


def in_language(text: str, language: str) -> bool:
    """Whether a text is in "en" or "zh"; one without letters is in every language."""
    han, kana = len(re.findall(r"[\u3400-\u9fff]", text)), len(re.findall(r"[\u3040-\u30ff\uac00-\ud7af]", text))
    latin = len(_latin_words(text))
    if language == "zh":
        return han >= latin and kana <= 0.2 * han  # a word of Latin letters weighs as much as a character
    if han + kana > latin:
        return False
    own = re.sub(r"[\"“'‘«](?=\S)[^\"”’»\n]{3,}?[\"”'’»](?!\w)", " ", text)  # what a sign says may be in any language
    words = _latin_words(own)
    if len(words) < CERTAIN_FROM:
        return True
    spoken, probability = _identifier().classify(" ".join(words))
    return spoken == "en" or probability < CERTAIN


@cache
def _identifier():
    """py3langid's identifier over the European languages that a teacher might slip into."""
    from py3langid import langid

    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identifier.set_languages(_EUROPEAN)
    return identifier


def _latin_words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z\u00c0-\u024f]+(?:['’-][A-Za-z\u00c0-\u024f]+)*", text)


def count_words(text: str, language: str) -> int:
    """The length of a text: English words (numbers count), or Chinese characters and further words among them."""
    if language == "en":
        return len(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text))
    return len(re.findall(r"[\u3400-\u9fff]|[A-Za-z0-9]+", text))


def _is_json(text: str) -> bool:
    return _parsed(text) is not None


def _parsed(text: str) -> dict | list | None:
    """A text as JSON, if it is an object or a list."""
    if text[:1] not in ("{", "["):
        return None
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, (dict, list)) else None


def _prose(text: str) -> str:
    """The texts that a JSON answer holds, without its keys; any other answer as it is."""
    parsed = _parsed(text)
    return text if parsed is None else " ".join(_strings(parsed))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
