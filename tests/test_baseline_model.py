"""The captioner's parts on their own: attention, the two decoders, the vocabulary, greedy and beam search, teacher forcing, figures."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.core.attention_figures import attention_map, beam_tree, exposure_figure, learning_curves, ranked_bars
from helpers.core.baseline_recipe import History
from helpers.core.baseline_student import DECODERS, Baseline
from helpers.core.baseline_training import attention_loss, caption_loss, in_batches, pad, shift
from helpers.core.beam_search import DIES, ENDS, LIVES, beam_search, greedy
from helpers.core.cnn_encoder import Encoder
from helpers.core.errors import InputError
from helpers.core.free_running import Exposure, compare_exposure, continue_caption
from helpers.core.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, join, split

CAPTIONS = ["A red house stands on a hill.", "Two cats and a dog sit in a red car.", "It's snowing; a boat (blue) is on the sea."]


@pytest.fixture(scope="module", params=sorted(DECODERS))
def decoder(request):
    """A decoder with strong opinions, which differ from picture to picture and from word to word, as after some training."""
    torch.manual_seed(0)
    made = DECODERS[request.param](30, annotation_size=16, hidden_size=32, embedding_size=16).eval()
    with torch.no_grad():
        made.output.weight.mul_(6)
        made.output.bias[END] -= 2
        made.embed.weight.mul_(3)
        made.lstm.weight_hh.mul_(3)
        made.lstm.weight_ih.mul_(3)
    return made


def pictures(number: int, seed: int = 0) -> torch.Tensor:
    """Annotations of `number` pictures that are none."""
    return torch.randn((number, 64, 16), generator=torch.Generator().manual_seed(seed)).relu()


@torch.inference_mode()
def score_of(decoder, annotations, ids) -> float:
    """The log-probability of a caption, by teacher forcing alone."""
    targets = torch.tensor([ids])
    logits, _ = decoder(annotations, shift(targets))
    logits[..., [PAD, START]] = -torch.inf
    return torch.log_softmax(logits.double(), -1)[0].gather(-1, targets[0][:, None]).sum().item()


def test_beam_search_never_scores_below_greedy(decoder):
    better = 0
    for row, annotations in enumerate(pictures(24)):
        for width in (1, 2, 3, 5):
            search = beam_search(decoder, annotations[None], width, longest=20)
            easy = greedy(decoder, annotations[None], longest=20)[0]
            assert search.best.score >= easy.score and search.greedy.ids == easy.ids, (row, width)
            assert search.best.score == pytest.approx(score_of(decoder, annotations[None], search.best.ids), abs=1e-4)
            better += search.best.score > easy.score + 1e-6
    assert better > 5  # the test would say nothing if beams never found anything else


def test_one_beam_is_greedy(decoder):
    for annotations in pictures(8, seed=1):
        search = beam_search(decoder, annotations[None], 1, longest=20)
        assert search.best.ids == search.greedy.ids and not search.rescued
        assert all(candidate.greedy for step in search.steps for candidate in step)


def test_a_search_tells_what_became_of_every_candidate(decoder):
    for annotations in pictures(8, seed=2):
        search, alive = beam_search(decoder, annotations[None], 3, longest=12), 1
        for step in search.steps:
            assert len(step) == 3 * alive
            scores = [candidate.hypothesis.score for candidate in step]
            assert scores == sorted(scores, reverse=True)
            assert [candidate.fate for candidate in step[3:]] == [DIES] * (len(step) - 3)
            living = [candidate for candidate in step if candidate.fate == LIVES]
            assert [candidate.place for candidate in living] == list(range(len(living)))
            assert all(candidate.fate == ENDS for candidate in step[:3] if candidate.hypothesis.ended)
            assert all(candidate.parent < alive for candidate in step)
            alive = len(living)
        ended = [candidate.hypothesis for step in search.steps for candidate in step if candidate.fate == ENDS]
        assert search.best.score == max(h.score for h in [*ended, search.greedy])
        assert search.rescued == (search.greedy.score > max(h.score for h in ended) and search.greedy.ids not in [h.ids for h in ended])


def test_a_greedy_caption_does_not_depend_on_the_pictures_beside_it(decoder):
    annotations = pictures(6, seed=3)
    together = greedy(decoder, annotations, longest=15)
    alone = [greedy(decoder, one[None], longest=15)[0] for one in annotations]
    assert [found.ids for found in together] == [found.ids for found in alone]
    assert all(START not in found.ids and PAD not in found.ids for found in together)


def test_attention_sums_to_one_and_only_one_decoder_attends(decoder):
    words = torch.randint(4, 30, (5, 9))
    _, alpha = decoder(pictures(5), words)
    assert (alpha is not None) == decoder.attends
    if decoder.attends:
        assert alpha.shape == (5, 9, 64) and (alpha >= 0).all()
        torch.testing.assert_close(alpha.sum(-1), torch.ones(5, 9))
        for found in greedy(decoder, pictures(2), longest=8):
            assert len(found.attention) == len(found.ids)
            torch.testing.assert_close(torch.stack(found.attention).sum(-1), torch.ones(len(found.ids)))


def test_attention_can_single_a_place_out():
    """A decoder that is asked where the bright place is learns to look there: gradients reach the attention."""
    torch.manual_seed(0)
    decoder = DECODERS["show_attend_tell"](40, annotation_size=16, hidden_size=32, embedding_size=16, dropout=0.0)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(150):
        place = torch.randint(0, 64, (32,))
        annotations = torch.zeros(32, 64, 16)
        annotations[torch.arange(32), place, 0] = 3.0
        kind = torch.randint(0, 8, (32,))
        annotations[torch.arange(32), place, 1 + kind] = 3.0
        logits, alpha = decoder(annotations, torch.full((32, 1), START))
        loss = torch.nn.functional.cross_entropy(logits[:, 0], 4 + kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 and alpha[torch.arange(32), 0, place].mean() > 0.5


def test_the_doubly_stochastic_loss_is_zero_where_every_place_is_looked_at_once():
    targets = torch.tensor([[5, 6, 7, 2], [5, 2, PAD, PAD]])
    even = torch.full((2, 4, 4), 0.25)
    assert attention_loss(even[:1], targets[:1]).item() == 0
    assert attention_loss(even[1:], targets[1:]).item() == pytest.approx(0.25)  # two words looked: each place got half
    stare = torch.zeros(1, 4, 4)
    stare[..., 0] = 1
    assert attention_loss(stare, targets[:1]).item() == pytest.approx((9 + 1 + 1 + 1) / 4)


def test_teacher_forcing_reads_the_true_words_and_padding_costs_nothing(decoder):
    captions = [[5, 6, 7, END], [8, END]]
    targets = pad(captions)
    assert shift(targets).tolist() == [[START, 5, 6, 7], [START, 8, END, PAD]]
    annotations = pictures(2)
    with torch.inference_mode():
        both = caption_loss(decoder(annotations, shift(targets))[0], targets)
        each = [caption_loss(decoder(annotations[i:i + 1], shift(pad([ids])))[0], pad([ids])) for i, ids in enumerate(captions)]
    assert both.item() == pytest.approx((each[0].item() * 4 + each[1].item() * 2) / 6, rel=1e-5)


def test_every_caption_is_in_one_batch_of_captions_about_as_long():
    captions = [[7] * random.Random(i).randint(3, 60) for i in range(700)]
    batches = in_batches(captions, 32, random.Random(0))
    assert sorted(row for batch in batches for row in batch) == list(range(700))
    wasted = sum(max(len(captions[row]) for row in batch) * len(batch) for batch in batches) / sum(map(len, captions))
    assert wasted < 1.2
    assert batches != in_batches(captions, 32, random.Random(1))
    assert sorted(map(len, in_batches(captions[:65], 32, random.Random(0)))) == [32, 33]  # no picture alone


def test_a_vocabulary_reads_and_writes_and_shows_what_it_does_not_know():
    vocabulary = Vocabulary.build(CAPTIONS, "en")
    for caption in CAPTIONS:
        assert vocabulary.decode(vocabulary.encode(caption)) == caption
    assert vocabulary.encode("A red zeppelin.")[2] == UNKNOWN and vocabulary.decode(vocabulary.encode("A red zeppelin.")) == "A red <unk>."
    assert vocabulary.unknown(["A red zeppelin.", "A zeppelin and a kite."]) == {"zeppelin": 2, "kite": 1}
    common = Vocabulary.build(CAPTIONS, "en", least=2)
    assert {"red", "a", "."} <= set(common.tokens) and "house" not in common.tokens and common.counts["house"] == 1
    assert Vocabulary(**vocabulary.to_dict()) == vocabulary
    with pytest.raises(InputError, match="cannot have units"):
        Vocabulary.build(CAPTIONS, "fr")
    with pytest.raises(InputError, match="no words to learn"):
        Vocabulary.build(["", " "], "en")


@pytest.mark.parametrize("text", ["夜晚的海滩上有一只紫色的蝴蝶、三只风筝和一只狗。", "天空晴朗，光线明亮；（远处）有城堡！"])
def test_chinese_comes_apart_into_words_or_characters_and_together_again(text):
    words, characters = split(text, "zh"), split(text, "zh", "character")
    assert characters == list(text) and len(words) < len(characters)
    assert join(words) == join(characters) == text


def make_baseline(kind: str = "show_attend_tell") -> Baseline:
    """An untrained captioner that knows the words of CAPTIONS."""
    torch.manual_seed(3)
    vocabulary = Vocabulary.build(CAPTIONS, "en")
    return Baseline(Encoder(), DECODERS[kind](len(vocabulary)), vocabulary, "What is there?")


def test_a_caption_goes_on_from_what_it_was_made_to_say():
    baseline, image = make_baseline(), Image.new("RGB", (60, 40), "red")
    free = baseline.explain(image, max_new_tokens=12)
    assert continue_caption(baseline, image, "", max_new_tokens=12).ids == free.ids
    forced = continue_caption(baseline, image, "Two cats zeppelin", max_new_tokens=6)
    assert baseline.vocabulary.strings(forced.ids)[:3] == ["Two", "cats", "<unk>"]
    assert forced.score == pytest.approx(score_of(baseline.decoder, baseline.annotate([image]), forced.ids), abs=1e-4)


def test_exposure_compares_the_true_words_with_the_models_own():
    baseline = make_baseline()
    images = [Image.new("RGB", (50, 50), colour) for colour in ("red", "green", "blue")]
    exposure = compare_exposure(baseline, images, CAPTIONS, batch_size=2)
    assert exposure.forced[0] == exposure.free[0]  # nothing was said before the first word
    assert exposure.counted.tolist()[:8] == [3] * 8 and exposure.counted[-1] == 1
    own = [baseline.vocabulary.decode(baseline.explain(image, 9).ids) for image in images]
    same = compare_exposure(baseline, images, own)
    assert (same.forced[:9] == 1).all() and (same.free[:9] == 1).all()  # its own captions are right both ways
    helped = compare_exposure(baseline, images, CAPTIONS, given=100)
    assert (helped.free == helped.forced).all()  # whoever may read every true word is forced throughout
    with pytest.raises(InputError, match="one caption a picture"):
        compare_exposure(baseline, images, CAPTIONS[:2])


def test_a_squeezed_picture_is_still_seen_and_a_question_too_few_is_named():
    baseline = make_baseline()
    assert baseline.annotate([Image.new("L", (300, 20)), Image.new("RGBA", (1, 1))]).shape == (2, 64, 256)
    with pytest.raises(InputError, match="2 pictures and 1 questions"):
        baseline.describe([Image.new("RGB", (9, 9))] * 2, ["one"])


def words_in(figure) -> str:
    """All text of a figure."""
    return " ".join(text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels(),
                                                                           axes._left_title] if text.get_text())


def test_figures_show_what_they_are_given():
    baseline, image = make_baseline(), Image.effect_noise((80, 80), 60).convert("RGB")
    found = baseline.explain(image, 6)
    words = baseline.vocabulary.strings(found.ids)
    figure = attention_map(image, words, found.attention)
    assert all(word in words_in(figure) for word in words) and len(figure.axes) == len(words) + 1
    assert len(attention_map(image, words, found.attention, chosen=[0, 2]).axes) == 3
    search = baseline.search(image, 3, 6)
    tree = beam_tree(search, baseline.vocabulary)
    assert tree.axes[0].texts and len(tree.axes[0].texts) == sum(len(step) for step in search.steps)
    later = beam_tree(search, baseline.vocabulary, first=2, last=4)
    assert len(later.axes[0].texts) == sum(len(step) for step in search.steps[2:4]) and "word 3" in [t.get_text() for t in later.axes[0].get_xticklabels()]
    history = History({}, epochs=[{"epoch": 1, "loss": 2.0, "validation_loss": 2.2, "cider": 0.4}, {"epoch": 2, "loss": 1.0, "validation_loss": 1.5, "cider": 1.1}])
    curves = learning_curves({"with": history})
    assert [len(axes.lines) for axes in curves.axes] == [2, 1]
    drawn = exposure_figure(Exposure(np.array([0.9, 0.8]), np.array([0.9, 0.5]), np.array([20, 4])))
    assert len(drawn.axes[0].lines[0].get_xdata()) == 1
    assert "dog" in words_in(ranked_bars({"dog": (0.5, 0.1)}, "where", ("one", "two")))


def test_figures_refuse_what_cannot_be_drawn():
    baseline, image = make_baseline("show_and_tell"), Image.new("RGB", (20, 20))
    found = baseline.explain(image, 4)
    with pytest.raises(InputError, match="0 rows of attention|without attention"):
        attention_map(image, ["a"], [])
    assert found.attention[0] is None
    with pytest.raises(InputError, match="no step|there is none"):
        beam_tree(baseline.search(image, 2, 3), baseline.vocabulary, first=50, last=60)
    with pytest.raises(InputError, match="finished no epoch"):
        learning_curves({"none": History({})})
    with pytest.raises(InputError, match="reached by"):
        exposure_figure(Exposure(np.array([1.0]), np.array([1.0]), np.array([2])))
    with pytest.raises(InputError, match="nothing to draw"):
        ranked_bars({}, "", ("", ""))
