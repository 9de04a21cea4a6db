"""How `reading` reads English: the colour, number and denial of each naming, and who stands where.

Shape of the data: plain English sentences → ([Mention, …], [Placed, …]). The rules follow how English noun phrases are
built: number and colours stand between the last small word and the noun ("two white dogs"), or follow it ("the dogs,
both white", "a man in a blue shirt", "Ball: red"); a denial reaches to the end of its clause.
"""

from __future__ import annotations

import re

from helpers.core.lexicon import KINDS
from helpers.core.naming import Mention, Named, Placed, colour_pattern, find_names

_NUMBERS = {"a": 1, "an": 1, "one": 1, "single": 1, "lone": 1, "another": 1, "two": 2, "both": 2, "pair": 2, "couple": 2, "three": 3, "trio": 3,
            "four": 4, "quartet": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "dozen": 12}
_NUMBER = rf"(?:\d{{1,2}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_UNCOUNTED = {"some", "several", "many", "few", "various", "multiple", "numerous", "group", "row", "cluster", "herd", "flock", "number", "more"}
# Words that end the look back from a noun: what stands before them belongs to something else.
_STOP = {"the", "of", "in", "on", "with", "is", "are", "by", "at", "to", "near", "above", "behind", "beside", "this", "that", "its", "his", "her",
         "their", "from", "between", "under", "over", "holds", "holding", "has", "have", "contains", "shows", "no", "not", "any", "these", "those", "each",
         "like", "be", "was", "were", "than", "into", "across", "past", "toward", "towards", "around", "below", "beneath", "as", "or", "sits", "stands",
         "without", "for", "see", "features", "flows", "while", "where", "there", "it", "so", "but"}
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[,;.:()—–×|/-]")
_NEGATION = re.compile(r"\b(?:no|not|without|neither|nor|never|cannot|lacks?|lacking|absence of|devoid of|free of)\b|n't\b")
# Where a denial ends: a new clause, or something that is there after all.
_DENIAL_ENDS = re.compile(r"[.;!?\n—]| – |\b(?:but|except|only|just|although|though|while|whereas|instead|apart from|other than|however)\b"
                          r"|, (?=there |it |the |this |they |that |which )|,? and (?=an?\b|one\b|two\b|three\b|four\b|the\b|some\b|several\b|it\b|there\b)"
                          r"|(?<!visible)(?<!present)(?<!seen)(?<!shown)(?<!absent)(?<!missing):")
_DENIED_AFTER = re.compile(r"s?'?\s*(?:[:—–=-]+\s*(?:none|no|nil|0|absent|not (?:present|visible|seen))\b|(?:is|are|was|were) (?:not|nowhere|absent|missing)\b"
                           r"(?! (?:on|in|near|behind|above|under|to|very|only|just|really|red|blue|clearly)\b)|(?:isn't|aren't) (?:visible|present|there|any)|can(?:not|'t) be seen)")
_PLACE_DENIED = re.compile(r"\b(?:not|n't) (?:directly |actually |quite )?(?:on|in|near|behind|above|under|beside|to|next|at|inside)\b")
_COMPARED = re.compile(r"(?:\bresembl\w+|\breminiscent of|\bsimilar to|\bas \w+ as|\bsize of|\brecall\w*|\bin the (?:shape|form) of|\bthan"
                       r"|\bshaped|(?<!look)(?<!looks)(?<!looked)(?<!looking)(?<!seems)(?<!seem)(?<!feels)\s+like)"
                       r"\s+(?:that of |those of )?(?:an?\s|the\s|some\s|one\s)?[\w' -]{0,20}$")
_OPEN = re.compile(r"\b(?:whether|either)\b[^.;!?\n]*$")
_SENTENCE = re.compile(r"[.!?;\n]+(?=\s|$)|\n")

