"""What a run begins with: its model, its tokenizer, earlier weights, its rows and folds."""

import logging
from pathlib import Path

import numpy as np

from biolm_ray.config.schema import Config
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.data.splits import Fold, plan_folds
from biolm_ray.errors import ConfigError
from biolm_ray.experiment.first_lines import say_batches
from biolm_ray.experiment.waiting import Demand, await_place
from biolm_ray.logs import RESULT
from biolm_ray.models.batches import frame
from biolm_ray.models.card import read_card
from biolm_ray.models.checkpoint_tokenizer import checkpoint_tokenizer
from biolm_ray.models.registry import checkpoint_model, default_model, find_model
from biolm_ray.models.saved import described, is_model_folder
from biolm_ray.preparation.first_look import label_kind
from biolm_ray.preparation.labels import check_labels
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.quarantine import rows_without_logarithm
from biolm_ray.preparation.rejects import REJECTED_FILE
from biolm_ray.preparation.scanning import Progress
from biolm_ray.preparation.spread import FEWEST_BYTES
from biolm_ray.preparation.vocabulary import fit_tokenizer
from biolm_ray.results.manifest import MANIFEST, Manifest, read_manifest, results_of
from biolm_ray.tokenization.fitting import make_settings
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import MAPPINGS, TOKENIZER_FILE, Tokenizer
from biolm_ray.training.adaptation import check_adaptation
from biolm_ray.training.fold import model_inputs
from biolm_ray.training.outcome import why_unfinished
from biolm_ray.wording import counted, part_of

log = logging.getLogger("biolm_ray")


def choose_model(config: Config, weights: Path | None) -> Config:
    """Fill in the model's name and options, from earlier weights where the file names none.

    A plain Hugging Face checkpoint becomes an option of the model that reads such.

    Raises:
        ConfigError: No such model or option, the block size is too short for it, its encoder
            cannot be kept as it is, or the workers do not divide the micro-batches of a step.
    """
    _check_accumulation(config)
    model = config.model
    card = read_card(weights) if weights is not None else None
    if weights is not None and card is not None and model.name in {None, card.model}:
        described(weights, card, model.trusted)
        model = model.model_copy(
            update={
                "name": card.model,
                "options": {**card.options, **model.options},
            }
        )
        log.info("model %s, as in %s", model.name, weights)
    elif weights is not None and card is None and model.name is None:
        name, options = checkpoint_model(weights)
        model = model.model_copy(update={"name": name, "options": {**options, **model.options}})
        log.info("model %s, since %s is a checkpoint of that kind", name, weights)
    elif model.name is None and model.plugin is None:
        encoding = _encoding(config)
        model = model.model_copy(update={"name": default_model(encoding)})
        log.info("model %s, since none is named and the encoding is %s", model.name, encoding)
    spec, options = find_model(model)
    block_size = config.preprocessing.block_size
    if block_size < spec.min_length(options):
        raise ConfigError(
            f"blocksize {block_size} is too short for model {spec.name}; "
            f"it needs at least {spec.min_length(options)}"
        )
    if config.mode != "pre-train":
        has_weights = weights is not None or type(config.training.resume) is int
        check_adaptation(config.training, spec, options, has_weights=has_weights)
    return config.model_copy(update={"model": model.model_copy(update={"name": spec.name})})


def _encoding(config: Config) -> str:
    """The encoding of the tokenizer that is named, else the one asked for."""
    given = None if config.model.pretrained is None else Path(config.model.pretrained)
    folder = None if given is None else _tokenizer_folder(given)
    if folder is None:
        return config.tokenization.encoding
    return Tokenizer.load(folder, make_settings(config)).encoding


def _check_accumulation(config: Config) -> None:
    num_workers = max(1, config.resources.num_gpus)
    if config.training.gradient_accumulation % num_workers:
        raise ConfigError(
            f"gradacc {config.training.gradient_accumulation} cannot be dealt to {num_workers} "
            f"workers; use a multiple of {num_workers} (batchsize x gradacc rows make one step)"
        )


