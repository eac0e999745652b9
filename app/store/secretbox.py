"""Secrets at rest: AES-256-GCM under a key file, each ciphertext bound to the row it is for."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.domain.errors import InvalidRequest, PermanentError

_NONCE = 12
_VERSION = b"\x01"


class SecretUnreadable(PermanentError):
    code = "secret_unreadable"


class SecretBox:
    """Seals and opens secrets. `row` names the owner, as in "credentials/1f2e": moved to another row it won't open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._mac_key = hmac.digest(key, b"vmferry mac", hashlib.sha256)

    def seal(self, row: str, secret: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, secret.encode(), row.encode())

    def open(self, row: str, sealed: bytes) -> str:
        """Raises SecretUnreadable for another key, another row or a changed ciphertext."""
        try:
            if sealed[:1] != _VERSION or len(sealed) <= 1 + _NONCE:
                raise InvalidTag
            return self._cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], row.encode()).decode()
        except InvalidTag:
            raise SecretUnreadable(
                f"the secret of {row} cannot be decrypted",
                "Put back the key file that it was stored with (VMFERRY_SECRET_KEY_FILE), or enter the secret anew.",
            ) from None

    def mac(self, data: bytes) -> str:
        """A keyed hash, hex: nobody can try passwords against it without the key."""
        return hmac.digest(self._mac_key, data, hashlib.sha256).hex()


def load_box(path: Path) -> SecretBox:
    """The box of the key in `path`, made at first start. Raises InvalidRequest for a key that others can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        write_private(path, os.urandom(32).hex() + "\n")
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidRequest(
            f"the key file {path} can be read or changed by others (mode {stat.S_IMODE(mode):04o})",
            f"Run: chmod 600 {path}",
            code="insecure_key_file",
        )
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) != 32:
        raise InvalidRequest(
            f"{path} holds no key: 64 hexadecimal digits", "Put back the key file.", code="bad_key_file"
        )
    return SecretBox(key)


def write_private(path: Path, text: str) -> None:
    """A new file, 0600, that appears whole or not at all. Raises FileExistsError."""
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
