"""A site to look at, and the browser that looks.

The browser is started for this package alone: Playwright's loop must be gone before other tests start theirs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from tests.support.content import wait_subscribed
from tests.support.openid import CLIENT, CLIENT_SECRET, Provider, run_provider
from tests.support.require import missing
from tests.support.site import PASSWORD, USER, Site

from .content import make_root

FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

PATIENCE_MS = 60_000
"""How long a test waits for what it expects: plots are drawn without a graphics processor, on a busy machine."""
TIMEOUT_S = 600

Open = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests in a browser more time than others: what they wait for has limits of its own."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="package")
def provider() -> Iterator[Provider]:
    """The OpenID provider that the site trusts."""
    with run_provider() as running:
        yield running


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Site]:
    """A site with people that publishes root ``lab``; tests may add to ``source``."""
    directory = tmp_path_factory.mktemp("gui")
    source = make_root(directory / "source")
    with Site(directory / "state", login=True) as made:
        made.subscriber.env |= {
            "CATERVA2_URLBASE": made.subscriber.url,
            "CATERVA2_JUPYTERLITE": "/lite/lab/index.html",
            "CATERVA2_AUTH_OIDC_ISSUER": provider.issuer,
            "CATERVA2_AUTH_OIDC_CLIENT_ID": CLIENT,
            "CATERVA2_AUTH_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "CATERVA2_AUTH_OIDC_NAME": "Example University",
        }
        made.start(lab=source)
        made.add_user(superuser=True)
        made.add_user("ada@example.com")
        with made.client() as client:
            wait_subscribed(client, "lab")
        yield made


@pytest.fixture(scope="package")
def source(site: Site) -> Path:
    """Directory of root ``lab``."""
    return site.directory.parent / "source"


@pytest.fixture(scope="package")
def _playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def browser(_playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing("no chromium was found (apt-get install chromium, or CHROMIUM=path)")
    launched = _playwright.chromium.launch(executable_path=program, args=FLAGS)
    yield launched
    launched.close()


@pytest.fixture(scope="package")
def session(browser: Browser, site: Site) -> Any:
    """State of a browser in which the administrator is signed in."""
    context = browser.new_context(base_url=site.subscriber.url)
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("E-mail").fill(USER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name=f"Account of {USER}").wait_for()
    state = context.storage_state()
    context.close()
    return state


Kept = dict[tuple[object, ...], BrowserContext]


@pytest.fixture(scope="package")
def kept(browser: Browser) -> Iterator[Kept]:
    """Browser contexts by what they were made with. Tests share them, so that the GUI's code is fetched and compiled
    once and not for every test; each test has a page of its own, and leaves nothing in the browser's storage."""
    contexts: Kept = {}
    yield contexts
    for context in contexts.values():
        context.close()


@pytest.fixture
def visit(browser: Browser, site: Site, kept: Kept, request: pytest.FixtureRequest) -> Iterator[Open]:
    """A function that opens an address in a page of its own; errors that a page reports fail the test.

    With ``fresh=True`` the page knows nothing of earlier ones: neither their cookies nor their cache.
    """
    own: list[BrowserContext] = []
    pages: list[Page] = []
    problems: list[str] = []

    def told(message: ConsoleMessage) -> None:
        # What the network answered is for each test to judge; scripts and policies must be silent.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            problems.append(f"{message.type}: {message.text}")

    def context_with(*, user: bool, dark: bool, phone: bool, fresh: bool, more: dict[str, Any]) -> BrowserContext:
        key = (user, dark, phone, *sorted((name, str(value)) for name, value in more.items()))
        if not fresh and key in kept:
            return kept[key]
        options = {"base_url": site.subscriber.url, **more}
        made = browser.new_context(
            viewport=PHONE if phone else DESKTOP,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            storage_state=request.getfixturevalue("session") if user else None,
            **options,
        )
        if fresh:
            own.append(made)
        else:
            kept[key] = made
        return made

    def open_page(
        path: str = "/",
        *,
        user: bool = False,
        dark: bool = False,
        phone: bool = False,
        fresh: bool = False,
        **more: Any,
    ) -> Page:
        page = context_with(user=user, dark=dark, phone=phone, fresh=fresh, more=more).new_page()
        pages.append(page)
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", told)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path)
        page.locator(".frame").wait_for()
        return page

    yield open_page
    for page in pages:
        with contextlib.suppress(Error):
            page.evaluate("localStorage.clear()")
        page.close()
    for context in own:
        context.close()
    assert not problems
