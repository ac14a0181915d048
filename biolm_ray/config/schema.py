"""The configuration: one frozen, typed tree with the defaults of every setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
)

Mode = Literal["tokenize", "pre-train", "fine-tune", "predict", "interpret", "tune"]
_NOT_A_NUMBER = ("NaN", "nan", "-NaN", "-nan")
MISSING_VALUES = ("NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", *_NOT_A_NUMBER, "NULL", "null", "?")
"""What pandas reads as missing, but for "None", which may be a class; and the question mark."""
MODES: tuple[Mode, ...] = ("tokenize", "pre-train", "fine-tune", "predict", "interpret", "tune")


MOST_COUNT = 2**31 - 1
"""Of a setting that counts something: beyond any use, and far from what overflows."""
MOST_SEED = 2**63 - 1
MOST_NUMBER = 1e30
"""Of a setting that is a number: products of some such still fit into 32 bits."""
MOST_MINUTES = 1e8
"""Some 190 years: longer waits overflow the clocks of the system."""
COMMON_BOUNDS = (MOST_COUNT, MOST_SEED, MOST_NUMBER, MOST_MINUTES)

PositiveInt = Annotated[int, Gt(0), Le(MOST_COUNT)]
NonNegativeInt = Annotated[int, Ge(0), Le(MOST_COUNT)]
PositiveFloat = Annotated[float, Gt(0), Le(MOST_NUMBER)]
Minutes = Annotated[float, Gt(0), Le(MOST_MINUTES)]


class Section(BaseModel):
    """A group of settings: frozen, closed to unknown keys, without infinite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    )

    @field_validator("*")
    @classmethod
    def _fits_64_bits(cls, value: Any) -> Any:
        """Refuse whole numbers that no library could take, in options of any model too."""
        if isinstance(value, int) and not -MOST_SEED <= value <= MOST_SEED:
            raise ValueError(f"a whole number of at most {MOST_SEED}")
        return value


@dataclass(frozen=True)
class Column:
    """A column of the input file, by 0-based index or by its name in the header."""

    index: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        return f"column {self.index + 1}" if self.index is not None else f"column '{self.name}'"


def _read_column(value: Any) -> Any:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    if isinstance(value, str):
        return Column(name=value)
    if value < 1:
        raise ValueError("columns are counted from 1")
    if value > MOST_COUNT:
        raise ValueError(f"there are at most {MOST_COUNT} columns")
    return Column(index=value - 1)


