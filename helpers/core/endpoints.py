"""Where the teacher is and which key it gets: addresses and keys, checked before anything is sent.

Shape of the data: strings from the caller, the environment or a key file → a base address that may be sent a key, and
a key that can be one. A key is never part of a message.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from helpers.core.errors import TeacherError

KEY_VARIABLE, URL_VARIABLE = "DASHSCOPE_API_KEY", "DASHSCOPE_HTTP_BASE_URL"
BEIJING = "https://dashscope.aliyuncs.com/api/v1"
SOURCE_HEADER = "x-captionlab-source"
STAND_IN_KEY = "sk-offline-stand-in"  # what the kit says to a stand-in where no key is set; any "sk-…" would do


def is_stand_in(base_url: str) -> bool:
    """Whether the kit's stand-in answers at a base address of this machine; other machines are not asked."""
    import requests

    if not is_loopback(urlsplit(base_url).hostname or ""):
        return False
    session = requests.Session()
    session.trust_env = False
    try:
        return SOURCE_HEADER in session.get(f"{base_url.rstrip('/')}/quotas", timeout=5).headers
    except requests.RequestException:
        return False  # asking it will say what is wrong


def read_key() -> str | None:
    """The key that the SDK would find: DASHSCOPE_API_KEY, the file DASHSCOPE_API_KEY_FILE_PATH, ~/.dashscope/api_key; else None."""
    if key := os.environ.get(KEY_VARIABLE):
        return key
    file = Path(os.environ.get("DASHSCOPE_API_KEY_FILE_PATH") or Path.home() / ".dashscope" / "api_key")
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


class Secret(str):
    """A string that says what it is to whoever sends it, and nothing to whoever prints a data structure or a traceback's locals."""

    def __repr__(self) -> str:
        return "'sk-…'"


def ask_key() -> str | None:
    """The key from a hidden prompt; None where nobody can be asked without the key being shown.

    Asks on a terminal, and in a notebook, whose front end hides what is typed; never where input is piped or echoed.
    """
    notebook = "ipykernel" in sys.modules and "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    if not notebook and not (sys.stdin is not None and sys.stdin.isatty()):
        return None
    try:
        return getpass.getpass("DashScope key (not shown): ").strip() or None
    except (EOFError, getpass.GetPassWarning):
        return None
    except RuntimeError as error:  # ipykernel's StdinNotImplementedError: a notebook that is run without anybody at it
        if type(error).__name__ != "StdinNotImplementedError":
            raise
        return None


def check_key(key: str | None) -> Secret:
    """A key that can be one. Raises TeacherError without naming it."""
    if not key or not key.strip():
        raise TeacherError(f"there is no key: set {KEY_VARIABLE} to a key of DashScope (sk-…), "
                           "or use the tiny profile, whose teacher needs none")
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise TeacherError(f"what {KEY_VARIABLE} holds cannot be a key (it has spaces or characters that keys have not): "
                           "copy it again from the console")
    return Secret(key)


def check_base_url(url: str) -> str:
    """A base address that may be sent a key. Raises TeacherError for plain HTTP to another machine, and for what is no address."""
    url = url.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise TeacherError(f"the endpoint's address must look like {BEIJING}: check {URL_VARIABLE}")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise TeacherError(f"the endpoint {parts.hostname} is plain HTTP, which would send the key in the clear: "
                           f"use https in {URL_VARIABLE}")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: localhost or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
