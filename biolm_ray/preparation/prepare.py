"""From an input and a tokenizer to a prepared data set."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from biolm_ray.config.schema import Config, DataConfig
from biolm_ray.data.columns import LabelKind, Layout
from biolm_ray.data.store import Folder
from biolm_ray.errors import BiolmError, DataError, ResourceError
from biolm_ray.preparation.checks import MAX_UNKNOWN_IN_ROW, check_unknown_share, tell_gaps
from biolm_ray.preparation.finish import finish
from biolm_ray.preparation.in_turn import in_turn, place_to_prepare
from biolm_ray.preparation.manifest import MANIFEST
from biolm_ray.preparation.piece_work import EncodingJob, encode_piece
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.quarantine import check_rejected
from biolm_ray.preparation.rejects import BadRows
from biolm_ray.preparation.row_files import prepared_schema
from biolm_ray.preparation.scanning import Progress, RowsDone, Scanned, scan_data
from biolm_ray.preparation.spread import spread
from biolm_ray.preparation.stored_pieces import (
    RULES,
    read_rejected,
    stored_pieces,
)
from biolm_ray.records import LaterVersion
from biolm_ray.tokenization.tokenizer import Tokenizer

log = logging.getLogger("biolm_ray")

FORMAT = 2
FASTA_FORMAT = 3
"""Counted up when records of FASTA are read otherwise than before."""
WITHOUT_EFFECT = {
    "letter_case",
    "nucleotides",
    "path",
    "format",
    "column_separator",
    "splits_to_use",
    "max_unknown_share",
    "max_rejected_share",
    "prepared_path",
}
"""Settings of the data that do not change what is prepared, or do so through the layout or the
tokenizer."""
ALWAYS_NAMED = {
    *("has_header", "token_separator", "specifier_separator", "max_rows"),
    *("id_column", "sequence_column", "label_column", "weight_column", "split_column"),
    *("allow_duplicate_ids", "on_bad_rows"),
}
"""Settings that are hashed also with their defaults; those that came later are not, so that data
sets prepared before keep their names."""

OF_SETTINGS = {"num_columns", "num_above", "decimal", "remove_gaps", "missing_values"}
"""Fields of a layout that follow from the content or from settings of the same meaning."""


def prepare(
    config: Config,
    tokenizer: Tokenizer,
    folder: Path | str,
    *,
    label_kind: LabelKind | None,
    rejected_path: Path | None = None,
    progress: Progress | None = None,
    describe: bool = True,
) -> PreparedData:
    """Check and encode every row of the input into a data set below `folder`.

    It is named by a hash of the input's content and of all settings that change the result; one
    that is whole is used again, unless `run.prepare_again`; one that was broken off is continued.
    Sequences are stored in full: cropping depends on the model. Ray must be connected.

    Args:
        config: Of the run.
        tokenizer: Fitted.
        folder: Path or URI under which data sets are kept.
        label_kind: What the labels are, None to leave them out.
        rejected_path: Where rows that are set aside are written (data.on_bad_rows: quarantine).
        progress: Called as the work goes on.
        describe: Whether the log says what the input was found to be; it need not where the
            tokenizer has just been fitted on it.

    Raises:
        ConfigError: The columns are not set as the input needs.
        DataError: The input or a row of it cannot be used; then nothing is left behind.
        ResourceError: Something cannot be written, as on a full disk; what is stored is kept.
    """
    scanned = scan_data(config, label_kind, Folder(folder), progress, describe=describe)
    target = Folder(folder) / _name(config, scanned, tokenizer)
    before = None if config.run.prepare_again else _prepared_before(target)
    if before is None:
        with in_turn(config, target):
            before = _prepare_unless_done(config, scanned, tokenizer, target, progress)
    prepared = before or PreparedData.open(target.location)
    if before is not None:
        log.info("prepared before: %s", target)
        tell_gaps(scanned.plan.name, prepared.summary["gaps"])
        is_own = _is_own(scanned, tokenizer)
        share = config.data.max_unknown_share
        check_unknown_share(scanned.plan.name, prepared.summary, share, is_own=is_own)
    for mixture in prepared.summary["mixtures"]:
        log.warning("%s: %s", scanned.plan.name, mixture)
    check_rejected(config, scanned, prepared, rejected_path)
    return prepared


def _prepared_before(target: Folder) -> PreparedData | None:
    """Find the data set, if it was prepared before and is of use.

    Raises:
        LaterVersion: A later version of the program has prepared it.
    """
    found = _found(target)
    return found if isinstance(found, PreparedData) else None


def _found(target: Folder) -> PreparedData | str | None:
    """Find the data set; where it is of no use, say why."""
    try:
        found = PreparedData.find(target)
    except LaterVersion:
        raise
    except DataError as error:
        # It is a copy of the input in another form, which is named by its content.
        return f"{str(error).rpartition(';')[0]}. It is removed and prepared again"
    if found is not None and found.manifest["rules"] != RULES:
        return f"prepared again, since rows are read otherwise today: {target}"
    return found


def _prepare_unless_done(
    config: Config,
    scanned: Scanned,
    tokenizer: Tokenizer,
    target: Folder,
    progress: Progress | None,
) -> PreparedData | None:
    """Prepare a data set, unless another run has done so meanwhile; then it is given."""
    again, found = config.run.prepare_again, _found(target)
    if isinstance(found, PreparedData) and not again:
        return found
    if isinstance(found, str):
        log.warning("%s", found)
    with place_to_prepare(target, again=again or isinstance(found, str)) as place:
        _prepare(config, scanned, tokenizer, place, target.name, progress)
    return None


def _name(config: Config, scanned: Scanned, tokenizer: Tokenizer) -> str:
    """Name a data set by the content of its input and every setting that changes it.

    The same name means the same rows under the same numbers, also after an update: where no row
    is left out, other rules change no number; where rows may be, the rules are part of the name.
    """
    named = named_settings(config.data, scanned.plan.layouts)
    max_unknown = _max_unknown(config, scanned, tokenizer)
    limits = [] if max_unknown == MAX_UNKNOWN_IN_ROW else [max_unknown]
    settings = json.dumps([named[0], scanned.digest, *named[1:], *limits], sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        for file in sorted(Path(folder).iterdir()):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _is_own(scanned: Scanned, tokenizer: Tokenizer) -> bool:
    learnt_from = tokenizer.settings.learnt_from
    return learnt_from is not None and learnt_from.digest == scanned.digest


def _max_unknown(config: Config, scanned: Scanned, tokenizer: Tokenizer) -> float:
    """The share of a row's tokens that may be unknown: all where rare ones are so on purpose."""
    learnt_from, allowed = tokenizer.settings.learnt_from, config.data.max_unknown_share
    if learnt_from and _is_own(scanned, tokenizer) and learnt_from.unknown_share > allowed:
        return 1.0
    return max(MAX_UNKNOWN_IN_ROW, allowed)


