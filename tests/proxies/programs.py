"""The proxies: each a process of its own, with its own configuration, on a free port."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.helpers import WAIT_S
from tests.program import eventually

PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
"""Where programs are looked for: those for operators are not on everybody's path."""

TRIES: Final = 3
"""Ports that a proxy is given: another process may take one just before it."""

OWNER: Final = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
"""Whom nginx runs as: the one whose files and sockets it is to use."""


def find(program: str) -> str | None:
    """The path of a program; None if it is not installed."""
    return shutil.which(program, path=PATH)


class Proxy:
    """A proxy that runs, at `url`. `stop` it in the end."""

    def __init__(self, folder: Path, config: Callable[[int], str], *command: str) -> None:
        """`command` ends with the option that names its file; `config` is for a port."""
        self._folder = folder
        folder.mkdir(exist_ok=True)
        for _ in range(TRIES):
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            file = folder / "config"
            file.write_text(config(port), "utf-8")
            with (folder / "output").open("w") as output:
                self._process = subprocess.Popen(
                    [*command, str(file)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder),
                         "XDG_CONFIG_HOME": str(folder)},
                    start_new_session=True,
                )  # fmt: skip
            eventually(lambda port=port: self._ended or answers(port))  # type: ignore[misc]
            if not self._ended:
                return
            self.stop()
        raise AssertionError((folder / "output").read_text("utf-8"))

    @property
    def _ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it and all its processes, whatever they do."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(WAIT_S)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), WAIT_S).close()
    except OSError:
        return False
    return True


def nginx(folder: Path, site: str, *, http: str = "") -> Proxy:
    """An nginx with these directives in its only server, and in `http`."""

    def config(port: int) -> str:
        places = "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""
            daemon off; worker_processes 1; pid {folder}/pid; error_log stderr; {OWNER}
            events {{ worker_connections 64; }}
            http {{
                access_log off; {places} {http}
                server {{ listen 127.0.0.1:{port}; {site} }}
            }}
        """

    return Proxy(folder, config, _installed("nginx"), "-p", str(folder), "-e", "stderr", "-c")


def caddy(folder: Path, site: str) -> Proxy:
    """A Caddy with these directives in its only site."""

    def config(port: int) -> str:
        return f"{{\nadmin off\nauto_https off\n}}\nhttp://:{port} {{\n{site}}}\n"

    return Proxy(folder, config, _installed("caddy"), "run", "--adapter", "caddyfile", "--config")


def squid(folder: Path, port_behind: int) -> Proxy:
    """A Squid in front of a server, which keeps in memory what it may."""

    def config(port: int) -> str:
        return f"""
http_port 127.0.0.1:{port} accel defaultsite=localhost
cache_peer 127.0.0.1 parent {port_behind} 0 no-query originserver login=PASSTHRU
http_access allow all
cache_mem 64 MB
maximum_object_size_in_memory 16 MB
max_filedescriptors 256
pid_filename none
access_log none
cache_log /dev/null
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname localhost
"""

    return Proxy(folder, config, _installed("squid"), "-N", "-d", "1", "-f")


def _installed(program: str) -> str:
    found = find(program)
    assert found is not None
    return found
