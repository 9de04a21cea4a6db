"""From a picture and its conversation to the model's tensors: one way for training and describing, and for every model.

The text goes through the model's own chat template. What the model reads when it is asked, up to and including the start of
its own turn, is called the prompt; training lays the answer behind exactly the same prompt:

    input_ids  <|im_start|>user <image> … </image> What is this?<|im_end|> <|im_start|>assistant  A red house .<|im_end|>
    labels     -100  …                                                                       -100 A red house .<|im_end|>

Only the answers' tokens (with the token that ends the turn) carry loss. An encoded sample holds `input_ids` and `labels`
[length] and whatever else the model's processor gives; `collate` makes a batch of it, key by key:

    one number per token       input_ids, labels, mm_token_type_ids    [length]                   padded to the longest
    MiniCPM-V's patches        pixel_values, next to target_sizes      [1, 3, patch, patches x patch]  end to end, last axis
    everything else            pixel_values, image_grid_thw,           [n, …]                     one below the other; where
                               pixel_attention_mask, target_sizes, …                              sizes differ, zeros fill
"""

from collections.abc import Sequence

from helpers.core.conversations import IMAGE_TAG, Turn
from helpers.core.errors import InputError

IGNORED = -100  # what torch's cross entropy leaves out
# Keys with one number per token, and the number that fills a batch up. (None: the tokenizer's padding token.)
PER_TOKEN = {"input_ids": None, "labels": IGNORED, "mm_token_type_ids": 0, "token_type_ids": 0}


def render_prompt(processor, turns: Sequence[Turn]) -> str:
    """The text that the model reads before it answers the last of `turns` (a user's). The picture belongs to the first: it comes
    before the words, or where they have its tag."""
    messages = [{"role": turn.role, "content": [{"type": "text", "text": turn.content}]} for turn in turns]
    before, _, after = turns[0].content.rpartition(IMAGE_TAG)
    words = [{"type": "text", "text": text} if text else None for text in (before, after)]
    messages[0]["content"] = [part for part in (words[0], {"type": "image"}, words[1]) if part]
    return render(processor, messages, add_generation_prompt=True)


def render(processor, messages: list[dict], **options) -> str:
    """`messages` as the chat template writes them."""
    # A template that lets the model think aloud first is told not to; others do not know the word.
    quiet = {"enable_thinking": False} if "enable_thinking" in str(processor.chat_template) else {}
    return processor.apply_chat_template(messages, tokenize=False, **options, **quiet)


def answer_frame(processor) -> tuple[str, str]:
    """What the chat template puts before and behind an answer: ("", "<|im_end|>"), for SmolVLM (" ", "<end_of_utterance>").

    "Before" is what stands between the end of the prompt and the answer; the model writes it itself.
    """
    probe = "CaptionLabProbe"
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in (("user", "?"), ("assistant", probe))]
    rendered, _, behind = render(processor, messages).rpartition(probe)
    prompt = render(processor, messages[:1], add_generation_prompt=True)
    before = rendered.removeprefix(prompt) if rendered.startswith(prompt) else ""
    return before, behind.strip() or processor.tokenizer.eos_token


def segments(processor, turns: Sequence[Turn]) -> list[tuple[str, bool]]:
    """Cut a conversation into pieces of text, each with whether it is supervised.

    The prompt of each answer is rendered as at inference. A template that rewrites earlier turns (as thinking models do)
    leaves nothing to lay the later prompt behind; then only the last answer is supervised, after its whole prompt.
    """
    before, behind = answer_frame(processor)
    pieces: list[tuple[str, bool]] = []
    so_far = ""
    for number, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        prompt = render_prompt(processor, turns[:number])
        answer = before + turn.content + behind
        if prompt.startswith(so_far):
            pieces.append((prompt[len(so_far):], False))
        else:
            pieces = [(prompt, False)]
        pieces.append((answer, True))
        so_far = prompt + answer
    return pieces


def tokenize(processor, text: str, first: bool = False) -> list[int]:
    """The token ids of a piece of text; the `first` piece gets the tokens that a text begins with, unless it has them."""
    begins = processor.tokenizer.bos_token
    return processor.tokenizer(text, add_special_tokens=first and not (begins and text.startswith(begins)))["input_ids"]


