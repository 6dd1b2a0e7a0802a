"""The base of every configuration: frozen, complete, checked when made, with an identity for keys."""

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Config(BaseModel):
    """A section of a configuration file. Every field is part of the key of what is made from it.

    A field whose default is None and that `derived` names is filled in by `resolved`; setting it
    by hand to the derived value gives the same key as leaving it out.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    not_settings: ClassVar[Mapping[str, str]] = {}
    """What is looked for here, and why there is no such setting: part of a key → what its user is told."""
    only_told: ClassVar[frozenset[str]] = frozenset()
    """Names that `resolved` has although they cannot be set."""
    supersedes: ClassVar[Mapping[str, tuple[tuple[str, ...], ...]]] = {}
    """A section → the keys that go with it if a file that is extended has them and not the section."""

    @field_validator("*", mode="before")
    @classmethod
    def switches_are_no_numbers(cls, value: Any, field: ValidationInfo) -> Any:
        """pydantic would take true for 1."""
        annotation = cls.model_fields[field.field_name or ""].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError(f"write a number, found {value!r}")
        return value

    def derived(self) -> Mapping[str, Any]:
        """Values for the fields that were left at None, computed from the others."""
        return {}

    def resolved(self) -> dict[str, Any]:
        """Every field with the value that will be used, as JSON types."""
        values = self.model_dump(mode="json")
        for field, value in self.derived().items():
            if values[field] is None:
                values[field] = value
        return values

    def identity(self) -> dict[str, Any]:
        """The resolved values that differ from their default (given or derived).

        A new field with a default therefore forks no key; a changed default or derivation
        must bump the revision of the stages that use it.
        """
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in type(self).model_fields.items()
            if not field.is_required()
        }
        defaults = {
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in defaults.items()
        }
        defaults |= dict(self.derived())
        return {
            name: value
            for name, value in self.resolved().items()
            if name not in defaults or value != as_json(defaults[name])
        }


def as_json(value: Any) -> Any:
    """Tuples as lists, so that a default compares equal to what was read from a file."""
    if isinstance(value, tuple | list):
        return [as_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return value
