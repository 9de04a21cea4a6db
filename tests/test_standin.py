"""The stand-in over HTTP with the real SDK: protocol, recognition, what it says, faults, meter."""

import asyncio
import base64
import io
import json

import dashscope
import pytest
import requests
from dashscope.api_entities.aio_session import close_shared_aio_session
from PIL import Image
from teacher_scenes import KEY, MODEL, drawn

from helpers.core.errors import InputError, ResourceError
from helpers.core.images import to_data_uri
from helpers.core.photos import load_photos
from helpers.core.prompts import load_prompts, question
from helpers.core.scenes import plan_scene, render
from helpers.core.speech import answer
from helpers.core.standin import SOURCE, Faults, StandIn
from helpers.core.standin_eyes import Eyes
from helpers.core.standin_mind import UNKNOWN, fits, reply
from helpers.core.standin_prompt import read_prompt
from helpers.core.truth import mentions, score


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    drawn(folder, 24, 8)
    return folder


@pytest.fixture(scope="module")
def scenes(folder):
    return drawn(folder, 24, 8)


@pytest.fixture(scope="module")
def teacher(folder):
    with StandIn(folder) as stand_in:
        yield stand_in


def messages(picture, prompt: str) -> list[dict]:
    return [{"role": "user", "content": [{"image": to_data_uri(picture)}, {"text": prompt}]}]


def call(teacher, picture, prompt="Describe this picture.", key=KEY, model=MODEL, **options):
    return dashscope.MultiModalConversation.call(model=model, messages=messages(picture, prompt), api_key=key, base_address=teacher.base_url, **options)


def said(response) -> str:
    assert response.status_code == 200, response
    return response.output.choices[0].message.content[0]["text"]


def test_a_plain_answer_has_text_usage_request_id_and_the_mark(teacher, folder, scenes):
    response = call(teacher, folder / scenes[0].file, question("main", "en"))
    assert score(said(response), scenes[0], "en").missed == set()
    assert response.output.choices[0].finish_reason == "stop"
    assert response.usage["image_tokens"] == 66  # 224×224 is scaled up to 256×256: 8×8 squares of 32, and two marks
    assert response.usage["input_tokens"] > 66 and response.usage["output_tokens"] > 10
    assert len(response.request_id) == 36
    assert {k.lower(): v for k, v in response.headers.items()}["x-captionlab-source"] == SOURCE
    assert "stand-in" not in said(response)


@pytest.mark.parametrize("options", [{}, {"incremental_output": True}, {"incremental_output": False}])
def test_streaming_ends_with_the_plain_answer(teacher, folder, scenes, options):
    picture, prompt = folder / scenes[1].file, question("main", "zh")
    plain = said(call(teacher, picture, prompt, seed=1))
    events = list(call(teacher, picture, prompt, seed=1, stream=True, **options))
    texts = ["".join(part["text"] for part in e.output.choices[0].message.content) for e in events]
    whole = "".join(texts) if options.get("incremental_output") else texts[-1]
    assert len(events) > 3 and whole == plain
    assert [e.output.choices[0].finish_reason for e in events[:-1]] == ["null"] * (len(events) - 1)
    assert events[-1].output.choices[0].finish_reason == "stop" and events[-1].usage["output_tokens"] > 0


def test_the_async_client_and_its_streams(teacher, folder, scenes):
    async def run():
        common = {"model": MODEL, "messages": messages(folder / scenes[2].file, question("objects", "en")), "api_key": KEY, "base_address": teacher.base_url}
        answers = await asyncio.gather(*(dashscope.AioMultiModalConversation.call(**common) for _ in range(5)))
        pieces = [e.output.choices[0].message.content[0]["text"] async for e in await dashscope.AioMultiModalConversation.call(**common, stream=True)]
        await close_shared_aio_session()
        return answers, pieces

    answers, pieces = asyncio.run(run())
    assert len({said(a) for a in answers}) == 1
    assert all(b.startswith(a) for a, b in zip(pieces, pieces[1:]))


def test_keys(teacher, folder, scenes):
    picture = folder / scenes[0].file
    for key in ("sk-wrong-key", "nonsense"):
        response = call(teacher, picture, key=key)
        assert (response.status_code, response.code) == (401, "InvalidApiKey")
    bare = requests.post(teacher.base_url + "/services/aigc/multimodal-generation/generation", json={}, timeout=10)
    assert bare.status_code == 401 and bare.json()["code"] == "InvalidApiKey"


@pytest.mark.parametrize(("options", "status", "code"), [
    ({"model": "qwen-of-tomorrow"}, 404, "ModelNotFound"), ({"temperature": 2.5}, 400, "InvalidParameter"), ({"top_p": 0}, 400, "InvalidParameter"),
    ({"max_tokens": 0}, 400, "InvalidParameter")])
