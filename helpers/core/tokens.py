"""Splits captions into the words that metrics count: English by the Penn Treebank's rules, Chinese by dictionary or character.

    list of n captions  --tokenize-->  n strings whose words are parted by single spaces

Every metric here compares words. Chinese is written without spaces, so a metric that splits at spaces takes a whole
sentence for one word and counts hits between whole sentences, which is to say none: what a "word" is must be chosen,
and the choice is part of the result.
"""

from __future__ import annotations

from collections.abc import Sequence

from helpers.core import java

TOKENIZERS = ("ptb", "jieba", "char", "none")
DEFAULT = {"en": "ptb", "zh": "jieba"}


def tokenize(texts: Sequence[str], tokenizer: str) -> list[list[str]]:
    """Splits n texts into lists of words.

    "ptb": Penn Treebank, lower case, one Java start. "jieba": Chinese words. "char": one Chinese character is one
    word, Latin words stay whole. "none": at spaces, nothing changed. All but "none" drop punctuation.
    Raises: ResourceError when "ptb" finds no working Java.
    """
    if tokenizer == "ptb":
        return java.ptb_tokenize(texts)
    if tokenizer == "none":
        return [text.split() for text in texts]
    if tokenizer == "char":
        return [characters(text) for text in texts]
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)  # its notice about loading the dictionary would break the progress bar
    return [[word.lower() for word in jieba.cut(text) if any(map(str.isalnum, word))] for text in texts]


def as_counted(texts: Sequence[str], tokenizer: str) -> list[str]:
    """Each text as the string that the scorers split: words parted by one space; with "none" the text as it is."""
    whole = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # half a surrogate pair is no character
    return whole if tokenizer == "none" else [" ".join(words) for words in tokenize(whole, tokenizer)]


def characters(text: str) -> list[str]:
    """Chinese characters one by one, runs of Latin letters and digits as words, the rest dropped."""
    tokens: list[str] = []
    grows = False
    for character in text.lower():
        latin = character.isalnum() and ord(character) < 0x2E80  # before the first block of Chinese radicals
        if latin and grows:
            tokens[-1] += character
        elif character.isalnum():
            tokens.append(character)
        grows = latin
    return tokens
