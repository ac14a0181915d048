"""How the demo ends when it is stopped or cannot go on."""

import signal

import pytest

from biolm_ray.demo import __main__ as demo
from biolm_ray.errors import DataError
from biolm_ray.signals import Stopped


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        (
            Stopped(signal.SIGTERM),
            143,
            "interrupted by SIGTERM; the same command begins the demo again\n",
        ),
        (
            Stopped(signal.SIGINT),
            130,
            "interrupted by Ctrl-C; the same command begins the demo again\n",
        ),
        (DataError("the disk is full"), 3, "error: the disk is full\n"),
    ],
)
def test_what_ends_the_demo_is_its_last_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ending: BaseException,
    code: int,
    said: str,
) -> None:
    def run_demo(*arguments: object) -> str:
        raise ending

    monkeypatch.setattr(demo, "run_demo", run_demo)
    monkeypatch.setattr("sys.argv", ["demo"])
    assert demo.main() == code
    assert capsys.readouterr().err == said