def test_requests_that_the_protocol_does_not_allow(teacher, folder, scenes, options, status, code):
    response = call(teacher, folder / scenes[0].file, **options)
    assert (response.status_code, response.code) == (status, code) and response.request_id


def test_pictures_that_the_protocol_does_not_allow(teacher):
    def ask(uri):
        return dashscope.MultiModalConversation.call(model=MODEL, api_key=KEY, base_address=teacher.base_url,
                                                     messages=[{"role": "user", "content": [{"image": uri}, {"text": "What is it?"}]}])

    assert ask("data:image/jpeg;base64,bm90IGEgcGljdHVyZQ==").code == "InvalidParameter.DataInspection"
    assert ask("https://example.com/a.jpg").code == "InvalidParameter.DataInspection"
    buffer = io.BytesIO()
    Image.new("RGB", (400, 10)).save(buffer, "PNG")
    assert ask("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()).code == "InvalidParameter"


@pytest.mark.parametrize(("faults", "status", "code"), [
    (Faults(internal=1.0), 500, "InternalError"), (Faults(throttled=1.0), 429, "Throttling.RateQuota"), (Faults(refused=1.0), 400, "DataInspectionFailed"),
    (Faults(arrearage=True), 400, "Arrearage"), (Faults(denied=True), 403, "Model.AccessDenied"), (Faults(free_quota_used=True), 429, "Throttling.AllocationQuota")])
def test_faults_on_request(folder, scenes, faults, status, code):
    with StandIn(folder, faults) as teacher:
        for stream in (False, True):
            response = call(teacher, folder / scenes[0].file, stream=stream)
            response = next(iter(response)) if stream else response
            assert (response.status_code, response.code) == (status, code)
        assert teacher.meter.to_dict()["requests"] == {str(status): 2} and teacher.meter.yuan == 0


def test_cut_and_garbled_connections(folder, scenes):
    with StandIn(folder, Faults(cut=1.0)) as teacher, pytest.raises(requests.ConnectionError):
        call(teacher, folder / scenes[0].file)
    with StandIn(folder, Faults(garbled=1.0)) as teacher, pytest.raises(ValueError):
        call(teacher, folder / scenes[0].file)


def test_truncation_by_fault_and_by_max_tokens(teacher, folder, scenes):
    prompt = question("main", "en")
    short = call(teacher, folder / scenes[0].file, prompt, max_tokens=5)
    assert short.output.choices[0].finish_reason == "length" and short.usage["output_tokens"] == 5
    assert said(call(teacher, folder / scenes[0].file, prompt)).startswith(said(short))
    with StandIn(folder, Faults(truncated=1.0)) as cutting:
        assert call(cutting, folder / scenes[0].file, prompt).output.choices[0].finish_reason == "length"


def test_limits_a_second_and_what_quotas_says(folder, scenes):
    with StandIn(folder, Faults(rpm=120, tpm=5000)) as teacher:
        statuses = [call(teacher, folder / scenes[0].file).status_code for _ in range(4)]
        assert statuses == [200, 200, 429, 429]  # 120 a minute is 2 a second
        answer = requests.get(teacher.base_url + "/quotas", params={"model": MODEL}, headers={"Authorization": "Bearer " + KEY}, timeout=10).json()
        assert answer["output"]["total"] == 1
        assert answer["output"]["quotas"][0]["model_limit"] == {"request_limit": 120, "request_limit_period": 60, "usage_limit": 5000,
                                                                "usage_limit_field": "total_tokens", "usage_limit_period": 60}


def test_the_meter_counts_what_would_be_billed(folder, scenes):
    with StandIn(folder) as teacher:
        responses = [call(teacher, folder / s.file, question("main", "en")) for s in scenes[:3]]
        call(teacher, folder / scenes[0].file, key="sk-wrong")
        meter = requests.get(teacher.base_url.removesuffix("/api/v1") + "/meter", timeout=10).json()
    spent = [sum(r.usage[k] for r in responses) for k in ("input_tokens", "output_tokens")]
    assert [meter["input_tokens"], meter["output_tokens"]] == spent
    assert meter["requests"] == {"200": 3, "401": 1} and meter["source"] == SOURCE
    assert meter["yuan"] == pytest.approx((spent[0] * 1.0 + spent[1] * 10.0) / 1e6)


def test_a_port_in_use_is_one_sentence(teacher, folder):
    with pytest.raises(ResourceError, match="in use") as caught:
        StandIn(folder, port=teacher.port).start()
    assert "\n" not in str(caught.value)


def test_a_truth_without_its_pictures_is_named(tmp_path, folder):
    (tmp_path / "scenes.jsonl").write_text((folder / "scenes.jsonl").read_text())
    with pytest.raises(InputError, match="0000.jpg"):
        StandIn(tmp_path)


def versions(picture: Image.Image):
    for side in (64, 112, 224, 448):
        scaled = picture.resize((side, side), Image.Resampling.BICUBIC)
        for kind, options in (("JPEG", {"quality": 30}), ("JPEG", {"quality": 95}), ("PNG", {})):
            buffer = io.BytesIO()
            scaled.save(buffer, kind, **options)
            yield buffer.getvalue()


def test_scenes_are_known_again_after_scaling_and_encoding(folder, scenes):
    eyes = Eyes(folder)
    for scene in scenes:
        for data in versions(Image.open(folder / scene.file).convert("RGB")):
            assert eyes.recognise(data).scene == scene
    for photo in load_photos():
        buffer = io.BytesIO()
        Image.open(photo.path).convert("RGB").resize((200, 200)).save(buffer, "JPEG", quality=60)
        assert eyes.recognise(buffer.getvalue()).photo == photo


def test_other_scenes_are_not_taken_for_known_ones(folder):
    eyes = Eyes(folder)
    for seed in range(40):
        buffer = io.BytesIO()
        render(plan_scene(10**6 + seed)).save(buffer, "JPEG", quality=92)
        assert eyes.recognise(buffer.getvalue()) is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_of_an_unknown_picture_it_says_so(teacher, language):
    noise = Image.effect_noise((80, 80), 90).convert("RGB")
    assert said(call(teacher, noise, question("main", language))) == UNKNOWN[language]


def test_it_reads_the_kit_s_own_questions_as_what_they_ask():
    for dimension, texts in load_prompts().items():
        for language, text in texts.items():
            request = read_prompt(text)
            assert (request.language, request.dimensions, request.form, request.limit) == (language, (dimension,), "plain", None)
            assert request.detail == ("everything" if dimension in ("main", "objects") else "normal")
            assert not request.grounded


@pytest.mark.parametrize(("prompt", "expected"), [
    ("Describe this picture.", {"detail": "brief", "dimensions": (), "language": "en"}),
    ("描述这张图片。", {"detail": "brief", "dimensions": (), "language": "zh"}),
    ("Describe the scene and all objects, but only what you can clearly see; do not guess.", {"detail": "everything", "grounded": True, "dimensions": ("main",)}),
    ("只描述你能看到的所有物体，不要猜测。", {"grounded": True, "dimensions": ("objects",), "detail": "everything"}),
    ("List the objects as JSON.", {"form": "json", "language": "en"}),
    ("请用不超过20个字描述场景。", {"limit": (20, "characters"), "dimensions": ("scene",)}),
    ("Describe the mood in at most 12 words.", {"limit": (12, "words"), "dimensions": ("mood",)}),
    ("这是什么场景？用英文回答。", {"language": "en", "dimensions": ("scene",)}),
    ("List every object, one per line.", {"form": "list", "detail": "everything"})])
def test_it_reads_prompts(prompt, expected):
    request = read_prompt(prompt)
    assert {name: getattr(request, name) for name in expected} == expected


def test_json_lists_and_limits_are_kept(folder, scenes):
    eyes = Eyes(folder)
    known = eyes.recognise((folder / scenes[3].file).read_bytes())
    record = json.loads(reply(known, "Answer only with JSON: name every object you can see."))
    assert {o["name"] for o in record["objects"]} and set(record) >= {"setting", "time", "weather", "objects"}
    lines = reply(known, "List the objects, one per line, only what is clearly visible.").splitlines()
    assert len(lines) == len(scenes[3].groups) and all(line.startswith("- ") for line in lines)
    for prompt, limit in (("Describe the scene and all objects in at most 9 words.", (9, "words")), ("请用不超过15个字描述场景和所有物体。", (15, "characters"))):
        answer = reply(known, prompt)
        assert answer and fits(answer, limit)


def test_it_invents_as_prompts_provoke_and_from_the_seed_alone(folder, scenes):
    known = [k for k in Eyes(folder).known if k.scene]

    def invented(prompt: str) -> float:
        texts = [(k, reply(k, prompt, seed)) for k in known for seed in range(12)]
        return sum(bool(score(text, k.scene, "en").hallucinated) for k, text in texts) / len(texts)

    free = invented(question("main", "en"))
    held = invented(question("main", "en") + " Name only what you can clearly see and do not guess.")
    assert 0.03 < free < 0.11 and held < 0.025
    answers = [reply(k, question("main", "en"), 3) for k in known]
    assert answers == [reply(k, question("main", "en"), 3) for k in reversed(known)][::-1]
    assert answers != [reply(k, question("main", "en"), 4) for k in known]


def test_photographs_are_described_in_their_written_words(teacher):
    photo = load_photos()[0]
    for dimension in ("main", "objects", "mood"):
        assert said(call(teacher, photo.path, question(dimension, "zh"))) == photo.descriptions[dimension]["zh"]


def replies(known, prompt: str, **parameters):
    """The stand-in's answers to one prompt about many pictures."""
    return [(k.scene, reply(k, prompt, 0, parameters)) for k in known]


@pytest.fixture(scope="module")
def known(folder):
    return [k for k in Eyes(folder).known if k.scene]


@pytest.mark.parametrize(("prompt", "expected"), [
    ("You are a meticulous cataloguer. Describe this picture.", {"care": 0.5, "detail": "normal"}),
    ("你是一位诗人。描述这张图片。", {"care": 2.0, "dimensions": ("main", "mood")}),
    ("Look step by step: first the place, then every object.", {"form": "steps", "care": 0.5, "dimensions": ("scene", "objects")}),
    ('Check this text and remove what is not there:\n"""\nEvery object in detail as JSON.\n"""', {"draft": "Every object in detail as JSON.", "form": "plain"}),
    ("Describe the picture.\nExample: Every object in the scene, in detail.", {"examples": ("Every object in the scene, in detail.",), "detail": "normal", "dimensions": ()}),
    ("Is there a dog or a puppy in the picture?", {"asked": ("dog",)}), ("图中有没有狗或者猫？", {"asked": ("dog", "cat")}),
    ("Name at least ten objects.", {"least": 10}), ("至少说出8个物体，至少8个。", {"least": 8}), ("At least try to describe all objects.", {"least": None})])
def test_it_reads_what_techniques_ask(prompt, expected):
    request = read_prompt(prompt)
    assert {name: getattr(request, name) for name in expected} == expected


def test_examples_are_followed_in_their_manner(known):
    bare = replies(known, "Describe the picture.\nExample: In a park there is a dog.")
    full = replies(known, "Describe the picture.\nExample: In a park there is a small brown dog. The dog is left of a tree. It is raining.")
    assert all(not m.colours for _, text in bare for m in mentions(text, "en"))
    assert any(m.colours for _, text in full for m in mentions(text, "en")) and any("to the left of" in text for _, text in full)
    assert sum(len(text) for _, text in full) > 1.5 * sum(len(text) for _, text in bare)


def test_a_text_is_checked_against_the_picture(known):
    kept = struck = there = absent = 0
    for scene, _ in replies(known, "x") * 3:
        kinds = {g.kind for g in scene.groups}
        draft = answer(scene, "en", invent=1.0, seed="draft")
        invented = {m.kind for m in mentions(draft, "en")} - kinds
        text = reply(next(k for k in known if k.scene is scene), f'Correct this description:\n"""\n{draft}\n"""', 0, {})
        left = {m.kind for m in mentions(text, "en")}
        there, kept = there + len(kinds), kept + len(kinds & left)
        absent, struck = absent + len(invented), struck + len(invented - left)
    assert kept / there > 0.93 and struck / absent > 0.75
    whole = answer(known[0].scene, "en", seed="draft")
    assert reply(known[0], f'Check this:\n"""\n{whole}\n"""', 3, {}) == whole


def test_yes_or_no_is_answered_for_what_is_there_and_mostly_for_what_is_not(known):
    for k in known[:8]:
        group = k.scene.groups[0]
        assert reply(k, f"Is there a {group.kind} in the picture?", 0, {}).startswith("Yes, there ")
    said = [reply(k, "图中有没有大象？", 0, {}) for k in known if all(g.kind != "elephant" for g in k.scene.groups)]
    assert sum(text.startswith("没有") for text in said) / len(said) > 0.7


def test_pressed_for_more_it_makes_things_up(known):
    made = [len(score(text, scene, "en").hallucinated) for scene, text in replies(known, "Name at least ten objects in the picture.")]
    held = [len(score(text, scene, "en").hallucinated) for scene, text in replies(known, "Name at least ten objects in the picture. Do not guess.")]
    assert sum(made) / len(made) > 2 > sum(held) / len(held)


def test_temperature_nought_ignores_the_seed_and_heat_slips(known):
    prompt = question("main", "en")
    cold = [{reply(k, prompt, 0, {"temperature": 0, "seed": seed}) for seed in range(5)} for k in known]
    assert all(len(texts) == 1 for texts in cold)
    wrong = {heat: sum(score(text, scene, "en").colours_named - score(text, scene, "en").colours_right
                       for seed in range(4) for scene, text in replies(known, prompt, temperature=heat, seed=seed)) for heat in (0.7, 1.9)}
    narrow = sum(bool(score(text, scene, "en").hallucinated) for seed in range(8) for scene, text in replies(known, prompt, top_p=0.05, seed=seed))
    wide = sum(bool(score(text, scene, "en").hallucinated) for seed in range(8) for scene, text in replies(known, prompt, top_p=1.0, temperature=1.9, seed=seed))
    assert wrong[0.7] == 0 < wrong[1.9] and narrow < wide