_HEDGE = r"(?:probably |possibly |perhaps |apparently |mostly |mainly |predominantly |all |both |each |also |entirely |half |either |likely |clearly )*"
_SHADE = r"(?:bright |light |dark |pale |deep |vivid |soft |muted |rich |warm |a |an |pure |solid |fully |mostly |entirely |also |all |both |painted |colou?red |half |bold |brightly |dressed in |wearing |in )*"
_PARTS = (r"(?:stripes?|bands?|panels?|fur|coat|wool|feathers?|plumage|petals?|caps?|hull|sails?|walls?|body|wings?|fabric|paint|clothes|clothing|outfit|spots?|"
          r"shell|canopy|frame|bodywork|leather|surface|cover)")


def read(text: str) -> tuple[list[Mention], list[Placed]]:
    """Mentions in their order, with offsets in `text`, and relations."""
    low = text.lower().replace("’", "'")
    names = find_names(low, "en")
    mentions: list[Mention] = []
    starts: list[int] = []  # where each mention's noun phrase begins
    for i, name in enumerate(names):
        if name.kind is None:
            continue
        before = names[i - 1].end if i else 0
        phrase, count = _noun_phrase(low, before, name.start)
        sentence = _sentence_start(low, name.start)
        if _COMPARED.search(low, max(sentence, before), name.start) or _OPEN.search(low, sentence, name.start):
            continue
        following = next(((n, _noun_phrase(low, name.end, n.start)[0]) for n in names[i + 1:] if n.kind), None)
        limit = _detail_end(low, name.end, following[1] if following else len(low))
        colours = _colours_before(low, phrase, name.start) or _colours_after(low, name, limit)
        if count is None:
            count = _count_after(low, name.end, limit)
        if count is None:
            count = _default_count(low, name, phrase, {m.kind for m in mentions})
        denied = _denied(low, sentence, phrase, name, limit)
        mentions.append(Mention(name.kind, tuple(dict.fromkeys(c for c, _ in colours)), None if denied else count, denied, name.start, name.end,
                                tuple(span for _, span in colours)))
        starts.append(phrase)
    return _with_pronouns(low, mentions), _relations(low, mentions, starts)


def _sentence_start(text: str, at: int) -> int:
    return max((m.end() for m in _SENTENCE.finditer(text, 0, at)), default=0)


def _noun_phrase(text: str, floor: int, start: int) -> tuple[int, int | None]:
    """Where the noun phrase that ends at `start` begins, not before `floor`, and the number it tells (None: none)."""
    begin, taken = start, 0
    for word in reversed(list(_WORD.finditer(text, floor, start))):
        w = word.group()
        if w in "-/" or w == "×":
            continue
        if w.isdigit() or w in _NUMBERS and w not in ("both",):
            number = int(w) if w.isdigit() else _NUMBERS[w]
            counted = number <= 12 and not re.match(r"\s*[.)]\s", text[word.end():])
            return word.start(), number if counted else None
        if w == "of" and (group := re.search(r"\b(pair|couple|trio|quartet|group of (?:two|three|four)|two|three|four|five|six)\s+of\s*$", text[floor:word.end()])):
            number = next(_NUMBERS[x] for x in group[1].split()[::-1] if x in _NUMBERS)
            return floor + group.start(), number
        if text[word.start() - 1:word.start()] == "-":  # the second half of "barn-like"
            continue
        if w in _STOP or w in _UNCOUNTED or re.fullmatch(r"[,;.:()—–|]", w):
            break
        begin, taken = word.start(), taken + 1
        if taken > 6:
            break
    return begin, None


def _colours_before(text: str, phrase: int, start: int) -> list[tuple[str, tuple[int, int]]]:
    pattern, names = colour_pattern("en")
    found = [(names[m.group()], m.span()) for m in pattern.finditer(text, phrase, start)]
    # In a hyphened word the last colour counts ("golden-brown"), unless both do ("black-and-white").
    return [f for i, f in enumerate(found) if not (i + 1 < len(found) and text[f[1][1]:found[i + 1][1][0]] == "-")]


