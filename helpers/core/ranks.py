"""What the processes of one training run know of each other: who they are, how to speak once, how to meet.

torchrun starts the same program several times and tells each its number in RANK, and in WORLD_SIZE how many there are; a program
that was started by hand is rank 0 of 1.
"""

import os


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", 0))


def world() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def say(sentence: str) -> None:
    """Print `sentence`, once for all processes."""
    if rank() == 0:
        print(sentence, flush=True)


def barrier() -> None:
    """Wait until every process is here."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def gather(items: list) -> list:
    """The lists of all processes, one behind the other by rank; every process must call it and gets the same."""
    import torch

    if not torch.distributed.is_initialized():
        return items
    shares: list = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, items)
    return [item for share in shares for item in share]
