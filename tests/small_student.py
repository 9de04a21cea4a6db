"""What the training tests share: a very small random MiniCPM-V, and a few pictures with answers in two languages."""

from pathlib import Path

import numpy as np
from PIL import Image

from helpers.core.conversations import Sample, write_conversations
from helpers.core.tiny import build_student

QUESTIONS = {"en": "What is in the picture?", "zh": "图中有什么？"}
ANSWERS = [
    ("en", "A red house stands beside a tall green tree."),
    ("zh", "一只白色的猫坐在红色汽车的左边。"),
    ("en", "Two yellow birds fly above the calm, blue sea."),
    ("zh", "夜晚的街道上停着三辆蓝色自行车，天空下着雨。"),
    ("en", "An old man reads a book in the snowy park."),
    ("zh", "沙滩上有一把橙色的伞和两个孩子。"),
    ("en", "Three sheep sleep behind the wooden fence of a farm."),
    ("zh", "一位老师在黑板前画了四个圆圈，学生们在笑。"),
]


def make_student(folder: Path) -> Path:
    """A random student of about 0.4 M parameters whose tokenizer knows the answers' words."""
    corpus = [answer for _, answer in ANSWERS] * 3 + list(QUESTIONS.values())
    return build_student(folder, corpus, hidden_size=96, layers=2, vision_size=64, vision_layers=2, vocabulary=512)


def make_samples(folder: Path, count: int = 6, name: str = "train") -> Path:
    """Write `count` pictures of coloured squares, all different, and a conversation file about them; returns the file."""
    dice = np.random.default_rng(len(name))
    samples = []
    for number in range(count):
        language, answer = ANSWERS[number % len(ANSWERS)]
        image = Path(name) / f"{number:04d}.png"
        (folder / name).mkdir(parents=True, exist_ok=True)
        squares = dice.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(squares).resize((96, 96), Image.Resampling.NEAREST).save(folder / image)
        samples.append(Sample(f"{number:04d}", str(image), folder / image, QUESTIONS[language], answer))
    return write_conversations(folder / f"{name}.json", samples)
