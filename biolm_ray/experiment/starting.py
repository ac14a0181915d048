"""What a training finds before Ray starts, so that what is wrong with it is told at once."""

from dataclasses import dataclass
from pathlib import Path

from biolm_ray.config.schema import Config
from biolm_ray.experiment.first_lines import say_assumptions
from biolm_ray.experiment.resuming import check_resumable
from biolm_ray.experiment.setup import (
    choose_model,
    earlier_weights,
    known_tokenizer,
    more_epochs_of,
)
from biolm_ray.experiment.tracking import check_tracking
from biolm_ray.experiment.training_results import with_moved_weights
from biolm_ray.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class TrainingStart:
    """What a training starts from.

    Attributes:
        config: Of the run, its model chosen.
        weights: The folder of the model whose weights it starts from, if any.
        tokenizer: The one it takes over; None where one is to be fitted.
    """

    config: Config
    weights: Path | None
    tokenizer: Tokenizer | None


def find_start(config: Config) -> TrainingStart:
    """Find the model, the weights and the tokenizer that a training starts from.

    Raises:
        ConfigError: One of them is not there, or does not fit the others.
        DataError: A file of theirs is damaged.
    """
    check_tracking(config.run.mlflow)
    config = with_moved_weights(config)
    weights = earlier_weights(config)
    config = more_epochs_of(config, weights)
    config = choose_model(config, weights)
    check_resumable(config)
    say_assumptions(config, weights)
    return TrainingStart(config, weights, known_tokenizer(config, weights))
