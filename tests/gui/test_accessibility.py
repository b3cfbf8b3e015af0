"""No violation of WCAG 2.2 A and AA that axe can find, on any page, in both themes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.require import require

from .conftest import Open

AXE = Path(__file__).parents[2] / "services/subscriber/gui/node_modules/axe-core/axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = {
    "/": "h1",
    "/d/lab": "h1",
    "/d/lab/tomo/stack.b2nd": ".plot canvas",
    "/d/lab/tomo/stack.b2nd?vis=ortho": ".ortho-plane canvas",
    "/d/lab/line/current.b2nd": ".plot canvas",
    "/d/lab/images/mosaic.b2nd": ".plot canvas",
    "/d/lab/tables/events.b2nd?tab=table": "#cell-1-1",
    "/d/lab/tomo/stack.b2nd?tab=metadata": "dl",
    "/d/lab/tomo/stack.b2nd?tab=chunks": "canvas",
    "/d/lab/README.md": "iframe",
    "/d/lab/nothing.b2nd": "h1",
    "/login": "form",
    "/help": "h1",
    "/account": "h1",
    "/admin": "h1",
    "/subscriptions": "table",
}
SIGNED_IN = ("/account", "/admin", "/subscriptions", "/")


_GO = "path => { history.pushState(null, '', path); dispatchEvent(new PopStateEvent('popstate')); }"
_CHECK = "tags => axe.run(document, { runOnly: tags, iframes: false })"


def lasting_violations(page: Page) -> list[dict[str, Any]]:
    """Return what axe finds on a page that is drawn: colours on their way from one to another do not count."""
    for _ in range(4):
        violations: list[dict[str, Any]] = page.evaluate(_CHECK, TAGS)["violations"]
        if not violations:
            break
        page.wait_for_timeout(500)
    return violations


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_accessible(visit: Open, dark: bool) -> None:
    require(AXE.exists(), "axe-core is not installed: make gui")
    found: list[str] = []
    for signed_in in (False, True):
        page = visit("/help", user=signed_in, dark=dark, bypass_csp=True)
        page.add_script_tag(path=str(AXE))
        for path, ready in PAGES.items():
            if signed_in and path not in SIGNED_IN:
                continue
            page.evaluate(_GO, path)
            expect(page.locator(f".main {ready}").first, path).to_be_visible()
            for violation in lasting_violations(page):
                nodes = "; ".join(node["html"][:160] for node in violation["nodes"][:3])
                found.append(f"{path} {violation['id']}: {violation['help']}: {nodes}")
    assert not found, "\n".join(found)


def test_the_palette_is_accessible(visit: Open) -> None:
    require(AXE.exists(), "axe-core is not installed: make gui")
    page = visit("/", bypass_csp=True)
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("lab")
    expect(page.get_by_role("option").first).to_be_visible()
    page.add_script_tag(path=str(AXE))
    assert [violation["id"] for violation in lasting_violations(page)] == []