def _read_columns(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _read_column(value)
    if not value:
        raise ValueError("a list of columns needs at least one")
    return _read_column(value[0]) if len(value) == 1 else tuple(map(_read_column, value))


def _write_column(column: Column | None) -> int | str | None:
    if column is None:
        return None
    return column.name if column.index is None else column.index + 1


def _write_columns(columns: Column | tuple[Column, ...]) -> Any:
    """A list where there are several, or where a name alone would be read as a list."""
    written = [_write_column(column) for column in _as_tuple(columns)]
    is_plain = len(written) == 1 and not any(sign in str(written[0]) for sign in ",[(")
    return written[0] if is_plain else written


def _as_tuple(columns: Column | tuple[Column, ...] | None) -> tuple[Column, ...]:
    if columns is None:
        return ()
    return columns if isinstance(columns, tuple) else (columns,)


def _read_replacements(value: Any) -> Any:
    """A single replacement of a token is a list of one."""
    if not isinstance(value, dict):
        return value
    return {token: (new,) if isinstance(new, str) else new for token, new in value.items()}


ReplacementsSetting = Annotated[
    dict[str, Annotated[tuple[str, ...], Field(min_length=1)]], BeforeValidator(_read_replacements)
]

ColumnSetting = Annotated[
    Column, BeforeValidator(_read_column), PlainSerializer(_write_column, when_used="unless-none")
]

ColumnsSetting = Annotated[
    Column | tuple[Column, ...],
    BeforeValidator(_read_columns),
    PlainSerializer(_write_columns, when_used="unless-none"),
]


class DataConfig(Section):
    """Where the rows are and what their columns mean. YAML counts columns from 1."""

    path: str | tuple[str, ...]
    format: Literal["auto", "table", "fasta", "jsonl", "parquet", "datasets"] = "auto"
    has_header: bool = False
    skip_lines: NonNegativeInt = 0
    column_separator: str | None = None
    decimal: Literal[".", ","] = "."
    remove_gaps: bool = False
    token_separator: str | None = None
    specifier_separator: str | None = None
    letter_case: Literal["keep", "upper", "lower"] = "keep"
    nucleotides: Literal["keep", "rna", "dna"] = "keep"
    id_column: ColumnSetting = Column(index=0)
    sequence_column: ColumnSetting | None = None
    label_column: ColumnsSetting | None = None
    weight_column: ColumnSetting | None = None
    split_column: ColumnSetting | None = None
    missing_values: tuple[str, ...] = MISSING_VALUES
    splits_to_use: tuple[str, ...] | None = None
    max_rows: PositiveInt | None = None
    allow_duplicate_ids: bool = False
    max_unknown_share: float = Field(default=0.05, ge=0, le=1)
    on_bad_rows: Literal["stop", "quarantine"] = "stop"
    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    prepared_path: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, folders and patterns, also where there is just one."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def label_columns(self) -> tuple[Column, ...]:
        """The columns of the labels, also where there is just one, or none."""
        return _as_tuple(self.label_column)


MOST_TOKENS = MOST_COUNT
"""Of a sequence: lengths are counted in 32 bits."""


class PreprocessingConfig(Section):
    """What becomes of a sequence's tokens before a model sees them."""

    block_size: int = Field(default=512, gt=0, le=MOST_TOKENS)
    cut_side: Literal["right", "left"] = "right"
    center_token: str | None = None
    drop_markers: bool = False
    region: Literal["whole", "utr3", "outside_utr3"] = "whole"
    drop_longer: bool = False


class TokenizationConfig(Section):
    """How sequences become tokens."""

    encoding: str = Field(default="atomic", pattern=r"^(atomic|bpe|[1-9]mer)$")
    sample_size: PositiveInt | None = None
    vocabulary_size: PositiveInt = 20_000
    min_frequency: PositiveInt = 2
    max_token_length: PositiveInt = 10
    replacements: dict[str, str] = {}


class SplitsConfig(Section):
    """Which rows train, validate and test."""

    method: Literal["k-fold", "repeated hold-out"] = "k-fold"
    num_folds: PositiveInt | None = None
    cross_validate: bool | None = None
    ratio: tuple[PositiveFloat, ...] | None = None
    validation_splits: tuple[tuple[str, ...], ...] | None = None
    test_splits: tuple[tuple[str, ...], ...] | None = None
    leave_out: tuple[str, ...] | None = None

    @property
    def draws_by_ratio(self) -> bool:
        """Whether the ratio sizes the parts; k-fold cross-validation has sizes of its own."""
        is_k_fold = self.method == "k-fold" and (self.num_folds or self.cross_validate)
        return self.ratio is not None and not is_k_fold


class TrustedCode(Section):
    """Code besides our own that the user of a run lets it execute.

    It is told by command line and configuration alone, never by a model folder.

    Attributes:
        plugin: A Python file or module with models.
        remote_code: Whether a checkpoint's own Python files may run.
    """

    plugin: str | None = None
    remote_code: bool = False


OWN_CODE = TrustedCode()
"""No code but our own."""


class ModelConfig(Section):
    """Which model, its size, and where earlier weights lie. Other keys are the model's own."""

    name: str | None = None
    pretrained: str | None = None
    from_scratch: bool = False
    plugin: str | None = None
    trust_remote_code: bool = False
    allow_missing_folds: bool = False
    options: dict[str, Any] = {}

    @property
    def trusted(self) -> TrustedCode:
        """The code besides our own that may run."""
        return TrustedCode(plugin=self.plugin, remote_code=self.trust_remote_code)


class TrainingConfig(Section):
    """How a model is trained; what is unset comes from the model's own recipe."""

    batch_size: PositiveInt | None = None
    gradient_accumulation: PositiveInt = 1
    num_epochs: PositiveInt | None = None
    patience: PositiveInt | None = None
    learning_rate: PositiveFloat | None = None
    weight_decay: float | None = Field(default=None, ge=0, le=MOST_NUMBER)
    gradient_clip: PositiveFloat | None = None
    schedule: Literal["constant", "linear", "cosine"] | None = None
    warmup_share: float | None = Field(default=None, ge=0, lt=1)
    loss: Literal["mse", "huber", "mae"] = "mse"
    stop_metric: Literal["loss", "pearson", "spearman", "auroc", "f1"] | None = None
    scaling: Literal["none", "log", "minmax", "standard"] = "standard"
    weighted: bool = False
    class_weights: Literal["balanced", "none"] = "balanced"
    feed: Literal["indexed", "streaming"] = "indexed"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    checkpoint_minutes: Minutes = 10
    freeze: Literal["none", "encoder", "gradual"] = "none"
    lora_rank: PositiveInt | None = None
    lora_alpha: PositiveInt | None = None
    resume: bool | PositiveInt | Literal["auto"] = False
    seed: int = Field(default=0, ge=0, le=MOST_SEED)


class ResourcesConfig(Section):
    """What a run may take of the machine or the cluster."""

    num_gpus: Literal[0, 1, 2, 4] = 1
    accelerator: Literal["auto", "cpu"] = "auto"
    parallel_folds: PositiveInt | None = None
    max_failures: NonNegativeInt = 3
    wait_minutes: Minutes = 30
    address: str | None = None


class InterpretConfig(Section):
    """Which edits are scored, and what is made of the scores."""

    edit: Literal["remove", "mask", "replace", "saturation", "insert"] = "remove"
    window: PositiveInt = 1
    replacements: ReplacementsSetting = {}
    alphabet: tuple[str, ...] | None = None
    replace_specifiers: bool = False
    class_name: str | None = None
    folds: tuple[NonNegativeInt, ...] | None = None
    num_workers: PositiveInt | None = None
    distribute: Literal["actors", "tune"] = "actors"
    compress: bool = False
    region_columns: ColumnsSetting | None = None
    kmer: int | None = Field(default=None, ge=0, le=12)
    motifs: dict[str, str] = {}
    plots: NonNegativeInt = 6
    coordinates: str | None = None

    @property
    def columns_of_regions(self) -> tuple[Column, ...]:
        """The columns that tell the regions, also where there is just one, or none."""
        return _as_tuple(self.region_columns)


class Range(Section):
    """A range to search: uniform, on a log scale, or in whole steps."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


class TuneConfig(Section):
    """What the search varies, by the dotted name of a setting, and how long it may take."""

    space: dict[str, tuple[Any, ...] | Range] = {}
    metric: Literal["loss", "pearson", "spearman", "r2", "auroc", "f1"] | None = None
    num_samples: PositiveInt = 10
    budget_minutes: Minutes | None = None
    max_parallel_trials: PositiveInt | None = None
    resume: bool = True


class RunConfig(Section):
    """How much is said, and where the run stops."""

    quiet: bool = False
    prepare_only: bool = False
    prepare_again: bool = False
    replaced_results: Literal["keep", "remove"] = "keep"
    mlflow: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:.")


class Config(Section):
    """Every setting of one run."""

    mode: Mode
    task: Literal["regression", "classification"] | None = None
    output_path: str
    data: DataConfig
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    tokenization: TokenizationConfig = TokenizationConfig()
    splits: SplitsConfig = SplitsConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    resources: ResourcesConfig = ResourcesConfig()
    interpret: InterpretConfig = InterpretConfig()
    tune: TuneConfig = TuneConfig()
    run: RunConfig = RunConfig()
