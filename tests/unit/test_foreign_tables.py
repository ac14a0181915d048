"""Tables as R and spreadsheets write them: read by a setting, or told with the setting to use."""

import pytest
from divided import plan_of, read_all

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.columns import Layout
from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError
from biolm_ray.preparation.prepare import named_settings
from biolm_ray.preparation.scanning import scan_input

BY_NAME = {
    "has_header": True,
    "id_column": "id",
    "sequence_column": "sequence",
    "label_kind": "number",
    "label_column": "hl",
}
FROM_R = "id\tsequence\thl\n1\tg0\tac\t6.7\n2\tg1\tgu\t1.2\n"
SEMICOLONS = "id;sequence;hl\ng0;ac;3,1\ng1;gu;-2,0\n"
TITLED = "Table S1, half lives, in hours, of genes\n\nid,sequence,hl\ng0,ac,3.1\ng1,gu,2.2\n"


def write(folder, text: str, name: str = "rows.tsv"):
    path = folder / name
    path.write_text(text)
    return path


def values_of(*paths, **settings) -> list[tuple]:
    return [(r["id"], r["sequence"], r["label"]) for r in read_all(*paths, **BY_NAME | settings)]


def error_of(path, **settings) -> str:
    with pytest.raises(DataError) as caught:
        read_all(path, **BY_NAME | settings)
    return str(caught.value)


def test_a_header_one_name_short_stands_above_row_names(tmp_path):
    path = write(tmp_path, FROM_R)
    assert values_of(path) == [("g0", "ac", 6.7), ("g1", "gu", 1.2)]
    assert plan_of(path, **BY_NAME).notes == (
        "rows.tsv: the header has a name less than the rows have columns, as R writes row names: "
        "column 1 holds the row names, 'id' is column 2, 'sequence' is column 3, 'hl' is column 4",
    )
    by_number = {"id_column": 1, "sequence_column": 3, "label_column": 4}
    assert values_of(path, **by_number) == [("1", "ac", 6.7), ("2", "gu", 1.2)]


def test_a_header_with_a_name_for_every_column_says_nothing(tmp_path):
    plan = plan_of(write(tmp_path, "id\tsequence\thl\ng\tac\t6.7\n"), **BY_NAME)
    assert plan.notes == ()
    assert plan.layouts[0].names == ("id", "sequence", "hl")


def test_what_r_separates_by_blanks_is_told_and_then_read(tmp_path):
    path = write(tmp_path, '"id" "sequence" "hl"\n"1" "g0" "ac" 7.3\n"2" "g1" "gu" 4.4\n', "r.txt")
    assert error_of(path).endswith(
        "; line 1 and those below have 4 columns separated by a blank: "
        "set data.column_separator: ' ' (columnsep)"
    )
    assert values_of(path, column_separator=" ") == [("g0", "ac", 7.3), ("g1", "gu", 4.4)]


def test_columns_that_several_blanks_separate_are_told(tmp_path):
    path = write(tmp_path, "id  sequence  hl\ng0  ac  7.3\ng1  gu  4.4\n", "two.txt")
    assert "3 columns separated by 2 blanks: set data.column_separator: '  '" in error_of(path)
    assert values_of(path, column_separator="  ") == [("g0", "ac", 7.3), ("g1", "gu", 4.4)]
    path = write(tmp_path, "id  sequence hl\ng0  ac       7.3\ng1  gu       4.4\n", "aligned.txt")
    assert error_of(path).endswith("with: sed -E 's/ +/\\t/g' aligned.txt > columns.tsv")


