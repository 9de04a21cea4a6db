"""Profiles: what the shipped ones mean, and one sentence for everything that can be wrong with a file of them."""

import pytest
import yaml

from helpers.core import profiles
from helpers.core.errors import ProfileError
from helpers.core.paths import STUDENT
from helpers.core.profiles import load_profile


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch, tmp_path):
    """Neither a profile nor a key of the person who runs the tests."""
    for name in ("CAPTIONLAB_PROFILE", "DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)


@pytest.fixture
def edited(tmp_path):
    """A function that writes the shipped profiles with one value of tiny changed (dots lead inwards) and gives the path."""

    def edit(key: str, value: object):
        content = yaml.safe_load(profiles.PROFILES.read_text(encoding="utf-8"))
        place = content["tiny"]
        *way, last = key.split(".")
        for step in way:
            place = place[step]
        if value is KeyError:
            del place[last]
        else:
            place[last] = value
        path = tmp_path / "profiles.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return edit


def test_tiny_is_the_default_and_needs_nothing():
    tiny = load_profile()
    assert tiny.name == "tiny"
    assert tiny.student == str(STUDENT)
    assert tiny.offline
    tiny.require_key()
    assert tiny.train.processes == 2


def test_lab_has_the_real_models_and_the_sdks_endpoint():
    lab = load_profile("lab")
    assert lab.student == "openbmb/MiniCPM-V-4.6"
    assert lab.teacher.endpoint is None and not lab.offline
    assert lab.train.processes >= 1


def test_environment_variable_chooses_where_no_name_is_given(monkeypatch):
    monkeypatch.setenv("CAPTIONLAB_PROFILE", "lab")
    assert load_profile().name == "lab"
    assert load_profile("tiny").name == "tiny"
    monkeypatch.setenv("CAPTIONLAB_PROFILE", "laptop")
    with pytest.raises(ProfileError, match=r"'laptop' \(from CAPTIONLAB_PROFILE\); choose one of: tiny, lab"):
        load_profile()


def test_wrong_name_lists_the_right_ones():
    with pytest.raises(ProfileError, match="no profile 'big'; choose one of: tiny, lab"):
        load_profile("big")
    assert profiles.profile_names()[:2] == ["tiny", "lab"]  # further ones may follow


def test_lab_without_a_key_says_so_in_one_sentence(monkeypatch):
    lab = load_profile("lab")
    with pytest.raises(ProfileError, match="needs a key: set DASHSCOPE_API_KEY") as caught:
        lab.require_key()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")
    lab.require_key()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("train.batch", 4, r"tiny\.train has an unknown key 'batch'; known here: processes"),
        ("train.lora.rank", KeyError, r"tiny\.train\.lora lacks the key 'rank'"),
        ("train.lora.rank", "64", r"tiny\.train\.lora\.rank must be int, not '64'"),
        ("train.micro_batch_size", 0, r"tiny\.train\.micro_batch_size must be above zero"),
        ("train.processes", True, r"tiny\.train\.processes must be int, not True"),
        ("teacher.rpm", "fast", r"tiny\.teacher\.rpm must be int or null"),
        ("generate", 3, r"tiny\.generate must hold keys and values"),
        ("language", "fr", r"tiny\.language is 'fr'; choose one of: en, zh"),
        ("student", 5, r"tiny\.student must be str"),
    ],
)
def test_faults_of_the_file_are_named_with_their_place(edited, key, value, sentence):
    with pytest.raises(ProfileError, match=sentence):
        load_profile("tiny", edited(key, value))


def test_whole_numbers_serve_as_real_ones(edited):
    epochs = load_profile("tiny", edited("train.full.epochs", 2)).train.full.epochs
    assert epochs == 2.0 and isinstance(epochs, float)


@pytest.mark.parametrize(("content", "sentence"), [
    ("tiny: [", "cannot be read"), ("", "holds no profile"), ("tiny: 3", "tiny must hold keys and values"),
])
def test_unreadable_files(tmp_path, content, sentence):
    path = tmp_path / "profiles.yaml"
    path.write_text(content)
    with pytest.raises(ProfileError, match=sentence) as caught:
        load_profile("tiny", path)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(ProfileError, match="profiles.yaml is missing"):
        load_profile("tiny", tmp_path / "profiles.yaml")


def test_rows_name_no_folder_of_this_machine_and_mark_the_stand_in():
    rows = dict(load_profile("tiny").rows())
    assert rows["student"] == "data/models/minicpmv-tiny"
    assert "stand-in, not Qwen-VL" in rows["teacher"]
    assert "stand-in" not in dict(load_profile("lab").rows())["teacher"]
