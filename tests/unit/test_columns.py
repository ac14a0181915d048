"""Columns of a file and the fields of its lines."""

import re
from dataclasses import replace

import pytest

from biolm_ray.config.schema import MISSING_VALUES, DataConfig
from biolm_ray.data.columns import Layout, make_layout, read_number, shown, split_fields
from biolm_ray.data.fields import LEAVE_OUT, read_line
from biolm_ray.errors import ConfigError, DataError

LAYOUT = Layout(separator="\t", id=0, sequence=1, label=2, label_kind="number")


@pytest.mark.parametrize(
    ("line", "separator", "fields"),
    [
        ("a,b,,c", ",", ["a", "b", "", "c"]),
        ('"a,b",c', ",", ["a,b", "c"]),
        ('x, "a,b" ,c', ",", ["x", "a,b ", "c"]),
        ('"say ""a""",c', ",", ['say "a"', "c"]),
        ('"",""', ",", ["", ""]),
        ('5" long,c', ",", ['5" long', "c"]),
        ('"a||b"||c', "||", ["a||b", "c"]),
        ('"a" "b"', " ", ["a", "b"]),
        ('a,"b', ",", None),
    ],
)
def test_separators_within_quotes_do_not_count(line, separator, fields):
    assert split_fields(line, separator) == fields


MISSING = (
    "stands for a missing value (data.missing_values); leave such rows out with "
    "data.on_bad_rows: quarantine"
)


@pytest.mark.parametrize("text", ["1", "-1.5", "+.5", "3.", "1e-5", "2E+3"])
def test_decimal_numbers_are_read(text):
    assert read_number(text) == float(text)


@pytest.mark.parametrize(
    "text", ["", "n/a", "nan", "inf", "1_000", "1,5", "0x10", "1e39", "1e999", "١"]
)
def test_other_texts_are_no_numbers(text):
    assert read_number(text) is None


def test_fields_are_stripped():
    row = read_line(" g1 \t ac gu \t 1.5 ", LAYOUT)
    assert (row.id, row.sequence, row.label, row.problem) == ("g1", "ac gu", 1.5, None)


