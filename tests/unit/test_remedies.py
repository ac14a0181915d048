"""Settings that messages advise, written for the command line."""

import logging

import pytest

from biolm_ray.config.remedies import as_flags, flags_in_messages


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        ("set data.decimal: ','", "give --set data.decimal=,"),
        (
            "set data.skip_lines: 1 and data.column_separator: ';' (columnsep)",
            "give --set data.skip_lines=1 and --set data.column_separator=';' (columnsep)",
        ),
        ("with data.on_bad_rows: quarantine", "with --set data.on_bad_rows=quarantine"),
        ("go on (data.on_bad_rows: quarantine)", "go on (--set data.on_bad_rows=quarantine)"),
        (
            "set data.missing_values: ['NA', '-']",
            "give --set data.missing_values=\"['NA', '-']\"",
        ),
        ("set data.column_separator: '\\t'", "give --set data.column_separator='\\t'"),
    ],
)
def test_remedies_become_flags_that_a_shell_reads(said, flags):
    assert as_flags(said) == flags


@pytest.mark.parametrize(
    "said",
    [
        "command line, --set data.decimal: found 'x'; expected one of ., ,",
        "model.pretrained: s3://a is an address",
        "set scaling: standard",
    ],
)
def test_settings_that_are_complained_of_stay_as_they_are(said):
    assert as_flags(said) == said


def test_warnings_of_a_run_without_a_file_advise_flags(caplog):
    log = logging.getLogger("biolm_ray")
    with flags_in_messages():
        log.warning("%s: if so, set data.letter_case: upper", "rows.tsv")
    log.warning("set data.letter_case: upper")
    assert caplog.messages == [
        "rows.tsv: if so, give --set data.letter_case=upper",
        "set data.letter_case: upper",
    ]
