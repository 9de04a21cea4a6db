"""Show, Attend and Tell (Xu et al., 2015, arXiv:1502.03044): a decoder that looks at another part of the picture for every word.

    annotations [batch, 64, 256]  +  words so far  --step-->  logits of the next word [batch, words], attention [batch, 64]

The sibling without attention is `show_and_tell.py`, with the same methods in the same order: lay the two files side by side. Letters
are the paper's: a_i the annotation of place i, h the hidden state of the LSTM, α_i the share of attention on place i, ẑ what
is seen with it.
"""

from __future__ import annotations

import torch
from torch import nn


class SoftAttention(nn.Module):
    """Where to look next: α = softmax(e), e_i = vᵀ tanh(W a_i + U h), and ẑ = Σ α_i a_i (Xu et al., 2015, section 4.2; Bahdanau et al., 2015)."""

    def __init__(self, annotation_size: int, hidden_size: int, attention_size: int):
        super().__init__()
        self.of_place = nn.Linear(annotation_size, attention_size)
        self.of_state = nn.Linear(hidden_size, attention_size, bias=False)
        self.score = nn.Linear(attention_size, 1, bias=False)

    def forward(self, annotations: torch.Tensor, keys: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """annotations [n, 64, 256], keys = of_place(annotations) [n, 64, size], hidden [n, size] → ẑ [n, 256], α [n, 64], which sums to one."""
        scores = self.score(torch.tanh(keys + self.of_state(hidden)[:, None])).squeeze(-1)
        alpha = torch.softmax(scores, dim=-1)
        return (alpha[:, None] @ annotations).squeeze(1), alpha


class ShowAttendTell(nn.Module):
    """The decoder: an LSTM that reads the last word and what it attends to, and says the next one."""

    attends = True

    def __init__(self, words: int, annotation_size: int = 256, hidden_size: int = 256, embedding_size: int = 128, dropout: float = 0.3):
        super().__init__()
        self.sizes = {"annotation_size": annotation_size, "hidden_size": hidden_size, "embedding_size": embedding_size, "dropout": dropout}
        self.embed = nn.Embedding(words, embedding_size, padding_idx=0)
        self.normalise = nn.LayerNorm(annotation_size)  # every encoder's numbers on one scale
        self.attention = SoftAttention(annotation_size, hidden_size, attention_size=128)
        self.gate = nn.Linear(hidden_size, 1)
        self.first_hidden = nn.Linear(annotation_size, hidden_size)
        self.first_memory = nn.Linear(annotation_size, hidden_size)
        self.lstm = nn.LSTMCell(embedding_size + annotation_size, hidden_size)
        nn.init.ones_(self.lstm.bias_hh[hidden_size:2 * hidden_size].data)  # the forget gate begins open (Jozefowicz et al., 2015)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size + annotation_size + embedding_size, words)

    def begin(self, annotations: torch.Tensor) -> dict[str, torch.Tensor]:
        """The state before the first word, from the mean of all places; every entry has one row a picture."""
        annotations = self.normalise(annotations)
        mean = annotations.mean(1)
        return {"annotations": annotations, "keys": self.attention.of_place(annotations),
                "hidden": torch.tanh(self.first_hidden(mean)), "memory": self.first_memory(mean)}

    def step(self, words: torch.Tensor, state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """The last words [n] → logits of the next ones [n, words], the state after them, and the attention α [n, 64]."""
        embedded = self.dropout(self.embed(words))
        seen, alpha = self.attention(state["annotations"], state["keys"], state["hidden"])
        seen = torch.sigmoid(self.gate(state["hidden"])) * seen  # β: how much the picture matters for this word at all
        hidden, memory = self.lstm(torch.cat([embedded, seen], dim=-1), (state["hidden"], state["memory"]))
        logits = self.output(torch.cat([self.dropout(hidden), seen, embedded], dim=-1))
        return logits, {**state, "hidden": hidden, "memory": memory}, alpha

    def forward(self, annotations: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Teacher forcing: at every step the true word [n, length] is read, whatever was said. → logits [n, length, words], α [n, length, 64]"""
        state, logits, alphas = self.begin(annotations), [], []
        for column in words.unbind(1):
            said, state, alpha = self.step(column, state)
            logits.append(said)
            alphas.append(alpha)
        return torch.stack(logits, dim=1), torch.stack(alphas, dim=1)
