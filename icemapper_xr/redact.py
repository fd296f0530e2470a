"""Take access tokens out of text: nothing that is printed, logged or stored may hold one. Imports nothing of ours."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

__all__ = ["Filter", "text", "watch"]

_PARAMETER: Final = re.compile(
    r"(?i)([?&;\s\"'](?:sig|token|access_token|apikey|api_key|key|subscription-key|signature|x-amz-signature"
    r"|x-amz-security-token|x-amz-credential|awsaccesskeyid|policy|key-pair-id)=)[^&\s\"'<>)\]]+"
)
"""Parameters of shared access signatures, pre-signed S3 links and keys."""
_USERINFO: Final = re.compile(r"(://)[^/\s:@]+:[^/\s@]+@")
_BEARER: Final = re.compile(r"(?i)(authorization:?\s*(?:bearer|basic)?\s+|bearer\s+)[\w.~+/=-]{8,}")
HIDDEN: Final = "***"


def text(value: object) -> str:
    """Return a text without the values of tokens, signatures, keys and passwords.

    Examples
    --------
    >>> text("GET https://a.net/x.tif?se=2027&sig=abc%3D failed")
    'GET https://a.net/x.tif?se=2027&sig=*** failed'
    """
    hidden = _PARAMETER.sub(rf"\1{HIDDEN}", str(value))
    hidden = _USERINFO.sub(rf"\1{HIDDEN}@", hidden)
    return _BEARER.sub(rf"\1{HIDDEN}", hidden)


class Filter(logging.Filter):
    """Redacts the records of a logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the redacted message in the record's place; never drops one."""
        message = record.getMessage()
        clean = text(message)
        if clean != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = text(logging.Formatter().formatException(record.exc_info))
        return True


_watched: set[str] = set()


def watch(*names: str) -> None:
    """Redact what some loggers say from now on, in this process; doing it twice changes nothing."""
    for name in names:
        if name not in _watched:
            logger: Any = logging.getLogger(name)
            logger.addFilter(Filter())
            _watched.add(name)
