"""What a labelling run will take and what it did, in numbers and in sentences for people.

Shape of the data: `LabelReport`, filled in as the run goes; `outlook` says before the first request what is to come,
`str` what has been done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class LabelReport:
    """What a labelling run did, or would do (`dry_run`).

    pictures, requests: found and to be asked when it started.  reused: labels that were there before.  labelled, refused,
    failed: answers of this run by status.  elsewhere: answered by another run in the meantime.  held: left to another run that
    is asking them.  rejected: pictures that could not be sent, and why.  kinds: service codes of what was refused or failed.
    tokens in and out and yuan: by the answers' usage; foreseen ones for a dry run.  lost: attempts that may have been billed
    without an answer arriving.  foreseen: (tokens in, tokens out, yuan or None) of all requests.  minutes: it takes at least,
    None without a limit.  limits: in words.  stopped: why the run ended early, "" when it did not.  source: who answered.
    """

    pictures: int = 0
    requests: int = 0
    reused: int = 0
    labelled: int = 0
    refused: int = 0
    failed: int = 0
    elsewhere: int = 0
    held: int = 0
    rejected: dict[Path, str] = field(default_factory=dict)
    kinds: Counter = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    yuan: float | None = 0.0
    lost: int = 0
    foreseen: tuple[int, int, float | None] = (0, 0, 0.0)
    minutes: float | None = None
    limits: str = ""
    prices_of: str = ""
    price_source: str = ""
    stopped: str = ""
    source: str = ""
    seconds: float = 0.0
    dry_run: bool = False

    def outlook(self) -> str:
        """What is to come: pictures, requests, tokens, yuan, minutes."""
        tokens_in, tokens_out, yuan = self.foreseen
        money = "price unknown" if yuan is None else f"{yuan:.4f} yuan by the prices of {self.prices_of} ({self.price_source})"
        time = f"{self.minutes:.1f} minutes or more at {self.limits}" if self.minutes is not None else "as fast as the endpoint answers"
        bad = f", {len(self.rejected)} pictures rejected" if self.rejected else ""
        return (f"{self.pictures} pictures, {self.requests} requests to send ({self.reused} labels are there already{bad}); "
                f"about {tokens_in} tokens in, {tokens_out} out, {money}; {time}")

    def __str__(self) -> str:
        if self.dry_run:
            return f"{self.outlook()}; nothing was sent{self._named()}"
        money = "price unknown" if self.yuan is None else f"{self.yuan:.4f} yuan by the prices of {self.prices_of}"
        faults = {"refused": self.refused, "failed": self.failed, "pictures rejected": len(self.rejected),
                  "answered by another run": self.elsewhere, "left to another run that is asking them": self.held,
                  "answers lost on the way, which may be billed": self.lost}
        bad = "".join(f", {number} {word}" for word, number in faults.items() if number)
        kinds = f" ({', '.join(f'{number} {kind}' for kind, number in self.kinds.most_common())})" if self.kinds else ""
        stopped = f"; {self.stopped}" if self.stopped else ""
        return (f"{self.pictures} pictures: {self.labelled} labels from {self.source or 'nobody'}, {self.reused} were there already{bad}{kinds}; "
                f"{self.input_tokens} tokens in, {self.output_tokens} out, {money}; {self.seconds:.0f} s{stopped}{self._unknown()}{self._named()}")

    def _unknown(self) -> str:
        """What to do about pictures that the stand-in does not know."""
        return "\n  UnknownPicture: the stand-in knows no picture of your own; with DASHSCOPE_API_KEY, Qwen-VL looks at it" if self.kinds["UnknownPicture"] else ""

    def _named(self, most: int = 20) -> str:
        """The rejected pictures, a line each; the first `most` of them."""
        lines = [f"\n  {why}" for why in list(self.rejected.values())[:most]]
        return "".join(lines) + (f"\n  … and {len(self.rejected) - most} more" if len(self.rejected) > most else "")
