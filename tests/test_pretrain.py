"""Pretraining in small: it learns, it survives a kill to the last bit, and what it writes loads like any other model."""

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, MiniCPMV4_6ForConditionalGeneration

from helpers.core import dense_supervision, lessons, pretrain, pretraining_run, tiny
from helpers.core.errors import InputError
from helpers.core.lexicon import COLOURS, KINDS, RARE_KINDS
from helpers.core.paths import STUDENT
from helpers.core.pretraining_pool import crowd_scene, pool_scene
from helpers.core.scenes import is_evaluation

PLAN = pretrain.Plan(6, 6, crowds=2)
SMALL = {"plan": PLAN, "seed": 0, "pool": 24, "crowds": 6}


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Small batches and often saved, so that the test takes seconds."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pretrain, "BATCH", 4)
    patch.setattr(pretraining_run, "SAVE_EVERY", 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    patch.undo()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    tiny.build_student(work / "random", list(lessons.corpus([pool_scene(i) for i in range(200)])))
    run = pretrain._Pretraining(work / "random", work, **SMALL)
    run.run()
    return run


def test_pretraining_never_sees_an_evaluation_scene_and_rare_kinds_rarely():
    scenes = [pool_scene(i) for i in range(800)]
    assert not any(is_evaluation(s.combination) for s in scenes)
    kinds = [g.kind for s in scenes for g in s.groups]
    assert sum(k in RARE_KINDS for k in kinds) / len(kinds) < 0.06
    assert all(k in kinds for k in RARE_KINDS)


def test_targets_say_what_is_in_each_cell():
    for scene in (pool_scene(i) for i in range(50)):
        targets = dense_supervision.cell_targets(scene)
        assert {list(KINDS)[k] for k in targets["kinds"].any(0).nonzero().flatten()} == {g.kind for g in scene.groups}
        assert {list(COLOURS)[c] for c in targets["colours"].any(0).nonzero().flatten()} == {g.colour for g in scene.groups} - {None}
        assert targets["centres"].sum() == len(scene.objects)
        patches = {k.item() for k in targets["patch_kinds"].unique()} - {len(KINDS)}
        assert patches <= {list(KINDS).index(g.kind) for g in scene.groups} and patches


def test_only_answers_carry_loss(run):
    import random
    ids, labels = run.texts([pool_scene(i) for i in range(4)], random.Random(0))
    tokenizer = run.processor.tokenizer
    for row, label in zip(ids, labels):
        text = tokenizer.decode(row).replace("<|endoftext|>", "").split("<|im_start|>assistant\n")[1:]
        answers = [part.split("<|im_end|>")[0] for part in text]
        assert tokenizer.decode(label[label != -100]) == "".join(a + "<|im_end|>" for a in answers)


def test_patches_are_those_of_the_processor(run):
    import random

    from PIL import Image
    rng = random.Random(1)
    patches, _, _ = run.batch(random.Random(1))
    index = rng.randrange(len(run.pool.scenes))
    own = run.processor.image_processor([Image.fromarray(run.pool.scenes[index])], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(patches[..., :own.shape[-1]], own)


def test_a_killed_run_continues_to_the_same_weights(run, tmp_path):
    broken = pretrain._Pretraining(run.checkpoint.parent / "random", tmp_path, **SMALL)
    texts, calls = broken.texts, []

    def pulled_plug(*arguments):
        calls.append(1)
        if len(calls) == 4:  # in step 10, in the dialogues, one step after the checkpoint of step 8: steps 9 and 10 are lost
            raise KeyboardInterrupt
        return texts(*arguments)

    broken.texts = pulled_plug
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = pretrain._Pretraining(run.checkpoint.parent / "random", tmp_path, **SMALL)
    assert again.step == 8
    again.run()
    assert again.losses == run.losses
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_other_settings_are_refused(run):
    with pytest.raises(InputError, match="other settings"):
        pretrain._Pretraining(run.checkpoint.parent / "random", run.checkpoint.parent, **{**SMALL, "seed": 5})


def test_what_is_written_loads_like_any_model(run, tmp_path):
    pretrain.save_student(run.model, run.processor, tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert isinstance(model, MiniCPMV4_6ForConditionalGeneration) and model.dtype == torch.float32
    for name, weight in run.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, atol=1e-3, rtol=1e-3)
    processor = AutoProcessor.from_pretrained(tmp_path)
    text = "一只橙色的猫 and a dog, 龘!"
    assert processor.tokenizer.decode(processor.tokenizer(text).input_ids) == text


def test_the_shipped_student_is_small_and_whole():
    weights = STUDENT / "model.safetensors"
    assert weights.stat().st_size < 20_000_000
    model = AutoModelForImageTextToText.from_pretrained(STUDENT)
    assert isinstance(model, MiniCPMV4_6ForConditionalGeneration) and model.dtype == torch.float32
    assert 4e6 < sum(p.numel() for p in model.parameters()) < 7e6
    assert "How well it does" in (STUDENT / "README.md").read_text(encoding="utf-8")
    assert json.loads((STUDENT / "processor_config.json").read_text())["image_processor"]["scale_resolution"] == tiny.IMAGE_SIZE


def test_crowds_show_many_objects_of_every_kind_that_hide_each_other_little():
    crowds = [crowd_scene(i) for i in range(400)]
    objects = [o for c in crowds for o in c.objects]
    assert len(objects) / len(crowds) > 4 and {o.kind for o in objects} == set(KINDS)
    assert all(0 <= o.box[0] < o.box[2] <= 224 and 0 <= o.box[1] < o.box[3] <= 224 for o in objects)
    assert crowds[0] == crowd_scene(0) != crowds[1]
