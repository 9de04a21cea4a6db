"""Tests of helpers/baseline.py: a captioner that is trained, stopped, continued, loaded and asked, with real pictures and the shipped encoder."""

import json
from dataclasses import replace
from threading import Event

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers import baseline, cli
from helpers.baseline import Recipe, train
from helpers.core import baseline_training
from helpers.core.baseline_student import Baseline
from helpers.core.chat_decoding import Decoding
from helpers.core.chat_models import find_offers
from helpers.core.conversations import Turn, read_conversations, write_conversations
from helpers.core.errors import InputError, ResourceError, Stopped
from helpers.core.profiles import load_profile
from helpers.core.student import Student, load_student
from helpers.core.truth import score, summarise
from tests.baseline_scenes import write_data

RECIPE = Recipe(epochs=40, batch_size=8, learning_rate=4e-3)
QUICK = replace(RECIPE, epochs=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen training and four evaluation scenes in English."""
    path = tmp_path_factory.mktemp("baseline")
    write_data(path, 16, 4)
    return path


@pytest.fixture(scope="module")
def trained(folder):
    """A baseline that has learned the training scenes by heart."""
    return train(folder / "train.json", folder / "model", folder / "eval.json", RECIPE, progress=False)


def test_it_learns_to_say_what_is_in_its_pictures(folder, trained):
    scenes = {scene.id: scene for scene in write_data(folder, 16, 4)}
    samples = read_conversations(folder / "train.json")
    said = trained.baseline.describe([sample.path for sample in samples], samples[0].question)
    assert summarise(score(text, scenes[sample.id], "en") for text, sample in zip(said, samples))["object_f1"] > 0.8
    losses = [record["loss"] for record in trained.history.epochs]
    assert losses[-1] < 0.4 * losses[0] and trained.history.steps[-1][0] == 80
    assert all(record["cider"] >= 0 and record["validation_loss"] > 0 for record in trained.history.epochs)


def test_what_was_trained_is_loaded_like_any_student(folder, trained):
    student = load_student(folder / "model", device="cpu")
    assert isinstance(student, Baseline)
    samples = read_conversations(folder / "eval.json")
    pictures = [sample.path for sample in samples]
    said = student.describe(pictures, samples[0].question, batch_size=2)
    assert said == trained.baseline.describe([Image.open(picture) for picture in pictures], samples[0].question)
    assert "".join(student.stream(pictures[0], samples[0].question)) == said[0]
    for text, (again, tokens) in zip(said, student.describe_with_probabilities(pictures, samples[0].question)):
        assert again == text and all(0 < probability <= 1 for _, probability in tokens)
        assert "".join(token for token, _ in tokens) == text.replace(" ", "")


def test_it_says_that_it_reads_no_question(folder, trained):
    student, picture = load_student(folder / "model", device="cpu"), read_conversations(folder / "eval.json")[0].path
    assert student.remark(student.question) == ""
    assert "reads no question" in student.remark([student.question, "What colour is the ball?"])
    assert student.describe([picture], "What colour is the ball?") == student.describe([picture], student.question)
    assert Student.remark(None, "What colour is the ball?") == ""


def test_the_chat_offers_it_with_a_word_of_warning(folder, trained, tmp_path):
    (tmp_path / "baseline").mkdir()
    (tmp_path / "baseline" / "model").symlink_to(folder / "model")
    offer = {offer.key: offer for offer in find_offers(load_profile("tiny"), tmp_path)}["baseline"]
    assert offer.missing is None and "reads no question" in offer.note["en"]
    picture, system = Image.open(read_conversations(folder / "eval.json")[0].path), offer.open()
    *_, last = system.stream(picture, [Turn("user", "What colour is the ball?")], Decoding(), Event())
    assert last.text == trained.baseline.describe([picture], "")[0] and system.nbytes > 1_000_000


def test_the_same_seed_gives_the_same_captions_and_another_one_another_model(folder, tmp_path):
    pictures = [sample.path for sample in read_conversations(folder / "eval.json")]
    first, second, other = (train(folder / "train.json", tmp_path / name, recipe=replace(QUICK, seed=seed), features=folder / "features.db", progress=False)
                            for name, seed in (("first", 1), ("second", 1), ("other", 2)))
    assert first.baseline.describe(pictures, "") == second.baseline.describe(pictures, "")
    for name, weight in first.baseline.decoder.state_dict().items():
        assert torch.equal(weight, second.baseline.decoder.state_dict()[name]), name
    assert first.history.steps == second.history.steps != other.history.steps


@pytest.mark.parametrize("encoder", ["pretrained", "scratch"])
def test_a_stopped_training_goes_on_to_the_same_weights(folder, tmp_path, monkeypatch, encoder):
    recipe = replace(RECIPE, encoder=encoder, epochs=3)
    calm = train(folder / "train.json", tmp_path / "calm", recipe=recipe, progress=False)
    save = baseline_training.Trainer._save

    def pulled_plug(self):
        save(self)
        if len(self.history.epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(baseline_training.Trainer, "_save", pulled_plug)
    with pytest.raises(Stopped, match="2 of 3 epochs are kept"):
        train(folder / "train.json", tmp_path / "broken", recipe=recipe, progress=False)
    monkeypatch.undo()
    again = train(folder / "train.json", tmp_path / "broken", recipe=recipe, progress=False)
    assert again.history.steps == calm.history.steps
    for part in ("encoder", "decoder"):
        for name, weight in getattr(calm.baseline, part).state_dict().items():
            assert torch.equal(weight, getattr(again.baseline, part).state_dict()[name]), name
    assert not (tmp_path / "broken" / "checkpoint.pt").exists()


def test_a_finished_training_is_not_done_again_and_another_recipe_is(folder, tmp_path, monkeypatch):
    train(folder / "train.json", tmp_path / "model", recipe=QUICK, progress=False)
    began = []
    run = baseline_training.Trainer.run
    monkeypatch.setattr(baseline_training.Trainer, "run", lambda self, *words: began.append(1) or run(self, *words))
    again = train(folder / "train.json", tmp_path / "model", recipe=QUICK, progress=False)
    assert not began and len(again.history.epochs) == 2
    assert len(train(folder / "train.json", tmp_path / "model", recipe=replace(QUICK, epochs=1), progress=False).history.epochs) == 1
    assert began and len(baseline.load(tmp_path / "model").history.epochs) == 1


def test_an_encoder_from_scratch_learns_along_and_a_pretrained_one_stays(folder, tmp_path):
    for name, moves in (("scratch", True), ("pretrained", False)):
        torch.manual_seed(QUICK.seed)
        before, _ = baseline.make_encoder(name)
        after = train(folder / "train.json", tmp_path / name, recipe=replace(QUICK, encoder=name, epochs=1), progress=False).baseline.encoder
        same = [torch.equal(weight, after.state_dict()[key]) for key, weight in before.state_dict().items()]
        assert all(same) != moves


def test_one_question_is_learned_and_the_others_are_counted(folder, tmp_path):
    samples = read_conversations(folder / "train.json")
    more = [replace(samples[0], id="0000/mood", image=str(samples[0].path), turns=[replace(samples[0].turns[0], content="What mood?"), samples[0].turns[1]])]
    write_conversations(tmp_path / "train.json", [replace(s, image=str(s.path)) for s in samples] + more)
    found = train(tmp_path / "train.json", tmp_path / "model", recipe=replace(QUICK, epochs=1), progress=False)
    assert found.left_out == 1 and "1 samples left out" in str(found) and found.baseline.question == samples[0].question


def test_chinese_by_words_and_by_characters(tmp_path):
    write_data(tmp_path, 8, 2, language="zh")
    sizes = {}
    for unit in ("word", "character"):
        found = train(tmp_path / "train.json", tmp_path / unit, recipe=replace(QUICK, unit=unit, epochs=1), features=tmp_path / "features.db", progress=False)
        vocabulary = load_student(tmp_path / unit, device="cpu").vocabulary
        assert (vocabulary.language, vocabulary.unit) == ("zh", unit)
        for sample in read_conversations(tmp_path / "train.json"):
            assert vocabulary.decode(vocabulary.encode(sample.answer)) == sample.answer
        sizes[unit] = max(len(vocabulary.encode(sample.answer)) for sample in read_conversations(tmp_path / "train.json"))
        assert found.history.epochs
    assert sizes["character"] > sizes["word"]


def test_bad_input_is_named_in_a_sentence(folder, trained, tmp_path):
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(InputError, match="holds no samples"):
        train(tmp_path / "empty.json", tmp_path / "model", progress=False)
    write_data(tmp_path / "one", 1, 1)
    with pytest.raises(InputError, match="holds one picture"):
        train(tmp_path / "one" / "train.json", tmp_path / "model", progress=False)
    with pytest.raises(InputError, match="character"):
        train(folder / "train.json", tmp_path / "model", recipe=replace(QUICK, unit="character"), progress=False)
    with pytest.raises(InputError, match="no encoder 'vgg'"):
        train(folder / "train.json", tmp_path / "model", recipe=replace(QUICK, encoder="vgg"), progress=False)
    with pytest.raises(InputError, match="no words to learn"):
        train(folder / "train.json", tmp_path / "model", recipe=replace(QUICK, least=1000), progress=False)
    write_data(tmp_path / "zh", 2, 1, language="zh")
    with pytest.raises(InputError, match="No sample of .* asks what"):
        train(folder / "train.json", tmp_path / "model", tmp_path / "zh" / "eval.json", QUICK, progress=False)
    with pytest.raises(InputError, match="no finished training"):
        baseline.load_history(tmp_path)
    with pytest.raises(InputError, match="takes no adapter"):
        load_student(folder / "model", adapter=tmp_path)
    with pytest.raises(InputError, match="knows no temperature"):
        trained.baseline.describe([], "", temperature=0.7)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text((folder / "model" / "config.json").read_text())
    with pytest.raises(InputError, match="damaged"):
        load_student(tmp_path / "broken")


def test_a_picture_without_a_reference_is_named_and_a_single_one_to_watch_by_will_do(folder, tmp_path):
    entries = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    for entry in entries:
        entry["image"] = str(folder / entry["image"])
    del entries[3]["conversations"][1]
    (tmp_path / "train.json").write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(InputError, match="0003"):
        train(tmp_path / "train.json", tmp_path / "model", progress=False)
    write_data(tmp_path / "one", 2, 1)
    found = train(folder / "train.json", tmp_path / "model", tmp_path / "one" / "eval.json", replace(QUICK, epochs=1), progress=False)
    assert found.history.epochs[0]["validation_loss"] > 0 and found.history.epochs[0]["cider"] >= 0


def test_without_a_network_the_resnet_is_refused_in_a_sentence_and_with_its_weights_it_works(folder, tmp_path, monkeypatch):
    from torchvision.models import resnet18

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    recipe = replace(QUICK, encoder="resnet18", epochs=1)
    with pytest.raises(ResourceError, match="cannot be downloaded .*resnet18-f37072fd.pth"):
        train(folder / "train.json", tmp_path / "model", recipe=recipe, progress=False)
    torch.manual_seed(5)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(resnet18().state_dict(), tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    trained = train(folder / "train.json", tmp_path / "model", recipe=recipe, progress=False)
    picture = read_conversations(folder / "eval.json")[0].path
    again = load_student(tmp_path / "model", device="cpu")
    assert again.annotate([picture]).shape == (1, 49, 512)
    assert again.describe([picture], "", max_new_tokens=8) == trained.baseline.describe([picture], "", max_new_tokens=8)


def _no_network(*words, **options):
    from urllib.error import URLError

    raise URLError("there is no network")


def test_the_commands_train_and_describe(folder, tmp_path):
    def run(*words):
        return CliRunner().invoke(cli.app, [str(word) for word in words])

    made = run("baseline", "--data", folder / "train.json", "--eval", folder / "eval.json", "--out", tmp_path / "model", "--no-attention", "--epochs", 1)
    assert made.exit_code == 0, made.output
    assert "without attention" in made.stdout and "CIDEr" in made.stdout
    said = run("caption", "--model", tmp_path / "model", "--data", folder / "eval.json", "--output", tmp_path / "output.json", "--max-new-tokens", 8)
    assert said.exit_code == 0, said.output
    assert [sample.id for sample in read_conversations(tmp_path / "output.json")] == ["0016", "0017", "0018", "0019"]
    assert "reads no question" not in said.stdout
    other = run("caption", "--model", tmp_path / "model", "--images", folder / "scenes" / "Val", "--output", tmp_path / "other.json", "--max-new-tokens", 8,
                "--question", "What colour is the ball?", "--num-beams", 2)
    assert other.exit_code == 0 and "reads no question" in other.stdout
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "captionlab-baseline"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("no picture")
    empty = run("caption", "--model", tmp_path / "model", "--images", tmp_path / "notes", "--output", tmp_path / "none.json")
    assert empty.exit_code == 1 and "holds no pictures" in empty.stderr