def named_settings(
    config: DataConfig, layouts: Sequence[Layout]
) -> tuple[int | list[int], dict, list[dict]]:
    """What changes the rows that are read: the format, settings, and columns of each file."""
    values = config.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    later = {name for name in values if name not in ALWAYS_NAMED}
    unset = {n for n in later if getattr(config, n) == DataConfig.model_fields[n].default}
    data = {name: value for name, value in values.items() if name not in unset}
    columns = [
        {name: value for name, value in asdict(layout).items() if name not in OF_SETTINGS}
        for layout in layouts
    ]
    version = FASTA_FORMAT if layouts[0].format == "fasta" else FORMAT
    return [version, RULES] if config.on_bad_rows == "quarantine" else version, data, columns


def _prepare(
    config: Config,
    scanned: Scanned,
    tokenizer: Tokenizer,
    target: Folder,
    name: str,
    progress: Progress | None,
) -> None:
    plan, layout = scanned.plan, scanned.plan.layouts[0]
    job = EncodingJob(
        plan=plan,
        tokenizer=tokenizer,
        schema=prepared_schema(
            num_specifiers=tokenizer.settings.num_specifiers,
            label_kind=plan.label_kind,
            num_labels=len(layout.labels),
            has_weights=layout.weight is not None,
            has_splits=layout.split is not None,
        ),
        target=target,
        stop=config.data.on_bad_rows == "stop",
        hash_ids=not config.data.allow_duplicate_ids and layout.id != layout.sequence,
        is_own=_is_own(scanned, tokenizer),
        max_unknown=_max_unknown(config, scanned, tokenizer),
    )
    bad_rows = BadRows(plan, config.data, scanned.num_rows)
    try:
        _store_pieces(job, scanned, bad_rows, progress)
        finish(
            job,
            len(scanned.pieces),
            bad_rows,
            max_unknown_share=config.data.max_unknown_share,
            facts={
                "name": name,
                "rules": RULES,
                "digest": scanned.digest,
                "id_type": str(tokenizer.id_type),
                "files": [file.name for file in plan.files],
            }
            | ({"target_names": layout.target_names} if layout.target_names else {})
            | ({"label_name": layout.label_name} if layout.label_name else {}),
        )
    except BiolmError as error:
        if target.read(MANIFEST) is not None:
            return  # another run has finished the same data set meanwhile, and tidied up
        if not isinstance(error, ResourceError):
            target.delete()
        raise


def _store_pieces(
    job: EncodingJob, scanned: Scanned, bad_rows: BadRows, progress: Progress | None
) -> None:
    """Encode the pieces that are not stored yet."""
    stored = stored_pieces(job.target, len(scanned.pieces))
    missing = [item for item in enumerate(scanned.pieces) if item[0] not in stored]
    if stored:
        log.info(
            "going on with a preparation that was broken off: %d of %d pieces are done",
            len(stored),
            len(scanned.pieces),
        )
    num_stored = 0
    for state in stored.values():
        num_stored += state.num_rows + state.num_rejected
        bad_rows.add(read_rejected(job.target, state), state.num_rows + state.num_rejected)
    done = RowsDone("tokenizing", scanned, progress, num_stored)
    for block in spread(partial(encode_piece, job=job), missing, scanned.num_bytes):
        bad_rows.add(block.rejects, block.num_rows)
        done.add(block.num_rows)
