"""`/docs` and `/openapi.json` of every service: complete, and without anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from caterva2_broker.app import create_app as broker
from caterva2_broker.settings import BrokerSettings
from caterva2_publisher.app import create_app as publisher
from caterva2_publisher.settings import PublisherSettings
from caterva2_subscriber.app import create_app as subscriber
from caterva2_subscriber.settings import SubscriberSettings

SECRET = "a secret for tests that is long enough"


@pytest.fixture(params=["broker", "publisher", "subscriber"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> FastAPI:
    """The application of each service; nothing of it is opened."""
    if request.param == "broker":
        return broker(BrokerSettings(statedir=tmp_path))
    if request.param == "publisher":
        return publisher(PublisherSettings(statedir=tmp_path, name="foo", root=tmp_path))
    return subscriber(SubscriberSettings(statedir=tmp_path, secret=SECRET, register=True))


def operations(app: FastAPI) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_says_what_it_does_and_answers_and_how_it_fails(app: FastAPI) -> None:
    lacking = []
    for name, operation in operations(app):
        answers = operation["responses"]
        good = [each for status, each in answers.items() if status[0] in "23"]
        told = {
            "summary": operation.get("summary"),
            "description": operation.get("description"),
            "an answer": good,
            "errors": "4XX" in answers and "5XX" in answers,
            "what the answer holds": all(
                content.get("schema") is not None for each in good for content in each.get("content", {}).values()
            ),
        }
        told |= {f"parameter {each['name']}": each.get("description") for each in operation.get("parameters", ())}
        lacking += [f"{name}: {what}" for what, said in told.items() if not said]
    assert lacking == []


def test_bodies_that_are_sent_have_types_and_examples(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    bodies = [
        (name, content["schema"]["$ref"].rpartition("/")[2])
        for name, operation in operations(app)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "$ref" in content["schema"]
    ]
    lacking = [
        f"{name}: {field} of {schema}"
        for name, schema in bodies
        for field, said in schemas[schema].get("properties", {}).items()
        if field in schemas[schema].get("required", ())
        and not {"examples", "enum", "format"} & said.keys()
        and said.get("type") not in ("boolean", "integer")
    ]
    assert lacking == []


def test_the_document_holds_every_schema_that_it_names(app: FastAPI) -> None:
    document = app.openapi()
    named = set(re.findall(r"#/components/(\w+/\w+)", str(document)))
    assert named
    assert all(name in document["components"][kind] for kind, name in (each.split("/") for each in named))


async def test_docs_are_a_page_that_takes_nothing_from_elsewhere(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "http" not in policy
        assert re.findall(r"<script>|\son\w+=|style=", page.text) == [], "nothing that the policy would forbid"
        linked = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert [each for each in linked if ":" in each and not each.startswith("data:")] == []
        for each in linked:
            if not each.startswith("data:"):
                found = await client.get(f"/{each}")
                assert found.status_code == 200, each
                assert found.content, each
        assert (await client.get("/docs/app.py")).status_code == 404
        assert (await client.get("/redoc")).headers["location"] == "docs"
