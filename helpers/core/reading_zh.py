"""How `reading` reads Chinese: the colour, number and denial of each naming, and who stands where.

Shape of the data: plain Chinese sentences → ([Mention, …], [Placed, …]). A Chinese noun phrase runs from its number and
measure word to the noun (一只棕色的狗); more may follow in the next clauses (汽车是红色的; 两只狗，一只白色，一只黑色). A denial
(没有, 看不到 …) reaches to the end of its clause. Places stand after the noun they refer to (在桌子的左边, 桌上有).
"""

from __future__ import annotations

import re

from helpers.core.lexicon import KINDS
from helpers.core.naming import Mention, Named, Placed, colour_pattern, find_names

_DIGITS = {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10, "单": 1, "双": 2}
_MEASURES = "只匹头辆艘架个座栋顶棵株朵把张位名条台幢件颗间所支尊具枚"
_NUMBER = rf"(?:\d{{1,2}}|[一二两三四五六七八九十单双])\s*[{_MEASURES}对]"
_NUMERAL = re.compile(rf"(?<![第数几多\d十])({_NUMBER})|(?P<this>[这那该][{_MEASURES}])|(?P<vague>[一几数多]?(?:群|些|片|簇|排|丛|盆|堆|几[{_MEASURES}]|数[{_MEASURES}]|多[{_MEASURES}]))")
_SENTENCE = re.compile(r"[。；！？;!?\n]|\.(?=\s|$)")
_CLAUSE = re.compile(r"[。；！？;!?\n，,：:（）()—]")
_NEGATION = re.compile(r"没有|没(?!入|过)|无(?!论|法|人|边|数|比|疑|声|精)|不见|看不到|看不见|见不到|并非|不是(?!很|特别)|不存在|缺少|未见|未出现|不含|不包括|不包含")
_DENIED_AFTER = re.compile(r"^(?:等)?(?:的?(?:踪影|身影|影子|存在))?(?:[：:]\s*(?:无|没有|0)|(?:都|也|均|并)?(?:没有出现|不存在|未出现|看不到|看不见)|(?:都|也)?没有(?=[，。；\n]|$)|一[" + _MEASURES + r"]也没有)")
_DENIAL_ENDS = re.compile(r"[，,。；！？;!?\n：:]|但|除了|只有|仅有|而是")
_COMPARED = re.compile(r"(?:(?<!看起来)(?<!看上去)(?<!看着)(?<!好)(?:像|仿佛|宛如|犹如|如同|好似|形似|酷似|堪比|恰似|宛若)(?!是))(?:(?!一样|般的|似的)[^，。；、！？\n]){0,8}$")
_COMPARED_AFTER = re.compile(r"^(?:一样|那么|般|似的|形状|状的|形的|大小)")
_OPEN = re.compile(r"(?:判断|确定|分辨|不知|说清)[^。；\n]{0,12}是?[^。；\n]{0,6}$")
_CHOICE = re.compile(r"^[^，。；\n]{0,3}还是")
_CLOTHES = r"(?:衣服|上衣|衬衫|外套|连衣裙|裙子|裙|衣|毛衣|T恤|夹克|大衣|服装|套装|服饰)"
_SHADE = r"(?:浅|深|淡|亮|暗|鲜|鲜艳的|明亮的|纯|一种|一身|一件|着|了)*"
_PARTS = r"(?:墙面|墙壁|外墙|墙|车身|机身|塔身|船身|船体|毛发|毛|羽毛|翅膀|屋顶|花瓣|身体|身上|伞面|帐篷布|整体|颜色)"


def read(text: str) -> tuple[list[Mention], list[Placed]]:
    """Mentions in their order, with offsets in `text`, and relations."""
    names = find_names(text, "zh")
    mentions: list[Mention] = []
    starts: list[int] = []
    waiting: int | None = None  # the number of a noun that comes after a place: 一只坐在长椅上的猫
    for i, name in enumerate(names):
        if name.kind is None:
            continue
        kinds_before = [n for n in names[:i] if n.kind or n.place]
        floor = max(kinds_before[-1].end if kinds_before else 0, _last(_SENTENCE, text, 0, name.start))
        clause = max(floor, _last(_CLAUSE, text, floor, name.start))
        phrase, count = _noun_phrase(text, clause, name)
        if count is not None and not KINDS[name.kind].garment and (place := re.search(r"在(?!一)", text[phrase:name.start])):
            phrase, count, waiting = phrase + place.end(), None, count
        elif count is None and waiting is not None and re.match(r"[上里旁边前后下中内][面边方]?的", text[floor:name.start]):
            count, waiting = waiting, None
        if _compared(text, floor, name) or _open(text, name):
            continue
        following = next((n for n in names[i + 1:] if n.kind), None)
        sentence_end = next((m.start() for m in _SENTENCE.finditer(text, name.end)), len(text))
        limit = min(sentence_end, _noun_phrase(text, max(name.end, _last(_CLAUSE, text, name.end, following.start)), following)[0]) if following else sentence_end
        colours = _colours_before(text, phrase, name) or _colours_after(text, name, limit)
        if count is None:
            count = _count_after(text, name.end, limit)
        denied = _denied(text, clause if not text[floor:clause].endswith("、") else floor, name, limit)
        mentions.append(Mention(name.kind, tuple(dict.fromkeys(c for c, _ in colours)), None if denied else count, denied, name.start, name.end,
                                tuple(span for _, span in colours)))
        starts.append(phrase)
    return _told_later(text, mentions), _relations(text, mentions, starts)


