"""The address of a running cluster: what it looks like, and whether anything answers there."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from biolm_ray.errors import ResourceError

LOCAL = "local"
ANYWHERE = "auto"
SETTING = "resources.address"
VARIABLE = "RAY_ADDRESS"
PORT = 6379
"""Where a head of Ray listens unless it is started with another --port."""
PROBE_SECONDS = 8.0
EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS
"""What a client of HTTP/2 sends first, and a frame of no settings: its fourth byte is its type."""
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Address:
    """Where a run finds its cluster.

    Attributes:
        text: `local` for one of its own, `auto` for one that runs on this machine, or host:port.
        origin: The setting or variable that says so; empty where none does.
    """

    text: str
    origin: str = ""

    @property
    def is_local(self) -> bool:
        return self.text == LOCAL

    @property
    def name(self) -> str:
        """The address as messages show it."""
        return f"{self.origin} {self.text}"

    @property
    def remedy(self) -> str:
        """What to do to run without it."""
        if self.origin == VARIABLE:
            return f"unset {VARIABLE} to run on this machine alone"
        return f"leave {self.origin} out to run on this machine alone"


def choose_address(setting: str | None, environment: Mapping[str, str] = os.environ) -> Address:
    """Take the address of the configuration, else that of the environment, else a local cluster.

    `auto` gives way to the environment, as it does in Ray.
    """
    given, around = (setting or "").strip(), environment.get(VARIABLE, "").strip()
    if given and not (given == ANYWHERE and around):
        return Address(given, SETTING)
    return Address(around, VARIABLE) if around else Address(LOCAL)


def check_address(address: Address, timeout_seconds: float = PROBE_SECONDS) -> None:
    """Make sure that an address is one and that something answers there; Ray waits for minutes.

    Raises:
        ResourceError: It is not, or nothing does.
    """
    if address.text in (LOCAL, ANYWHERE):
        return
    scheme, separator, rest = address.text.partition("://")
    if separator:
        raise _wrong_kind(address, scheme.lower(), rest)
    found = _HOST_AND_PORT.fullmatch(address.text)
    if found is None or int(found["port"]) not in range(1, 1 << 16):
        example = address.text if re.fullmatch(r"[\w.-]+", address.text) else "10.0.0.1"
        raise ResourceError(
            f"{address.name} is no address of a cluster: expected the head's host and port, as in "
            f"{example}:{PORT}; or {address.remedy}"
        )
    _knock(address, found["host"].strip("[]"), int(found["port"]), timeout_seconds)


def _wrong_kind(address: Address, scheme: str, rest: str) -> ResourceError:
    host = rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0] or "HOST"
    if scheme in ("http", "https"):
        return ResourceError(
            f"{address.name} is the address of the dashboard, which takes jobs: use it as in 'ray "
            f"job submit --address {address.text} -- python -m biolm_ray ...', or give that of the "
            f"cluster, as in {host}:{PORT}"
        )
    if scheme == "ray":
        return ResourceError(
            f"{address.name} is for Ray Client, which trainings cannot run through: use 'ray job "
            f"submit --address http://{host}:8265 -- python -m biolm_ray ...', or start the run on "
            f"a machine of the cluster with {host}:{PORT}"
        )
    return ResourceError(
        f"{address.name} begins with {scheme}://, which is no address of a cluster: give the "
        f"head's host and port, as in {host}:{PORT}; or {address.remedy}"
    )


def _knock(address: Address, host: str, port: int, timeout_seconds: float) -> None:
    try:
        with socket.create_connection((host, port), timeout_seconds) as connection:
            if os.environ.get("RAY_USE_TLS") == "1" or _answers_as_ray(connection):
                return
        problem = f"what listens at port {port} of {host} is no head of Ray"
    except TimeoutError:
        problem = f"no answer from {host}, port {port}, within {timeout_seconds:g} s"
    except ConnectionRefusedError:
        problem = f"nothing listens at port {port} of {host}"
    except (socket.gaierror, UnicodeError):
        problem = f"no machine of the name {host} is known"
    except OSError as error:
        problem = f"{host} cannot be reached ({error.strerror or error})"
    raise ResourceError(
        f"no Ray cluster answers at {address.name}: {problem}. See whether the head runs there "
        f"and with which --port, or {address.remedy}"
    )


def _answers_as_ray(connection: socket.socket) -> bool:
    """Whether the other side speaks HTTP/2, as the head does: its first frame holds settings."""
    connection.sendall(HTTP2_GREETING)
    header = b""
    while len(header) < len(EMPTY_SETTINGS):
        received = connection.recv(len(EMPTY_SETTINGS) - len(header))
        if not received:
            return False
        header += received
    return header[3] == EMPTY_SETTINGS[3]
