"""The baseline's encoder: its pretraining in small, what is shipped, and the cache of what it sees."""

import pytest
import torch
from PIL import Image

from helpers.core import encoder_pretraining, feature_cache, pretraining_run
from helpers.core.cnn_encoder import Encoder, load_encoder
from helpers.core.dense_supervision import batch_targets
from helpers.core.encoder_pretraining import EncoderRun, pool_cells, pretrain_encoder
from helpers.core.errors import InputError
from helpers.core.feature_cache import FeatureCache
from helpers.core.paths import CNN_ENCODER
from helpers.core.pretraining_pool import pool_scene
from helpers.core.scenes import is_evaluation, plan_scene, render

SMALL = {"seed": 0, "steps": 6, "scenes": 8, "crowds": 6}


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Small batches and often saved, so that the test takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_pretraining, "BATCH", 4)
        patch.setattr(encoder_pretraining, "CROWDS_IN_BATCH", 2)
        patch.setattr(pretraining_run, "SAVE_EVERY", 2)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a finished small run."""
    folder = tmp_path_factory.mktemp("work")
    EncoderRun(folder, **SMALL).run()
    return folder


def test_a_killed_pretraining_continues_to_the_same_weights(work, tmp_path):
    calm = EncoderRun(work, **SMALL)
    assert calm.step == calm.end == 6 and calm.losses[-1] < calm.losses[0]
    for name in ("pool-8-128", "crowds-6-128"):
        for ending in (".npy", ".done"):
            (tmp_path / (name + ending)).symlink_to(work / (name + ending))
    broken = EncoderRun(tmp_path, **SMALL)
    draw, calls = broken.draw, []

    def pulled_plug(rng):
        calls.append(1)
        if len(calls) == 4:  # after the checkpoint of step 2, so step 3 is lost
            raise KeyboardInterrupt
        return draw(rng)

    broken.draw = pulled_plug
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = EncoderRun(tmp_path, **SMALL)
    assert again.step == 2
    again.run()
    assert again.losses == calm.losses
    for name, weight in calm.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_pretraining_moves_every_kernel_and_ends_with_a_card(work, tmp_path):
    torch.manual_seed(SMALL["seed"])
    before = Encoder().state_dict()
    after = EncoderRun(work, **SMALL).model.state_dict()
    assert not [name for name, weight in before.items() if weight.ndim > 1 and torch.equal(weight, after[name])]
    out = pretrain_encoder(tmp_path / "encoder", work, **SMALL, examined=6)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "6 steps of 4 pictures" in card and "6 evaluation scenes" in card and "seed 0" in card
    loaded = load_encoder(out).state_dict()
    for name, weight in after.items():
        torch.testing.assert_close(loaded[name], weight, atol=1e-3, rtol=1e-3)
    with pytest.raises(InputError, match="other settings"):
        pretrain_encoder(tmp_path / "encoder", work, **{**SMALL, "seed": 1})


def test_the_shipped_encoder_sees_what_is_where():
    """Linear heads fitted anew, in closed form, on a few training scenes must find kinds in evaluation scenes: the weights hold what the card says."""
    encoder = load_encoder()
    known = [pool_scene(i) for i in range(1000, 1220)]
    unseen = [plan_scene((1 << 51) + i, evaluation=True) for i in range(40)]
    assert all(is_evaluation(scene.combination) for scene in unseen)

    def look(scenes):
        with torch.inference_mode():
            seen = torch.cat([encoder(torch.stack([encoder.prepare(render(s)) for s in scenes[i:i + 20]])) for i in range(0, len(scenes), 20)])
        return pool_cells(seen).flatten(0, 1).double(), batch_targets(scenes)["kinds"].flatten(0, 1).double()

    inputs, wanted = look(known)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    fitted = torch.linalg.solve(inputs.T @ inputs + 10 * torch.eye(inputs.shape[1]), inputs.T @ wanted)
    inputs, wanted = look(unseen)
    told, there = torch.cat([inputs, torch.ones(len(inputs), 1)], 1) @ fitted > 0.4, wanted > 0
    assert 2 * (told & there).sum() / (told.sum() + there.sum()) > 0.7
    assert (CNN_ENCODER / "model.safetensors").stat().st_size < 12_000_000


def test_an_encoder_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match="There is no encoder in"):
        load_encoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="damaged"):
        load_encoder(tmp_path)


@pytest.fixture
def photographs(tmp_path):
    """Three picture files, of which two hold the same bytes."""
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in "abc"]


def test_a_picture_is_looked_at_once(photographs, tmp_path, monkeypatch):
    torch.manual_seed(0)
    encoder, looked = Encoder(), []
    look = FeatureCache._look
    monkeypatch.setattr(FeatureCache, "_look", lambda self, pictures: looked.extend(pictures) or look(self, pictures))
    found = FeatureCache(tmp_path / "features.db", encoder).annotations(photographs, None)
    assert len(looked) == 2 and photographs[1] in looked and found.shape == (3, 64, 256)
    with torch.inference_mode():
        direct = encoder(torch.stack([encoder.prepare(Image.open(path)) for path in photographs[:2]]))
    torch.testing.assert_close(found[:2].float(), direct, atol=2e-3, rtol=2e-3)
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])
    photographs[0].rename(tmp_path / "moved.png")
    again = FeatureCache(tmp_path / "features.db", encoder).annotations([tmp_path / "moved.png", photographs[1]], None)
    assert len(looked) == 2 and torch.equal(again, found[:2])
    assert not torch.equal(FeatureCache(tmp_path / "features.db", Encoder()).annotations([tmp_path / "moved.png"], None), found[:1])
    assert len(looked) == 3  # another encoder sees for itself


def test_a_kill_costs_one_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "BATCH", 2)
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (20, 20), (50 * number, 0, 0)).save(paths[-1])
    encoder, looked = Encoder(), []
    look = FeatureCache._look

    def pulled_plug(self, pictures):
        if len(looked) == 4:
            raise KeyboardInterrupt
        looked.extend(pictures)
        return look(self, pictures)

    monkeypatch.setattr(FeatureCache, "_look", pulled_plug)
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path / "f.db", encoder).annotations(paths, None)
    looked.clear()
    assert FeatureCache(tmp_path / "f.db", encoder).annotations(paths, None).isfinite().all() and looked == paths[4:]


def test_what_cannot_be_looked_at_is_named(photographs, tmp_path):
    cache = FeatureCache(tmp_path / "features.db", Encoder())
    with pytest.raises(InputError, match="gone.png cannot be read"):
        cache.annotations([tmp_path / "gone.png"], None)
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(InputError, match="notes.png"):
        cache.annotations([tmp_path / "notes.png"], None)
    (tmp_path / "notes.db").write_text("no database, but long enough to look like one at first sight" * 20)
    with pytest.raises(InputError, match="delete it"):
        FeatureCache(tmp_path / "notes.db", Encoder()).annotations(photographs, None)
