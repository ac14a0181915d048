"""Passwords and keys in addresses, kept out of what is shown and written."""

import re

MASK = "***"

_USER = r"[A-Za-z][A-Za-z0-9+.-]*://(?!\[)[^\s/@:'\"]*"
# Up to the last @ before a blank, since AWS keys may hold slashes. Where there is none, a password
# may hold blanks, unless a port stands there.
_PASSWORD = re.compile(rf"({_USER}):(?:(?:(?!://)\S)+@|(?![\s'\"]|\d+(?:\W|$))(?:(?!://)[^\n@])+@)")
_TOKEN = re.compile(r"((?:https?|s?ftps?|webdavs?)://)[^\s/@:]+@", re.IGNORECASE)
_WORDS = "token|secret|passw|passp|pwd|credential|signature|sig|apikey|access_?key|auth"
_ENDS = r"key|(?<![a-z])(?:pass|pw|sas)|(?<![\w-])code"
_NAME = rf"[^=&#\s'\"]*(?:(?:{_WORDS})[^=&#\s'\"]*|{_ENDS})"
_OPTION = re.compile(rf"([?&;#]{_NAME}=)(?:[^&#\s'\"]|['\"](?=\w))+", re.IGNORECASE)


def masked(text: str) -> str:
    """Put *** in place of passwords, keys and tokens in the addresses that a text holds."""
    if "://" not in text:
        return text
    text = _PASSWORD.sub(rf"\1:{MASK}@", text)
    text = _TOKEN.sub(rf"\1{MASK}@", text)
    return _OPTION.sub(rf"\1{MASK}", text)


def is_masked(text: str) -> bool:
    """Whether an address lacks a secret that was left out when it was written."""
    return "://" in text and (f"{MASK}@" in text or f"={MASK}" in text)
