"""Cross-validated sequence models for RNA and protein, on a laptop or a Ray cluster.

The functions have the names of the commands and return typed results:

    from biolm_ray import finetune, load_config
    result = finetune(load_config("experiment.yaml", mode="fine-tune"))
    print(result.report.text)

`load_scores` reads the tables that `interpret` writes.
"""

from typing import TYPE_CHECKING, Any

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config

if TYPE_CHECKING:
    from biolm_ray.inference.loaded_scores import load_scores
    from biolm_ray.stages import finetune, interpret, predict, pretrain, tokenize, tune

__version__ = "0.1.0"
__all__ = [
    "Config",
    "finetune",
    "interpret",
    "load_config",
    "load_scores",
    "predict",
    "pretrain",
    "tokenize",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Load a function, and the libraries it needs, when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'biolm_ray' has no attribute '{name}'")
    if name == "load_scores":
        from biolm_ray.inference.loaded_scores import load_scores

        return load_scores
    from biolm_ray import stages

    return getattr(stages, name)
