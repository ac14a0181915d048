import logging

import pytest
import yaml

from biolm_ray.cli import main
from biolm_ray.config.load import load_config, write_config
from biolm_ray.data.sources import SourceFile
from biolm_ray.errors import ConfigError
from biolm_ray.experiment.tracking import flat_settings
from biolm_ray.logs import logged
from biolm_ray.masking import is_masked, masked

SECRETS = {
    "http://user:hunter2@mlflow.example:5000/x": "http://user:***@mlflow.example:5000/x",
    "https://ghp_hunter2@host/x": "https://***@host/x",
    "s3://AKIA:hunter2/with/slash@bucket/rows.tsv": "s3://AKIA:***@bucket/rows.tsv",
    "s3://b/x?access_key=A&secret_key=hunter2&region=eu": (
        "s3://b/x?access_key=***&secret_key=***&region=eu"
    ),
    "https://host/x?token=hunter2": "https://host/x?token=***",
    "https://a.blob/x?sv=1&sig=hunter2%3D&se=2": "https://a.blob/x?sv=1&sig=***&se=2",
    "https://h/x?X-Amz-Signature=hunter2": "https://h/x?X-Amz-Signature=***",
    "http://u:p@ss:hunter2@host/": "http://u:***@host/",
    "http://me:12/hunter2@127.0.0.1:9": "http://me:***@127.0.0.1:9",
    "s3://AKIA:4/abchunter2@bucket": "s3://AKIA:***@bucket",
    "https://h/x.tsv?key=hunter2&v=1": "https://h/x.tsv?key=***&v=1",
    "https://h/x?pass=hunter2": "https://h/x?pass=***",
    "https://h/x?code=hunter2": "https://h/x?code=***",
    "https://h/x#token=hunter2": "https://h/x#token=***",
    "https://h/x?password=it's_hunter2": "https://h/x?password=***",
    "postgresql://u:it's_hunter2@host": "postgresql://u:***@host",
    "postgresql://u:my hunter2@host/db": "postgresql://u:***@host/db",
    "postgresql://u:it's my hunter2@host": "postgresql://u:***@host",
    "HTTP://hunter2@h": "HTTP://***@h",
    "https://it's_hunter2@h": "https://***@h",
    "sftp://hunter2@h/x": "sftp://***@h/x",
}
PLAIN = (
    "abfss://container@account.dfs.core.windows.net/rows.tsv",
    "hdfs://user@host:8020/rows",
    "s3://bucket/rows@2x.tsv?region=eu-central-1",
    "http://host:5000 is not reached by me@home",
    "http://host:5000/x.tsv, line 3: id 'a@b'",
    "s3://bucket/x.tsv, line 3: id 'a: b@c'",
    "https://h/x?barcode=acgu&keyword=a",
    "http://host:5000",
    "user:word@home",
    "a # b = c?token=x",
)


@pytest.mark.parametrize(("address", "shown"), SECRETS.items())
def test_secrets_of_an_address_are_masked_within_any_text(address, shown):
    assert masked(f"cannot read '{address}': no") == f"cannot read '{shown}': no"
    assert masked(shown) == shown
    assert is_masked(shown)
    assert not is_masked(address)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text):
    assert masked(text) == text
    assert not is_masked(text)


def test_secrets_reach_neither_log_nor_terminal(tmp_path, capsys):
    with logged(tmp_path, quiet=False) as log:
        log.info("%s -> %s", *list(SECRETS)[:2])
        try:
            raise OSError(list(SECRETS)[2])
        except OSError:
            log.warning("broken", exc_info=True)
    logging.shutdown()
    shown = capsys.readouterr().err + (tmp_path / "run.log").read_text()
    assert "hunter2" not in shown
    assert "user:***@mlflow" in shown


def test_a_log_is_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").write_text("untouched")
    (tmp_path / "run.log").symlink_to(tmp_path / "elsewhere")
    with logged(tmp_path, quiet=True) as log:
        log.info("told")
    assert (tmp_path / "elsewhere").read_text() == "untouched"
    assert "told" in (tmp_path / "run.log").read_text()


def test_an_error_on_the_terminal_shows_no_secret(tmp_path, capsys):
    arguments = ["tokenize", "--seqpos", "2", "--outputpath", str(tmp_path / "out")]
    assert main([*arguments, "--filepath", "nowhere://u:hunter2@host/x.tsv"]) != 0
    shown = capsys.readouterr().err
    assert "nowhere://u:***@host" in shown
    assert "hunter2" not in shown


SETTINGS = {
    **{"seqpos": 2, "labelpos": 3, "outputpath": "out", "task": "regression"},
    "filepath": ["s3://A:hunter2@b/x.tsv", "https://h/y.tsv?token=hunter2"],
    "data.prepared_path": "s3://b/p?secret_key=hunter2",
    "run.mlflow": "http://user:hunter2@host:5000",
}


def test_a_written_configuration_lacks_secrets_and_asks_for_them_when_it_is_run(tmp_path):
    config = load_config(None, "fine-tune", SETTINGS)
    write_config(config, tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert "hunter2" not in text
    assert yaml.safe_load(text)["run"]["mlflow"] == "http://user:***@host:5000"
    with pytest.raises(ConfigError, match=r"path: .* lacks its password or key.* --set data.path"):
        load_config(tmp_path / "config.yaml", "fine-tune")
    whole = {name: SETTINGS[name] for name in ("filepath", "data.prepared_path", "run.mlflow")}
    assert load_config(tmp_path / "config.yaml", "fine-tune", whole) == config


def test_a_file_is_named_without_what_follows_its_path():
    for rest in ("?key=hunter2", "#token=hunter2"):
        path = f"https://host/folder/x.tsv{rest}"
        assert SourceFile(path, "table", None, 1, "").name == "x.tsv"
    assert SourceFile("folder/x#1.tsv", "table", None, 1, "").name == "x#1.tsv"


def test_a_tracking_server_is_not_told_secrets():
    told = flat_settings(load_config(None, "fine-tune", SETTINGS))
    assert "hunter2" not in str(told)
    assert "***@b/x.tsv" in told["data.path"]
