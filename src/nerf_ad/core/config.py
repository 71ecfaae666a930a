"""A set of choices: frozen, strict, and plain TOML on disk."""

import json
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import read_toml, write_text

ConfigT = TypeVar("ConfigT", bound="Config")
"""Instead of ``Self``, which the run-time type check in tests cannot resolve on a single method."""


class Config(BaseModel):
    """A set of choices that is fixed before the work starts."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def from_toml(cls: type[ConfigT], path: Path) -> ConfigT:
        """Read and validate a TOML file.

        Raises:
            FormatError: the file is missing, is not TOML or does not fit the model; names the first fault.
        """
        return cls.from_mapping(read_toml(path), source=str(path))

    @classmethod
    def from_mapping(cls: type[ConfigT], raw: dict[str, Any], *, source: str) -> ConfigT:
        """Validate plain data; ``source`` names where it came from in the error."""
        try:
            return cls.model_validate_json(json.dumps(raw, default=str))  # TOML has dates, JSON has not
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "the whole"
            raise FormatError(f"{source}: {where}: {fault['msg'].lower()}") from error

    def to_toml(self) -> str:
        """This value as TOML text; ``None`` fields are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def save_toml(self, path: Path) -> None:
        """Write atomically."""
        write_text(path, self.to_toml())


def merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Plain data with some of its leaves replaced; what ``changes`` nests is merged, what it adds is left."""
    return {
        name: merged(value, changes[name])
        if isinstance(value, dict) and name in changes
        else changes.get(name, value)
        for name, value in whole.items()
    }
