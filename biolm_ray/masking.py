"""Passwords and keys in addresses, kept out of what is shown and written."""

import re

MASK = "***"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
# After a colon that does not begin a port; AWS keys may hold slashes.
_PASSWORD = re.compile(rf"({_SCHEME}[^\s/@:'\"]*):(?!\d+(?:[/\s'\"]|$))[^\s'\"]+@")
_TOKEN = re.compile(r"(https?://)[^\s/@:'\"]+@")
_WORDS = "token|secret|passw|pwd|credential|signature|sig|apikey|api_key|access_?key|auth"
_OPTION = re.compile(rf"([?&;][^=&#\s'\"]*(?:{_WORDS})[^=&#\s'\"]*=)[^&#\s'\"]+", re.IGNORECASE)


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
