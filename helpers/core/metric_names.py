"""How people read a metric: its label, what it is in a sentence, its highest value, and whether less of it is better.

    "Bleu_4", as metrics.json calls it  --read_as-->  Reading("BLEU-4", …)

Tables, charts and the report all ask here, so a metric has one entry and no other list. A metric without one is written as
it is called, goes from 0 to 1, and more of it is better.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """label: how it is written for people.  about: what the report says it is, "" for nothing.  top: its highest value.
    lower_is_better: whether a small value is the good one, as of shares of what was invented."""

    label: str
    about: str = ""
    top: float = 1.0
    lower_is_better: bool = False


READINGS = {
    "Bleu_1": Reading("BLEU-1", "The share of the words (BLEU-1) up to the runs of four words (BLEU-4) of a caption that its reference has too; "
                                "short captions are marked down. 0 to 1."),
    "Bleu_2": Reading("BLEU-2"),
    "Bleu_3": Reading("BLEU-3"),
    "Bleu_4": Reading("BLEU-4"),
    "METEOR": Reading("METEOR", "Words matched one by one with the reference, recall weighing more than precision, torn matches marked down. 0 to 1."),
    "ROUGE_L": Reading("ROUGE-L", "How long a sequence of words caption and reference share in order, with gaps. 0 to 1."),
    "CIDEr": Reading("CIDEr", "How alike the runs of words are, when words that few references use count for much. 0 to 10.", top=10.0),
    "CLIPScore": Reading("CLIPScore", top=2.5),
    "object_recall": Reading("object recall", "Of the kinds of object that are in the scene, the share that the caption names."),
    "object_precision": Reading("object precision", "Of the kinds of object that the caption names, the share that is in the scene; the rest is hallucinated."),
    "object_f1": Reading("object F1", "Recall and precision in one number, their harmonic mean."),
    "colour_accuracy": Reading("colour accuracy", "Of the kinds of object that are there, have a colour worth telling and are named, the share named with the right colour."),
    "count_accuracy": Reading("count accuracy", "Of the kinds of object that are there and are named, the share named in the right number."),
    "relation_recall": Reading("relation recall"),
    "relation_precision": Reading("relation precision"),
    "chair_i": Reading("CHAIR-i", lower_is_better=True),
    "chair_s": Reading("CHAIR-s", lower_is_better=True),
}


def read_as(metric: str) -> Reading:
    """The metric's entry; one that has none is written as it is called."""
    return READINGS.get(metric) or Reading(metric)
