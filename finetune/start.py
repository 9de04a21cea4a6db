"""torchrun, as finetune_lora.sh and finetune_ds.sh start it: the same words, but an end that a person can read.

    python finetune/start.py --nproc-per-node 2 finetune/finetune.py --model_name_or_path …

A rank that fails says itself why, in one sentence. One that was killed cannot, and torchrun's own report is thirty lines long;
here it becomes: which process, which signal, what that often means, how to go on. Exit code: 0, a rank's own, or 128 + signal.
"""

import logging
import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

AGAIN = "The same command continues from the last checkpoint."
HINTS = {signal.SIGKILL: " (often the system's, when the memory is full)"}


def name_of(number: int) -> str:
    """The name of a signal: 9 → SIGKILL."""
    return signal.Signals(number).name if number in set(signal.Signals) else "unknown"


def tell(failed: ChildFailedError) -> int:
    """Say on stderr which process was ended by a signal; one that ended by itself has spoken. Returns the exit code."""
    codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
    # torchrun itself ends the others with SIGTERM: whatever else ended one is the cause, then one that ended by itself.
    causes = sorted(codes.items(), key=lambda entry: (entry[1] == -signal.SIGTERM, entry[1] > 0))
    rank, code = causes[0]
    if code > 0:
        return code
    print(f"error: a process (rank {rank}) was ended by signal {-code}, {name_of(-code)}{HINTS.get(-code, '')}. {AGAIN}",
          file=sys.stderr, flush=True)
    return 128 - code


def main() -> int:
    """Run torchrun with this command's words; returns the exit code."""
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun would, without a paragraph about it
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.run").setLevel(logging.CRITICAL)
    try:
        torchrun()
    except ChildFailedError as failed:
        return tell(failed)
    except SignalException as stopped:
        print(f"stopped by signal {int(stopped.sigval)}, {name_of(stopped.sigval)}. {AGAIN}", file=sys.stderr, flush=True)
        return 128 + int(stopped.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