def encode_prompt(processor, image, text: str) -> dict:
    """Encode one picture (PIL, RGB) and the rendered prompt `text` that has a place for it; no labels."""
    begins = processor.tokenizer.bos_token
    once = {"add_special_tokens": False} if begins and text.startswith(begins) else {}
    encoded = processor(images=[image], text=[text], return_tensors="pt", **once)
    per_token = {key: encoded[key][0] for key in PER_TOKEN if key in encoded}
    return per_token | {key: value for key, value in encoded.items() if key not in PER_TOKEN and key != "attention_mask"}


def encode_question(processor, image, question: str) -> dict:
    """Encode one picture (PIL, RGB) and a question, ready for the model to answer."""
    return encode_prompt(processor, image, render_prompt(processor, [Turn("user", question)]))


def encode_sample(processor, image, turns: Sequence[Turn], max_length: int) -> dict:
    """Encode one picture (PIL, RGB) and a whole conversation for training, cut after `max_length` tokens.

    Raises InputError when the cut leaves no answer, as when the picture alone fills the length.
    """
    import torch

    (prompt, _), *rest = segments(processor, turns)
    encoded = encode_prompt(processor, image, prompt)
    if len(encoded["input_ids"]) >= max_length:
        raise InputError(no_room(len(encoded["input_ids"]), max_length))
    encoded["labels"] = torch.full_like(encoded["input_ids"], IGNORED)
    for text, supervised in rest:
        piece = torch.tensor(tokenize(processor, text))
        for key in PER_TOKEN.keys() & encoded.keys():
            value = piece if key == "input_ids" or key == "labels" and supervised else torch.full_like(piece, PER_TOKEN[key] or 0)
            encoded[key] = torch.cat([encoded[key], value])
    return encoded | {key: encoded[key][:max_length] for key in PER_TOKEN.keys() & encoded.keys()}


def no_room(tokens: int, max_length: int) -> str:
    """The sentence for a prompt of `tokens` tokens that leaves an answer none."""
    return (f"the picture and the question take {tokens} tokens, more than --model_max_length {max_length} "
            "leaves room for; raise it or lower --max_slice_nums")


def collate(samples: Sequence[dict], pad_token_id: int, side: str) -> dict:
    """Make one batch: text padded on `side` ("left" to generate, "right" to train), pictures joined by the table above.

    Returns input_ids, attention_mask and the other keys with one number per token [batch, longest], and the pictures' tensors.
    """
    import torch

    longest = max(len(sample["input_ids"]) for sample in samples)

    def padded(key: str, value: int):
        rows = torch.full((len(samples), longest), value, dtype=torch.long)
        for row, sample in zip(rows, samples, strict=True):
            length = len(sample[key])
            start = longest - length if side == "left" else 0
            row[start:start + length] = sample[key]
        return rows

    lengths = torch.tensor([len(sample["input_ids"]) for sample in samples])[:, None]
    places = torch.arange(longest)[None]
    attention_mask = (places >= longest - lengths) if side == "left" else (places < lengths)
    batch = {"attention_mask": attention_mask.long()}
    for key in samples[0]:
        tensors = [sample[key] for sample in samples]
        if key in PER_TOKEN:
            batch[key] = padded(key, pad_token_id if key == "input_ids" else PER_TOKEN[key])
        elif key == "pixel_values" and "target_sizes" in samples[0]:
            batch[key] = torch.cat(tensors, dim=-1)
        else:
            batch[key] = torch.cat(filled_up(tensors))
    return batch


def filled_up(tensors: Sequence) -> list:
    """The tensors [n, …] with zeros behind the smaller ones, so that all sizes but the first agree."""
    import torch

    largest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    # torch wants the room to add as (before, behind) for every axis, the last axis first.
    gaps = [[n for most, size in zip(reversed(largest), reversed(tensor.shape[1:]), strict=True) for n in (0, most - size)]
            for tensor in tensors]
    return [torch.nn.functional.pad(tensor, gap) if any(gap) else tensor for tensor, gap in zip(tensors, gaps, strict=True)]
