"""Builds the tiny student: a MiniCPM-V 4.6 of the very transformers classes of the real one, about 5 M parameters.

`build_student(folder, corpus)` writes weights (random), configuration, image processor, a byte-level BPE tokenizer (so any
text in any language can be spelled) and a chat template; `AutoProcessor` and `AutoModelForImageTextToText` load the folder
like any other model. `pretrain.py` then teaches it.

Shapes: a picture of any size becomes one view of about `IMAGE_SIZE`×`IMAGE_SIZE` pixels, (IMAGE_SIZE / 14)² = 64 patches,
merged 2×2 into 16 image tokens (`downsample_mode="4x"`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

IMAGE_SIZE = 112
PATCH_SIZE = 14
GRID = IMAGE_SIZE // PATCH_SIZE // 2  # image tokens per side

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|image_pad|>\n{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# What MiniCPMV4_6Processor asks of its tokenizer by name.
NAMED_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}


def train_tokenizer(corpus: Iterable[str], vocabulary: int):
    """A byte-level BPE tokenizer of at most `vocabulary` entries learned from `corpus` (Sennrich et al., 2016)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # English words with their leading space; Chinese character by character, as it has no spaces to cut at.
    words = Regex(r" ?[A-Za-z]+| ?[0-9]| ?[\p{P}\p{S}]|\p{Han}|\s+|.")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(words, behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *NAMED_TOKENS.values()]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, max_token_length=24, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left",
                                   extra_special_tokens=NAMED_TOKENS, model_max_length=2048)


def build_student(folder: Path | str, corpus: Iterable[str], hidden_size: int = 192, layers: int = 4, vision_size: int = 160,
                  vision_layers: int = 5, vocabulary: int = 1536, seed: int = 0) -> Path:
    """Write a MiniCPM-V with random weights of the given sizes to `folder` and return it.

    `hidden_size` must be a multiple of 48 and `vision_size` of 32 (the widths of the attention heads).
    """
    import torch
    from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration, MiniCPMV4_6ImageProcessor, MiniCPMV4_6Processor
    from transformers.models.minicpmv4_6.video_processing_minicpmv4_6 import MiniCPMV4_6VideoProcessor

    tokenizer = train_tokenizer(corpus, vocabulary)
    heads = hidden_size // 48
    config = MiniCPMV4_6Config(
        text_config=dict(
            model_type="qwen3", vocab_size=len(tokenizer), hidden_size=hidden_size, intermediate_size=3 * hidden_size,
            num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=max(1, heads // 2), head_dim=48,
            max_position_embeddings=2048, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            hidden_size=vision_size, intermediate_size=3 * vision_size, num_hidden_layers=vision_layers,
            num_attention_heads=vision_size // 32, patch_size=PATCH_SIZE, image_size=IMAGE_SIZE,
        ),
        insert_layer_id=0, image_size=IMAGE_SIZE, downsample_mode="4x", tie_word_embeddings=True,
        image_token_id=tokenizer.image_token_id, video_token_id=tokenizer.video_token_id,
    )
    torch.manual_seed(seed)
    model = MiniCPMV4_6ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    view = dict(scale_resolution=IMAGE_SIZE, slice_mode=False, downsample_mode="4x", patch_size=PATCH_SIZE, use_image_id=False,
                image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor = MiniCPMV4_6Processor(image_processor=MiniCPMV4_6ImageProcessor(**view), video_processor=MiniCPMV4_6VideoProcessor(**view),
                                     tokenizer=tokenizer, chat_template=CHAT_TEMPLATE)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)
