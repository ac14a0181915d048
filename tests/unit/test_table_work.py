"""What is said of a finished table of scores."""

from pathlib import Path

import pytest
from scored import score_rows, write_scores

from biolm_ray.inference.table_work import share_in_noise


def test_scores_of_either_sign_count_as_noise_up_to_the_noise_floor(tmp_path: Path) -> None:
    rows = score_rows("g", "acgtac", [0.5, -0.5, 0.2, -0.8, 0.6, 0.0])
    typed = write_scores(tmp_path / "loo_scores_mask.parquet", rows)
    assert share_in_noise(typed, 0.5) == pytest.approx(4 / 6)