def _last(pattern: re.Pattern, text: str, floor: int, at: int) -> int:
    return max((m.end() for m in pattern.finditer(text, floor, at)), default=floor)


def _noun_phrase(text: str, floor: int, name: Named) -> tuple[int, int | None]:
    """Where the noun phrase begins that ends with the noun, not before `floor`, and the number it tells."""
    numerals = list(_NUMERAL.finditer(text, floor, name.start))
    joint = max((m.end() for m in re.finditer(r"[、]|和|与|及|以及|还有", text[floor:name.start])), default=0) + floor
    garment = KINDS[name.kind].garment
    if numerals and (garment or numerals[-1].start() >= joint or re.match(r"[和与]?[^，。]{0,3}(?:相间|两色|双色)", text[joint:name.start][1:] or " ")):
        last = numerals[-1]
        return last.start(), None if last["vague"] else 1 if last["this"] else _number(last.group())
    pattern, _ = colour_pattern("zh")
    if joint > floor and pattern.match(text, joint) and (paired := list(pattern.finditer(text, floor, joint))) and paired[-1].end() >= joint - 1:
        return paired[-1].start(), None
    return _last(re.compile(r"[在于到是有着了由从]"), text, max(joint, floor), name.start), None


def _number(words: str) -> int | None:
    found = re.match(r"\s*(\d{1,2}|[一二两三四五六七八九十单双])", words)
    if not found:
        return None
    number = int(found[1]) if found[1].isdigit() else _DIGITS[found[1]]
    return number * 2 if words.strip().endswith("对") else number


def _compared(text: str, floor: int, name: Named) -> bool:
    if _COMPARED.search(text[floor:name.start]):
        return True
    after = _COMPARED_AFTER.match(text[name.end:])
    return bool(after) and bool(re.search(r"[像如似和跟与有同]", text[floor:name.start]) or after.group() not in ("一样", "那么", "大小"))


def _open(text: str, name: Named) -> bool:
    """Whether the text leaves open what it is: 无法判断是男人还是女人."""
    clause = text[_last(_SENTENCE, text, 0, name.start):name.start]
    return bool(_OPEN.search(clause)) and bool(_CHOICE.match(text[name.end:])) or bool(re.search(r"(?:判断|确定|分辨|不知|说清)[^。；\n]*还是[^，。；\n]{0,4}$", clause))


def _colours_before(text: str, phrase: int, name: Named) -> list[tuple[str, tuple[int, int]]]:
    """The colours of a noun phrase: the last ones, or for people those of the clothes."""
    pattern, names = colour_pattern("zh")
    one = pattern.pattern
    before = text[phrase:name.start]
    if KINDS[name.kind].garment:
        worn = re.search(rf"(?:穿着?|身着|身穿|着)[^，。；、]{{0,4}}?({one})", before) or re.search(rf"({one})[的]?\s*{_CLOTHES}", before)
        if worn:
            return [(names[worn[1]], (phrase + worn.start(1), phrase + worn.end(1)))]
    found = [(names[m.group()], m.span()) for m in pattern.finditer(text, phrase, name.start)]
    if not found:
        return []
    kept = [found[-1]]
    for colour in reversed(found[:-1]):
        gap = text[colour[1][1]:kept[0][1][0]]
        if gap not in ("", "和", "与", "、", "白", "色和", "色与"):
            break
        if gap == "" and not re.match(r"[^的]{0,2}(?:相间|两色|双色|条纹|格)", text[kept[0][1][1]:]):
            break  # 橘红, 红褐: one colour, named by its last part
        kept.insert(0, colour)
    return kept


