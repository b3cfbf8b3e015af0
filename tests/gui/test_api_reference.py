"""The reference of the API in a real browser, under the policy that the service sends."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.site import Site

from .conftest import Open


def test_a14_docs_are_read_and_tried_without_anything_from_elsewhere(site: Site, visit: Open) -> None:
    asked: list[str] = []
    page = visit("/")
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.subscriber.url}/docs")
    roots = page.locator(".opblock").filter(has_text="Roots that the reader may see")
    expect(roots).to_be_visible()
    roots.get_by_role("button").first.click()
    roots.get_by_role("button", name="Try it out").click()
    roots.get_by_role("button", name="Execute").click()
    expect(roots.locator(".live-responses-table")).to_contain_text('"lab"')
    elsewhere = [url for url in asked if not url.startswith((site.subscriber.url, "data:"))]
    assert elsewhere == []