def earlier_weights(config: Config) -> Path | None:
    """Find the weights to start from: those named, else this experiment's pre-trained ones.

    Pre-training takes no more than the tokenizer from the folder named, unless it is to train a
    model for more epochs. A folder with a tokenizer alone serves fine-tuning, too.

    Raises:
        ConfigError: The folder named holds neither model nor tokenizer, or a model for each fold;
            or the model is not finished.
    """
    own = Path(config.output_path) / "pre-train"
    if config.model.from_scratch:
        return None
    if config.model.pretrained is None:
        return None if config.mode == "pre-train" else _own_pretrained(own)
    given = Path(config.model.pretrained)
    trains_on = type(config.training.resume) is int
    found = [folder for folder in _sources(given, config) if is_model_folder(folder)]
    if config.mode == "pre-train" and trains_on and is_model_folder(own):
        return own
    if config.mode != "pre-train" or trains_on:
        if found:
            _check_finished(found[0])
            return found[0]
        _refuse_folds(given, config)
    elif found:
        log.info(
            "%s gives its tokenizer alone; with resume: N its model is trained for N more epochs",
            found[0],
        )
    if _tokenizer_folder(given) is None:
        wanted = "tokenizer" if config.mode == "pre-train" else "model"
        raise ConfigError(
            f"pretrainedmodel {given} holds no {wanted}; give the folder of a model (with "
            f"config.json and its weights), of an experiment, or one with a {TOKENIZER_FILE}"
        )
    if config.mode != "pre-train" and not trains_on:
        log.info("pretrainedmodel %s has a tokenizer and no model: weights are fresh", given)
    return None


def _own_pretrained(own: Path) -> Path | None:
    """Give the experiment's own pre-trained model, which the manifest knows; None without one."""
    manifest = read_manifest(own.parent)
    if manifest is not None and "pre-train" in manifest.modes:
        _check_finished(own)
    elif not is_model_folder(own):
        return None
    elif manifest is not None:
        log.warning("%s: %s does not name it; it is used as it is", own, own.parent / MANIFEST)
    return own


def _check_finished(folder: Path) -> None:
    """Make sure that a model to start from is finished, if it is one of an experiment's.

    Raises:
        ConfigError: The run that trains it has not ended, or was broken off.
    """
    output, manifest = results_of(folder) or (folder, Manifest())
    for mode, record in manifest.modes.items():
        for fold in record.folds:
            problem = None
            if (output / fold.folder).resolve() == folder.resolve():
                problem = why_unfinished(folder, fold.files)
            if problem is not None:
                raise ConfigError(
                    f"the model to start from is not finished: {problem}; finish it with {mode} "
                    "--resume, name another one (pretrainedmodel), or set model.from_scratch: true"
                )


def more_epochs_of(config: Config, weights: Path | None) -> Config:
    """Turn a pre-training of a model from elsewhere for more epochs into one that starts from it.

    Broken off, it goes on; when finished, its own model is trained for more.
    """
    own, asked = Path(config.output_path) / "pre-train", config.training.resume
    if config.mode != "pre-train" or weights in (None, own) or type(asked) is not int:
        return config
    log.info("%d more epochs for the model of %s, into %s", asked, weights, own)
    training = config.training.model_copy(update={"num_epochs": asked, "resume": "auto"})
    return config.model_copy(update={"training": training})


def _places_of_models(given: Path) -> tuple[Path, ...]:
    return given, given / "pre-train", given / "fine-tune"


def _sources(given: Path, config: Config) -> list[Path]:
    """Where a folder may have a model to start from; not what this run is about to replace."""
    replaced = Path(config.output_path) / config.mode
    return [place for place in _places_of_models(given) if place == given or place != replaced]