def _colours_after(text: str, name: Named, limit: int) -> list[tuple[str, tuple[int, int]]]:
    """Colours told after the noun: "in red", "is red", ", both red", ": red", "with red stripes", "one red and one blue"."""
    pattern, names = colour_pattern("en")
    one = pattern.pattern
    both = rf"({one})(?:(?: and | & |/|-and-|, )(?:half )?({one}))?"
    details = text[name.end:limit]
    details = re.sub(r"\b(?:neither|not)\b.*?\bbut\b", lambda m: " " * len(m.group()), details)
    end = r"(?![a-z-]*\s+(?:sky|grass|light|water|sea|background|sand|snow|lawn))"
    patterns = []
    if KINDS[name.kind].garment:
        patterns += [rf"^,?\s*(?:who (?:is )?|that is )?(?:is )?(?:dressed |clad )?(?:in|wearing|wears|with|who wears|has on)\s+(?:a |an |the |his |her |their )?(?:\w+ ){{0,2}}?{both}"]
    patterns += [
        rf"^[\s,—–(-]*{_HEDGE}{_SHADE}{both}\b(?=\s*(?:[,.;)—–\n]|$|in colou?r|and (?:\w+)\W))",
        rf"^\s*(?:colou?red|painted|dyed)\s+{both}",
        rf"^\s*\([^)]*?{both}",
        rf"^[^.;]*?\b(?:is|are|was|were|be|being|painted|colou?red|whose \w+ (?:is|are))\s+{_HEDGE}{_SHADE}{both}{end}",
        rf"^[^.;,]*?\bwith (?:a |an |its )?(?:\w+ ){{0,2}}?{both}(?: \w+)? {_PARTS}\b",
        rf"^\s*[:—–]\s*(?:[^.;\n]*?\b)?{both}",
    ]
    listed = list(re.finditer(rf"\b(?:{_NUMBER})\s+(?:in |wears |wearing |is |are )?({one})(?: ones?)?(?=\s*[,.;)—–\n]|\s+and\b|\s*$)", details))
    if len(listed) > 1:
        return [(names[m[1]], _shift(m.span(1), name.end)) for m in listed]
    for form in patterns:
        if found := re.search(form, details):
            return [(names[found[g]], _shift(found.span(g), name.end)) for g in (1, 2) if found[g]]
    return []


def _shift(span: tuple[int, int], by: int) -> tuple[int, int]:
    return span[0] + by, span[1] + by


def _detail_end(text: str, start: int, limit: int) -> int:
    """Where the sentence ends in which more may be told of a noun, or the next noun phrase begins."""
    found = re.compile(r"[.!?\n](?=\s|$)|\bit(?:'s|s)?\b").search(text, start, limit)
    return found.start() if found else limit


def _count_after(text: str, end: int, limit: int) -> int | None:
    """A number told after the noun: "(2)", ": 2", ", two in all", "— at least four —", ": there are two of them"."""
    found = re.match(rf"s?\s*[×x:(,=—–-]+\s*(?:there (?:is|are) )?(?:at least |about |around |exactly |only |all |x ?|× ?)?({_NUMBER})\b(?=\s*(?:[,.;)—–\n]|$|of them|in (?:all|total)))",
                     text[end:limit])
    return _number(found[1]) if found else None


def _number(word: str) -> int | None:
    return int(word) if word.isdigit() else _NUMBERS.get(word)


def _default_count(text: str, name: Named, phrase: int, known: set[str]) -> int | None:
    """The number that a noun without one tells: 1 for a singular, but not for "the dog" of several named before."""
    if name.plural:
        return None
    lead = text[max(0, phrase - 12):phrase].split()
    definite = bool(lead) and lead[-1] in ("the", "this", "that", "its", "his", "her", "their")
    if definite and name.kind in known:
        return None
    if text[name.start:name.end] in ("sheep", "aircraft"):  # looks the same in the plural
        return 1 if definite and re.match(r"\s+(?:is|stands|sits|has|lies|looks)\b", text[name.end:]) else None
    return 1 if not lead or lead[-1] not in _UNCOUNTED else None


