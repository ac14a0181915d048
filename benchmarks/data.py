"""How fast data are prepared and fed, and how much memory that takes.

Makes its own files from the demo's transcripts. Prints a table and, as its last line, one JSON
object; draws the memory of the large run over time. About three minutes, 15 GB of disk.

    make bench-data
    make bench-data ARGS="--large-gb 1 --folder /somewhere/with/room"
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import ray
import torch
from measures import print_measures
from processes import MemoryWatch, cpu_seconds
from saluki_step import INPUTS, rows_like_yeast, seconds_per_step

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config
from biolm_ray.data.splits import plan_folds
from biolm_ray.demo.data import write_demo_data
from biolm_ray.models.batches import frame
from biolm_ray.models.saluki import SPEC
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.vocabulary import fit_tokenizer
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.batching import epoch_steps
from biolm_ray.training.fold_data import FoldData

REFERENCE_SECONDS_PER_ROW = 0.029
"""CPU time the reference takes to read and tokenize a row of 2,500 tokens, measured once."""

TRANSCRIPTS_PER_ROW = 6
SMALL_BYTES = 400_000_000
MIDDLE_BYTES = 2_000_000_000
NUM_INDEXED_ROWS = 1_000_000


def write_transcripts(path: Path, num_bytes: int) -> int:
    """Write a TSV of rows of about 2,300 tokens, up to a size; give the number of rows.

    Rows are drawn once and then repeated under new names.
    """
    lines = [line.split("\t") for line in _demo_lines(path.parent, 600 * TRANSCRIPTS_PER_ROW)]
    rows = [
        f"{first // TRANSCRIPTS_PER_ROW % 10}\t{lines[first][2]}\t"
        + ",".join(line[3] for line in lines[first : first + TRANSCRIPTS_PER_ROW])
        for first in range(0, len(lines), TRANSCRIPTS_PER_ROW)
    ]
    return _repeat(path, "id\tfold\thalf_life_hours\tsequence\n", rows, num_bytes=num_bytes)


def write_reporters(path: Path, num_rows: int) -> None:
    """Write a TSV of short rows: 110 letters without separators."""
    random = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", np.uint8)[random.integers(4, size=(10_000, 110))]
    rows = [f"{row % 10}\t{row / 100:.2f}\t{bytes(letters[row]).decode()}" for row in range(10_000)]
    _repeat(path, "id\tfold\thalf_life_hours\tsequence\n", rows, num_rows=num_rows)


def _demo_lines(folder: Path, num_rows: int) -> list[str]:
    path = folder / "drawn.tsv"
    write_demo_data(path, num_rows)
    return path.read_text(encoding="utf-8").splitlines()[1:]


def _repeat(
    path: Path,
    header: str,
    rows: list[str],
    *,
    num_bytes: int | None = None,
    num_rows: int | None = None,
) -> int:
    written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(header)
        while written < num_rows if num_rows is not None else file.tell() < (num_bytes or 0):
            file.write("".join(f"t{written + row:09d}\t{text}\n" for row, text in enumerate(rows)))
            written += len(rows)
    return written


def config_for(path: Path, output: Path, separator: str | None = ",", **settings: Any) -> Config:
    """The configuration of a regression on a file of ours."""
    return load_config(
        None,
        "fine-tune",
        {
            "task": "regression",
            "data.path": str(path),
            "output_path": str(output),
            "data.has_header": True,
            "data.token_separator": separator,
            "data.id_column": "id",
            "data.sequence_column": "sequence",
            "data.label_column": "half_life_hours",
            "data.split_column": "fold",
            "preprocessing.block_size": 12_288,
            **settings,
        },
    )


def prepare_file(path: Path, output: Path, **settings: Any) -> tuple[PreparedData, float, float]:
    """Prepare a file anew; give the data set, CPU seconds of all processes, and seconds.

    The vocabulary is learnt from the first rows beforehand and does not count, nor does the start
    of Ray.
    """
    config = config_for(path, output, **settings)
    first_rows = config.data.model_copy(update={"max_rows": 200})
    tokenizer = fit_tokenizer(config.model_copy(update={"data": first_rows}))
    before, started = cpu_seconds(psutil.Process()), time.monotonic()
    prepared = prepare(config, tokenizer, output / "prepared", label_kind="number")
    return prepared, cpu_seconds(psutil.Process()) - before, time.monotonic() - started


def start_ray(num_cpus: int | None = None) -> None:
    """Start Ray, by default with all cores."""
    num_cpus = num_cpus or os.cpu_count()
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False)


def warm_up(folder: Path) -> None:
    """Prepare a small file, so that the workers of Ray are started and have loaded their code."""
    path = folder / "warm.tsv"
    write_transcripts(path, 100 << 20)
    prepare_file(path, folder / f"warm_{time.monotonic_ns()}")


def measure_preparing(folder: Path) -> dict[str, float]:
    """Text to parquet: MB per CPU second over all processes, and CPU time to a row.

    One task at a time, since two cores that share their caches count more CPU seconds for the same
    work; then as many as there are cores, for the rate on the clock.
    """
    path = folder / "middle.tsv"
    num_rows = write_transcripts(path, MIDDLE_BYTES)
    seconds = walls = 0.0
    for num_cpus in (1, os.cpu_count()):
        start_ray(num_cpus)
        warm_up(folder)
        _, cpu, walls = prepare_file(path, folder / f"middle_{num_cpus}")
        seconds = seconds or cpu
        ray.shutdown()
    size = path.stat().st_size
    return {
        "atomic_mb_per_cpu_second": size / 1e6 / seconds,
        "atomic_mb_per_second_all_cores": size / 1e6 / walls,
        "row_against_reference": REFERENCE_SECONDS_PER_ROW / (seconds / num_rows),
    }


def measure_bpe(folder: Path) -> dict[str, float]:
    """Encoding blocks by BPE against a bare loop of `encode_batch` over cleaned texts."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    lines = _demo_lines(folder, 4_000)
    texts = [line.split("\t")[3] for line in lines]
    settings = {"tokenization.encoding": "bpe", "tokenization.vocabulary_size": 1_000}
    path = folder / "bpe.tsv"
    path.write_text("id\tfold\thalf_life_hours\tsequence\n" + "\n".join(lines) + "\n")
    tokenizer = fit_tokenizer(config_for(path, folder / "bpe", **settings))
    cleaned = ["".join(text.split(",")) for text in texts]
    bare = _bare_encoder(tokenizer, folder)
    ours = _cpu_time(lambda: tokenizer.encode_block(pa.array(texts, pa.large_string())))
    loop = _cpu_time(
        lambda: [
            encoding.ids
            for first in range(0, len(cleaned), 1000)
            for encoding in bare.encode_batch(cleaned[first : first + 1000])
        ]
    )
    return {"bpe_against_bare_loop": loop / ours}


