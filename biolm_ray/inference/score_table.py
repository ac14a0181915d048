"""Scores of one sequence as rows of a table, from one model or averaged over several."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from biolm_ray.data.targets import Targets
from biolm_ray.errors import ConfigError
from biolm_ray.inference.leave_one_out import Scores
from biolm_ray.inference.scores_file import class_column, scores_schema
from biolm_ray.tokenization.tokenizer import Tokenizer

PUTTING_IN = ("replace", "saturation", "insert")


def combine_scores(by_model: Sequence[Scores]) -> Scores:
    """Average the scores of several models on one sequence; with their sample deviation."""
    first = by_model[0]
    if len(by_model) == 1:
        return first
    assert all(np.array_equal(scores.positions, first.positions) for scores in by_model)
    loo = np.stack([scores.loo for scores in by_model])
    return replace(
        first,
        original=np.mean([scores.original for scores in by_model], axis=0),
        loo=loo.mean(axis=0),
        loo_model=np.mean([scores.loo_model for scores in by_model], axis=0),
        loo_std=loo.std(axis=0, ddof=1),
        largest_difference=max(scores.largest_difference for scores in by_model),
        redone=sum(scores.redone for scores in by_model),
    )


def chosen_class(class_name: str | None, targets: Targets) -> int | None:
    """Give the number of the class whose scores are in column loo; None: the predicted one.

    Of two classes it is the second, unless another is asked for, so that a score means the same
    in all rows.

    Raises:
        ConfigError: The model knows no such class, or no classes at all.
    """
    if class_name is None:
        return 1 if targets.classes is not None and len(targets.classes) == 2 else None
    if targets.classes is None:
        raise ConfigError(
            f"interpret.class_name is '{class_name[:40]}', but the model predicts numbers; "
            "leave it out"
        )
    if class_name not in targets.classes:
        raise ConfigError(
            f"interpret.class_name is '{class_name[:40]}'; the model knows "
            f"{', '.join(targets.classes)}"
        )
    return targets.classes.index(class_name)


def score_columns(edit: str, targets: Targets, num_models: int) -> list[str]:
    """Name the columns of a CSV table of scores: first those that other programs read."""
    columns = ["sequence", "token"]
    columns += ["replacement"] if edit in PUTTING_IN else []
    columns += ["label", "pred", "start_offset", "end_offset", "loo"]
    columns += [class_column(name) for name in targets.classes or ()]
    return columns + (["loo_std"] if num_models > 1 else [])


def score_table(
    scores: Scores,
    *,
    sequence_id: str,
    label: float | str | None,
    tokenizer: Tokenizer,
    targets: Targets,
    target: int = 0,
    class_number: int | None = None,
) -> pa.Table:
    """Lay out the scores of one sequence on one target, one row per edit, as `scores_schema` says.

    What does not apply is null; so is the text of no token.

    For classes, `pred` names the predicted class of the original; `loo` is the change of the
    probability of class `class_number`, or of the predicted one; `loo_<class>` holds the change of
    every class.
    """
    predicted = int(scores.original.argmax()) if targets.classes else target
    chosen = predicted if class_number is None else class_number
    values: dict[str, object] = {
        "sequence": sequence_id,
        "position": scores.positions,
        "token": _joined_texts(scores.token_ids, tokenizer),
        "label": label,
        "pred": targets.classes[predicted] if targets.classes else scores.original[target],
        "start_offset": scores.start_offsets,
        "end_offset": scores.end_offsets,
        "loo": scores.loo[:, chosen],
        "loo_model": scores.loo_model[:, chosen],
    }
    if scores.new_ids is not None:
        values["replacement"] = _joined_texts(scores.new_ids, tokenizer)
    for index, name in enumerate(targets.classes or ()):
        values[class_column(name)] = scores.loo[:, index]
    if scores.loo_std is not None:
        values["loo_std"] = scores.loo_std[:, chosen]
    schema = scores_schema(targets, averaged=scores.loo_std is not None)
    num_rows = len(scores.positions)
    columns = [_column(values.get(field.name), field.type, num_rows) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: Any, dtype: pa.DataType, num_rows: int) -> pa.Array:
    """Make a column of one value for each row, or of one for all; NaN is null."""
    if isinstance(values, list | np.ndarray):
        return pa.array(values, type=dtype, from_pandas=True)
    if isinstance(dtype, pa.DictionaryType):
        indices = pa.array(np.zeros(num_rows, dtype=np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array([values], dtype.value_type))
    return pa.repeat(pa.scalar(values, type=dtype, from_pandas=True), num_rows)


def _joined_texts(
    token_ids: Int[np.ndarray, "rows tokens"], tokenizer: Tokenizer
) -> list[str | None]:
    """The texts of the tokens of each row, one behind the other; None for no text.

    An id of -1 stands for no token.
    """
    num_rows, num_tokens = token_ids.shape
    flat = token_ids.reshape(-1)
    texts = np.array(tokenizer.tokens(np.maximum(flat, 0)), dtype=object)
    texts[flat < 0] = ""
    rows = texts.reshape(num_rows, num_tokens).tolist()
    return ["".join(row) or None for row in rows]
