"""Structured logs: one line for each event, JSON for machines and aligned text for a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_QUIET = ("nats", "httpx", "httpcore", "asyncio", "watchfiles", "multipart", "python_multipart", "aiosqlite")


_ENRICH: tuple[Any, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: str, *, json: bool | None = None) -> None:
    """Send all logs of the process to stderr.

    Parameters
    ----------
    level
        Lowest level that is shown.
    json
        One JSON object per line; None decides by whether stderr is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_ENRICH, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(as_json=as_json)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


class _StderrHandler(logging.Handler):
    """Writes to what stderr is at that time: it may be replaced after the logs were configured."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201
        except Exception:  # noqa: BLE001 - what handlers do: the log never ends the work that it tells of
            self.handleError(record)


def _renderer(*, as_json: bool) -> list[Any]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    # Plain tracebacks: those that show local variables would show passwords.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger: ``log.info("chunk fetched", root=..., path=...)``."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            *_ENRICH,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger
