"""Systems led through splits and corruptions: what a known liar does must come out in the numbers, and in the figures."""

import json

import pytest

from helpers.core import robustness_figures as figures
from helpers.core.drops import drop, estimates, statistic, together
from helpers.core.errors import InputError
from helpers.core.robustness import ask, case_in, faults, survey, test_sets
from helpers.core.scenes import Group
from helpers.core.speech import noun_phrase
from helpers.core.splits import BASE, known
from helpers.core.student import load_student


class Speaker:
    """A system that says what a function makes of the set it is asked about; every word has one probability."""

    def __init__(self, say, probability=0.9):
        self.say, self.probability = say, probability

    def answers(self, test_set):
        texts = [self.say(test_set, case) for case in test_set.cases]
        self.describe_with_probabilities = lambda images, questions, **options: [(text, [(word, self.probability) for word in text.split()]) for text in texts]
        return ask(self, test_set, "en")


def all_of(case):
    return ", ".join(noun_phrase(group, "en") for group in known(case.scene).groups) or "nothing"


def truthful(test_set, case):
    return all_of(case)


def short_sighted(test_set, case):
    """Right where nothing is corrupted or changed; elsewhere it sees one and the same duck."""
    return all_of(case) if test_set.name in (BASE, "seen") else "a pink duck"


@pytest.fixture(scope="module")
def sets():
    return test_sets(12, 6, splits=("seen", "small", "settings", "new kinds", "greyscale"), corruptions=("blur", "noise"), strengths=(1, 5))


@pytest.fixture(scope="module")
def result(sets):
    systems = {"lora": Speaker(truthful, 0.99), "blind": Speaker(short_sighted, 0.9)}
    return survey({name: {what: system.answers(one) for what, one in sets.items()} for name, system in systems.items()}, sets, "en")


def test_sets_are_what_was_asked_for_and_the_base_is_always_there(sets):
    assert list(sets) == ["seen", BASE, "settings", "new kinds", "small", "greyscale", "blur 1", "blur 5", "noise 1", "noise 5"]
    assert [sets[name].against for name in ("seen", BASE, "small", "blur 5")] == ["", "seen", BASE, BASE]
    assert len(sets["blur 1"].cases) == 6 and sets["blur 1"].cases == sets[BASE].cases[:6]
    assert list(test_sets(2, 2, splits=(), corruptions=())) == [BASE] and test_sets(2, 2, splits=(), corruptions=())[BASE].against == ""
    with pytest.raises(InputError, match="fog"):
        test_sets(2, 2, corruptions=("fog",))
    with pytest.raises(InputError, match="'tiny'"):
        test_sets(2, 2, splits=("tiny",))


def test_who_sees_everything_drops_nowhere(result):
    for name in result["sets"]:
        assert result["scores"]["lora"][name]["object_f1"] == [1, 1, 1] and result["scores"]["lora"][name]["chair_i"][0] == 0
        if result["sets"][name]["against"]:
            assert result["drops"]["lora"][name]["object_f1"] == [0, 0, 0]


def test_who_sees_a_duck_drops_and_makes_up(result):
    for name in ("small", "settings", "blur 5"):
        value, low, high = result["drops"]["blind"][name]["object_f1"]
        assert -1 <= low <= value <= high < -0.5
        assert result["drops"]["blind"][name]["chair_i"][1] > 0.5
    assert result["drops"]["blind"][BASE]["object_f1"][0] == 0


def test_colours_are_not_judged_where_none_can_be_seen(result):
    assert "colour_accuracy" in result["scores"]["lora"]["small"] and "colour_accuracy" not in result["scores"]["lora"]["greyscale"]
    assert "colour" in result["calibration"]["lora"]["small"] and "colour" not in result["calibration"]["lora"]["greyscale"]


def test_sureness_is_held_against_the_truth(result):
    blind = result["calibration"]["blind"]["blur 5"]["object"]
    assert blind["confidence"][0] == pytest.approx(0.9) and blind["accuracy"][0] < 0.5 and blind["overconfidence"][1] > 0.3
    assert result["calibration"]["lora"][BASE]["object"]["overconfidence"][0] == pytest.approx(-0.01)
    assert sum(row[0] for row in blind["bins"]) == 6


def test_the_unknown_is_taken_for_something(result):
    places = result["taken for"]["blind"]
    assert all(set(found) <= {"duck", "nothing"} for name, found in places.items())
    assert result["sets"]["new kinds"]["pictures"] == sum(sum(found.values()) for name, found in places.items() if name in ("giraffe", "penguin", "snail", "windmill", "train", "robot"))


