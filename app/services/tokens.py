"""The first token: made when there is none, and left in a file that only its owner can read."""

from __future__ import annotations

from app.settings import Settings
from app.store.secretbox import write_private
from app.store.store import Store


def ensure_first_token(settings: Settings, store: Store) -> None:
    """Whatever is in the file from an earlier database is worthless, and replaced."""

    def deliver(text: str) -> None:
        settings.token_file.unlink(missing_ok=True)
        write_private(settings.token_file, text + "\n")

    store.tokens.create_first("first", deliver)