@pytest.mark.parametrize(
    ("line", "rule", "message"),
    [
        ("g1\tacgu", "columns", "has 2 columns, column 3 asked for as label"),
        ("g1\t \t1", "sequence", "the sequence in column 2 is empty"),
        ("\tacgu\t1", "id", "the id in column 1 is empty"),
        ("g1\tacgu\tx", "label", "label 'x' in column 3 is not a finite number"),
        ("g1\tacgu\tn/a", "label", f"label 'n/a' in column 3 {MISSING}"),
        ("g1\tacgu\t", "label", f"the label in column 3 is empty; {LEAVE_OUT}"),
        ('"g1\tacgu\t1', "quotes", "a double quote opens a field and is not closed on the line"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_by_column(line, rule, message):
    assert read_line(line, LAYOUT).problem == (rule, message)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("g\r1", r"'g\r1'"),
        ("\x1b[2Jg", r"'\x1b[2Jg'"),
        ("g\x00", r"'g\x00'"),
        ("g\u202e1", r"'g\u202e1'"),
        ("g\u20281", r"'g\u20281'"),
    ],
)
def test_control_characters_are_refused_in_all_names_and_shown_escaped(name, seen):
    layout = Layout(separator="\t", id=0, sequence=1, label=2, label_kind="class", split=3)
    for fields, role, place in (
        ([name, "ac", "a", "b"], "id", "column 1"),
        (["g1", "ac", name, "b"], "label", "column 3"),
        (["g1", "ac", "a", name], "split", "column 4"),
    ):
        problem = read_line("\t".join(fields), layout).problem
        assert problem == (role, f"{role} {seen} in {place} holds a control character: remove it")


@pytest.mark.parametrize(
    ("letter", "name"),
    [
        ("\u200b", r"U\+200B \(zero width space\)"),
        ("\ufeff", r"U\+FEFF \(zero width no-break space\)"),
        ("\xa0", r"U\+00A0 \(no-break space\)"),
        ("\xad", r"U\+00AD \(soft hyphen\)"),
    ],
)
def test_a_character_of_a_sequence_that_is_not_seen_is_named(letter, name):
    problem = read_line(f"g1\ta,c{letter},g\t1", LAYOUT).problem
    assert problem is not None
    assert problem.rule == "sequence"
    assert re.search(
        rf"in column 2 holds a character that is not seen, {name}: rem", problem.message
    )
    for seen in ("ä,ö", "a c", "a\x1fc"):
        assert read_line(f"g1\t{seen}\t1", LAYOUT).sequence == seen


@pytest.mark.parametrize("name", ["Länge", "β-actin", "5\u2032UTR", "g\xa01", "漢", "a b"])
def test_other_letters_are_no_control_characters(name):
    assert read_line(f"{name}\tac\t1", LAYOUT).id == name


@pytest.mark.parametrize("label", ["3.5e38", "-1e39"])
def test_labels_and_weights_beyond_float32_are_refused(label):
    layout = Layout(separator="\t", id=0, sequence=1, label=2, weight=3, label_kind="number")
    problem = read_line(f"g1\tac\t{label}\t1", layout).problem
    assert problem == ("label", f"label '{label}' in column 3 is not a finite number")
    assert read_line(f"g1\tac\t1\t{label}", layout).problem is not None
    assert read_line("g1\tac\t-3.4e38\t3.4e38", layout).problem is None


def test_long_texts_are_shown_in_part():
    assert shown("a" * 40) == "'" + "a" * 40 + "'"
    assert shown("a" * 41) == "'" + "a" * 40 + "'..."


def layout_of(header: list[str] | None = None, **columns) -> Layout:
    config = DataConfig(path="x.tsv", **{"sequence_column": 2, **columns})
    return make_layout(
        config,
        label_kind="number",
        header=header,
        num_columns=4,
        where="x.tsv, line 1",
    )


def test_columns_are_found_by_number_and_by_name():
    layout = layout_of(["id", "seq", "split", "y"], label_column="y", split_column=3)
    assert layout.used == {"id": 0, "sequence": 1, "label": 3, "split": 2}


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(DataError) as caught:
        layout_of(["id", "sequence", "half_life", "split"], label_column="halflife")
    assert str(caught.value) == (
        "x.tsv, line 1: no column is named 'halflife', asked for as label; the columns are "
        "id, sequence, half_life, split; did you mean 'half_life'?"
    )


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("hl", "HL"),
        ("half life", "Half_Life"),
        ("half_life", "half.life"),
        ("halflif", "HALF-LIFE"),
    ],
)
def test_names_are_near_whatever_their_case_blanks_and_signs(asked, there):
    with pytest.raises(DataError, match=rf"did you mean '{there}'\?"):
        layout_of(["ID", "Sequence", there, "split"], label_column=asked)


def test_a_name_that_stands_twice_is_refused():
    with pytest.raises(DataError, match="2 columns are named 'y'"):
        layout_of(["id", "seq", "y", "y"], label_column="y")


def test_a_column_beyond_the_last_is_refused():
    with pytest.raises(DataError, match="line 1: has 4 columns, column 5 asked for as label"):
        layout_of(label_column=5)


def test_a_name_needs_a_header():
    with pytest.raises(ConfigError, match=r"set data\.has_header: true"):
        layout_of(label_column="y")


def test_several_targets_have_roles_in_the_order_they_are_asked_for():
    layout = layout_of(["id", "seq", "half life (h)", "tpm"], label_column=["tpm", 3])
    assert layout.label == (3, 2)
    assert layout.used == {"id": 0, "sequence": 1, "label": 3, "label_2": 2}
    assert layout.target_names == ("tpm", "half_life_h")


def test_a_list_of_one_column_is_one_target_without_a_name():
    layout = layout_of(["id", "seq", "y", "z"], label_column=["z"])
    assert (layout.label, layout.target_names) == (3, ())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ("column_3", "column_4")),
        (("id", "seq", "", "y"), ("column_3", "y")),
        (("id", "seq", "a/b", "a b"), ("a_b_3", "a_b_4")),
        (("id", "seq", "y", "std_y"), ("y_3", "std_y_4")),
        (("id", "seq", "y", "window5_y"), ("y_3", "window5_y_4")),
        (("id", "seq", "Y", "y"), ("Y_3", "y_4")),
        (("id", "seq", "y", "y.csv"), ("y", "y_csv")),
        (("id", "seq", "..", "../y"), ("..", ".._y")),
        (("id", "seq", "x" * 99, "länge"), ("x" * 40, "länge")),
    ],
)
def test_targets_are_called_by_names_that_suit_files(names, expected):
    layout = Layout(names=names, id=0, sequence=1, label=(2, 3), label_kind="number")
    assert layout.target_names == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), "label (column 3)"),
        (("id", "seq", "half life (h)"), "half life (h)"),
        (("id", "seq", ""), "label (column 3)"),
        (("id", "seq", "x" * 99), "x" * 40),
    ],
)
def test_a_single_label_is_called_as_its_column_or_by_its_place(names, expected):
    layout = Layout(names=names, id=0, sequence=1, label=2, label_kind="number")
    assert layout.label_name == expected
    assert Layout(names=names, id=0, sequence=1).label_name == ""


