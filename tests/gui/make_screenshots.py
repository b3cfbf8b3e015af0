"""``python -m tests.gui.make_screenshots DIRECTORY``: the main screens of the GUI on the demo's samples, as PNG."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from demo.make_demo_samples import make_demo_samples
from tests.support.content import wait_subscribed
from tests.support.site import PASSWORD, USER, Site

from .conftest import FLAGS, PHONE
from .looking import expect_painted

WINDOW = {"width": 1440, "height": 900}
SCREENS = {
    "home": "/",
    "stack": "/d/demo/tomography/phantom.b2nd",
    "diffraction": "/d/demo/diffraction/rings.b2nd?cmap=Inferno&scale=log",
    "line": "/d/demo/line/vibration.b2nd",
    "table": "/d/demo/tables/observations.b2nd?tab=table",
    "planes-dark": "/d/demo/tomography/phantom.b2nd?vis=ortho",
    "palette": "/d/demo/images/nebula.b2nd",
    "phone": "/d/demo/tomography/phantom.b2nd",
}
PLOTS = {"stack", "diffraction", "planes-dark", "palette", "phone"}
SETTLE_MS = 1500


def main() -> int:
    """Write the pictures."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        samples = Path(place) / "samples"
        make_demo_samples(samples)
        with Site(Path(place) / "site", login=True) as site:
            site.start(demo=samples)
            site.add_user()
            with site.client() as client:
                wait_subscribed(client, "demo")
            _take(site.subscriber.url, directory)
    return 0


def _take(url: str, directory: Path) -> None:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        for name, path in SCREENS.items():
            context = browser.new_context(
                base_url=url,
                viewport=PHONE if name == "phone" else WINDOW,
                color_scheme="dark" if name.endswith("dark") else "light",
                device_scale_factor=2 if name == "phone" else 1,
            )
            page = context.new_page()
            page.set_default_timeout(60_000)
            if name != "phone":
                _sign_in(page)
            page.goto(path)
            if name in PLOTS:
                expect_painted(page)
            if name == "line":
                expect_painted(page, at_least=2)
            if name == "palette":
                page.keyboard.press("=")
                page.get_by_role("dialog").wait_for()
                page.keyboard.type("bright = sqrt(this) * 2", delay=5)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=directory / f"gui-{name}.png")
            print(directory / f"gui-{name}.png")
            context.close()
        browser.close()


def _sign_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("E-mail").fill(USER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name=f"Account of {USER}").wait_for()


if __name__ == "__main__":
    sys.exit(main())
