"""How tests look at plots."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

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
    for _ in range(60):
        if colours(page) >= at_least:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"the plot has {colours(page)} colours")


def point_at(page: Page, x: float, y: float) -> tuple[dict[str, int], str]:
    """Move the mouse to a place of the plot, as fractions of it; return the indices and the value that it shows."""
    box = page.locator(".plot canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * x - 3, box["y"] + box["height"] * y - 3)
    page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    # The tooltip of tiles follows one move behind, and a little later.
    page.wait_for_timeout(120)
    page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y + 0.2)
    value = page.get_by_test_id("pixel")
    expect(value).to_be_visible()
    text = value.locator("xpath=../..").inner_text()
    indices = {name: int(index) for name, index in re.findall(r"(D\d+)=(\d+)", text)}
    return indices, value.inner_text()
