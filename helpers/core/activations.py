"""How many bytes a training step keeps between forward and backward: what autograd saves, counted tensor by tensor.

    ModelSize, a batch's shape → bytes saved by all layers, by one layer, by the loss

The counting is that of Korthikanti et al. (2022, arXiv:2205.05198, section 4.1) for today's layers: attention that never writes its
scores (scaled_dot_product_attention), RMSNorm in float32, gated MLPs. With gradient checkpointing a layer keeps its input alone and is
computed again in the backward pass (their section 4.2, "full recomputation"). tests/test_activations.py compares with what autograd does save.
`wide` is the bytes of an element: 2 for bf16 and fp16, 4 for fp32.
"""

from __future__ import annotations

from helpers.core.model_sizes import ModelSize, Text, Vision

# Per element of the values' width, of a layer of linear attention (gated delta rule in chunks of 64, heads 128 wide) beside its norms
# and MLP. Counted once with saved_tensors_hooks in transformers 5.23, which does it in plain PyTorch where flash-linear-attention is
# not installed; no paper gives it. By bytes of an element.
LINEAR_ATTENTION = {2: 92.4, 4: 130.4}
# The loss at its highest, per token and word of the vocabulary: log-softmax, and the gradients after and before it, all in float32
# (transformers/loss/loss_utils.py casts the logits).
LOSS = 12


def text_layer(text: Text, wide: int, linear: bool = False) -> float:
    """Bytes a token that one layer of the language model saves when all of it is trained.

    Two RMSNorms (their input in float32, and the normed one, which Qwen3.5 keeps in float32 as well), the inputs of both blocks, q, k, v
    and the attention's output, and of the gated MLP gate, activated gate, up and product.
    """
    norm = 4 + (4 if text.gated else wide)
    norms = 2 * norm * text.hidden
    inputs = 2 * wide * text.hidden
    if linear:
        mixer = LINEAR_ATTENTION[wide] * text.linear_value
    else:
        mixer = 2 * wide * (text.query + text.key) + norm * (text.query + text.key) * text.normed_heads
        mixer += 4 * wide * text.query * text.gated
    return norms + inputs + mixer + 4 * wide * text.intermediate


def adapter(text: Text, wide: int, rank: int, mask: int, linear: bool = False) -> float:
    """Bytes a token that LoRA of `rank` saves beside one layer whose attention it adapts: q, k, v and the output; of linear attention
    what makes q, k and v together, the gate, and the output.

    Each adapter drops part of its input anew: the mask, the input that is left, and what A makes of it (peft/tuners/lora/layer.py,
    Linear.forward, with lora_dropout above 0). mask: bytes of its element, 1 on a GPU, on a CPU a factor as wide as the values
    (torch, aten/src/ATen/native/Dropout.cpp).
    """
    inputs, layers = (2 * text.hidden + text.linear_value, 3) if linear else (3 * text.hidden + text.query, 4)
    return (mask + wide) * inputs + layers * wide * rank


def vision_layer(vision: Vision, wide: int) -> float:
    """Bytes a patch that one layer of the vision tower saves: two LayerNorms, the inputs of both blocks, q, k, v and the attention's
    output (of each view, and where views pass together joined again), and what the MLP keeps of its inner width.

    Where one projection makes q, k and v (Qwen-VL), all three of its parts are kept, q and k once more after positions turned them, and the
    attention's outputs are joined. An RMSNorm keeps its input in float32.
    """
    norms = 2 * (4 + wide if vision.gated else wide)
    attention = 9 if vision.fused else 7 if vision.joins_views else 6
    return (norms + attention * wide) * vision.hidden + vision.inner * wide * vision.intermediate


def saved(size: ModelSize, tokens: int, patches: int, wide: int, checkpointing: bool, beside: tuple[float, float] = (0, 0)) -> int:
    """Bytes that all layers keep at the end of the forward pass, for `tokens` tokens and `patches` patches of all samples together.

    beside: bytes a token that an adapter adds to a layer, and to one of linear attention (`adapter`)."""
    text, vision = size.text, size.vision
    if checkpointing:
        words = tokens * text.layers * wide * text.hidden
    else:
        words = tokens * (text.linear * (text_layer(text, wide, True) + beside[1])
                          + (text.layers - text.linear) * (text_layer(text, wide) + beside[0]))
    one = wide * vision.hidden if checkpointing and vision.checkpoints else vision_layer(vision, wide)
    return int(words + patches * vision.whole_layers * one)


def recomputed(size: ModelSize, tokens: int, patches: int, wide: int, checkpointing: bool,
               beside: tuple[float, float] = (0, 0)) -> int:
    """Bytes of the one layer that the backward pass computes again, the largest, with its adapter; 0 without checkpointing."""
    if not checkpointing:
        return 0
    words = tokens * max(text_layer(size.text, wide) + beside[0], text_layer(size.text, wide, True) + beside[1] if size.text.linear else 0)
    return int(max(words, patches * vision_layer(size.vision, wide) if size.vision.checkpoints else 0))


def loss(size: ModelSize, tokens: int) -> int:
    """Bytes of the loss at its highest, for `tokens` tokens."""
    return LOSS * tokens * size.text.vocabulary