def _denied(text: str, sentence: int, phrase: int, name: Named, limit: int) -> bool:
    if _DENIED_AFTER.match(text[name.end:limit]):
        return True
    reach = sentence
    for end in _DENIAL_ENDS.finditer(text, sentence, phrase + 1):
        if end.end() <= phrase + 1:
            reach = end.end()
    for negation in _NEGATION.finditer(text, reach, name.start):
        if not _PLACE_DENIED.match(text, negation.start()) and not text.startswith(("not only", "no doubt", "not sure", "not certain", "no longer"), negation.start()):
            return True
    return False


def _with_pronouns(text: str, mentions: list[Mention]) -> list[Mention]:
    """Colours and numbers told in a following sentence: "It is white.", "They are both red.", "one of them is brown"."""
    pattern, names = colour_pattern("en")
    told = rf"(?:^|(?<=[.!?;,\n—]))\s*(?:and )?(?:it|they|both|all of them|its colou?r|(?:one|two|some|each) of (?:them|which))(?:'s|'re| is| are| has| have)?\s+{_HEDGE}{_SHADE}({pattern.pattern})(?:(?: and |-and-|, )({pattern.pattern}))?"
    result = list(mentions)
    for found in re.finditer(told, text):
        at = next((i for i in reversed(range(len(result))) if result[i].end <= found.start() + 1 and not result[i].denied), None)
        if at is not None and (not result[at].colours or "of" in found.group().split()):
            spans = tuple(found.span(g) for g in (1, 2) if found[g])
            colours = tuple(dict.fromkeys((*result[at].colours, *(names[text[a:b]] for a, b in spans))))
            old = result[at]
            result[at] = Mention(old.kind, colours, old.count, old.denied, old.start, old.end, (*old.colour_spans, *spans))
    return result


_SIDE = r"(?:far |immediate |very )?"
_RELATION = re.compile(
    rf"(?P<left>\b(?:(?:to|on|at) (?:the )?{_SIDE}left(?:-hand)?(?: side)? of|left of)\b)|(?P<right>\b(?:(?:to|on|at) (?:the )?{_SIDE}right(?:-hand)?(?: side)? of|right of)\b)"
    rf"|(?P<its_left>\b(?:to|on) (?P<p1>its|his|her|their) left\b)|(?P<its_right>\b(?:to|on) (?P<p2>its|his|her|their) right\b)"
    r"|(?P<front>\bin front of\b)|(?P<behind>\bbehind\b)|(?P<on>\b(?:on top of|atop|upon|on)\b)"
    r"|(?P<above>\b(?:above|over)\b)|(?P<below>\b(?:below|beneath|underneath|under)\b)")
_MEANS = {"left": "left of", "right": "right of", "its_left": "left of", "its_right": "right of", "front": "in front of", "behind": "behind", "on": "on",
          "above": "above", "below": "below"}
_DETERMINER = r"(?:(?:the|an?|this|that|its|his|her|their|these|those|one of the|each of the|some|several|a few) )?"
_TO_OBJECT = re.compile(rf"\s+{_DETERMINER}(?:(?:roof|top|seat|surface|edge|hood|lid|branch|branches|back) of {_DETERMINER})?$")  # up to the noun phrase
_PRONOUN = re.compile(r"\s+(it|them|him|her|which)\b(?: (?:head|heads))?")
_FRONTED = re.compile(r"^\s*,?\s*(?:there|is|are|was|were|stands?|sits?|hovers?|floats?|lies?|rests?|flies|fly|perch\w*|hangs?|you|we|one|an?|two|three|four|several|some|can|"
                      r"bobs?|walks?|grows?|graz\w+|waits?|appears?|runs?|looms?|rises?)\b")
_FILLERS = re.compile(r"^[\s,]*(?:and |while |with |where |just |directly |high |right |also |then |up |immediately |standing |far |slightly |further )*$")
_JOINED = re.compile(r"^\s*(?:,|and|, and|as well as|&)\s*$")


