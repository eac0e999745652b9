"""Debian's Chromium before a service that listens on a port of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from playwright.sync_api import Browser, Page, sync_playwright

from app.main import Server, create_app
from app.settings import Settings
from app.store.schema import upgrade
from app.store.store import Store
from tests.service import free_port

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = {1440: 900, 390: 844}


class Place(Protocol):
    """A service, and a token of it."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...


class Site(NamedTuple):
    url: str
    token: str
    settings: Settings
    store: Store
    server: Server


@contextmanager
def site(home: Path) -> Iterator[Site]:
    settings = Settings(home=home, bind=f"127.0.0.1:{free_port()}")
    upgrade(settings.database_url)
    app = create_app(settings)
    server = Server(app, host=settings.host, port=settings.port, lifespan="on")
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        token = settings.token_file.read_text().strip()
        yield Site(settings.url, token, settings, app.state.services.store, server)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, there: Place, width: int = 1440, *, dark: bool = False, scripts: bool = True) -> Page:
    """A page in a new window, logged in. What its console calls an error fails the test that looks at `errors_of`."""
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
    )
    page = context.new_page()
    page.goto(f"{there.url}/login")
    page.get_by_label("Token").fill(there.token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login" not in url)
    return page