def _bare_encoder(tokenizer: Tokenizer, folder: Path) -> Any:
    from tokenizers import Tokenizer as Bare

    tokenizer.save(folder / "bare")
    document = json.loads((folder / "bare" / "tokenizer.json").read_text(encoding="utf-8"))
    document |= {"normalizer": None, "post_processor": None, "added_tokens": []}
    return Bare.from_str(json.dumps(document))


def _cpu_time(work: Callable[[], object], rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def measure_memory(folder: Path, large_bytes: int) -> dict[str, float]:
    """Peak memory of all processes for a large file against a small one; draws the large one."""
    peaks = {}
    for name, size in (("small", SMALL_BYTES), ("large", large_bytes)):
        path = folder / f"{name}.tsv"
        write_transcripts(path, size)
        command = [sys.executable, __file__, "--prepare", str(path), "--folder", str(folder / name)]
        with (
            subprocess.Popen(command) as child,
            MemoryWatch(psutil.Process(child.pid)) as watch,
        ):
            code = child.wait()
        assert code == 0, f"preparing {path} failed"
        peaks[name] = watch.peak
        _draw(watch.samples, folder / f"memory_{name}.png", f"preparing {size / 1e9:.1f} GB")
    return {
        "memory_large_against_small": peaks["large"] / peaks["small"],
        "peak_mb_large": peaks["large"] / 1e6,
        "peak_mb_small": peaks["small"] / 1e6,
    }


def _draw(samples: list[tuple[float, int]], path: Path, title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    seconds, sizes = zip(*samples, strict=True)
    figure, axes = plt.subplots(figsize=(7, 3.2))
    axes.plot(seconds, np.array(sizes) / 1e6)
    axes.set(xlabel="seconds", ylabel="memory of all processes (MB)", ylim=(0, None), title=title)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    print(f"drawn: {path}", file=sys.stderr)


def measure_first_batch(folder: Path) -> dict[str, float]:
    """Seconds from opening a prepared set of a million rows to its first training batch."""
    path = folder / "reporters.tsv"
    write_reporters(path, NUM_INDEXED_ROWS)
    config = config_for(path, folder / "reporters", separator=None)
    start_ray()
    location = prepare_file(path, folder / "reporters", separator=None)[0].location
    ray.shutdown()
    started = time.monotonic()
    next(batches(config, location, batch_size=32))
    return {"first_batch_seconds": time.monotonic() - started}


def batches(config: Config, location: str, batch_size: int) -> Iterator[Any]:
    """The training batches of a prepared set's first fold."""
    prepared = PreparedData.open(location)
    fold = plan_folds(config.splits, prepared.splits, len(prepared), seed=0)[0]
    inputs = INPUTS.model_copy(update={"block_size": config.preprocessing.block_size})
    data = FoldData(config, fold, prepared, frame(SPEC, inputs, config.preprocessing))
    for step in epoch_steps(
        fold.train, batch_size=batch_size, accumulation=1, seed=0, fold=0, epoch=0
    ):
        for rows in step:
            yield data.batches.load(rows)


def measure_feeding(folder: Path) -> dict[str, float]:
    """Rows delivered in batches of 32, against what a step of Saluki takes of that length."""
    torch.set_num_threads(1)
    path = folder / "yeast.tsv"
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(np.log(1_500), 0.6, 4_000)).astype(int).clip(300, 5_600)
    with path.open("w", encoding="utf-8") as file:
        file.write("id\tfold\thalf_life_hours\tsequence\n")
        for row, length in enumerate(lengths):
            letters = np.frombuffer(b"ACGT", np.uint8)[random.integers(4, size=length)]
            file.write(f"g{row}\t{row % 10}\t1.5\t{bytes(letters).decode()}\n")
    location = prepare_file(path, folder / "yeast", separator=None)[0].location
    config = config_for(path, folder / "yeast", separator=None)
    feed = batches(config, location, batch_size=32)
    next(feed)
    started = time.process_time()
    num_rows = sum(len(batch.lengths) for batch in feed)
    rate = num_rows / (time.process_time() - started)
    token_ids, row_lengths = rows_like_yeast()
    module = SPEC.build(SPEC.options(), INPUTS)
    step_rate = len(row_lengths) / seconds_per_step(module, token_ids, row_lengths)
    return {"rows_fed_per_second": rate, "feeding_against_step": rate / step_rate}


TABLE = (
    ("atomic_mb_per_cpu_second", "text to parquet, MB per CPU second", 40, 150),
    ("row_against_reference", "the same to a row, reference 29 ms", 100, 500),
    ("bpe_against_bare_loop", "BPE against a bare encode_batch loop", 0.8, 0.95),
    ("memory_large_against_small", "peak memory, large file against small", 1.2, 1.05),
    ("first_batch_seconds", "first batch of 1,000,000 prepared rows, s", 2, 0.5),
    ("feeding_against_step", "rows fed against a Saluki step", 20, 100),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="for the files; by default a temporary one")
    parser.add_argument("--large-gb", type=float, default=4.0, help="size of the large file")
    parser.add_argument("--only", help="the name of one measure: preparing, bpe, ...")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare is not None:
        start_ray()
        prepare_file(given.prepare, given.folder)
        ray.shutdown()
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = given.folder or Path.cwd()
        work = Path(temporary)
        measures: dict[str, Callable[[], dict[str, float]]] = {
            "preparing": lambda: measure_preparing(work),
            "bpe": lambda: measure_bpe(work),
            "memory": lambda: measure_memory(work, int(given.large_gb * 1e9)),
            "first_batch": lambda: measure_first_batch(work),
            "feeding": lambda: measure_feeding(work),
        }
        results: dict[str, float] = {}
        for name, measure in measures.items():
            if given.only in (None, name):
                print(f"measuring {name} ...", file=sys.stderr)
                results |= measure()
        for drawing in work.glob("*.png"):
            drawing.rename(folder / drawing.name)
    print_measures(TABLE, results)


if __name__ == "__main__":
    main()
