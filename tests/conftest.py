"""What all tests share: nothing that the person at the keyboard has set reaches a test, and nothing reaches the network."""

import os
import signal

import pytest

# A shell that runs the tests in the background has Ctrl-C ignored, and every process started from here would inherit that: the tests that
# press it would wait for ever. With a handler here, what is started gets the usual one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Set before any test module imports a library that reads them once. A test that needs the hub would be wrong here.
os.environ["HF_HUB_OFFLINE"] = "1"
# Threads that wait for each other crawl as soon as anything else wants a core; the models here are too small to gain by them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "agg"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def left_as_found():
    """What a test, or what it calls in this process, leaves among the environment's variables does not reach the next test."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch):
    """No profile, key or endpoint from outside: a test that wants one sets it."""
    for name in ("CAPTIONLAB_PROFILE", "DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_FILE_PATH", "DASHSCOPE_HTTP_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