def _tokenizer_folder(given: Path) -> Path | None:
    places = _places_of_models(given)
    return next((folder for folder in places if (folder / TOKENIZER_FILE).is_file()), None)


def _refuse_folds(given: Path, config: Config) -> None:
    """Name the models of the folds to someone who gives a cross-validated experiment."""
    for parent in reversed(_sources(given, config)):
        names = [path.name for path in parent.iterdir()] if parent.is_dir() else []
        models = [name for name in sorted_naturally(names) if is_model_folder(parent / name)]
        folds = [name for name in models if parent / name not in _places_of_models(given)]
        if folds:
            raise ConfigError(
                f"pretrainedmodel {given} is a cross-validated experiment with a model for each "
                f"fold ({', '.join(folds)}); choose one, such as {parent / folds[0]}"
            )


def find_tokenizer(
    config: Config, weights: Path | None, progress: Progress | None = None
) -> Tokenizer:
    """Load the tokenizer of earlier weights, a checkpoint or this experiment, or fit one."""
    return known_tokenizer(config, weights) or fit_run_tokenizer(config, progress)


def known_tokenizer(config: Config, weights: Path | None) -> Tokenizer | None:
    """Load the tokenizer of earlier weights, a checkpoint or this experiment; None without any.

    Raises:
        ConfigError: The experiment's tokenizer was learnt with other settings than those asked
            for.
    """
    output = Path(config.output_path)
    given = Path(config.model.pretrained) if config.model.pretrained else None
    wanted = make_settings(config)
    spec, options = find_model(config.model)
    checkpoint = spec.tokenizer_folder(options)
    if checkpoint is not None:
        log.info("tokenizer: that of the checkpoint %s", checkpoint)
        return checkpoint_tokenizer(checkpoint, wanted, remote_code=config.model.trust_remote_code)
    named = None if given is None else _tokenizer_folder(given)
    for folder in (weights, named, output):
        if folder is None or not (folder / TOKENIZER_FILE).exists():
            continue
        tokenizer = Tokenizer.load(folder, wanted)
        if folder == output:
            _check_asked(folder / TOKENIZER_FILE, tokenizer.settings, config)
        log.info("tokenizer: %s%s", folder / TOKENIZER_FILE, _unlike(tokenizer, config))
        return tokenizer.adapted(config.data, config.preprocessing)
    return None


def _check_asked(file: Path, learnt: TokenizerSettings, config: Config) -> None:
    """Refuse an experiment's own tokenizer where the run asks for another one.

    Settings that the run leaves out ask for nothing, but for the encoding.
    """
    asked, data = config.tokenization, config.data
    pairs = {"encoding": (learnt.encoding, asked.encoding)}
    pairs |= {
        f"data.{name}": (getattr(learnt, name), getattr(data, name))
        for name in MAPPINGS
        if name in data.model_fields_set
    }
    fitting = {} if learnt.fitting is None else learnt.fitting.model_dump()
    if learnt.encoding != "bpe":
        fitting.pop("max_token_length", None)  # of bpe alone
    pairs |= {
        f"tokenization.{name}": (value, getattr(asked, name))
        for name, value in {**fitting, "replacements": learnt.replacements}.items()
        if name in asked.model_fields_set
    }
    unlike = {name: values for name, values in pairs.items() if values[0] != values[1]}
    if unlike:
        has = " and ".join(f"the {name} {_said(value)}" for name, (value, _) in unlike.items())
        asks = " and ".join(_said(value) for _, value in unlike.values())
        raise ConfigError(
            f"{file} has {has}, this run asks for {asks}; "
            "run tokenize again or choose another outputpath"
        )


def _said(value: object) -> str:
    return "unset" if value is None else str(value)


def _unlike(tokenizer: Tokenizer, config: Config) -> str:
    """Say that a tokenizer has another encoding than the configuration names."""
    asked = config.tokenization.encoding
    if "encoding" not in config.tokenization.model_fields_set or asked == tokenizer.encoding:
        return ""
    return f" ({tokenizer.encoding}; the encoding {asked} of this run is not used)"


