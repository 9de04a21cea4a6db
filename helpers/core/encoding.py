"""From a picture and its conversation to the model's tensors: one function for training and for describing.

The text goes through the model's own chat template. What the model reads when it is asked, up to and including the start of
its own turn, is called the prompt; training lays the answer behind exactly the same prompt:

    input_ids  <|im_start|>user <image> … </image> What is this?<|im_end|> <|im_start|>assistant  A red house .<|im_end|>
    labels     -100  …                                                                       -100 A red house .<|im_end|>

Only the answers' tokens (with the token that ends the turn) carry loss. An encoded sample holds 1-D `input_ids` and `labels`
[length], and the picture's patches as MiniCPM-V packs them: `pixel_values` [3, patch, patches x patch] and `target_sizes`
[views, 2], each view's height and width in patches. A batch pads the text and lays all patches end to end.
"""

from collections.abc import Sequence

from helpers.core.conversations import Turn
from helpers.core.errors import InputError

IGNORED = -100  # what torch's cross entropy leaves out


def render_prompt(processor, turns: Sequence[Turn]) -> str:
    """The text that the model reads before it answers the last of `turns` (a user's); the picture belongs to the first."""
    messages = [{"role": turn.role, "content": [{"type": "text", "text": turn.content}]} for turn in turns]
    messages[0]["content"].insert(0, {"type": "image"})
    # A template that lets the model think aloud first is told not to; others do not know the word.
    quiet = {"enable_thinking": False} if "enable_thinking" in str(processor.chat_template) else {}
    return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **quiet)


def end_of_turn(processor) -> str:
    """The text with which the chat template closes the assistant's turn, e.g. `<|im_end|>`."""
    probe = "CaptionLabProbe"
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in (("user", "?"), ("assistant", probe))]
    rendered = processor.apply_chat_template(messages, tokenize=False)
    return rendered.rpartition(probe)[2].strip() or processor.tokenizer.eos_token


def segments(processor, turns: Sequence[Turn]) -> list[tuple[str, bool]]:
    """Cut a conversation into pieces of text, each with whether it is supervised.

    The prompt of each answer is rendered as at inference. A template that rewrites earlier turns (as thinking models do)
    leaves nothing to lay the later prompt behind; then only the last answer is supervised, after its whole prompt.
    """
    closing = end_of_turn(processor)
    pieces: list[tuple[str, bool]] = []
    so_far = ""
    for number, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        prompt = render_prompt(processor, turns[:number])
        if prompt.startswith(so_far):
            pieces.append((prompt[len(so_far):], False))
        else:
            pieces = [(prompt, False)]
        pieces.append((turn.content + closing, True))
        so_far = prompt + turn.content + closing
    return pieces


def encode_prompt(processor, image, text: str) -> dict:
    """Encode one picture (PIL, RGB) and the rendered prompt `text` that has a place for it; no labels."""
    encoded = processor(images=[image], text=[text], return_tensors="pt")
    return {
        "input_ids": encoded["input_ids"][0],
        "pixel_values": encoded["pixel_values"][0],
        "target_sizes": encoded["target_sizes"],
    }


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
    ids = [encoded["input_ids"]]
    labels = [torch.full_like(encoded["input_ids"], IGNORED)]
    for text, supervised in rest:
        piece = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        ids.append(piece)
        labels.append(piece if supervised else torch.full_like(piece, IGNORED))
    if len(ids[0]) >= max_length:
        raise InputError(f"the picture and the question take {len(ids[0])} tokens, more than --model_max_length {max_length} "
                         "leaves room for; raise it or lower --max_slice_nums")
    encoded["input_ids"] = torch.cat(ids)[:max_length]
    encoded["labels"] = torch.cat(labels)[:max_length]
    return encoded


def collate(samples: Sequence[dict], pad_token_id: int, side: str) -> dict:
    """Make one batch: text padded on `side` ("left" to generate, "right" to train), patches of all pictures end to end.

    Returns input_ids, attention_mask (and labels, where the samples have them) [batch, longest],
    pixel_values [1, 3, patch, all patches x patch], target_sizes [all views, 2].
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
    batch = {
        "input_ids": padded("input_ids", pad_token_id),
        "attention_mask": attention_mask.long(),
        "pixel_values": torch.cat([sample["pixel_values"] for sample in samples], dim=-1)[None],
        "target_sizes": torch.cat([sample["target_sizes"] for sample in samples]),
    }
    if "labels" in samples[0]:
        batch["labels"] = padded("labels", IGNORED)
    return batch
