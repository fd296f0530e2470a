"""Take access tokens out of text: nothing that is printed, logged or stored may hold one. Imports nothing of ours."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

__all__ = ["EXPIRY", "SECRETS", "USERINFO", "Filter", "secret", "text", "watch"]

SECRETS: Final = frozenset(
    {"sig", "signature", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid"}
    | {"token", "access_token", "accesstoken", "auth_token", "id_token", "refresh_token", "authorization"}
    | {"key", "apikey", "api_key", "api-key", "x-api-key", "subscription-key", "subscription_key"}
    | {"ocp-apim-subscription-key", "client_secret", "secret", "password", "passwd", "pwd"}
)
"""Parameters of a URL that give access, in lower case: signatures (Azure, AWS, Google, CloudFront), tokens, keys."""
_SIGNED_BY: Final = ("x-amz-", "x-goog-")
"""Beginnings of the parameters of pre-signed links of S3 and Google."""
EXPIRY: Final[dict[str, frozenset[str]]] = {
    "sig": frozenset(
        {"sv", "ss", "srt", "sp", "se", "st", "spr", "sr", "sip", "sdd", "ses", "si", "scid"}
        | {"skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid"}
    ),
    "signature": frozenset({"expires"}),
}
"""Parameters that say for what and until when a signature holds, and nothing of what is to be read."""
HIDDEN: Final = "***"

_NAMES: Final = "|".join(sorted(map(re.escape, SECRETS), key=len, reverse=True))
_PARAMETER: Final = re.compile(
    rf"(?i)((?:^|[?&;,\s\"'(])(?:{_NAMES}|x-(?:amz|goog)-(?:signature|credential|security-token))=)[^&\s\"'<>)\]]+"
)
_MEMBER: Final = re.compile(rf"(?i)([\"'](?:{_NAMES})[\"']\s*:\s*[\"'])[^\"']+")
"""Of a mapping in Python's or JSON's form."""
USERINFO: Final = re.compile(r"(://)[^/\s@?#\"'<>]+@")
"""User name and password of a URL."""
_HEADER: Final = re.compile(
    r"(?i)(authorization[\"']?[:=]?\s*[\"']?(?:bearer|basic|token)?\s+|bearer\s+)[\w.~+/=-]{8,}"
)


def secret(name: str) -> bool:
    """Whether a parameter of a URL gives access, or belongs to a pre-signed link.

    Examples
    --------
    >>> secret("Signature"), secret("X-Goog-Date"), secret("year")
    (True, True, False)
    """
    return name.lower() in SECRETS or name.lower().startswith(_SIGNED_BY)


def text(value: object) -> str:
    """Return a text without the values of tokens, signatures, keys and passwords.

    Examples
    --------
    >>> text("GET https://a.net/x.tif?se=2027&sig=abc%3D failed")
    'GET https://a.net/x.tif?se=2027&sig=*** failed'
    """
    hidden = str(value)
    for pattern in (_PARAMETER, _MEMBER, _HEADER):
        hidden = pattern.sub(rf"\1{HIDDEN}", hidden)
    return USERINFO.sub(rf"\1{HIDDEN}@", hidden)


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
