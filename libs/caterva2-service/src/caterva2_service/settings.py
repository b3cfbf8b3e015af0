"""Settings of a service: command line > environment > ``caterva2.toml`` > default.

A service describes its settings once, as a subclass of `ServiceSettings`; `load_settings` makes the command line,
the names of environment variables and the keys of the configuration file from it.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, ClassVar, Self, TypeVar, Union, get_args, get_origin

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from .address import Address

__all__ = ["Address", "NatsSettings", "Option", "ServiceSettings", "load_settings"]

ENV_PREFIX = "CATERVA2_"
DEFAULT_CONF = "caterva2.toml"
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

SettingsT = TypeVar("SettingsT", bound="ServiceSettings")


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting is given, put into the ``Annotated`` type of a field.

    Parameters
    ----------
    help
        One line for ``--help``.
    positional
        The setting is an optional positional argument of the command line.
    cli
        False for settings that have no option: secrets, and what nobody changes for one run.
    toml
        Dotted key of the configuration file where the value is looked up too, when the service's own
        section does not have it (a publisher finds its broker in ``broker.http``).
    """

    help: str = ""
    positional: bool = False
    cli: bool = True
    toml: str | None = None


class NatsSettings(BaseModel):
    """How to reach NATS: section ``[nats]``, environment ``CATERVA2_NATS_*``. Without `url` the broker runs its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    """One or more server URLs, separated by commas."""
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    nkey_file: Path | None = None
    """File with an nkey seed. `user` beside it names the subjects where this service's answers arrive."""
    tls_ca: Path | None = None
    """Certificate authority of the server, where it is not one of the system's."""
    tls_cert: Path | None = None
    """Certificate of this service, where the server asks for one; needs `tls_key`."""
    tls_key: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("password_file", "nkey_file", "tls_ca", "tls_cert", "tls_key"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"nats.{name}: there is no file {path}")
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("nats.tls_cert and nats.tls_key belong together")
        if self.nkey_file is not None and (self.password is not None or self.password_file is not None):
            raise ValueError("nats.nkey_file and nats.password are two ways to say who this is: set one of them")
        return self

    def secret(self) -> str | None:
        """Return the password, read from its file if it is in one."""
        if self.password_file is not None:
            return self.password_file.read_text().strip()
        return self.password.get_secret_value() if self.password else None


