import stat
from pathlib import Path

from biolm_ray.experiment.runtime import _keep_token_private


def test_the_token_of_local_clusters_is_kept_from_other_users(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _keep_token_private()
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("word")
    token.chmod(0o644)
    _keep_token_private()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == "word"
