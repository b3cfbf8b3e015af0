"""Arrays as pictures, lines, planes and tables: what is on screen is what is in the data."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.support.processes import wait_until

from .conftest import Open
from .content import events, every_dtype, mosaic, stack
from .looking import expect_painted, point_at, tooltip_at


@pytest.mark.parametrize("up", ["", "&up=1"])
def test_a_picture_is_painted_and_its_tooltip_is_the_value(visit: Open, up: str) -> None:
    page = visit(f"/d/lab/tomo/stack.b2nd?dims=7,y,x{up}")
    expect_painted(page)
    for x, y in ((0.5, 0.5), (0.42, 0.3), (0.6, 0.8)):
        at, value = point_at(page, x, y)
        assert value == str(stack()[7, at["D1"], at["D2"]])
    expect(page.get_by_test_id("read")).to_have_text("lab/tomo/stack.b2nd[7,:,:]")


@pytest.mark.parametrize("up", ["", "?up=1"])
def test_a_large_picture_is_drawn_from_tiles(visit: Open, up: str) -> None:
    page = visit(f"/d/lab/images/mosaic.b2nd{up}")
    expect_painted(page)
    page.get_by_label(re.compile("^Plot")).focus()
    for _ in range(12):
        page.keyboard.press("+")
    expect(page.get_by_test_id("read")).to_contain_text("level 0")
    at, value = point_at(page, 0.47, 0.56)
    assert value == str(mosaic()[at["D0"], at["D1"]])


def test_axes_can_be_exchanged(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd?dims=x,10,y")
    expect_painted(page)
    at, value = point_at(page, 0.5, 0.5)
    assert value == str(stack()[at["D0"], 10, at["D2"]])


def test_slices_are_stepped_by_button_slider_key_and_address(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd")
    expect(page.get_by_test_id("read")).to_contain_text("[10,:,:]")
    page.get_by_label("Next slice on D0").click()
    expect(page).to_have_url(re.compile(r"dims=11,y,x"))
    page.keyboard.press("]")
    page.keyboard.press("}")
    expect(page).to_have_url(re.compile(r"dims=19,y,x"))
    page.get_by_label("Type an index on D0").fill("3")
    page.get_by_label("Type an index on D0").press("Enter")
    expect(page.get_by_test_id("read")).to_contain_text("[3,:,:]")
    page.reload()
    expect(page.get_by_test_id("read")).to_contain_text("[3,:,:]")


def test_a_link_shows_the_same_view_and_back_leads_back(visit: Open) -> None:
    page = visit("/d/lab/images/smooth.b2nd?cmap=Inferno&scale=log&inv=1")
    expect_painted(page)
    expect(page.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("tab", name="Metadata").click()
    expect(page.get_by_role("heading", name="Storage")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("tab", name="Display")).to_have_attribute("aria-selected", "true")
    expect(page).to_have_url(re.compile("cmap=Inferno"))


def test_three_planes_meet_in_one_point(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd?vis=ortho&dims=4,30,50")
    expect(page.locator(".ortho-plane canvas")).to_have_count(3)
    expect(page.get_by_test_id("ortho-value")).to_have_text(str(stack()[4, 30, 50]))
    expect_painted(page, 3)
    # By the locator, which waits until the page does not move any more.
    page.locator(".ortho-plane canvas").first.click(force=True)
    expect(page).not_to_have_url(re.compile("dims=4,30,50"))
    dims = re.search(r"dims=(\d+),(\d+),(\d+)", page.url)
    assert dims is not None
    expect(page.get_by_test_id("ortho-value")).to_have_text(str(stack()[tuple(map(int, dims.groups()))]))


def test_a_long_line_keeps_its_spike_and_shows_details_when_zoomed(visit: Open) -> None:
    page = visit("/d/lab/line/current.b2nd")
    expect(page.get_by_test_id("read")).to_contain_text("min/max of every 84")
    expect_painted(page, 2)
    # The spike sets the scale of the axis.
    expect(page.locator(".plot")).to_contain_text("8")
    box = page.locator(".plot canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    for _ in range(8):
        page.mouse.wheel(0, -200)
    expect(page.get_by_test_id("read")).not_to_contain_text("[:]")


def test_colour_pictures_scalars_and_empty_arrays_have_their_own_displays(visit: Open) -> None:
    page = visit("/d/lab/images/colour.b2nd")
    expect(page.get_by_role("radio", name="Colour")).to_have_attribute("aria-checked", "true")
    expect_painted(page, 2)
    assert {point_at(page, 0.4, 0.5)[1], point_at(page, 0.6, 0.5)[1]} == {"255, 0, 0", "0, 0, 200"}
    expect(page.get_by_text("1\u202f000", exact=True).first).to_be_visible()
    page.goto("/d/lab/scalar.b2nd")
    expect(page.get_by_test_id("scalar")).to_have_text("123.456")
    page.goto("/d/lab/empty.b2nd")
    expect(page.get_by_text("This dataset has no values")).to_be_visible()
    page.goto("/d/lab/waves.b2nd")
    expect_painted(page, 2)
    page.goto("/d/lab/waves.b2nd?part=phase")
    expect_painted(page)


@pytest.mark.parametrize("name", ["nothing-finite", "silent"])
def test_what_has_no_finite_number_says_so(visit: Open, name: str) -> None:
    page = visit(f"/d/lab/odd/{name}.b2nd")
    expect(page.get_by_text("none of these values is a finite number")).to_be_visible()


def test_numbers_beyond_single_precision_have_their_colours(visit: Open) -> None:
    page = visit("/d/lab/odd/greatest.b2nd")
    expect_painted(page)
    expect(page.get_by_role("img", name=re.compile("Colours from"))).to_contain_text("5e299")


def test_values_that_a_scale_leaves_out_are_said(visit: Open) -> None:
    page = visit("/d/lab/odd/greatest.b2nd?scale=log")
    expect(page.get_by_text("Values of zero and below are not drawn")).to_be_visible()


def test_axes_of_length_one_are_not_what_is_drawn(visit: Open) -> None:
    page = visit("/d/lab/odd/column.b2nd")
    expect(page.get_by_test_id("read")).to_contain_text("column.b2nd[:,0]")
    page.goto("/d/lab/odd/many-axes.b2nd")
    expect(page.get_by_label(re.compile("^Index on D"))).to_have_count(5)
    expect_painted(page, 5)


def test_a_record_without_axes_names_its_fields(visit: Open) -> None:
    page = visit("/d/lab/odd/record.b2nd")
    expect(page.get_by_test_id("scalar")).to_have_text("run7dose2.5beamon")


def test_files_without_content_and_endless_attributes_are_readable(visit: Open) -> None:
    page = visit("/d/lab/odd/nothing.txt")
    expect(page.get_by_text("This file is empty.")).to_be_visible()
    page.goto("/d/lab/odd/wordy.b2nd?tab=metadata")
    page.get_by_role("button", name=re.compile("Show all 5.000 characters")).click()
    expect(page.get_by_role("button", name="x" * 5000)).to_be_visible()


def test_lines_are_compared_and_the_comparison_is_a_link(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd?vis=line&dims=3,4,x")
    page.get_by_role("button", name="Keep this line").click()
    page.get_by_label("Next slice on D1").click()
    lines = page.get_by_role("list", name="Lines")
    expect(lines).to_contain_text("lab/tomo/stack.b2nd[3,5,:]")
    expect(lines).to_contain_text("lab/tomo/stack.b2nd[3,4,:]")

    def values_of_both() -> bool:
        shown = tooltip_at(page, 0.5, 0.5)
        at = re.search(r"D2=(\d+)", shown)
        return at is not None and {str(stack()[3, row, int(at[1])]) for row in (5, 4)} <= set(shown.split())

    wait_until(values_of_both, timeout_s=60, what="the values of both lines where the pointer is")
    page.get_by_role("button", name="Compare…").click()
    page.get_by_label("Dataset to compare with").fill("column")
    page.get_by_role("button", name=re.compile("column")).click()
    expect(lines).to_contain_text("lab/odd/column.b2nd[:,0]")
    page.reload()
    expect(lines).to_contain_text("lab/odd/column.b2nd[:,0]")
    page.get_by_label("Remove lab/odd/column.b2nd[:,0]").click()
    expect(page).not_to_have_url(re.compile("column"))


def test_every_dtype_is_shown_exactly(visit: Open) -> None:
    page = visit("/")
    for name, (_, expected) in every_dtype().items():
        page.goto(f"/d/lab/dtypes/{name}.b2nd?tab=table")
        cell = page.locator("#cell-1-0") if name != "padded" else page.locator(".grid-row").nth(1)
        expect(cell, name).to_contain_text(expected)


def test_a_browser_that_cannot_draw_shows_the_values(visit: Open) -> None:
    page = visit("/")
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto("/d/lab/dtypes/double.b2nd?tab=display")
    expect(page.get_by_text("This browser cannot draw")).to_be_visible()
    expect(page.locator("#cell-1-0")).to_contain_text(every_dtype()["double"][1])


def test_a_table_is_walked_filtered_sorted_and_copied(visit: Open) -> None:
    page = visit("/d/lab/tables/events.b2nd?tab=table", permissions=["clipboard-read", "clipboard-write"])
    grid = page.get_by_role("grid")
    expect(page.locator("#cell-0-4")).to_have_text("ev0")
    grid.focus()
    page.keyboard.press("Control+End")
    expect(page.get_by_test_id("cell")).to_contain_text(f"cell [4999, 4] ev{4999 % 7}")
    page.keyboard.press("g")
    page.keyboard.type("2500")
    page.keyboard.press("Enter")
    expect(page.locator("#cell-2500-1")).to_have_text(str(2500 % 17))
    page.locator("#cell-2500-1").click()
    grid.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()") == str(2500 % 17)
    page.get_by_label("Filter", exact=True).fill("(energy > 9.99) & valid")
    page.get_by_role("button", name="Apply").click()
    table = events()
    fitting = [n for n in range(5000) if table["energy"][n] > 9.99 and table["valid"][n]]
    expect(page.get_by_text(f"{len(fitting)} of 5\u202f000 rows")).to_be_visible()
    page.get_by_label("Sort by").select_option("-energy")
    expect(page.locator(".grid-row .grid-index").first).to_have_text(str(fitting[-1]))
    page.get_by_label("Filter", exact=True).fill("nonsense > 3")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert")).to_contain_text("no field 'nonsense'")


def test_the_values_of_a_picture_are_in_its_table(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd?tab=table&dims=5,y,x")
    expect(page.locator("#cell-3-6")).to_have_text(str(stack()[5, 3, 6]))
