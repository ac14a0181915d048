"""Cards of model folders as they were before anything showed that one had been changed."""

import json
from pathlib import Path
from typing import Any

CARD = "config.json"
OF_TODAY = ("format_version", "seal", "files")


def older_card(folder: Path, **changes: Any) -> Path:
    """Write a folder's card as one of the first version, with other values; `a__b` is b of a."""
    path = folder / CARD
    card = {name: value for name, value in json.loads(path.read_text()).items()
            if name not in OF_TODAY}  # fmt: skip
    for key, value in changes.items():
        branch, (*steps, last) = card, key.split("__")
        for step in steps:
            branch = branch[step]
        branch[last] = value
    path.write_text(json.dumps(card))
    return folder
