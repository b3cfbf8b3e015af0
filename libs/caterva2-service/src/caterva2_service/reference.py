"""The reference of an API: ``/openapi.json``, and ``/docs`` to read and try it, without anything from elsewhere."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field

from caterva2.errors import NotFound

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OURS = files(__package__) / "static"
_SWAGGER = files("fastapi_offline") / "static"
_ASSETS = {"docs.js": _OURS, "swagger-ui-bundle.js": _SWAGGER, "swagger-ui.css": _SWAGGER}
_VALIDATION = {"$ref": "#/components/schemas/HTTPValidationError"}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a parameter means that many operations share."""

    description: str
    example: Any = None


class InvalidField(BaseModel):
    """A part of a request that is missing, or not of the type that it should be."""

    type: str
    loc: list[str | int]
    msg: str


class Reason(BaseModel):
    """Why a password was refused."""

    code: str
    reason: str


class Problem(BaseModel):
    """Why a request was refused, or could not be carried out."""

    detail: str | list[InvalidField] | Reason = Field(description="A sentence for the person who asked.")
    code: str | None = Field(default=None, description="Name of the kind of error, which never changes.")


REFUSED = (
    "The request is refused, and says why: 400 it makes no sense, 401 log in first, 403 not allowed, "
    "404 there is no such thing (or it is hidden from you), 409 something else is in the way, 412 there is another "
    "version, 413 too large, 416 no such bytes, 422 a field is missing or a file is not what it seems, 429 too often."
)
UNAVAILABLE = (
    "It cannot be done now: 502 or 504 the publisher answers nonsense or nothing, 503 a part of the service is "
    "away (`Retry-After` says when to come back), 507 there is no room."
)


def install(app: FastAPI, parameters: Mapping[str, Meaning]) -> None:
    """Let `app` answer ``/docs``, and complete what ``/openapi.json`` says.

    Parameters
    ----------
    parameters
        Meaning of the parameters, by name, that say nothing themselves.
    """
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(made(), parameters)
        return made()

    app.openapi = openapi  # type: ignore[method-assign] # the way that FastAPI documents

    @app.get("/docs", include_in_schema=False)
    def page() -> Response:
        return _file("docs.html", _OURS, {"Content-Security-Policy": POLICY})

    @app.get("/docs/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise NotFound("Not Found")
        return _file(name, _ASSETS[name], {"Cache-Control": "public, max-age=86400"})

    @app.get("/redoc", include_in_schema=False)
    def elsewhere() -> Response:
        return RedirectResponse("docs")


def _file(name: str, directory: Any, headers: dict[str, str]) -> Response:
    return Response((directory / name).read_bytes(), headers=headers, media_type=mimetypes.guess_type(name)[0])


def _complete(document: dict[str, Any], parameters: Mapping[str, Meaning]) -> None:
    """Add what operations have in common: how they fail, and what parameters mean."""
    components = document.setdefault("components", {})
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update({**schema.pop("$defs"), "Problem": schema})
    components["responses"] = {
        "Refused": _failure(REFUSED, {"detail": "Not Found", "code": "dataset_not_found"}),
        "Unavailable": _failure(UNAVAILABLE, {"detail": "root foo cannot be reached", "code": "upstream_unavailable"}),
    }
    for operation in _operations(document):
        answers = operation["responses"]
        if answers.get("422", {}).get("content", {}).get("application/json", {}).get("schema") == _VALIDATION:
            del answers["422"]
        _describe_bytes(answers)
        answers.setdefault("4XX", {"$ref": "#/components/responses/Refused"})
        answers.setdefault("5XX", {"$ref": "#/components/responses/Unavailable"})
        for parameter in operation.get("parameters", ()):
            _add_partial(answers, parameter["name"].lower())
            meaning = parameters.get(parameter["name"].lower())
            if meaning is not None:
                parameter.setdefault("description", meaning.description)
                if meaning.example is not None:
                    parameter.setdefault("example", meaning.example)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)


def _add_partial(answers: dict[str, Any], parameter: str) -> None:
    """Say what else is answered to those who give a condition or a range."""
    if parameter == "if-none-match":
        answers.setdefault("304", {"description": "What you have is still what would be answered"})
    elif parameter == "range":
        answers.setdefault("206", {"description": "The bytes that were asked for", "content": _contents(answers)})


def _contents(answers: dict[str, Any]) -> Any:
    return answers["200"].get("content", {})


def _describe_bytes(answers: dict[str, Any]) -> None:
    """Say of bodies of which only the media type is known that they are bytes."""
    for answer in answers.values():
        for media_type, content in answer.get("content", {}).items():
            if media_type != "application/json" and not content.get("schema"):
                content["schema"] = {"type": "string", "format": "binary"}


def _failure(description: str, example: dict[str, str]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()
