"""Which rows of a data set some models were made with, so that others predict them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int8, UInt64

from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_hashes import row_hashes
from biolm_ray.training.trained_rows import EARLIER, TrainedRows, read_rows
from biolm_ray.wording import part_of

log = logging.getLogger("biolm_ray")

UNKNOWN, TRAINED, VALIDATED, TESTED, KEPT_ASIDE = range(5)
ROLES = {
    "kept_aside": KEPT_ASIDE,
    "test": TESTED,
    EARLIER: TRAINED,
    "validation": VALIDATED,
    "train": TRAINED,
}
"""Parts of a fold, those that weigh more last: a sequence may stand in several."""

Hashes = UInt64[np.ndarray, "rows 2"]


@dataclass(frozen=True)
class KnownRows:
    """What some models know of some rows.

    Attributes:
        roles: UNKNOWN, TRAINED, VALIDATED, TESTED or KEPT_ASIDE, for each model and row.
        is_own: Whether all models were made with this very input, read as it is here.
        num_silent: How many models do not tell what they were made with.
    """

    roles: Int8[np.ndarray, "models rows"]
    is_own: bool
    num_silent: int

    def of_rows(self, rows: Int[np.ndarray, " rows"]) -> "KnownRows":
        """The same of some of the rows, by their places."""
        return replace(self, roles=self.roles[:, rows])

    @property
    def seen(self) -> Bool[np.ndarray, "models rows"]:
        """Whether a model's weights depend on a row: it was trained on it, or chosen by it."""
        return np.isin(self.roles, (TRAINED, VALIDATED))

    @property
    def seen_by_all(self) -> Bool[np.ndarray, " rows"]:
        return np.logical_and.reduce(self.seen)

    @property
    def seen_by_some(self) -> Bool[np.ndarray, " rows"]:
        """Whether there are models for a row that have seen it and models that have not."""
        return self.seen.any(axis=0) & ~self.seen_by_all

    @property
    def may_predict(self) -> Bool[np.ndarray, "models rows"]:
        """The models that have not seen a row; all of them where there is none."""
        return ~self.seen | self.seen_by_all


def find_known_rows(
    folders: Sequence[Path], prepared: PreparedData, rows: Int[np.ndarray, " rows"]
) -> KnownRows:
    """Look rows up among those that models were made with.

    In the data set that a model was made with, rows go by their number. In any other they go by
    their id and sequence, and those that no model knows by that go by their sequence alone.

    Args:
        folders: The models; they read the same tokens.
        prepared: Tokenized with the models' own tokenizer.
        rows: Which rows of it, in any order.
    """
    models = [read_rows(folder) for folder in folders]
    known = [model for model in models if model is not None and _is_told(model, prepared)]
    others = [model.hashes for model in known if not model.is_of(prepared)]
    hashes = row_hashes(prepared, rows) if others else np.zeros((len(rows), 2), np.uint64)
    is_named = np.zeros(len(rows), dtype=bool)
    for other in others:
        for part in other.values():
            is_named |= np.isin(hashes[:, 0], part[:, 0])
    roles = np.full((len(folders), len(rows)), UNKNOWN, dtype=np.int8)
    for number, model in enumerate(models):
        if model is not None and model.is_of(prepared):
            for part, role in ROLES.items():
                roles[number, np.isin(rows, model.rows[part])] = role
        elif model is not None and model.hashes:
            roles[number] = _roles_by_hash(hashes, is_named, model.hashes)
    digest = prepared.manifest["digest"]
    return KnownRows(
        roles=roles,
        is_own=len(known) == len(folders)
        and all(model.is_of(prepared) or digest == model.digest for model in known)
        and bool((roles != UNKNOWN).any()),
        num_silent=len(folders) - len(known),
    )


def _is_told(model: TrainedRows, prepared: PreparedData) -> bool:
    return model.is_of(prepared) or bool(model.hashes)


def _roles_by_hash(
    hashes: Hashes, is_named: Bool[np.ndarray, " rows"], of_model: Mapping[str, Hashes]
) -> Int8[np.ndarray, " rows"]:
    roles = np.full(len(hashes), UNKNOWN, dtype=np.int8)
    for part, role in ROLES.items():
        by_name = np.isin(hashes[:, 0], of_model[part][:, 0])
        by_sequence = np.isin(hashes[:, 1], of_model[part][:, 1])
        roles[np.where(is_named, by_name, by_sequence)] = role
    return roles


def tell_known_rows(known: KnownRows, done: str) -> None:
    """Say what becomes of rows that models have seen.

    Args:
        known: About the rows.
        done: What is done with them: "predicted" or "scored".
    """
    num_models, num_rows = known.roles.shape
    num_some, num_all = int(known.seen_by_some.sum()), int(known.seen_by_all.sum())
    if num_some:
        log.info(
            "%s among those that some of the %d models were trained or validated "
            "with; each is %s by the models that have not seen it",
            part_of(num_some, num_rows, "row"),
            num_models,
            done,
        )
    if num_all:
        log.warning(
            "%s among those that %s trained or validated with: %s even so, but this "
            "and metrics on them say nothing about new sequences",
            part_of(num_all, num_rows, "row"),
            "the model was" if num_models == 1 else f"each of the {num_models} models was",
            done,
        )
    if known.num_silent:
        log.info(
            "%s not tell which rows it was trained on, so that rows of its training are taken "
            "for new ones",
            "the model does" if num_models == 1 else f"each of {known.num_silent} models does",
        )
