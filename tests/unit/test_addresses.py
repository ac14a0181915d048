"""An address is looked at, and knocked at, before Ray waits for minutes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from biolm_ray.errors import ResourceError
from biolm_ray.experiment import addresses
from biolm_ray.experiment.addresses import Address, check_address, choose_address


def refused(text: str, origin: str = "resources.address", seconds: float = 2) -> str:
    with pytest.raises(ResourceError) as caught:
        check_address(Address(text, origin), timeout_seconds=seconds)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "variable", "text", "origin"),
    [
        (None, None, "local", ""),
        (None, " ", "local", ""),
        (None, "head:1", "head:1", "RAY_ADDRESS"),
        ("other:2", "head:1", "other:2", "resources.address"),
        ("local", "head:1", "local", "resources.address"),
        ("auto", "head:1", "head:1", "RAY_ADDRESS"),
        ("auto", None, "auto", "resources.address"),
    ],
)
def test_the_setting_goes_before_the_variable(setting, variable, text, origin):
    around = {} if variable is None else {"RAY_ADDRESS": variable}
    assert choose_address(setting, around) == Address(text, origin)


def test_messages_name_what_gave_the_address():
    assert "RAY_ADDRESS 127.0.0.1 is no address" in refused("127.0.0.1", "RAY_ADDRESS")
    assert "unset RAY_ADDRESS to run on this machine alone" in refused("x", "RAY_ADDRESS")
    assert "leave resources.address out to run" in refused("x")


@pytest.mark.parametrize("text", [":::", ":6379", "head:", "head:0", "head:99999", "a b:1"])
def test_what_is_no_host_and_port_is_refused_by_form(text):
    assert "expected the head's host and port, as in" in refused(text)


def test_addresses_for_other_uses_are_told_where_they_belong():
    told = refused("http://10.0.0.5:8265/")
    assert "'ray job submit --address http://10.0.0.5:8265/ -- python -m biolm_ray ...'" in told
    assert "as in 10.0.0.5:6379" in told
    told = refused("ray://10.0.0.5:10001")
    assert "Ray Client" in told
    assert "http://10.0.0.5:8265" in told
    assert "begins with k8s://" in refused("k8s://cluster")


def test_a_port_where_nothing_listens_is_told_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it, but not listening
        port = taken.getsockname()[1]
        assert f"nothing listens at port {port} of 127.0.0.1" in refused(f"127.0.0.1:{port}")


@contextmanager
def answering(text: bytes | None) -> Iterator[str]:
    """A server that answers its first visitor with some bytes, or with silence."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            visitor, _ = server.accept()
            with visitor:
                visitor.recv(100)
                if text is not None:
                    visitor.sendall(text)
                over.wait()

        over = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join()


def test_a_head_of_ray_is_told_from_other_servers_by_its_first_words():
    with answering(b"\0\0\x12\4\0\0\0\0\0...") as address:
        check_address(Address(address, "resources.address"))
    with answering(b"HTTP/1.1 400 Bad Request") as address:
        assert "is no head of Ray. See whether" in refused(address)
    with answering(None) as address:
        assert "no answer from 127.0.0.1" in refused(address, seconds=0.1)


def test_a_cluster_of_this_machine_is_not_knocked_at():
    for text in ("local", "auto"):
        check_address(Address(text))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError("timed out"), "no answer from head, port 6379, within 2 s"),
        (socket.gaierror(-2, "Name or service not known"), "no machine of the name head is known"),
        (OSError(113, "No route to host"), "head cannot be reached (No route to host)"),
    ],
)
def test_a_head_that_cannot_be_reached_is_told_by_the_reason(monkeypatch, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(addresses.socket, "create_connection", fail)
    told = refused("head:6379")
    assert words in told
    assert "see whether the head runs there" in told.lower()