def _relations(text: str, mentions: list[Mention], starts: list[int]) -> list[Placed]:
    """Who stands where, sentence by sentence."""
    found: list[Placed] = []
    objects: set[int] = set()  # mentions that were the object of a relation already
    for match in _RELATION.finditer(text):
        relation = _MEANS[next(k for k in _MEANS if match.group(k))]
        begin = _sentence_start(text, match.start())
        finish = next((m.start() for m in _SENTENCE.finditer(text, match.end())), len(text))
        before = [i for i, m in enumerate(mentions) if begin <= m.start and m.end <= match.start() and not m.denied]
        after = [i for i, m in enumerate(mentions) if match.end() <= m.start < finish and not m.denied]
        pronoun = match["p1"] or match["p2"] or ((p := _PRONOUN.match(text, match.end())) and p[1])
        fronted = bool(_FILLERS.match(text[_clause_start(text, begin, match.start()):match.start()]))
        if pronoun:
            subject = after[0] if fronted and after else before[-1] if before else None
            target = _antecedent(mentions, subject, begin, pronoun, match.start(), text)
            targets = [] if target is None else [target]
        else:
            direct = [i for i in after if _TO_OBJECT.match(text[match.end():starts[i]] + " " * (starts[i] == match.end()))][:1]
            if not direct:
                continue
            targets = direct + _joined_objects(text, mentions, starts, direct[0], finish)
            later = [i for i in after if i > targets[-1]]
            if fronted and later and (not before or _FRONTED.match(text[mentions[targets[-1]].end:finish])):
                subject = later[0]
            else:
                subject = before[-1] if before else None
        if subject is None:
            continue
        for s in _joined_subjects(text, mentions, starts, subject, begin, objects):
            found += [Placed.of(mentions[s].kind, relation, mentions[t].kind) for t in targets if mentions[s].kind != mentions[t].kind]
        objects.update(targets)
    return found


def _clause_start(text: str, begin: int, at: int) -> int:
    return max((m.end() for m in re.finditer(r"[,;:—]|\band\b|\bwhile\b", text[begin:at])), default=0) + begin


def _antecedent(mentions: list[Mention], subject: int | None, begin: int, pronoun: str, at: int, text: str) -> int | None:
    """What "it" stands for: something named before the subject in this sentence, else the first thing of the sentence before."""
    people = pronoun in ("him", "her", "his")
    fits = [i for i, m in enumerate(mentions) if m.end <= at and not m.denied and i != subject
            and (KINDS[m.kind].group == "person") == people and (subject is None or i < subject)]
    here = [i for i in fits if mentions[i].start >= begin]
    if here:
        return here[0]
    if not fits:
        return None
    earlier = _sentence_start(text, mentions[fits[-1]].start)
    return next(i for i in fits if mentions[i].start >= earlier)


def _joined_subjects(text: str, mentions: list[Mention], starts: list[int], last: int, begin: int, objects: set[int]) -> list[int]:
    """The subject and what is joined to it before: "a dog and a cat"."""
    chain = [last]
    while chain[-1] > 0:
        i = chain[-1] - 1
        gap = re.sub(rf"\b(?:the|{_NUMBER}|some|several)\b", " ", text[mentions[i].end:starts[chain[-1]]])
        if i in objects or mentions[i].start < begin or mentions[i].denied or not _JOINED.match(gap):
            break
        chain.append(i)
    return chain


def _joined_objects(text: str, mentions: list[Mention], starts: list[int], first: int, finish: int) -> list[int]:
    chain: list[int] = []
    i = first
    while i + 1 < len(mentions) and mentions[i + 1].end <= finish:
        gap = re.sub(r"\b(?:the|an?|two|three|some)\b", " ", text[mentions[i].end:starts[i + 1]])
        if not re.match(r"^\s*(?:and|, and)\s*$", gap) or re.match(r"\s+(?:is|are|stands?|sits?|lies?|hovers?|floats?|flies|fly)\b", text[mentions[i + 1].end:]):
            break
        i += 1
        chain.append(i)
    return chain
