"""What tests of training runs share: finding the processes of a run, and waiting for what processes do."""

import time

import psutil

WAIT_SECONDS = 240


def processes_of(output_dir):
    """Every running process that names `output_dir` in its command."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(output_dir) in words and "finetune" in " ".join(words):
            found.append(process)
    return found


def wait_for(condition, what):
    """Wait until `condition()` is true; fail, saying `what` did not happen, when it takes far too long."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)
