"""The only reader of environment and configuration files: VMFERRY_* variables over /etc/vmferry/config.toml.

docs/settings.md has one section per setting, and a test fails for one that is not there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from app.domain.errors import InvalidRequest

CONFIG_FILE = Path("/etc/vmferry/config.toml")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080")
    return value


def threads() -> int:
    """How many are worth it here by default: one for each core, and one more, since some wait for the disk; up to 9."""
    return min(8, len(os.sched_getaffinity(0))) + 1


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="VMFERRY_", extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    home: AbsolutePath = Path("var")
    database_url: str = Field(default_factory=lambda data: f"sqlite:///{data.get('home', '')}/vmferry.db", repr=False)
    bind: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8080"
    allowed_hosts: tuple[str, ...] = ()
    url: str = Field(default_factory=lambda data: f"http://{data.get('bind', '')}")
    token: SecretStr = SecretStr("")
    secret_key_file: AbsolutePath = Field(default_factory=lambda data: data.get("home", Path()) / "secret.key")
    virtio_win: AbsolutePath | None = None
    vddk_libdir: AbsolutePath | None = None
    ssh_known_hosts: AbsolutePath | None = None
    ssh_identity: AbsolutePath | None = None
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    max_jobs: int = Field(default=2, ge=1, le=64)
    transfer_workers: int = Field(default=threads(), ge=1, le=32)
    disk_connections: int = Field(default=4, ge=1, le=16)
    host_connections: int = Field(default=8, ge=1, le=64)
    space_poll_s: float = Field(default=5, ge=0.1, le=3600)
    lease_s: float = Field(default=60, ge=1, le=3600)
    retry_attempts: int = Field(default=5, ge=1, le=100)
    retry_backoff_s: float = Field(default=2, ge=0, le=3600)
    retry_backoff_max_s: float = Field(default=60, ge=0, le=86400)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def host(self) -> str:
        """The address to bind, without the brackets of an IPv6 one."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def token_file(self) -> Path:
        """Where the first token is written, readable by its owner only."""
        return self.home / "token"

    def job_folder(self, job_id: str) -> Path:
        """Manifests, logs and pictures of a job: named by its id, never by a VM's name."""
        return self.home / "jobs" / job_id

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, CONFIG_FILE)


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process. Raises InvalidRequest that names each wrong one, without its value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InvalidRequest(
            f"settings: {wrong}", f"Correct the VMFERRY_* variable or {CONFIG_FILE}.", code="invalid_settings"
        ) from None
