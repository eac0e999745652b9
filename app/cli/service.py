"""vmferry up, serve and worker: the composition roots of what runs for long."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import requests
import typer

from app.cli import output
from app.cli.client import reachable
from app.cli.exits import CliError, Exit
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from app.main import Server

READY_POLL_S = 0.5
READY_PATIENCE_S = 60.0


def up() -> None:
    """Start everything: the API, a worker, and the database they share. Stop it with Ctrl-C."""
    from app.cli.supervisor import Supervisor
    from app.store import schema

    settings = _prepare()
    with _listen(settings) as listener:
        schema.upgrade(settings.database_url)
        server = _server(settings)
        supervisor = Supervisor()
        supervisor.start()
        threading.Thread(target=_announce, args=(settings, server), daemon=True).start()
        try:
            server.run(sockets=[listener])
        finally:
            supervisor.stop()


def serve() -> None:
    """Start the API alone; workers run elsewhere."""
    settings = _prepare()
    _require_schema(settings)
    with _listen(settings) as listener:
        _server(settings).run(sockets=[listener])


def worker() -> None:
    """Start a worker alone."""
    from workers.main import main

    settings = _prepare()
    _require_schema(settings)
    raise typer.Exit(main(settings))


def _prepare() -> Settings:
    from app.log import configure

    os.umask(0o077)
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    configure(settings.log_level)
    return settings


def _require_schema(settings: Settings) -> None:
    from app.store import schema

    has, needs = schema.current(settings.database_url), schema.newest()
    if has != needs:
        raise CliError(
            Exit.FAILED,
            "schema_outdated",
            f"the database has schema {has or 'none'}, this version needs {needs}",
            "Run: vmferry db upgrade",
        )


def _listen(settings: Settings) -> socket.socket:
    """The socket is bound before anything else starts, so that an address in use is told at once and clearly."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise CliError(
            Exit.FAILED,
            "cannot_listen",
            f"cannot listen on {settings.bind}: {error.strerror or error}",
            "Another service may use it: set VMFERRY_BIND to a free address.",
        ) from error
    return listener


def _server(settings: Settings) -> Server:
    from app.main import Server, create_app

    server = Server(create_app(settings), access_log=False, server_header=False, proxy_headers=False)

    def end(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)  # also for uvicorn, which raises the signal again when it has stopped
    return server


def _announce(settings: Settings, server: Server) -> None:
    """Say that it is ready when it is: the API answers and a worker beats."""
    url = f"http://{reachable(settings.bind)}"
    console = output.stdout()
    session = requests.Session()
    session.trust_env = False
    deadline = time.monotonic() + READY_PATIENCE_S
    while not _is_ready(session, url):
        time.sleep(READY_POLL_S)
        if server.should_exit:
            return
        if time.monotonic() > deadline:
            console.print(f"vmferry answers on {url}, but no worker has come up yet: see the log", soft_wrap=True)
            deadline = float("inf")
    console.print(
        f"vmferry is ready on {url}\nits first token is in {settings.token_file}", soft_wrap=True, markup=False
    )


def _is_ready(session: requests.Session, url: str) -> bool:
    try:
        return session.get(f"{url}/v1/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False