def test_a_column_cannot_hold_two_targets():
    with pytest.raises(ConfigError, match="names column 'y' twice; each is one target"):
        layout_of(["id", "seq", "y", "z"], label_column=[3, "y"])


def test_each_of_several_labels_is_read_and_checked():
    layout = Layout(separator="\t", id=0, sequence=1, label=(3, 2), label_kind="number")
    row = read_line("g1\tacgu\t1.5\t2.5", layout)
    assert (row.label, row.more_labels) == (2.5, (1.5,))
    for line, rule, message in (
        ("g1\tacgu\tx\t1", "label", "label 'x' in column 3 is not a finite number"),
        ("g1\tacgu\t\t", "label", f"the label in column 4 is empty; {LEAVE_OUT}"),
        ("g1\tacgu\t1", "columns", "has 3 columns, column 4 asked for as label"),
    ):
        assert read_line(line, layout).problem == (rule, message)


@pytest.mark.parametrize(("fields", "column"), [("n/a\t1", 3), ("1\t", 4), ("-999.0\t1", 3)])
def test_a_gap_in_several_targets_is_called_one_with_what_to_do(fields, column):
    layout = Layout(
        separator="\t",
        id=0,
        sequence=1,
        label=(3, 2),
        label_kind="number",
        missing_values=("n/a", "-999"),
    )
    assert read_line(f"g1\tacgu\t{fields}", layout).problem == (
        "label",
        f"the label in column {column} is missing where the row has others; gaps in several "
        f"targets cannot be learnt: train one target at a time (labelpos), or {LEAVE_OUT}",
    )


def test_a_problem_names_its_column_where_columns_have_names():
    names = ("id", "sequence", "brain")
    layout = replace(LAYOUT, names=names)
    told = read_line("g1\tacgu\tx", layout).problem
    assert told == ("label", "label 'x' in column 3 ('brain') is not a finite number")
    assert replace(LAYOUT, names=("id", "sequence", "")).place("label") == "column 3"


def test_names_of_columns_that_hold_quotes_or_blanks_are_shown_in_quotes():
    with pytest.raises(DataError, match=r"""the only column is 'id "sequence" "hl"'"""):
        layout_of(['id "sequence" "hl"'], sequence_column="sequence", label_column=1)


@pytest.mark.parametrize("word", MISSING_VALUES)
def test_words_for_missing_values_are_no_classes_and_no_splits(word):
    layout = Layout(separator="\t", id=0, sequence=1, label=2, label_kind="class", split=3)
    for fields, role, column in (((word, "train"), "label", 3), (("nuc", word), "split", 4)):
        problem = read_line("\t".join(["NA", "ac", *fields]), layout).problem
        assert problem == (
            role,
            f"{role} '{word}' in column {column} {MISSING}",
        )


@pytest.mark.parametrize("name", ["-", "none", "None", "na", "Na", "unknown", "0"])
def test_other_words_are_classes_unless_the_settings_say_so(name):
    layout = Layout(separator="\t", id=0, sequence=1, label=2, label_kind="class")
    assert read_line(f"g1\tac\t{name}", layout).label == name
    told = replace(layout, missing_values=(name,))
    assert read_line(f"g1\tac\t{name}", told).problem is not None
    assert read_line("g1\tac\tNA", told).label == "NA"


def test_a_number_may_stand_for_a_missing_label_or_weight():
    layout = layout_of(label_column=3, weight_column=4, missing_values=("-999", "0"))
    for fields, role in (("-9.99e2\t1", "label"), ("1\t0.0", "weight")):
        assert read_line(f"g1\tac\t{fields}", layout).problem.rule == role
    assert read_line("g1\tac\t-998\t1", layout).label == -998


def test_labels_need_a_column():
    with pytest.raises(ConfigError, match=r"data\.label_column is not set"):
        layout_of()
