"""How trainings and searches make room for their models, and write down which are finished."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from biolm_ray.config.schema import Config
from biolm_ray.errors import ConfigError
from biolm_ray.experiment.failures import Outcome
from biolm_ray.experiment.results import CONFIG_FILE, RunResults, RunTokenizer, mixed, recorded
from biolm_ray.experiment.resuming import Plan
from biolm_ray.results.contents import is_below, results_to_replace
from biolm_ray.results.manifest import (
    FoldRecord,
    Manifest,
    ModeRecord,
    read_manifest,
    relative,
    update_manifest,
    with_mode,
)
from biolm_ray.signals import held
from biolm_ray.training.outcome import files_of


def begin_training(
    results: RunResults, tokenizer: RunTokenizer, plans: Sequence[Plan]
) -> list[Plan]:
    """Make room for models that are to be trained, and write down which they are.

    What belongs to a run that is resumed stays. Where models start from what is moved, they find
    it where it goes.

    Args:
        results: Of the run.
        tokenizer: That the models are trained with.
        plans: What is to be done about each.

    Raises:
        ConfigError: They start from what is to be removed.
    """
    results.check_lock()
    output = results.output
    earlier = recorded(results)
    anew = [plan for plan in plans if plan.replaces]
    resumed = len(anew) < len(plans)
    if resumed:
        paths = _what_does_not_stay(results, plans, earlier)
    else:
        paths = results_to_replace(output, results.mode)
    _check_kept(results, plans, paths)
    with held():  # so that what is moved aside is also what the new record takes the place of
        replaced = results.replace(paths)
        plans = [_with_moved_weights(plan, output, paths, replaced) for plan in plans]
        _record_begun(results, plans, earlier, replaced)
        tokenizer.save(results)
        if anew or not (results.folder / CONFIG_FILE).exists():
            results.publish()
    return plans


def _record_begun(
    results: RunResults, plans: Sequence[Plan], earlier: ModeRecord | None, replaced: str | None
) -> None:
    """Write down which models a run trains, and that it is theirs."""
    resumed = not all(plan.replaces for plan in plans)
    folds = tuple(
        FoldRecord(
            name="" if plan.job.folder == results.folder else plan.job.folder.name,
            folder=relative(plan.job.folder, results.output),
            files={} if plan.metrics is None else files_of(plan.job.folder),
        )
        for plan in plans
    )
    staying = recorded(results)
    record = ModeRecord(
        run=results.run,
        folds=folds,
        tables=staying.tables if staying and resumed else (),
        replaced=replaced or (earlier.replaced if earlier else None),
    )
    update_manifest(results.output, lambda manifest: with_mode(manifest, results.mode, record))


def _what_does_not_stay(
    results: RunResults, plans: Sequence[Plan], earlier: ModeRecord | None
) -> list[str]:
    """List what of a run that is resumed is replaced: models of other folds or settings.

    With those that are trained on goes what was made of them. A model that is kept stays, with
    all that was made of it.
    """
    folders = {relative(plan.job.folder, results.output): plan for plan in plans}
    old = [fold.folder for fold in earlier.folds] if earlier else []
    going = [folder for folder in old if folder not in folders]
    going += [folder for folder, plan in folders.items() if plan.replaces]
    trained = [folder for folder, plan in folders.items() if plan.metrics is None]
    return results_to_replace(results.output, results.mode, going, trained)


def _check_kept(results: RunResults, plans: Sequence[Plan], paths: Sequence[str]) -> None:
    starts = {plan.job.weights for plan in plans if plan.replaces and plan.job.weights}
    for start in starts:
        if results.remove and _inside(start, results.output, paths):
            raise ConfigError(
                f"training starts from {start}, which run.replaced_results: remove would remove; "
                "set it to keep, or choose another outputpath"
            )


def _inside(folder: Path, output: Path, paths: Sequence[str]) -> bool:
    return folder.is_relative_to(output) and is_below(relative(folder, output), paths)


def _with_moved_weights(
    plan: Plan, output: Path, paths: Sequence[str], replaced: str | None
) -> Plan:
    weights = plan.job.weights
    if replaced is None or weights is None or not _inside(weights, output, paths):
        return plan
    moved = output / replaced / relative(weights, output)
    return replace(plan, job=replace(plan.job, weights=moved))


def with_moved_weights(config: Config) -> Config:
    """Find earlier weights where the run that is resumed has moved them."""
    if config.training.resume is False or config.model.pretrained is None:
        return config
    output, given = Path(config.output_path), Path(config.model.pretrained)
    record = (read_manifest(output) or Manifest()).modes.get(config.mode)
    if record is None or record.replaced is None or not _inside(given, output, [config.mode]):
        return config
    moved = output / record.replaced / relative(given, output)
    if not moved.exists():
        return config
    model = config.model.model_copy(update={"pretrained": str(moved)})
    return config.model_copy(update={"model": model})


def finish_training(results: RunResults, outcomes: Sequence[Outcome]) -> None:
    """Write down which models are finished, with the digests of their files.

    Tables over them are to be written again.

    Raises:
        ResourceError: Another run has begun to train there.
    """
    results.check_lock()
    finished = {
        relative(outcome.job.folder, results.output): files_of(outcome.job.folder)
        for outcome in outcomes
        if outcome.metrics is not None
    }

    def with_files(manifest: Manifest) -> Manifest:
        record = manifest.modes.get(results.mode)
        if record is None or record.run.id != results.run.id:
            raise mixed(results, record and record.run)
        folds = [
            fold.model_copy(update={"files": finished.get(fold.folder, {})})
            for fold in record.folds
        ]
        changes = {"folds": tuple(folds), "tables": ()}
        return with_mode(manifest, results.mode, record.model_copy(update=changes))

    update_manifest(results.output, with_files)


def begin_search(results: RunResults, tokenizer: RunTokenizer, *, continues: bool) -> None:
    """Make room for a search, unless one is continued, and write down that it is there."""
    results.check_lock()
    record = recorded(results)
    with held():
        if not continues or record is None:
            replaced = None if continues else results.replace_all()
            begun = ModeRecord(run=results.run, replaced=replaced)
            update_manifest(results.output, lambda found: with_mode(found, results.mode, begun))
        tokenizer.save(results)
        if not continues or not (results.folder / CONFIG_FILE).exists():
            results.publish()
