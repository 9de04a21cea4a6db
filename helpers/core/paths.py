"""Where the repository keeps its things."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
STUDENT = DATA / "models" / "minicpmv-tiny"
CNN_ENCODER = DATA / "models" / "cnn-encoder"
FINETUNE = ROOT / "finetune"
NOTEBOOKS = ROOT / "notebooks"
