"""Very small random models of the families that the trainer serves beside MiniCPM-V, built from their configurations.

    build_family("qwen2_5_vl", folder)    Qwen2.5-VL: patches in rows, positions in three dimensions, the merger inside the tower
    build_family("smolvlm", folder)       SmolVLM: large pictures cut into views, padded to the batch's most
    build_family("idefics3", folder)      the class that SmolVLM grew from
    build_family("minicpmv4_6", folder)   the course's own student

Each folder holds weights, a tokenizer trained here, an image processor and a chat template; nothing is downloaded.
"""

from pathlib import Path

from helpers.core.tiny import train_tokenizer
from tests.small_student import ANSWERS, QUESTIONS, make_student

WIDTH, LAYERS, HEADS, VOCABULARY = 96, 2, 2, 512

# Qwen's way of writing a conversation: its system message, and the picture between two marks.
QWEN_TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(end: str, begin: str | None, others: list[str]):
    """A tokenizer that knows the answers' words and the special tokens of a family; `end` closes a turn."""
    from transformers import PreTrainedTokenizerFast

    trained = train_tokenizer([answer for _, answer in ANSWERS] * 3 + list(QUESTIONS.values()), VOCABULARY)
    made = PreTrainedTokenizerFast(tokenizer_object=trained.backend_tokenizer, pad_token="<|endoftext|>", eos_token=end, bos_token=begin,
                                   padding_side="left")
    made.add_special_tokens({"extra_special_tokens": others})
    return made


def text_sizes(words) -> dict:
    """The sizes of a small language model for the tokenizer `words`."""
    return dict(vocab_size=len(words), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                num_key_value_heads=1, max_position_embeddings=1024, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
                pad_token_id=words.pad_token_id)


def qwen2_5_vl():
    """Model and processor: 8×8 patches of a picture of 112 pixels become 16 tokens."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    words = tokenizer("<|im_end|>", None, ["<|vision_start|>", "<|vision_end|>"])
    named = {name: words.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end")}
    config = Qwen2_5_VLConfig(
        text_config=text_sizes(words) | dict(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 8, 8]}),
        vision_config=dict(depth=2, hidden_size=64, intermediate_size=128, num_heads=2, out_hidden_size=WIDTH, patch_size=14,
                           window_size=56, fullatt_block_indexes=[1]),
        image_token_id=named["image_pad"], video_token_id=named["video_pad"], vision_start_token_id=named["vision_start"],
        vision_end_token_id=named["vision_end"], tie_word_embeddings=True,
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    processor = Qwen2_5_VLProcessor(Qwen2VLImageProcessor(size=size), words, Qwen2VLVideoProcessor(size=size), chat_template=QWEN_TEMPLATE)
    return Qwen2_5_VLForConditionalGeneration(config), processor


def smolvlm():
    """Model and processor: every view has 56 pixels, 16 patches and 4 tokens."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    config, words, view = _views(SmolVLMConfig)
    processor = SmolVLMProcessor(SmolVLMImageProcessor(**view), words, SmolVLMVideoProcessor(**view), image_seq_len=4,
                                 chat_template=DEFAULT_CHAT_TEMPLATE)
    return SmolVLMForConditionalGeneration(config), processor


def idefics3():
    """Model and processor, of the same sizes as SmolVLM's."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    config, words, view = _views(Idefics3Config)
    processor = Idefics3Processor(Idefics3ImageProcessor(**view), words, image_seq_len=4, chat_template=DEFAULT_CHAT_TEMPLATE)
    return Idefics3ForConditionalGeneration(config), processor


def _views(config_class):
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    words = tokenizer("<end_of_utterance>", "<|im_start|>", ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *rows])
    config = config_class(
        text_config=dict(model_type="llama") | text_sizes(words),
        vision_config=dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14),
        image_token_id=words.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=True, pad_token_id=words.pad_token_id,
    )
    return config, words, dict(size={"longest_edge": 112}, max_image_size={"longest_edge": 56}, do_image_splitting=True)


def build_family(family: str, folder: Path) -> Path:
    """Write a random model of `family` to `folder` and return it."""
    import torch

    if family == "minicpmv4_6":
        return make_student(folder)
    torch.manual_seed(0)
    model, processor = BUILDERS[family]()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


# A further family: a function like those above, and its line here.
BUILDERS = {"qwen2_5_vl": qwen2_5_vl, "smolvlm": smolvlm, "idefics3": idefics3}
FAMILIES = ("minicpmv4_6", *BUILDERS)
