"""Small prepared data sets, what can befall them, and what they are used for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from damaged import Damage, changed, file_damages, json_damages, parquet_damages, plain_parquet

from biolm_ray.config.schema import Config
from biolm_ray.preparation.manifest import MANIFEST, PLACES, REJECTED, ROWS
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.streaming import stream_rows
from biolm_ray.tokenization.fitting import fit, make_settings

LINES = "".join(
    f"g{row}\t{','.join('acgu'[(row * step) % 4] for step in range(1, 4 + row % 5))}#{row}.5"
    f"\t{row / 2}\t{row % 3}\ttrain\n"
    for row in range(12)
)


def config_of(folder: Path) -> Config:
    """The settings under which the data of a folder are prepared, beside it."""
    source = folder / "rows.tsv"
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(LINES + "g0\tacgu\tno number\t1\ttrain\n")
    return Config.model_validate(
        {
            "mode": "fine-tune",
            "output_path": str(folder / "output"),
            "task": "regression",
            "data": {
                "path": str(source),
                "token_separator": ",",
                "specifier_separator": "#",
                "id_column": 1,
                "sequence_column": 2,
                "label_column": 3,
                "weight_column": 4,
                "split_column": 5,
                "on_bad_rows": "quarantine",
                "max_rejected_share": 0.5,
            },
            "training": {"scaling": "none"},
        }
    )


def prepared_again(folder: Path) -> PreparedData:
    """Prepare the data of a folder, or find that it was done before."""
    config = config_of(folder)
    texts = [line.split("\t")[1] for line in LINES.splitlines()]
    tokenizer = fit(texts, config.tokenization, make_settings(config))
    return prepare(config, tokenizer, folder / "prepared", label_kind="number")


def read_all(prepared: PreparedData) -> Any:
    """All that can be read of a data set, in all ways in which it is read."""
    rows = np.arange(prepared.num_rows)
    streamed = {
        number: (encoded.token_ids.astype(np.int32), np.array(encoded.specifiers), encoded.center)
        for number, encoded in stream_rows(prepared, rows)
    }
    encoded = [prepared.encoded(row) for row in rows.tolist()]
    return {
        "streamed": streamed,
        "plain": [(row.token_ids, np.array(row.specifiers), row.center) for row in encoded],
        "ids": prepared.ids,
        "some ids": prepared.ids_of(rows[::-2]),
        "labels": np.asarray(prepared.labels),
        "weights": np.asarray(prepared.weights),
        "splits": prepared.splits,
        "rows": prepared.row_numbers,
        "lengths": prepared.lengths,
        "places": [prepared.place(row) for row in rows.tolist()],
        "rejected": prepared.rejected().to_pylist(),
        "names": (prepared.target_names, prepared.label_name, prepared.num_specifiers),
        "facts": [prepared.manifest[name] for name in ("name", "digest", "files", "rejected")],
        "summary": dict(prepared.summary),
    }


def data_folder(folder: Path) -> Path:
    """Where the one data set of a folder lies."""
    (manifest,) = (folder / "prepared").glob(f"*/{MANIFEST}")
    return manifest.parent


def opened(folder: Path) -> Any:
    """Open the data set of a folder as a worker does, and read it."""
    names = {path.name for path in (folder / "prepared").iterdir() if path.name[0] != "."}
    (found,) = (folder / "prepared" / name for name in names - {"scans"})
    return read_all(PreparedData.open(found))


def found_before(folder: Path) -> Any:
    """Prepare the data of a folder in which that was done before, and read them."""
    return read_all(prepared_again(folder))


def damages_of(whole: Path) -> Iterator[Damage]:
    """All that can befall the data set of a folder."""
    data = data_folder(whole)
    inside = str(data.relative_to(whole))
    manifest = json.loads((data / MANIFEST).read_text())
    parts = [f"{ROWS}/{part['file']}" for part in manifest["parts"]]
    for name in (MANIFEST, PLACES, REJECTED, *parts):
        yield from file_damages(f"{inside}/{name}")
    yield from json_damages(f"{inside}/{MANIFEST}", manifest)
    yield from _manifest_damages(f"{inside}/{MANIFEST}", manifest)
    for name in (PLACES, REJECTED):
        yield from parquet_damages(f"{inside}/{name}", pq.read_table(data / name), plain_parquet)
    for name in parts:
        table = pq.read_table(data / name)
        yield from parquet_damages(f"{inside}/{name}", table, plain_parquet)
        yield from parquet_damages(f"{inside}/{name}", table, _write_part)
        yield _part_damage(f"{inside}/{name}", "token ids beyond the vocabulary", _beyond(table))


def older_manifest(folder: Path) -> Path:
    """Write the manifest of a folder's data set as one from before versions and sizes."""
    path = data_folder(folder) / MANIFEST
    content = json.loads(path.read_text())
    for key in ("format_version", "seal", "sizes", "vocabulary_size"):
        content.pop(key, None)
    for part in content["parts"]:
        part.pop("bytes", None)
    path.write_text(json.dumps(content))
    return folder