def test_the_worst_answers_come_first_and_their_pictures_are_found_again(result, sets):
    worst = result["worst"]["blind"]["blur 5"]
    assert [one["faults"] for one in worst] == sorted((one["faults"] for one in worst), reverse=True)
    case, picture = case_in("blur 5", worst[0]["id"])
    same = next(one for one in sets["blur 5"].cases if one.id == worst[0]["id"])
    assert case.scene == same.scene and list(picture.getdata())[:500] == list(sets["blur 5"].picture(same).getdata())[:500]
    assert faults(worst[0]["text"], known(case.scene), "en") == worst[0]["faults"]
    with pytest.raises(InputError, match="no picture"):
        case_in("crowded", next(f"{i:04d}" for i in range(50) if not _crowd(i)))


def _crowd(number):
    from helpers.core.splits import make_case

    return make_case("crowded", number)


def test_a_result_is_plain_data(result):
    assert json.loads(json.dumps(result)) == result


def test_silence_counts_as_zero(sets):
    scenes = [case.scene for case in sets[BASE].cases]
    silent, spoken = statistic([""] * len(scenes), scenes, "en"), statistic([all_of(case) for case in sets[BASE].cases], scenes, "en")
    assert estimates(silent)["object_f1"].value == 0 and "object_precision" not in estimates(silent)
    assert drop(spoken, silent)["object_f1"].value == -1
    assert estimates(together([silent, spoken]))["object_recall"].value == 0.5


def test_a_pair_of_pictures_has_a_narrower_interval_than_strangers(sets):
    cases = sets[BASE].cases
    half = [all_of(case) if i % 2 else "a pink duck" for i, case in enumerate(cases)]
    # One group of one picture worse: paired, nearly nothing; between strangers, all the spread of the pictures.
    worse = list(half)
    worse[1] = "nothing"
    a, b = statistic(half, [c.scene for c in cases], "en"), statistic(worse, [c.scene for c in cases], "en")
    paired, strangers = drop(a, b)["object_f1"], drop(a, b, paired=False)["object_f1"]
    assert paired.value == strangers.value and paired.high - paired.low < 0.7 * (strangers.high - strangers.low)


def test_faults_are_counted(sets):
    scene = sets[BASE].cases[0].scene
    scene = type(scene)(**{**vars(scene), "groups": [Group("dog", "brown", "medium", 2, []), Group("car", "red", "medium", 1, [])], "relations": []})
    assert faults("two brown dogs and a red car", scene, "en") == 0
    assert faults("a black dog and a cat", scene, "en") == 4  # colour, number, a cat too many, a car missed


def test_the_real_student_is_asked_with_its_probabilities():
    one = test_sets(3, 2, splits=(), corruptions=("blur",), strengths=(5,))["blur 5"]
    answers = ask(load_student("tiny", device="cpu"), one, "en")
    assert [answer.id for answer in answers] == ["0000", "0001"]
    for answer in answers:
        assert "".join(piece for piece, _ in answer.pieces).strip() == answer.text != ""
        assert all(0 < p <= 1 for _, p in answer.pieces)


def test_figures_show_every_system_and_set(result):
    chart = figures.drop_chart(result)
    assert [label.get_text().split("  ")[0] for label in chart.axes[0].get_yticklabels()] == [BASE, "settings", "new kinds", "small", "greyscale"]
    assert [text.get_text() for text in chart.legends[0].get_texts()] == ["LoRA", "blind"]
    curves = figures.robustness_curves(result, "chair_i")
    assert [axes.get_title(loc="left") for axes in curves.axes] == ["noise", "blur"]
    assert all(len(axes.lines) == 2 and list(axes.lines[0].get_xdata()) == [0, 1, 5] for axes in curves.axes)
    assert len(figures.reliability_diagram(result, (BASE, "blur 5")).axes) == 4
    assert figures.confidence_chart(result, least=5).axes[0].collections
    with pytest.raises(InputError, match="no diagram"):
        figures.reliability_diagram(result, ("greyscale",), sort="colour")
    with pytest.raises(InputError, match="no curve"):
        figures.robustness_curves({**result, "sets": {BASE: result["sets"][BASE]}})
    with pytest.raises(InputError, match="Forgetting"):
        figures.forgetting_chart({})
