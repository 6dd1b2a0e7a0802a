"""From a TOML file and `--set` to a checked configuration, or to one line per fault."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from flows.secret_settings import refuse_secret_setting, refuse_secrets
from pipeline.config import Config
from pipeline.errors import InputError

C = TypeVar("C", bound=Config)
KeyPath = tuple[str, ...]
ALTERNATIVE = re.compile(r"function-|constrained-|literal\[")
"""How pydantic marks, in the place of a fault, which of several kinds of value it speaks of."""
SHOWN_CHARACTERS = 60
UNSET = object()
"""In place of a value: what the file says of this key does not count."""
EXPECTED = {
    "tuple_type": 'write a list, such as ["one", "two"]',
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "string_type": "write text in quotes",
    "date_type": "write a date, such as 2026-01-31",
    "date_from_datetime_inexact": "write a date, such as 2026-01-31",
    "date_from_datetime_parsing": "write a date, such as 2026-01-31",
}
"""pydantic's names of common faults → what to do about them."""
TWICE = ("Cannot overwrite", "twice")
"""How tomllib tells of a key or a table that a file has two times."""


class ConfigurationError(InputError):
    """A configuration file or a `--set` is wrong: unknown key, wrong type, impossible value, bad TOML."""

    remedy = "Correct the key or the value that the message names; `moinho config FILE` shows what is valid."


def load(kind: type[C], path: Path, settings: Sequence[str] = ()) -> C:
    """The configuration at `path` with what it extends and with `settings` (`section.key=value`, or
    `section.key=` for its default) on top.

    Raises ConfigurationError with one line per fault: file, key, what was found, what would work; and
    SecretInSettingError, which repeats nothing of what was found.
    """
    for setting in settings:
        refuse_secret_setting(setting)
    supersedes = kind.supersedes
    values, sources = _read(path, supersedes)
    for setting in settings:
        keys, value = _parse_setting(setting)
        if value is UNSET:
            if keys not in _key_paths(values):
                raise ConfigurationError(
                    f"--set {setting}: no file sets {'.'.join(keys)}, there is nothing to take away; "
                    "write a value behind the =, or leave it out"
                )
            values = _without(values, [keys])
            continue
        if keys[0] not in values:
            values = _without(values, supersedes.get(keys[0], ()))
        _put(values, keys, value, setting)
        sources[keys] = f"--set {setting}"
    refuse_secrets(values, lambda keys: _source(keys, sources) or str(path))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = [_fault(kind, fault, values, sources, path) for fault in _joined(error.errors())]
        raise ConfigurationError("\n".join(dict.fromkeys(faults))) from None


