"""What only people know of an inventory: who they are, and where it belongs. Asked for, never made up."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Final

import pydantic

from icemapper_xr.errors import OptionError

__all__ = ["FORM", "Person", "Submission", "read_submission"]

FORM: Final = """\
# Who submits the inventory, and where it belongs. Fill in and pass with --submission.
o1region = ""           # first-order region of the glaciers, two digits: "07" is Svalbard and Jan Mayen
o2region = ""           # second-order region: "07-01" is Svalbard
chief_affl = ""         # institution that answers for the data
geolocation_m =         # how far the whole map may be shifted, metres (one standard deviation)
version = "1.0"         # of your inventory
# rc_id = 0             # GLIMS regional centre, if you have one
# proc_desc = ""        # how the outlines were made; default: written from the run
# src_date = "08-31"    # month and day that outlines stand for; default: the end of the ablation season

[[analysts]]            # one block a person
surname = ""
given = ""
affiliation = ""
country = ""            # two letters
# url = ""

[[submitters]]
surname = ""
given = ""
affiliation = ""
country = ""
"""


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Person(_Strict):
    """Somebody who made or submits the outlines."""

    surname: str = pydantic.Field(min_length=1)
    given: str = pydantic.Field(min_length=1)
    affiliation: str = pydantic.Field(min_length=1)
    country: str = pydantic.Field(pattern=r"^[A-Z]{2}$")
    """Two letters (ISO 3166)."""
    url: str = ""

    def __str__(self) -> str:
        return f"{self.surname}, {self.given}"


class Submission(_Strict):
    """The answers to the form."""

    o1region: str = pydantic.Field(pattern=r"^\d{2}$")
    o2region: str = pydantic.Field(pattern=r"^\d{2}-\d{2}$")
    chief_affl: str = pydantic.Field(min_length=1)
    geolocation_m: float = pydantic.Field(gt=0)
    """Standard error of the whole map's position, metres: GLIMS' global uncertainty."""
    version: str = pydantic.Field(default="1.0", pattern=r"^[0-9A-Za-z.]+$")
    rc_id: int | None = None
    proc_desc: str = ""
    src_date: str | None = pydantic.Field(default=None, pattern=r"^\d{2}-\d{2}$")
    """Month and day that the outlines stand for."""
    analysts: tuple[Person, ...] = pydantic.Field(min_length=1)
    submitters: tuple[Person, ...] = pydantic.Field(min_length=1)

    @pydantic.field_validator("o2region")
    @classmethod
    def _within(cls, value: str, info: pydantic.ValidationInfo) -> str:
        first = info.data.get("o1region", value[:2])
        if value[:2] != first:
            raise ValueError(f"{value!r} is no part of o1region {first!r}: give one that begins with {first}-")
        return value


def read_submission(path: str | os.PathLike[str]) -> Submission:
    """Read the answers to `icemapper export form` from a TOML file.

    Raises
    ------
    OptionError
        If the file is missing or no TOML, or an answer is missing or wrong; names the first one.
    """
    source = Path(path)
    if not source.is_file():
        raise OptionError(f"there is no file {source}: make one with `icemapper export form > {source}` and fill it in")
    try:
        answers = tomllib.loads(source.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{source} is not read as TOML ({error}): fill in every answer of the form") from error
    try:
        return Submission(**answers)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise OptionError(f"{source}: {name}: {problem['msg'][0].lower()}{problem['msg'][1:]}") from None