@pytest.mark.parametrize(
    ("mark", "name", "written"),
    [(";", "semicolon", ";"), ("|", "bar", "|"), (",", "comma", ","), ("\t", "tab", "\\t")],
)
def test_the_separator_that_would_fit_is_told(tmp_path, mark, name, written):
    text = f"id{mark}sequence{mark}hl\ng0{mark}ac{mark}3.1\ng1{mark}gu{mark}2\n"
    path = write(tmp_path, text, "rows.txt")
    settings = {"column_separator": "/"} if mark == "\t" else {}
    hint = f"line 1 and those below have 3 columns separated by a {name}: set data.column_separator"
    assert f"{hint}: '{written}'" in error_of(path, **settings)
    assert f"{hint}: '{written}'" in error_of(
        path, has_header=False, id_column=1, sequence_column=2, label_column=3, **settings
    )


def test_decimal_commas_are_told_and_then_read(tmp_path):
    path = write(tmp_path, SEMICOLONS, "rows.csv")
    assert error_of(path).endswith(
        "separated by a semicolon: set data.column_separator: ';' (columnsep)"
    )
    settings = {**BY_NAME, "column_separator": ";"}
    assert read_all(path, **settings)[0]["problem"] == (
        "label '3,1' in column 3 ('hl') is not a finite number: is it a decimal comma? "
        "set data.decimal: ','"
    )
    assert values_of(path, column_separator=";", decimal=",") == [
        ("g0", "ac", 3.1),
        ("g1", "gu", -2),
    ]


def test_a_point_is_no_decimal_sign_beside_decimal_commas(tmp_path):
    text = "id;sequence;hl;w\ng0;ac;1.234;GOOD\ng1;ac;1.234,5;1\ng2;ac;1,5e1;0,5\ng3;ac;1;0.5\n"
    records = read_all(
        write(tmp_path, text), **BY_NAME, column_separator=";", decimal=",", weight_column="w"
    )
    assert [r["label"] for r in records] == [None, None, 15.0, None]
    assert (records[2]["weight"], records[3]["rule"]) == (0.5, "weight")
    assert records[0]["problem"] == (
        "label '1.234' in column 3 ('hl') has a point; with data.decimal: ',' only a comma stands "
        "before the decimals"
    )


def test_quoted_decimal_commas_may_stand_in_a_table_with_commas(tmp_path):
    path = write(tmp_path, 'id,sequence,hl\ng0,ac,"3,1"\n', "rows.csv")
    assert values_of(path, decimal=",") == [("g0", "ac", 3.1)]


def test_decimal_commas_of_fasta_headers_are_read(tmp_path):
    path = write(tmp_path, ">g0 hl=3,1 or so\nac\n", "rows.fa")
    (record,) = read_all(path, label_kind="number", label_column="hl", decimal=",")
    assert record["label"] == 3.1


def test_a_title_is_told_and_then_skipped(tmp_path):
    path = write(tmp_path, TITLED, "rows.csv")
    assert error_of(path).endswith(
        "; line 3 and those below have 3 columns separated by a comma: set data.skip_lines: 2"
    )
    for number in (1, 2):  # the second line is blank
        assert values_of(path, skip_lines=number) == [("g0", "ac", 3.1), ("g1", "gu", 2.2)]
    (first, *_) = read_all(path, **BY_NAME, skip_lines=2)
    assert (first["row"], first["line"]) == (0, 4)
    plan = plan_of(path, **BY_NAME, skip_lines=1)
    assert scan_input(plan, Folder(tmp_path / "scans")).num_rows == 2


def test_titles_are_skipped_without_a_header_and_in_every_file(tmp_path):
    first = write(tmp_path, "# a\n# b\ng0\tac\t1\n", "a.tsv")
    second = write(tmp_path, "# c\n\ng1\tgu\t2\n", "b.tsv")
    settings = {"has_header": False, "id_column": 1, "sequence_column": 2, "label_column": 3}
    assert values_of(first, second, **settings, skip_lines=2) == [("g0", "ac", 1), ("g1", "gu", 2)]


def test_title_and_separator_are_told_together(tmp_path):
    path = write(tmp_path, "Half lives\n" + SEMICOLONS, "rows.txt")
    assert error_of(path).endswith(
        "line 2 and those below have 3 columns separated by a semicolon: set data.skip_lines: 1 "
        "and data.column_separator: ';' (columnsep)"
    )


