"""How log lines look when this is a program of its own: text or JSON, times in UTC."""

import json
import logging
import time
from typing import Final

_TEXT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s"


def iso_second(seconds: float) -> str:
    """Unix time as RFC 3339 in UTC has it, up to the whole second: `2026-11-24T07:03:58`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class _TextFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(_TEXT, "%Y-%m-%dT%H:%M:%S")


class _JsonFormatter(logging.Formatter):
    """An object a line."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": f"{iso_second(record.created)}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


def configure(form: str) -> None:
    """Have all that is logged written to standard error, as `text` or as `json`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
