"""Threads that are kept: one after the other shares a thread, at once does not, and a failure costs nobody else."""

import gc
import threading
import weakref

import pytest

from helpers.core import kept_threads

SOON = 30


def where(work=lambda: None) -> threading.Thread:
    """The thread in which `work` was done."""
    over, found = threading.Event(), []

    def told() -> None:
        found.append(threading.current_thread())
        work()

    kept_threads.start(told, over)
    assert over.wait(SOON)
    return found[0]


def test_work_after_work_is_done_in_the_same_thread_and_not_in_the_callers():
    threads = {where() for _ in range(20)}
    assert len(threads) == 1 and threads.isdisjoint({threading.current_thread()})


def test_work_at_the_same_time_is_done_in_two():
    both = threading.Barrier(3)
    over = [threading.Event(), threading.Event()]
    for end in over:
        kept_threads.start(lambda: both.wait(SOON), end)
    both.wait(SOON)  # a single thread would never let both come here
    assert all(end.wait(SOON) for end in over)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_is_over_as_well_and_the_next_work_is_done():
    over = threading.Event()
    kept_threads.start(lambda: 1 / 0, over)
    assert over.wait(SOON) and where().is_alive()


def test_what_work_held_is_let_go():
    class Model:
        pass

    model = Model()
    gone, over = weakref.ref(model), threading.Event()
    kept_threads.start(lambda held=model: held, over)
    assert over.wait(SOON)
    del model
    where()
    gc.collect()
    assert gone() is None
