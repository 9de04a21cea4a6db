"""What autograd keeps between forward and backward, counted tensor by tensor, against the planner's formulae."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM

from helpers.core import activations
from helpers.core.model_sizes import Text, Vision, read_size
from tests.small_student import make_student


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A folder with a very small random student."""
    return make_student(tmp_path_factory.mktemp("activations") / "student")


def autograd_bytes(config: AutoConfig, dtype: torch.dtype, tokens: int, rank: int = 0) -> int:
    """Bytes of all tensors, each storage once, that autograd saves in a forward pass beside the parameters; rank: of an adapter beside them."""
    model = AutoModelForCausalLM.from_config(config)
    if rank:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=rank, lora_dropout=0.05, target_modules=r".*self_attn\.[qkvo]_proj")).requires_grad_(True)
    model = model.to(dtype).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    found, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    assert output.logits.requires_grad
    return sum(found.values())


def layer_config(kind: str, layers: int):
    """A small language model whose layers are all of one kind."""
    common = dict(vocab_size=32, hidden_size=128, intermediate_size=320, num_hidden_layers=layers)
    if kind == "llama":
        return AutoConfig.for_model("llama", num_attention_heads=4, num_key_value_heads=4, **common)
    if kind == "qwen3":
        return AutoConfig.for_model("qwen3", num_attention_heads=4, num_key_value_heads=2, head_dim=48, tie_word_embeddings=True, **common)
    return AutoConfig.for_model(
        "qwen3_5_text", num_attention_heads=2, num_key_value_heads=1, head_dim=64, linear_num_key_heads=2, linear_num_value_heads=2,
        linear_key_head_dim=128, linear_value_head_dim=128, tie_word_embeddings=True, layer_types=[kind] * layers, **common)


@pytest.mark.parametrize(("wide", "dtype"), [(4, torch.float32), (2, torch.bfloat16)])
@pytest.mark.parametrize(("kind", "text"), [
    ("llama", Text(2, 128, 320, 128, 128, 32)),
    ("qwen3", Text(2, 128, 320, 192, 96, 32, normed_heads=True)),
    ("full_attention", Text(2, 128, 320, 128, 64, 32, normed_heads=True, gated=True)),
    ("linear_attention", Text(2, 128, 320, 128, 64, 32, linear=2, linear_value=256)),
])
def test_a_layer_saves_what_the_formula_says(kind, text, wide, dtype):
    tokens = 128
    saved = (autograd_bytes(layer_config(kind, 3), dtype, tokens) - autograd_bytes(layer_config(kind, 1), dtype, tokens)) / 2
    assert activations.text_layer(text, wide, kind == "linear_attention") * tokens == pytest.approx(saved, rel=0.07)


@pytest.mark.parametrize(("wide", "dtype"), [(4, torch.float32), (2, torch.bfloat16)])
def test_an_adapter_saves_what_the_formula_says(wide, dtype):
    tokens, rank, text = 128, 16, Text(2, 128, 320, 192, 96, 32, normed_heads=True)
    saved = [(autograd_bytes(layer_config("qwen3", 3), dtype, tokens, r) - autograd_bytes(layer_config("qwen3", 1), dtype, tokens, r)) / 2
             for r in (0, rank)]
    assert activations.adapter(text, wide, rank, wide) * tokens == pytest.approx(saved[1] - saved[0], rel=0.07)


def test_a_vision_layer_saves_what_the_formula_says(student):
    from transformers import AutoModelForImageTextToText

    tower = AutoModelForImageTextToText.from_pretrained(student, dtype=torch.float32).model.vision_tower.train()
    patches, sizes, known = 64, [], {p.untyped_storage().data_ptr() for p in tower.parameters()}
    for layers in (len(tower.encoder.layers), 1):
        tower.encoder.layers = tower.encoder.layers[:layers]
        found, alive = {}, []

        def pack(tensor, found=found, alive=alive):
            if tensor.untyped_storage().data_ptr() not in known:
                found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                alive.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            tower(torch.zeros(1, 3, 14, 14 * patches), target_sizes=torch.tensor([[8, 8]], dtype=torch.int32), use_vit_merger=False)
        sizes.append(sum(found.values()))
    vision = read_size(student).vision
    assert activations.vision_layer(vision, 4) * patches * (vision.layers - 1) == pytest.approx(sizes[0] - sizes[1], rel=0.05)


@pytest.mark.parametrize(("wide", "dtype"), [(4, torch.float32), (2, torch.bfloat16)])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "smolvlm"])
def test_other_towers_save_what_the_formula_says(family, wide, dtype):
    from transformers import AutoConfig, AutoModel

    def saved(layers: int) -> int:
        if family == "qwen2_5_vl":
            vision = AutoConfig.for_model("qwen2_5_vl", vision_config=dict(depth=layers, hidden_size=64, intermediate_size=192, num_heads=2,
                                                                           out_hidden_size=32, fullatt_block_indexes=[0])).vision_config
            given = (torch.zeros(256, 3 * 2 * 14 * 14, dtype=dtype), torch.tensor([[1, 16, 16]]))
        else:
            vision = AutoConfig.for_model("smolvlm", vision_config=dict(num_hidden_layers=layers, hidden_size=64, intermediate_size=192,
                                                                        num_attention_heads=2, image_size=128, patch_size=16)).vision_config
            given = (torch.zeros(4, 3, 128, 128, dtype=dtype),)
        tower = AutoModel.from_config(vision).to(dtype).train()
        known, found, alive = {t.untyped_storage().data_ptr() for t in [*tower.parameters(), *tower.buffers()]}, {}, []

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() not in known:
                found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                alive.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            tower(*given)
        return sum(found.values())

    shape = dict(qwen2_5_vl=dict(fused=True, gated=True, inner=4), smolvlm=dict(joins_views=False))[family]
    assert activations.vision_layer(Vision(1, 64, 192, **shape), wide) * 256 == pytest.approx((saved(3) - saved(1)) / 2, rel=0.07)


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors made inside (not those of `before`) that are alive, and their maximum."""

    def __init__(self, *before):
        super().__init__()
        self.now, self.most, self.known = 0, 0, {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.drop, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return result

    def drop(self, key, size):
        """A tensor's memory was given back."""
        self.known.discard(key)
        self.now -= size


def test_the_loss_takes_what_the_formula_says():
    from transformers.loss.loss_utils import ForCausalLMLoss

    words, tokens = 1000, 64
    for dtype in (torch.float32, torch.bfloat16):
        logits = torch.zeros(1, tokens, words, dtype=dtype, requires_grad=True)
        labels = torch.ones(1, tokens, dtype=torch.long)
        with Live(logits) as live:
            ForCausalLMLoss(logits, labels, words).backward()
        assert live.most == pytest.approx(activations.LOSS * tokens * words, rel=0.05)
