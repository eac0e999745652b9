"""Following something that goes on: a picture that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from app.cli import output
from app.cli.output import clean

REFRESH_S = 0.5
PLAIN_PROGRESS_S = 10.0
MESSAGES = 6

Shown = dict[str, Any]


class View(Protocol):
    def event(self, event: Mapping[str, Any]) -> None: ...
    def update(self, shown: Shown) -> None: ...


def after(timeout_s: float | None) -> float | None:
    """The deadline (monotonic) of a wait that begins now."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def until(
    events: Iterable[Mapping[str, Any]],
    read: Callable[[], Shown],
    over: Callable[[Shown], bool],
    view: View,
    *,
    at_once: str,
) -> Shown | None:
    """What `read` answers once it is `over`; None when the events end before. Read `at_once` after events of a kind."""
    refreshed = 0.0
    for event in events:
        if event:
            view.event(event)
        if event.get("kind") == at_once or time.monotonic() - refreshed > REFRESH_S:
            shown = read()
            refreshed = time.monotonic()
            view.update(shown)
            if over(shown):
                return shown
    return None


@contextmanager
def live_view(progress: Callable[[Shown], str], picture: Callable[[Shown], Iterable[RenderableType]]) -> Iterator[View]:
    """It goes to stderr, so that stdout has the result alone. `progress`: one line, "" when there is nothing to say."""
    console = output.stderr()
    if not console.is_terminal:
        yield Lines(console, progress)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Bars(live, picture)


class Lines:
    """What happens, a line each, and the progress now and then: for logs and pipes."""

    def __init__(self, console: Console, progress: Callable[[Shown], str]) -> None:
        self._console = console
        self._progress = progress
        self._told = time.monotonic()

    def event(self, event: Mapping[str, Any]) -> None:
        if event["kind"] != "job.progress":
            self._print(f"{event['at'][11:19]} {clean(event['message'])}")

    def update(self, shown: Shown) -> None:
        if time.monotonic() - self._told >= PLAIN_PROGRESS_S and (said := self._progress(shown)):
            self._print(f"         {clean(said)}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
        self._told = time.monotonic()


class Bars:
    """The picture, and below it what was said last."""

    def __init__(self, live: Live, picture: Callable[[Shown], Iterable[RenderableType]]) -> None:
        self._live = live
        self._picture = picture
        self._messages: deque[str] = deque(maxlen=MESSAGES)
        self._shown: Shown | None = None

    def event(self, event: Mapping[str, Any]) -> None:
        if event["kind"] != "job.progress":
            self._messages.append(clean(event["message"]))
            self._draw()

    def update(self, shown: Shown) -> None:
        self._shown = shown
        self._draw()

    def _draw(self) -> None:
        if self._shown:
            said = (Text(message, style="dim", overflow="ellipsis", no_wrap=True) for message in self._messages)
            self._live.update(Group(*self._picture(self._shown), *said))
