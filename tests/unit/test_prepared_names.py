"""What the names of prepared data sets depend on."""

import pytest

from biolm_ray.config.schema import Column, Config, DataConfig, TokenizationConfig
from biolm_ray.data.columns import Layout
from biolm_ray.data.reading import plan_input
from biolm_ray.preparation.prepare import _name, named_settings
from biolm_ray.preparation.scanning import Scanned
from biolm_ray.tokenization.fitting import fit, make_settings

TABLE = Layout(separator="\t", id=0, sequence=1)
FASTA = Layout(format="fasta", names=("id", "sequence"), id=0, sequence=1)
NAMED_BEFORE = {
    "has_header": False,
    "token_separator": None,
    "specifier_separator": None,
    "id_column": 1,
    "sequence_column": 2,
    "label_column": None,
    "weight_column": None,
    "split_column": None,
    "max_rows": None,
    "allow_duplicate_ids": False,
    "on_bad_rows": "stop",
}


def test_tables_with_older_settings_only_keep_the_names_they_had():
    config = DataConfig(path="a.tsv", sequence_column=Column(index=1))
    assert named_settings(config, [TABLE])[:2] == (2, NAMED_BEFORE)


def test_data_sets_of_fasta_get_other_names_since_more_is_understood():
    config = DataConfig(path="a.fa", sequence_column=Column(index=1))
    assert named_settings(config, [FASTA])[:2] == (3, NAMED_BEFORE)


def name_of(folder, **settings) -> str:
    path = folder / "rows.tsv"
    path.write_text("g1\tacgu\tnuc\ng2\tacca\tcyt\n")
    data = {"path": str(path), "sequence_column": 2, "label_column": 3, **settings}
    config = Config.model_validate({"mode": "predict", "output_path": "out", "data": data})
    plan = plan_input(config.data, "class")
    scanned = Scanned(plan=plan, pieces=(), digest="d", num_rows=2, num_bytes=1)
    tokenizer = fit(["acguacgu"], TokenizationConfig(), make_settings(config))
    return _name(config, scanned, tokenizer)


def test_a_data_set_keeps_its_name_over_updates(tmp_path):
    assert name_of(tmp_path) == "f14919a39e89a123d5173debe184f51c"


@pytest.mark.parametrize(
    "settings", [{"missing_values": ["-"]}, {"on_bad_rows": "quarantine"}, {"max_rows": 1}]
)
def test_settings_that_change_rows_change_the_name(tmp_path, settings):
    assert name_of(tmp_path, **settings) != name_of(tmp_path)