def _colours_after(text: str, name: Named, limit: int) -> list[tuple[str, tuple[int, int]]]:
    """Colours told after the noun: （棕色）, ：棕色, 是棕色的, ，漆成了红色, 的墙刷成了白色, 一只白色，一只黑色."""
    pattern, names = colour_pattern("zh")
    one = pattern.pattern
    details = re.sub(r"(?:不是|并非|不再是)[^，。；]*", lambda m: " " * len(m.group()), text[name.end:limit])
    both = rf"({one})(?:(?:和|与|、|)({one})(?=相间|两色|双色|条纹|格))?"
    end = r"(?:色)?(?:的)?(?=\s*(?:[，。；！、）)\n（(|]|$|相间|为主|条纹|横纹|花纹|图案))"
    forms = [
        rf"^\s*(?:[×xX]?\s*\d+\s*)?[（(][^）)]*?{both}",
        rf"^[^，。；]{{0,6}}?(?:身穿|穿着|穿|身着|身上穿着)[^，。；]{{0,6}}?{both}",
        rf"^(?:的?{_PARTS}|的数量|的颜色)?[^，。；]{{0,4}}?(?:是|为|呈|成了?|涂有|涂着|带有|：|:)\s*{_SHADE}{both}{end}",
        rf"^\s*[：:][^。；\n]*?{both}",
        rf"^[^。；\n]*?，\s*(?:它|它们|其|而|{_PARTS}|大概|应该|可能|似乎|均|都|全|大多|主要|以|整个)*(?:是|为|呈|漆成了?|刷成了?|涂成了?|涂有|带有|全身)?(?:是)?\s*{_SHADE}{both}{end}",
    ]
    for number, form in enumerate(forms):
        if number == 1 and not KINDS[name.kind].garment:
            continue
        if found := re.search(form, details):
            spans = [found.span(g) for g in (1, 2) if found[g]]
            return [(names[details[a:b]], (a + name.end, b + name.end)) for a, b in spans]
    return []


def _count_after(text: str, end: int, limit: int) -> int | None:
    """A number told after the noun: 卡车一辆, 狗（2只）, 桌子×1, ：共两只, 的数量：1辆, ，至少有四只."""
    details = text[end:limit]
    forms = (rf"^(?:的数量)?\s*[：:为是]?\s*[（(]?\s*(?:共|总共|一共|共有)?\s*({_NUMBER})(?!是|为|穿|[^，。；、）)\n（(]{{1,3}}色)(?=\s*(?:[，。；、）)\n（(|]|$))",
             r"^\s*(?:[×xX]|的数量\s*[：:为是])\s*(\d{1,2})", r"^\s*[（(]\s*(\d{1,2})\s*[，、）)]",
             rf"^[^。；\n]{{0,6}}?，(?:至少|大约|约|共|总共|一共)+有?\s*({_NUMBER})(?=[，。；]|$)")
    for form in forms:
        if found := re.search(form, details):
            return _number(found[1])
    return None


def _denied(text: str, clause: int, name: Named, limit: int) -> bool:
    if _DENIED_AFTER.match(text[name.end:max(limit, min(len(text), name.end + 6))]):
        return True
    reach = _last(_DENIAL_ENDS, text, clause, name.start)
    return bool(_NEGATION.search(text, reach, name.start))


def _told_later(text: str, mentions: list[Mention]) -> list[Mention]:
    """Colours told one by one after the noun: 一个穿红衣，一个穿蓝衣; 其中一只是棕色的; and of the thing before: 它是棕色的."""
    pattern, names = colour_pattern("zh")
    one = pattern.pattern
    result = list(mentions)
    told = rf"(?:^|(?<=[，。；（(—\n]))(?:其中)?(?:(?:有)?{_NUMBER}(?:是|为|呈|穿着?|身穿)?|它们?(?:都|全)?是|均为|都是)\s*{_SHADE}({one})(?:色|衣|的|上衣|衣服)*(?=[，。；、）)\n]|$)"
    for found in re.finditer(told, text):
        worn = "穿" in found.group()
        begin = _last(_SENTENCE, text, 0, found.start())
        before = [i for i, m in enumerate(result) if m.end <= found.start() and not m.denied and (not worn or KINDS[m.kind].garment)]
        here = [i for i in before if result[i].start >= begin] or before
        if not here:
            continue
        many = [i for i in here if (result[i].count or 0) > 1]
        at = (many or here)[-1]
        old = result[at]
        if found.span(1) in old.colour_spans:
            continue
        colours = tuple(dict.fromkeys((*old.colours, names[found[1]])))
        result[at] = Mention(old.kind, colours, old.count, old.denied, old.start, old.end, (*old.colour_spans, found.span(1)))
    return result


_WORDS = {"left of": "左边|左侧|左面|左方|左手边|左前方", "right of": "右边|右侧|右面|右方|右手边", "above": "上方|上空|头顶上方|头顶", "below": "下方|下面|底下|下边|之下",
          "in front of": "前面|前方|前边|身前|面前|跟前|之前", "behind": "后面|后方|后边|身后|背后|之后", "on": "上面|上边|顶上|顶部|之上|屋顶上|上"}
