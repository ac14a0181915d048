from pathlib import Path

import pytest

from biolm_ray.demo.outcome import (
    ElementRecovery,
    MotifEnrichment,
    describe_results,
    element_recovery,
    log_correlation,
    motif_enrichment,
)
from biolm_ray.errors import DataError

HEADER = "sequence,token,label,pred,start_offset,end_offset,loo\n"


@pytest.fixture
def elements(tmp_path: Path) -> Path:
    path = tmp_path / "elements.tsv"
    path.write_text("id\tstart\tend\telement\nlong\t2\t4\tta\nlong\t6\t8\tta\nbrief\t0\t2\tta\n")
    return path


def write_scores(path: Path, loo: dict[str, list[float]], pred: dict[str, float]) -> Path:
    """One row per position, `loo` of each sequence in the order of its positions."""
    lines = [
        f"{name},t,1.0,{pred[name]},{place},{place + 1},{value}\n"
        for name, values in loo.items()
        for place, value in enumerate(values)
    ]
    path.write_text(HEADER + "".join(lines))
    return path


def test_scores_that_point_at_the_elements_are_found(tmp_path: Path, elements: Path) -> None:
    scores = write_scores(
        tmp_path / "scores.csv",
        {"long": [0, 0, 3, 4, 0, -9, 1, 2, 0, 0], "brief": [-1, 0, 5, 0, 0, 0, 0, 0, 0, 0]},
        {"long": 10.0, "brief": 10.0},
    )
    recovery = element_recovery(scores, elements, top_share=0.2)
    assert recovery == ElementRecovery(
        num_positions=20, num_top=4, share_in_elements=3 / 4, share_by_chance=6 / 20
    )


def test_scores_are_ranked_by_their_share_of_the_prediction(tmp_path: Path, elements: Path) -> None:
    scores = write_scores(
        tmp_path / "scores.csv",
        {"long": [5, 5, 0, 0, 0, 0, 0, 0], "brief": [0.5, 0.4]},
        {"long": 100.0, "brief": 1.0},
    )
    assert element_recovery(scores, elements, top_share=0.2).share_in_elements == 1


def test_at_least_one_position_is_looked_at(tmp_path: Path, elements: Path) -> None:
    scores = write_scores(tmp_path / "scores.csv", {"long": [0, 0, 1]}, {"long": 1.0})
    assert element_recovery(scores, elements, top_share=0.001).num_top == 1


def test_a_table_without_scores_is_refused(tmp_path: Path, elements: Path) -> None:
    scores = write_scores(tmp_path / "scores.csv", {}, {})
    with pytest.raises(DataError, match="no scores below the header"):
        element_recovery(scores, elements)


@pytest.mark.parametrize(("share", "found"), [(0.31, True), (0.29, False)])
def test_found_means_three_times_more_often_than_by_chance(share: float, found: bool) -> None:
    recovery = ElementRecovery(
        num_positions=1000, num_top=20, share_in_elements=share, share_by_chance=0.1
    )
    assert recovery.found == found


def test_the_correlation_is_that_of_the_logarithms(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("sequence,label,prediction\na,1,10\nb,10,1000\nc,100,100000\n")
    assert log_correlation(path) == pytest.approx(1)


def test_the_enrichment_is_that_in_all_regions(tmp_path: Path) -> None:
    table = tmp_path / "motifs.csv"
    header = "motif,pattern,region,num_occurrences,num_sequences,mean,expected,z,p_value,q_value\n"
    table.write_text(
        f"{header}a,TAT,CDS,1,1,1,1,1,0.2,0.3\na,TAT,all,4,2,0.5,0.1,9,0,0\nb,GG,all,0,0,,,,,\n"
    )
    assert motif_enrichment(table, "a") == MotifEnrichment(4, 0.5, 0.1, 9.0, 0.0)
    with pytest.raises(DataError, match="no occurrence of motif 'b'"):
        motif_enrichment(table, "b")


@pytest.mark.parametrize(
    ("share", "verdict", "q_value", "shown"),
    [
        (0.91, "LOO found the planted", 0.0, "<1e-300"),
        (0.06, "LOO missed", 0.0213, "2e-02"),
    ],
)
def test_the_statement_compares_with_what_is_attainable(
    share: float, verdict: str, q_value: float, shown: str
) -> None:
    recovery = ElementRecovery(
        num_positions=78_000, num_top=1560, share_in_elements=share, share_by_chance=0.052
    )
    text = describe_results(
        0.831,
        0.907,
        recovery,
        MotifEnrichment(num_occurrences=52, mean=0.471, expected=0.068, z=47.5, q_value=q_value),
        {"data": Path("demo/demo.tsv"), "out-of-fold predictions": Path("demo/all.csv")},
    )
    assert "0.83 (attainable with this noise: 0.91)" in text
    assert verdict in text
    assert f"{share:.0%} lie inside one (by chance: 5.2%)" in text
    assert f"by +0.47 h, elsewhere in the region by +0.07 h (52 places, q {shown})" in text
    assert "demo/demo.tsv" in text
    assert "demo/all.csv" in text
