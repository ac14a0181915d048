"""The resolved configuration as YAML that can be run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from biolm_ray.config.schema import Config
from biolm_ray.config.values import guess_value, is_unset
from biolm_ray.files import write_text
from biolm_ray.masking import masked


def write_config(config: Config, path: str | Path) -> None:
    """Write every setting, so that `load_config` reads back an equal configuration.

    Passwords and keys in addresses are left out; where there are any, `load_config` asks for them.
    """
    text = yaml.dump(
        config.model_dump(mode="json"),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    write_text(Path(path), text)


class _Dumper(yaml.SafeDumper):
    """Quotes text that could be taken for a number, a list or a truth value."""

    def represent_text(self, text: str) -> yaml.Node:
        text = masked(text)
        is_plain = text[:1].isalpha() and text.isprintable() and guess_value(text) == text
        style = None if is_plain and not is_unset(text) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_text)