def _read(
    path: Path, supersedes: Mapping[str, Sequence[KeyPath]], seen: tuple[Path, ...] = ()
) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """The merged tables of a file and of those it extends, and for each key the file it came from."""
    if path.resolve() in seen:
        raise ConfigurationError(f"{path}: extends leads back to itself; remove one `extends`")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError:
        raise ConfigurationError(
            f"{path}: a folder, not a configuration file{_similar_files(path)}"
        ) from None
    except FileNotFoundError:
        by = f" (extended by {seen[-1]})" if seen else ""
        near = "; the path counts from the file that extends" if seen else _similar_files(path)
        raise ConfigurationError(f"{path}: no such file{by}{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:
        twice = any(words in str(error) for words in TWICE)
        hint = "it is there twice, remove one" if twice else "strings need quotes, tables [brackets]"
        raise ConfigurationError(f"{path}: not TOML ({error}); {hint}") from None
    sources = dict.fromkeys(_key_paths(values), str(path))
    base = values.pop("extends", None)
    if base is None:
        return values, sources
    if not isinstance(base, str):
        raise ConfigurationError(
            f'{path}: extends: found {base!r}; write a file name, such as "quickstart.toml"'
        )
    base_values, base_sources = _read(path.parent / base, supersedes, (*seen, path.resolve()))
    for key in values.keys() - base_values.keys():
        base_values = _without(base_values, supersedes.get(key, ()))
    return _merged(base_values, values), base_sources | sources


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _without(values: Mapping[str, Any], superseded: Sequence[KeyPath]) -> dict[str, Any]:
    """The values without those that a table makes pointless which is not in their file."""
    left = dict(values)
    for key, *rest in superseded:
        if not rest:
            left.pop(key, None)
        elif isinstance(left.get(key), Mapping):
            left[key] = _without(left[key], [tuple(rest)])
    return left


def _key_paths(values: Mapping[str, Any], before: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in values.items():
        yield (*before, key)
        if isinstance(value, Mapping):
            yield from _key_paths(value, (*before, key))


def _parse_setting(setting: str) -> tuple[KeyPath, Any]:
    """`pretrain.steps=300` → (("pretrain", "steps"), 300); `pretrain.steps=` → UNSET. What is no TOML value
    is taken as text."""
    key, equals, text = setting.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys):
        raise ConfigurationError(f"--set {setting}: write section.key=value, such as pretrain.steps=300")
    if not text.strip():
        return keys, UNSET
    try:
        return keys, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return keys, text


def _put(values: dict[str, Any], keys: KeyPath, value: Any, setting: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigurationError(f"--set {setting}: {key} is a value, not a section")
    values[keys[-1]] = value


def _joined(faults: Sequence[Any]) -> list[dict[str, Any]]:
    """Of a value that may be one thing or another, pydantic tells a fault for each: here they are one."""
    found: dict[KeyPath, dict[str, Any]] = {}
    for fault in faults:
        location = tuple(part for part in fault["loc"] if not ALTERNATIVE.match(str(part)))
        told = EXPECTED.get(fault["type"]) or fault["msg"][0].lower() + fault["msg"][1:]
        if len(location) < len(fault["loc"]) and location in found:
            told = f"{found[location]['msg']}, or: {told}"
        found[location] = {**fault, "loc": location, "msg": told}
    return list(found.values())


def _fault(
    kind: type[BaseModel],
    fault: dict[str, Any],
    values: Mapping[str, Any],
    sources: Mapping[KeyPath, str],
    path: Path,
) -> str:
    location = tuple(str(part) for part in fault["loc"])
    where = _source(location, sources) or str(path)
    item = bool(location) and isinstance(fault["loc"][-1], int)
    # Of an item of a list the value tells which.
    key = _named(location[:-1] if item else location, values)
    found = repr(fault["input"])
    found = found if len(found) <= SHOWN_CHARACTERS else found[:SHOWN_CHARACTERS] + "…"
    match fault["type"]:
        case "extra_forbidden":
            told = _not_a_setting(kind, location)
            if told is None and (item_of_list := _item(location, values)):
                section, (*_, unknown) = item_of_list
                return f"{where}: {section}: unknown key {unknown}{_nearest(kind, location, short=True)}"
            return f"{where}: {key}: {told or f'unknown key{_nearest(kind, location)}'}"
        case "model_type" | "model_attributes_type":
            return f"{where}: {key}: found {found}; {_table(_section(kind, location), key, where)}"
        case "missing":
            return f"{where}: {key}: missing; it has no default, so set it"
        case "value_error":
            told = str(fault["ctx"]["error"])
            where = _blamed(location, told, sources) or where
            return f"{where}: {key + ': ' if key else ''}{told}"
        case _:
            return f"{where}: {key}: {fault['msg']}, found {found}"


def _item(location: KeyPath, values: Mapping[str, Any]) -> tuple[str, KeyPath] | None:
    """`sources.0.kind` → `[[sources]] "manual"`, by the table's name or number, and the key in it; None for
    what is in no list of tables."""
    here: Any = values
    for place, part in enumerate(location):
        here = here[int(part)] if isinstance(here, list) else here.get(part)
        if part.isdigit() and isinstance(here, Mapping) and location[place + 1 :]:
            name = here.get("name")
            told = f'"{name}"' if isinstance(name, str) else f"number {int(part) + 1}"
            return f"[[{'.'.join(location[:place])}]] {told}", location[place + 1 :]
        if not isinstance(here, Mapping | list):
            return None
    return None


def _named(location: KeyPath, values: Mapping[str, Any]) -> str:
    """Where a key stands, in words that its user wrote."""
    found = _item(location, values)
    return ".".join(location) if found is None else f"{found[0]}: {'.'.join(found[1])}"


def _section(kind: type[BaseModel], location: KeyPath) -> type[BaseModel] | None:
    """The model of a section, if there is one at that place."""
    here: type[BaseModel] | None = kind
    for name in location:
        field = here.model_fields.get(name) if here is not None else None
        kinds = (field.annotation, *get_args(field.annotation)) if field is not None else ()
        here = next((each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)), None)
    return here


def _not_a_setting(kind: type[BaseModel], location: KeyPath) -> str | None:
    """Why there is none of that name, where users look for one."""
    for length in range(len(location) - 1, -1, -1):  # also what a section further out says of it
        section = _section(kind, location[:length])
        if section is not None and issubclass(section, Config):
            for part, told in section.not_settings.items():
                if part in location[-1].lower():
                    return told
    return None


def _table(section: type[BaseModel] | None, key: str, where: str) -> str:
    """How a section is written, by its first setting."""
    if section is None:
        return "write a table with a setting for each"
    first, field = next(iter(section.model_fields.items()))
    default = field.get_default()
    setting = f"{first} = {json.dumps(not default if isinstance(default, bool) else default, default=str)}"
    example = f"[{key}] and below it {setting}"
    if where.startswith("--set "):
        example = f"--set {key}.{setting.replace(' = ', '=')}"
    return f"it has a setting for each, write such as {example}; there are: {', '.join(section.model_fields)}"


def _source(location: KeyPath, sources: Mapping[KeyPath, str]) -> str | None:
    """Where the key was set; for a section, where the last of its keys was."""
    for length in range(len(location), 0, -1):
        here = location[:length]
        found = [source for keys, source in sources.items() if keys[:length] == here]
        if found:
            return sources.get(here, found[-1])
    return None


def _blamed(location: KeyPath, told: str, sources: Mapping[KeyPath, str]) -> str | None:
    """Of a fault of a whole section: the `--set` of the key that is told of, else all in the section."""
    given = {
        keys: source
        for keys, source in sources.items()
        if source.startswith("--set ") and keys[: len(location)] == location
    }
    named = [source for keys, source in given.items() if ".".join(keys) in told]
    if named:
        return named[-1]
    if not location or not given or location in given:
        return None
    last = _source(location, sources)
    others = [source for source in given.values() if source != last]
    return f"{last} with {', '.join(others)}" if others else last


def _nearest(kind: type[BaseModel], location: KeyPath, short: bool = False) -> str:
    """The valid key that was probably meant: in the same section first, then anywhere. In `short` one of
    the same section goes without the section."""
    valid = list(_valid_keys(kind))
    location = tuple(part for part in location if not part.isdigit())  # the number in a list of sections
    key, section = ".".join(location), ".".join(location[:-1])
    here = [name for name in valid if name.rpartition(".")[0] == section]
    by_last = {name.rpartition(".")[2]: name for name in reversed(valid)}
    exact = [by_last[location[-1]]] if location[-1] in by_last else []
    begun = [name for name in here if name.startswith(key)]
    near = (
        begun
        or exact
        or difflib.get_close_matches(key, here, n=1, cutoff=0.6)
        or [by_last[last] for last in difflib.get_close_matches(location[-1], by_last, n=1, cutoff=0.6)]
    )
    if near:
        meant = near[0].removeprefix(f"{section}.") if short else near[0]
        return f"; did you mean {meant}?"
    return f"; there are: {', '.join(name.rpartition('.')[2] for name in here)}" if here else ""


def _valid_keys(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield before + name
        for section in (field.annotation, *get_args(field.annotation)):
            if isinstance(section, type) and issubclass(section, BaseModel):
                yield from _valid_keys(section, f"{before}{name}.")


def _similar_files(path: Path) -> str:
    """The configuration of a name like that, or some: beside it, in it, or in configs/."""
    folders = [path] if path.is_dir() else [path.parent, Path("configs")]
    files = [file for folder in dict.fromkeys(folders) for file in sorted(folder.glob("*.toml"))]
    stems = {file.stem: str(file) for file in reversed(files) if file.name != "pyproject.toml"}
    near = difflib.get_close_matches(path.stem, stems, n=1) or list(reversed(stems))[:5]
    return f"; there is {', '.join(stems[stem] for stem in near)}" if near else ""