class ServiceSettings(BaseModel):
    """Settings that every service has. Subclasses add their own and set the class variables."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    default_statedir: ClassVar[str] = "_caterva2/service"
    """State directory; ``.ID`` is appended for a service with an identifier."""
    foreign_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys of the service's section that other programs read."""
    synonyms: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Other names of settings, on the command line and in the file, and the settings that they stand for."""
    conf_files: ClassVar[tuple[str, ...]] = (DEFAULT_CONF,)
    """Configuration files that are looked for; the first that is there is read."""

    http: Annotated[Address, Option("address to listen at: HOST:PORT or the path of a socket")]
    statedir: Annotated[Path, Option("directory where the service keeps its state")] = Path()
    loglevel: Annotated[str, Option(f"one of {', '.join(LOG_LEVELS)}")] = "warning"
    id: Annotated[str | None, Option("identifier: selects a section of the file and a state directory")] = None
    conf: Annotated[Path | None, Option(f"configuration file (default: {DEFAULT_CONF}, if there is one)")] = None
    allowed_hosts: Annotated[tuple[str, ...], Option(cli=False)] = ()
    """Names under which the service may be called (``Host`` header); empty means any."""
    trusted_proxies: Annotated[tuple[str, ...], Option(cli=False)] = ("127.0.0.1", "::1")
    """Addresses whose ``X-Forwarded-*`` headers are believed."""
    join_token: Annotated[SecretStr | None, Option(cli=False)] = None
    """Secret with which the broker admits services of other machines; it makes one in its state directory."""
    join_token_file: Annotated[Path | None, Option(cli=False)] = None
    nats: NatsSettings = NatsSettings()

    @model_validator(mode="before")
    @classmethod
    def _default_statedir(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("statedir"):
            suffix = f".{given['id']}" if given.get("id") else ""
            given = {**given, "statedir": cls.default_statedir + suffix}
        return given

    def join_secret(self) -> str | None:
        """Return the join token, read from its file if it is in one. Raises OSError."""
        if self.join_token_file is not None:
            return self.join_token_file.read_text().strip()
        return self.join_token.get_secret_value() if self.join_token else None

    @field_validator("http", check_fields=False)
    @classmethod
    def _plain_listener(cls, address: Address) -> Address:
        if address.tls:
            raise ValueError(f"'{address}': services speak http themselves; put TLS in front of them")
        return address

    @field_validator("loglevel")
    @classmethod
    def _known_loglevel(cls, level: str) -> str:
        if level.lower() not in LOG_LEVELS:
            raise ValueError(f"'{level}' is not one of {', '.join(LOG_LEVELS)}")
        return level.lower()

    @field_validator("id")
    @classmethod
    def _plain_id(cls, given: str | None) -> str | None:
        if given is not None and (not given or "/" in given or given in (".", "..") or "." in given):
            raise ValueError(f"'{given}' is not a valid identifier: it must not hold '.' or '/'")
        return given


class _Wrong(Exception):
    """A setting cannot be used; the text is the line that the person who starts the service reads."""


def load_settings(
    cls: type[SettingsT], argv: Sequence[str] | None = None, *, prog: str, section: str, description: str
) -> SettingsT:
    """Read the settings of a service from command line, environment and configuration file.

    Parameters
    ----------
    argv
        Arguments without the program's name; None takes those of the process.
    section
        Section of the configuration file. With an identifier it is ``[section.ID]``.

    Raises
    ------
    SystemExit
        2 for a command line that cannot be read; 1, after one line on stderr, for a wrong or unknown setting.
    """
    arguments = _parser(cls, prog, description).parse_args(argv)
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    try:
        environment = {**dotenv_values(".env"), **os.environ} if Path(".env").is_file() else dict(os.environ)
        from_environment = _from_environment(cls, {k: v for k, v in environment.items() if v is not None})
        path = given.get("conf") or from_environment.get("conf")
        chosen = given.get("id") or from_environment.get("id")
        from_file = _from_file(cls, Path(path) if path else None, section, chosen)
        return cls(**_merge(from_file, from_environment, given))
    except ValidationError as error:
        line = "; ".join(_one_line(problem) for problem in error.errors())
    except (_Wrong, OSError) as error:
        line = str(error)
    print(f"{prog}: {line}", file=sys.stderr)  # noqa: T201 - logging is configured by these settings
    raise SystemExit(1)


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            old = merged.get(name)
            merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _one_line(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        message = "is required"
    return f"{name}: {message}"


# --- command line ---------------------------------------------------------------------
def _parser(cls: type[ServiceSettings], prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description)
    for name, field in cls.model_fields.items():
        option = _option(field)
        if option is None or not option.cli:
            continue
        if option.positional:
            parser.add_argument(name, nargs="?", metavar=name.upper(), help=option.help)
            continue
        flags = ["--" + each.replace("_", "-") for each in _names(cls, name)]
        if bool in (field.annotation, *get_args(field.annotation)):
            parser.add_argument(
                *flags, dest=name, action=argparse.BooleanOptionalAction, default=None, help=option.help
            )
        elif name == "loglevel":
            parser.add_argument(*flags, dest=name, metavar="LEVEL", help=option.help)
        else:
            parser.add_argument(*flags, dest=name, metavar=name.upper(), help=option.help)
    return parser


def _names(cls: type[ServiceSettings], name: str) -> list[str]:
    return [name, *(other for other, setting in cls.synonyms.items() if setting == name)]


def _option(field: FieldInfo) -> Option | None:
    return next((extra for extra in field.metadata if isinstance(extra, Option)), None)


# --- environment ---------------------------------------------------------------------
def _from_environment(cls: type[BaseModel], environment: Mapping[str, str], prefix: str = ENV_PREFIX) -> dict[str, Any]:
    """Return what ``CATERVA2_NAME``, or ``CATERVA2_SECTION_NAME`` for nested settings, say."""
    found: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        variable = prefix + name.upper()
        nested = _nested_model(field.annotation)
        if nested is not None:
            inner = _from_environment(nested, environment, variable + "_")
            if inner:
                found[name] = inner
        elif variable in environment:
            found[name] = _split_list(field.annotation, environment[variable])
    return found


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    return next(
        (kind for kind in _alternatives(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)), None
    )


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType):
        yield from get_args(annotation)
    else:
        yield annotation


def _split_list(annotation: Any, text: str) -> Any:
    if any(get_origin(kind) in (list, tuple, set, frozenset) for kind in _alternatives(annotation)):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


# --- file ---------------------------------------------------------------------
def _from_file(cls: type[ServiceSettings], path: Path | None, section: str, chosen: str | None) -> dict[str, Any]:
    if path is None:
        path = next((file for name in cls.conf_files if (file := Path(name).expanduser()).is_file()), None)
        if path is None:
            return {}
    elif not path.exists():
        raise _Wrong(f"{path}: there is no such file")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _Wrong(f"{path}: {error}") from None
    own = _table(document, section, path)
    where = f"[{section}]"
    if chosen:
        own, where = _table(own, chosen, path), f"[{section}.{chosen}]"
    else:
        # Tables below the section that are not settings belong to services with an identifier.
        own = {key: value for key, value in own.items() if not isinstance(value, dict) or key in cls.model_fields}
    own = {cls.synonyms.get(key, key): value for key, value in own.items()}
    _check_known(cls, own, f"{path}: {where}")
    found = {key: value for key, value in own.items() if key in cls.model_fields}
    for name, field in cls.model_fields.items():
        found = _merge(_shared(document, name, field, path), found)
    return found


def _shared(document: Mapping[str, Any], name: str, field: FieldInfo, path: Path) -> dict[str, Any]:
    """Return the value that a section of its own (``[nats]``), or another service's, has for a setting."""
    nested = _nested_model(field.annotation)
    option = _option(field)
    if nested is not None and isinstance(document.get(name), dict):
        _check_known(nested, document[name], f"{path}: [{name}]")
        return {name: document[name]}
    if option is not None and option.toml is not None:
        value: Any = document
        for key in option.toml.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return {} if value is None else {name: value}
    return {}


def _table(document: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    table = document.get(key, {})
    if not isinstance(table, dict):
        raise _Wrong(f"{path}: '{key}' must be a section")
    return table


def _check_known(cls: type[BaseModel], table: Mapping[str, Any], where: str) -> None:
    foreign: frozenset[str] = getattr(cls, "foreign_keys", frozenset())
    for key, value in table.items():
        field = cls.model_fields.get(key)
        if field is None and key not in foreign:
            near = difflib.get_close_matches(key, cls.model_fields, n=1)
            raise _Wrong(f"{where} has no setting '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        nested = _nested_model(field.annotation) if field is not None else None
        if nested is not None and isinstance(value, dict):
            _check_known(nested, value, f"{where}.{key}")
