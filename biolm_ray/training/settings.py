"""What the training loop needs to know, from the configuration or else from the model's recipe."""

from dataclasses import dataclass

from biolm_ray.config.schema import TrainingConfig
from biolm_ray.models.spec import Recipe
from biolm_ray.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What the loop needs to know, with every default filled in."""

    batch_size: int
    accumulation: int
    num_epochs: int
    patience: int | None
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    gradient_clip: float | None
    schedule: str
    warmup_share: float
    stop_metric: str
    precision: Precision
    compiled: bool
    checkpoint_minutes: float
    seed: int
    fold: int


def loop_settings(
    training: TrainingConfig, recipe: Recipe, *, fold: int, default_metric: str
) -> LoopSettings:
    """Take each setting from the configuration or else from the model's recipe."""

    def chosen(name: str):
        value = getattr(training, name)
        return getattr(recipe, name) if value is None else value

    num_epochs = chosen("num_epochs")
    if isinstance(training.resume, int) and not isinstance(training.resume, bool):
        num_epochs = training.resume
    return LoopSettings(
        batch_size=chosen("batch_size"),
        accumulation=training.gradient_accumulation,
        num_epochs=num_epochs,
        patience=chosen("patience"),
        learning_rate=chosen("learning_rate"),
        weight_decay=chosen("weight_decay"),
        betas=recipe.betas,
        gradient_clip=chosen("gradient_clip"),
        schedule=chosen("schedule"),
        warmup_share=chosen("warmup_share"),
        stop_metric=training.stop_metric or default_metric,
        precision=training.precision,
        compiled=training.compile,
        checkpoint_minutes=training.checkpoint_minutes,
        seed=training.seed,
        fold=fold,
    )
