"""How tests look at plots."""

from __future__ import annotations

import itertools
import re
import time

from playwright.sync_api import Locator, Page

PATIENCE_S = 60.0

_COLOURS = """canvas => {
    const copy = document.createElement('canvas');
    copy.width = canvas.width; copy.height = canvas.height;
    const context = copy.getContext('2d');
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    const found = new Set();
    for (let i = 0; i < data.length; i += 4 * 7) found.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return found.size;
}"""


def colours(page: Page) -> int:
    """Return the number of colours in the plot."""
    canvas = page.locator(".plot canvas").first
    canvas.wait_for()
    return int(canvas.evaluate(_COLOURS))


def expect_painted(page: Page, at_least: int = 20) -> None:
    """Wait until the plot has many colours."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if colours(page) >= at_least:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"the plot has {colours(page)} colours")


def point_at(page: Page, x: float, y: float) -> tuple[dict[str, int], str]:
    """Move the mouse to a place of the plot, as fractions of it; return the indices and the value that it shows."""
    text, shown = _pointed(page, x, y).evaluate(
        # Index and value in one look: they belong together wherever the tooltip is by now.
        "element => [element.parentElement.parentElement.innerText, element.innerText]"
    )
    return {name: int(index) for name, index in re.findall(r"(D\d+)=(\d+)", text)}, shown


def tooltip_at(page: Page, x: float, y: float) -> str:
    """Move the mouse to a place of the plot, as fractions of it; return all that the tooltip says."""
    return str(_pointed(page, x, y).evaluate("element => element.parentElement.parentElement.innerText"))


def _pointed(page: Page, x: float, y: float) -> Locator:
    box = page.locator(".plot canvas").first.bounding_box()
    assert box is not None
    value = page.get_by_test_id("pixel")
    left, top = box["x"] + box["width"] * x, box["y"] + box["height"] * y
    end = time.monotonic() + PATIENCE_S
    for attempt in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
        # Tiles look at no more than one move in 50 ms, and let the tooltip see only those that they leave out.
        page.mouse.move(left - 3, top - attempt % 3)
        page.mouse.move(left, top, steps=2)
        page.wait_for_timeout(100)
        if value.is_visible() and value.inner_text():
            return value
    raise AssertionError("the plot shows no value under the mouse")