_RELATION = re.compile(r"^(?:的|之|那)?(?:正|斜|最|偏)?(?:" + "|".join(f"(?P<r{i}>{words})" for i, words in enumerate(_WORDS.values())) + r"|(?P<back>后|前)(?=[，。可隐是有站停长]))")
_NAMES = list(_WORDS)
_PRONOUN = re.compile(r"(?:它们|它|其)(?=的?(?:正)?(?:左|右|上|下|前|后|身))|(?:(?<=[，。；,;\n])|^)(?=(?:上面|前面|后面|下面|左边|右边|左侧|右侧|身后|身前|下方|上方|背后)(?!的))")


def _relations(text: str, mentions: list[Mention], starts: list[int]) -> list[Placed]:
    """Who stands where: for each noun (or pronoun, or nothing) before a word of place, who stands there."""
    anchors = [(m.end, i, starts[i]) for i, m in enumerate(mentions) if not m.denied]
    anchors += [(m.end(), None, m.start()) for m in _PRONOUN.finditer(text)]
    found: list[Placed] = []
    last: int | None = None  # what the latest place referred to: 前面 alone is in front of that
    for end, target, start in sorted(anchors, key=lambda a: (a[0], a[2])):
        match = _RELATION.match(text[end:end + 8])
        if not match:
            continue
        relation = _relation_of(match)
        begin = _last(_SENTENCE, text, 0, start)
        if target is None:
            target = last if last is not None and (mentions[last].start >= begin) else _first_of_last_clause(text, mentions, start)
            if target is None:
                continue
            subjects = _after(text, mentions, starts, end + match.end(), None)
        else:
            chain = _chain(text, mentions, starts, target, begin)
            before = [i for i, m in enumerate(mentions) if begin <= m.start and m.end <= starts[chain[-1]] and not m.denied]
            lead = text[(mentions[before[-1]].end if before else begin):starts[chain[-1]]]
            tail = text[end + match.end():]
            if tail.startswith("的") and not before or re.search(r"[坐站停放趴躺蹲立摆]在$", lead.rstrip()) and tail.startswith("的"):
                subjects = _after(text, mentions, starts, end + match.end(), chain)
            elif before and re.search(r"[在于到朝离往向]|从", lead) and not re.search(r"[，。；]", lead.rstrip("，") if lead.endswith("，") else lead):
                subjects = _chain(text, mentions, starts, before[-1], begin)
            elif re.search(r"在[^，]{0,6}$", lead) and before:
                subjects = _chain(text, mentions, starts, before[-1], begin)
            else:
                subjects = _after(text, mentions, starts, end + match.end(), chain)
            for other in chain[1:]:
                found += [Placed.of(mentions[s].kind, relation, mentions[other].kind) for s in subjects if mentions[s].kind != mentions[other].kind]
        last = target
        found += [Placed.of(mentions[s].kind, relation, mentions[target].kind) for s in subjects if mentions[s].kind != mentions[target].kind]
    return found


def _relation_of(match: re.Match) -> str:
    if match["back"]:
        return "behind" if match["back"] == "后" else "in front of"
    return next(name for i, name in enumerate(_NAMES) if match[f"r{i}"])


def _chain(text: str, mentions: list[Mention], starts: list[int], last: int, begin: int) -> list[int]:
    """A noun and what is joined to it before: 狗和猫."""
    chain = [last]
    while chain[-1] > 0:
        i = chain[-1] - 1
        gap = text[mentions[i].end:starts[chain[-1]]]
        if mentions[i].start < begin or mentions[i].denied or not re.fullmatch(r"\s*(?:和|与|、|及|以及)\s*", gap):
            break
        chain.append(i)
    return chain


def _after(text: str, mentions: list[Mention], starts: list[int], at: int, chain: list[int] | None) -> list[int]:
    """What stands there, told next in the sentence: 左边是…, 上有…, 的上空，四只…"""
    end = next((m.start() for m in _SENTENCE.finditer(text, at)), len(text))
    later = [i for i, m in enumerate(mentions) if at <= m.start and m.end <= end and not m.denied and i not in (chain or ())]
    if not later or text[at:starts[later[0]]].count("，") > 1:
        return []
    subjects = [later[0]]
    for i in later[1:]:
        if not re.fullmatch(r"\s*(?:和|与|、|及|以及)\s*", text[mentions[i - 1].end:starts[i]]) or _RELATION.match(text[mentions[i].end:]):
            break
        subjects.append(i)
    return subjects


def _first_of_last_clause(text: str, mentions: list[Mention], at: int) -> int | None:
    """What a clause without a noun of its own refers to: the first thing of the sentence before it, or of this one."""
    before = [i for i, m in enumerate(mentions) if m.end <= at and not m.denied]
    if not before:
        return None
    begin = _last(_SENTENCE, text, 0, mentions[before[-1]].start)
    return next(i for i in before if mentions[i].start >= begin)
