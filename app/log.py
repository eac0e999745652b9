"""Structured logs: one JSON object a line on stderr, or coloured text on a terminal; the job's id on every line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

_SECRET_KEY = re.compile(r"passw|secret|token|authorization|cookie|credential|session_key", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), r"\1 [redacted]"),
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), r"\1[redacted]@"),
    (re.compile(r"(vmware_soap_session=)[^;\s]+", re.IGNORECASE), r"\1[redacted]"),
    (re.compile(r"((?:password|passwd|secret)\s*[=:]\s*)(?!\+)\S+", re.IGNORECASE), r"\1[redacted]"),
)
_REDACTED = "[redacted]"


def configure(level: str = "info") -> None:
    """Set up structlog and the standard library's logging alike; call once per process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = [structlog.processors.format_exc_info, redact]
    if sys.stderr.isatty():  # the renderer's own tracebacks show local variables: secrets among them
        rendering.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        rendering.append(structlog.processors.JSONRenderer(default=str))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("urllib3", "alembic", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at that moment, also after it was replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(name))


@contextmanager
def job_log(job_id: str, **more: str) -> Iterator[None]:
    """Every line logged by this thread within the block carries `job_id`."""
    with structlog.contextvars.bound_contextvars(job_id=job_id, **more):
        yield


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The second line of defence: values whose key or form says that they are secret are replaced."""
    return cast(MutableMapping[str, Any], _clean(event))


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _REDACTED if _SECRET_KEY.search(str(k)) else _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if isinstance(value, str):
        for pattern, replacement in _SECRET_TEXT:
            value = pattern.sub(replacement, value)
    return value
