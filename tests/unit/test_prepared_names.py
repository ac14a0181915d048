"""What the names of prepared data sets depend on."""

from biolm_ray.config.schema import Column, DataConfig
from biolm_ray.data.columns import Layout
from biolm_ray.preparation.prepare import named_settings

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