def fit_run_tokenizer(config: Config, progress: Progress | None = None) -> Tokenizer:
    """Fit a tokenizer on the run's data."""
    _await_readers(config)
    tokenizer = fit_tokenizer(config, label_kind=label_kind(config), progress=progress)
    log.log(
        RESULT,
        "tokenizer: %s, from %s",
        tokens_of(tokenizer),
        ", ".join(config.data.paths),
    )
    return tokenizer


def tokens_of(tokenizer: Tokenizer) -> str:
    """Count the tokens of a vocabulary by where they come from."""
    num_special = len(tokenizer.special_ids)
    num_bytes = 256 if tokenizer.encoding == "bpe" else 0
    num_own = len(tokenizer.vocabulary) - num_special - num_bytes
    beside = f" beside {num_bytes} single bytes," if num_bytes else ""
    return f"{counted(num_own, 'token')} learnt{beside} and {num_special} special ones"


def tokenize_data(
    config: Config,
    tokenizer: Tokenizer,
    *,
    prepared_in: str,
    folder: Path,
    progress: Progress | None = None,
    describe: bool = True,
) -> PreparedData:
    """Tokenize the run's data below `prepared_in`, unless an earlier run has.

    Rows that are set aside are written to `folder`; for `describe` see `prepare`.
    """
    _await_readers(config)
    return prepare(
        config,
        tokenizer,
        prepared_in,
        label_kind=label_kind(config),
        rejected_path=folder / REJECTED_FILE,
        progress=progress,
        describe=describe,
    )


def _await_readers(config: Config) -> None:
    """Wait for room in the cluster where the data are read by tasks, which would do so in silence.

    Small files are read in this process.
    """
    paths = [Path(path) for path in config.data.paths]
    if all(path.is_file() for path in paths):
        num_bytes = sum(path.stat().st_size for path in paths)
        if num_bytes < FEWEST_BYTES:
            return
    await_place(Demand(noun="reading task"), config.resources.wait_minutes)


def room_for_sequences(config: Config, tokenizer: Tokenizer) -> int:
    """Most tokens of a sequence that the model sees: the block size less its special tokens."""
    spec, _ = find_model(config.model)
    return frame(spec, model_inputs(config, tokenizer, 0), config.preprocessing).room


def plan_run(config: Config, prepared: PreparedData, tokenizer: Tokenizer) -> list[Fold]:
    """Divide the rows that are kept into folds.

    Args:
        config: Of the run, its model chosen.
        prepared: The data set.
        tokenizer: That it was made with.

    Raises:
        ConfigError: Settings of the splits contradict each other.
        DataError: The rows do not allow the division.
    """
    kept = np.arange(prepared.num_rows)
    if config.preprocessing.drop_longer:
        kept = prepared.rows_within(room_for_sequences(config, tokenizer))
        log.info("%s kept (only512)", part_of(len(kept), prepared.num_rows, "row"))
    kept = np.setdiff1d(kept, rows_without_logarithm(config, prepared), assume_unique=True)
    check_labels(config, prepared, kept)
    labels = prepared.labels
    classes = [str(labels[i]) for i in kept] if config.task == "classification" and labels else None
    splits = prepared.splits
    folds = plan_folds(
        config.splits,
        None if splits is None else [splits[i] for i in kept],
        len(kept),
        config.training.seed,
        classes,
    )
    if config.splits.draws_by_ratio and splits is not None:
        log.warning(
            "rows are drawn by splitratio, whatever stands in the column of the splits (splitpos): "
            "rows of the same value may both train and test; leave splitratio out to divide them "
            "by the column"
        )
    smallest = min(folds, key=lambda fold: len(fold.train))
    say_batches(config, len(smallest.train))
    return [fold.of_rows(kept) for fold in folds]
