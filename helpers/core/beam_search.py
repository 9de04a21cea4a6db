"""How a captioner finds its words: greedily, or with several beams, of which most die; the search is written down as it goes.

    annotations [n, 64, 256]  --greedy-->       n Hypotheses
    annotations [1, 64, 256]  --beam_search-->  Search: the likeliest Hypothesis, and at every step each Candidate with its fate

A hypothesis' score is the sum of its words' log-probabilities, as in Vinyals et al. (2015): the logarithm of the probability of the whole caption.
Both work with any decoder that has `begin(annotations)` → state and `step(words, state)` → logits, state, attention.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from helpers.core.vocabulary import END, PAD, START

LIVES, DIES, ENDS = "lives", "dies", "ends"


@dataclass
class Hypothesis:
    """A caption so far. For each of its `ids` the log-probability, and the attention [64] under which it was said (None without attention)."""

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    attention: list[torch.Tensor | None] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The log-probability of all its words together."""
        return sum(self.log_probabilities)

    @property
    def ended(self) -> bool:
        """Whether its last word is the end."""
        return bool(self.ids) and self.ids[-1] == END

    def grown(self, word: int, log_probability: float, attention: torch.Tensor | None) -> Hypothesis:
        """This hypothesis with a word more."""
        return Hypothesis([*self.ids, word], [*self.log_probabilities, log_probability], [*self.attention, attention])


@dataclass
class Candidate:
    """A continuation that a step looked at: `parent` is the place of its beam among those alive before, `fate` LIVES, DIES or ENDS.

    place: among the beams alive after the step; None for one that is not.  greedy: it lies on the greedy path.
    """

    hypothesis: Hypothesis
    parent: int
    fate: str
    place: int | None
    greedy: bool


@dataclass
class Search:
    """A finished beam search. `steps` holds each step's candidates, the likeliest first; `rescued`: greedy's caption was likelier than any that the beams found."""

    best: Hypothesis
    greedy: Hypothesis
    steps: list[list[Candidate]]
    rescued: bool


def next_words(decoder, words: torch.Tensor, state: dict) -> tuple[torch.Tensor, dict, torch.Tensor | None]:
    """Log-probabilities [n, words] of what follows `words` [n], with the new state and attention. Padding and start are never said."""
    logits, state, attention = decoder.step(words, state)
    logits[:, [PAD, START]] = -torch.inf
    return torch.log_softmax(logits.double(), dim=-1), state, attention


@torch.inference_mode()
def greedy(decoder, annotations: torch.Tensor, longest: int) -> list[Hypothesis]:
    """At every step the likeliest word, for n pictures at once, until each has ended or has `longest` words."""
    state = decoder.begin(annotations)
    found = [Hypothesis() for _ in annotations]
    words = torch.full((len(annotations),), START, device=annotations.device)
    for _ in range(longest):
        scores, state, attention = next_words(decoder, words, state)
        best, words = scores.max(dim=-1)
        for row, (word, score) in enumerate(zip(words.tolist(), best.tolist())):
            if not found[row].ended:
                found[row] = found[row].grown(word, score, None if attention is None else attention[row])
        if all(hypothesis.ended for hypothesis in found):
            break
    return found


@torch.inference_mode()
def beam_search(decoder, annotations: torch.Tensor, width: int, longest: int) -> Search:
    """The `width` likeliest beginnings are followed at once, for one picture; the likeliest caption that was finished wins.

    A beginning that looks poor is dropped even where it would have ended best, and greedy's may be among them: beams promise nothing.
    So that a search never returns less than greedy, greedy's caption is made first and takes part in the choice at the end.
    """
    easy = greedy(decoder, annotations, longest)[0]
    state, beams = decoder.begin(annotations), [Hypothesis()]
    finished, steps = [], []
    words = torch.tensor([START], device=annotations.device)
    for length in range(1, longest + 1):
        scores, state, attention = next_words(decoder, words, state)
        looked_at = []
        for parent, beam in enumerate(beams):  # each beam proposes its `width` likeliest continuations
            for score, word in zip(*(values.tolist() for values in scores[parent].topk(min(width, scores.shape[1] - 2)))):
                hypothesis = beam.grown(word, score, None if attention is None else attention[parent])
                looked_at.append(Candidate(hypothesis, parent, DIES, None, hypothesis.ids == easy.ids[:length]))
        looked_at.sort(key=lambda candidate: -candidate.hypothesis.score)
        living = []
        for candidate in looked_at[:width]:  # of all of them, the `width` likeliest go on
            if candidate.hypothesis.ended or length == longest:
                candidate.fate = ENDS
                finished.append(candidate.hypothesis)
            else:
                candidate.fate, candidate.place = LIVES, len(living)
                living.append(candidate)
        steps.append(looked_at)
        beams = [candidate.hypothesis for candidate in living]
        # Every word more makes a caption less likely: a beam below the best finished one cannot overtake it.
        if not living or finished and max(beam.score for beam in beams) <= max(hypothesis.score for hypothesis in finished):
            break
        rows = torch.tensor([candidate.parent for candidate in living], device=annotations.device)
        state = {name: values[rows] for name, values in state.items()}
        words = torch.tensor([beam.ids[-1] for beam in beams], device=annotations.device)
    best = max([*finished, easy], key=lambda hypothesis: hypothesis.score)
    return Search(best, easy, steps, rescued=easy.ids not in [hypothesis.ids for hypothesis in finished] and best is easy)