def _write_part(path: Path, table: pa.Table) -> None:
    """Write a table as a file of rows is laid out, whatever its columns are."""
    pq.write_table(
        table,
        path,
        compression={
            field.name: "none" if field.type == pa.large_binary() else "zstd"
            for field in table.schema
        },
        use_dictionary=False,
        write_statistics=False,
        data_page_size=(1 << 31) - 1,
    )


def _part_damage(name: str, what: str, rows: pa.Table) -> Damage:
    return Damage(f"{name}: {what}", lambda folder: _write_part(folder / name, rows), is_edit=True)


def _beyond(table: pa.Table) -> pa.Table:
    """The rows with token ids that no vocabulary of theirs has."""
    ids = [b"\xff" * len(value) for value in table["token_ids"].to_pylist()]
    place = table.column_names.index("token_ids")
    return table.set_column(place, table.schema.field(place), pa.array(ids, pa.large_binary()))


def _manifest_damages(name: str, manifest: Any) -> Iterator[Damage]:
    def damage(what: str, *steps: str | int, value: Any) -> Damage:
        text = json.dumps(changed(manifest, steps, value))
        return Damage(f"{name}: {what}", lambda place: (place / name).write_text(text), True)

    rows, start, more = manifest["parts"][0]["groups"][0]
    for what, group in {
        "start beyond the file": [rows, 2**40, more],
        "start at the limit": [rows, 2**62, more],
        "start 0": [rows, 0, more],
        "start of the row after": [rows, start + 9, more],
        "specifiers where the tokens are": [rows, start, start],
        "specifiers nowhere": [rows, start, None],
        "a row less": [rows - 1, start, more],
        "a row more": [rows + 1, start, more],
        "two numbers": [rows, start],
    }.items():
        yield damage(f"a group: {what}", "parts", 0, "groups", value=[group])
    yield damage(
        "two groups in place of one", "parts", 0, "groups", value=[[rows, start, more]] * 2
    )
    yield damage("a part twice", "parts", value=manifest["parts"] * 2)
    for file in ("../x.parquet", "/etc/passwd", "", "..", "a/b", "x\n"):
        yield damage(f"a part called {file!r}", "parts", 0, "file", value=file)
    yield damage("no parts", "parts", value=[])
    for kind in ("uint16", "int32", "float64", "O", "int64"):
        yield damage(f"ids of {kind}", "id_type", value=kind)
    for number in (0, 2, 2**40):
        yield damage(f"{number} specifiers", "num_specifiers", value=number)
    for number in (0, 11, 13, 2**40):
        yield damage(f"{number} rows", "summary", "rows", value=number)
    yield damage("no labels", "columns", value=[n for n in manifest["columns"] if n != "label"])
    yield damage("no weights", "columns", value=[n for n in manifest["columns"] if n != "weight"])
    yield damage("a column more", "columns", value=[*manifest["columns"], "label_2"])
    yield damage("names of targets", "target_names", value=["a", "b", "c"])