def test_nothing_may_be_left_by_skip_lines(tmp_path):
    path = write(tmp_path, TITLED, "rows.csv")
    assert error_of(path, skip_lines=9) == (
        "rows.csv: nothing follows the 9 lines of data.skip_lines"
    )


def test_names_are_near_whatever_their_case(tmp_path):
    path = write(tmp_path, "ID,Sequence,HL\ng0,ac,3.1\n", "rows.csv")
    assert error_of(path, id_column=1).endswith(
        "the columns are ID, Sequence, HL; did you mean 'Sequence'?"
    )


def test_a_header_in_the_middle_is_told_whatever_the_labels_are(tmp_path):
    path = write(tmp_path, "id\tsequence\tc\ng0\tac\tx\n\ufeffid\tsequence\tc\ng1\tgu\ty\n")
    for kind in (None, "class"):
        records = read_all(path, **BY_NAME | {"label_kind": kind, "label_column": "c"})
        assert [(r["line"], r["rule"]) for r in records] == [(2, None), (3, "header"), (4, None)]
    assert records[1]["problem"] == ("is the header once more: remove it where tables were joined")


def test_rows_may_lack_columns_that_nobody_asks_for_but_have_none_too_many(tmp_path):
    text = "id\tsequence\thl\tnote\ng0\tac\t1\ng1\tgu\t2\tx\t \t\ng2\tac\t3\tx\ty\ng3\tac\n"
    records = read_all(write(tmp_path, text), **BY_NAME)
    assert [r["problem"] for r in records] == [
        None,
        None,
        "has 5 columns, but the header has 4 columns: if a field holds the separator, put it in "
        "double quotes",
        "has 2 columns, column 3 asked for as label",
    ]
    text = "g0\tac\n" + "g1\tac\tx\n" * 30 + "g2\tac\tx\ty\n"
    records = read_all(write(tmp_path, text), sequence_column=2)
    assert {record["problem"] for record in records[:-1]} == {None}
    assert records[-1]["problem"].startswith("has 4 columns, but the first lines have 3 columns: ")
    many = FROM_R + "3\tg2\tac\t1\n" * 20 + "4\tg3\tac\t1\tx\n"
    record = read_all(write(tmp_path, many), **BY_NAME)[-1]
    assert "has 5 columns, but the header has 4 columns, row names included" in record["problem"]


def test_settings_for_tables_are_told_where_they_say_nothing(tmp_path):
    path = write(tmp_path, ">g0\nac\n", "rows.fa")
    plan = plan_of(path, skip_lines=1, column_separator=";", decimal=",")
    assert plan.unused_settings == ("data.column_separator", "data.skip_lines")


@pytest.mark.parametrize(("name", "value"), [("skip_lines", 1), ("decimal", ",")])
def test_settings_that_change_what_is_read_change_the_name_of_prepared_data(name, value):
    layouts = [Layout(separator="\t", id=0, sequence=1)]
    config = DataConfig(path="a.tsv")
    changed = config.model_copy(update={name: value})
    assert named_settings(changed, layouts) != named_settings(config, layouts)


def test_a_line_with_another_separator_is_told_with_it(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("g0\tac\ng1,ac\n")
    assert read_all(path, sequence_column=2)[1]["problem"] == (
        "has 1 column, column 2 asked for as sequence; divided at each comma it has 2 columns: "
        "write it with the separator of the other lines, or set data.column_separator (columnsep)"
    )


def test_a_field_that_holds_a_tab_asks_for_the_separator(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("g0\tac\t1\n")
    problem = read_all(path, sequence_column=1, column_separator=";")[0]["problem"]
    assert problem.endswith(
        "holds a tab: if tabs separate the columns, set data.column_separator: '\\t' (columnsep)"
    )
