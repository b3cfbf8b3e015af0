"""Finding things, files, old links, errors, and what the server says about its pages."""

from __future__ import annotations

import re
from urllib.parse import unquote

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.site import Site

from .conftest import Open
from .prefix import PrefixProxy


def test_home_shows_roots_and_recent_changes(visit: Open) -> None:
    page = visit("/")
    card = page.locator("a.root-card").filter(has_text="lab")
    expect(card).to_contain_text("datasets and files")
    expect(page.get_by_role("heading", name="Recently changed")).to_be_visible()
    card.click()
    expect(page.get_by_role("heading", name="lab", exact=True)).to_be_visible()
    page.get_by_role("main").get_by_role("link", name=re.compile("^tomo")).click()
    page.get_by_role("main").get_by_role("link", name=re.compile("stack")).click()
    expect(page).to_have_url(re.compile("/d/lab/tomo/stack.b2nd$"))


def test_the_tree_is_walked_by_keyboard(visit: Open) -> None:
    page = visit("/d/lab/scalar.b2nd")
    tree = page.get_by_role("tree")
    expect(tree.get_by_role("treeitem", name=re.compile("^scalar"))).to_be_visible()
    tree.focus()
    tree.press("Home")
    page.keyboard.type("tomo")
    tree.press("ArrowRight")
    expect(tree.get_by_role("treeitem", name=re.compile("^stack"))).to_be_visible()
    tree.press("ArrowRight")
    tree.press("Enter")
    expect(page).to_have_url(re.compile("/d/lab/tomo/stack.b2nd$"))


def test_the_filter_finds_by_name_type_shape_and_attribute(visit: Open) -> None:
    page = visit("/")
    tree = page.get_by_role("tree")
    page.keyboard.press("/")
    for words, found in (("2100x2200", "mosaic"), ("units=ma", "current"), ("complex128 waves", "waves")):
        page.get_by_label("Filter datasets").fill(words)
        expect(tree.get_by_role("treeitem", name=re.compile(f"^{found}"))).to_be_visible()
        expect(page.locator(".tree-foot")).to_have_text("1 found")
    page.get_by_label("Filter datasets").fill("nothing like that")
    expect(page.get_by_text("Nothing matches “nothing like that”.")).to_be_visible()
    page.get_by_label("Filter datasets").fill("")
    page.get_by_role("button", name="Table", exact=True).click()
    expect(tree.get_by_role("treeitem", name=re.compile("^events"))).to_be_visible()


def test_the_palette_opens_datasets_and_runs_commands(visit: Open) -> None:
    page = visit("/")
    page.keyboard.press("Control+k")
    box = page.get_by_role("dialog").get_by_role("combobox")
    box.fill("lab stack")
    expect(page.get_by_role("option").first).to_contain_text("lab/tomo/stack.b2nd")
    box.press("Enter")
    expect(page).to_have_url(re.compile("/d/lab/tomo/stack.b2nd$"))
    page.keyboard.press(">")
    page.get_by_role("dialog").get_by_role("combobox").fill("> help")
    page.get_by_role("dialog").get_by_role("combobox").press("Enter")
    expect(page.get_by_role("heading", name="Help")).to_be_visible()


def test_files_are_shown_where_they_can_do_nothing(visit: Open) -> None:
    page = visit("/d/lab/README.md")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Beamline")).to_be_visible()
    expect(page).to_have_title(re.compile("README"))
    page.goto("/d/lab/note.ipynb")
    expect(page.frame_locator("iframe").get_by_role("heading", name="Notebook title")).to_be_visible()
    run = page.get_by_role("link", name="Open in JupyterLite").get_attribute("href")
    place, _, asked = str(run).partition("?fromURL=")
    assert place.endswith("/lite/lab/index.html")
    assert page.request.get(unquote(asked)).json()["nbformat"] == 4
    page.goto("/d/lab/config.json")
    expect(page.frame_locator("iframe").get_by_text('"a"')).to_be_visible()
    page.goto("/d/lab/data.xyz")
    expect(page.get_by_role("heading", name="No preview for .xyz")).to_be_visible()


def test_metadata_chunks_and_code_of_a_dataset(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd?tab=metadata")
    expect(page.get_by_text("1 × 60 × 80").first).to_be_visible()
    expect(page.locator("dl").filter(has_text="units")).to_contain_text("counts")
    page.keyboard.press("4")
    expect(page.get_by_text("of 20 chunks are")).to_be_visible()
    page.keyboard.press("1")
    page.get_by_role("button", name="Code").click()
    expect(page.get_by_role("dialog")).to_contain_text('client.get("lab")["tomo/stack.b2nd"]')
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/roots/lab/tomo/stack.b2nd?roots=lab&search=s", "/d/lab/tomo/stack.b2nd"),
        ("/roots/lab/scalar.b2nd?roots=lab#main", "/d/lab/scalar.b2nd?tab=metadata"),
        ("/roots/lab/tables/events.b2nd#data", "/d/lab/tables/events.b2nd?tab=table"),
    ],
)
def test_links_of_the_original_lead_to_the_right_view(visit: Open, old: str, new: str) -> None:
    page = visit(old)
    expect(page).to_have_url(re.compile(re.escape(new) + "(#.*)?$"))
    expect(page.get_by_role("tab", selected=True)).to_be_visible()


def test_everything_works_below_a_path_prefix(visit: Open, site: Site) -> None:
    with PrefixProxy("/some/prefix") as proxy:
        below = site.new_subscriber(CATERVA2_URLBASE=proxy.url)
        try:
            below.start()
            below.wait_ready(parts=("bus",))
            proxy.target = below.port
            httpx.post(f"{below.url}/api/subscribe/lab", trust_env=False).raise_for_status()
            page = visit(f"{proxy.url}/")
            page.locator("a.root-card").filter(has_text="lab").click()
            page.get_by_role("main").get_by_role("link", name=re.compile("^scalar")).click()
            expect(page.get_by_test_id("scalar")).to_have_text("123.456")
            assert page.url == f"{proxy.url}/d/lab/scalar.b2nd"
            page.goto(f"{proxy.url}/roots/lab/tomo/stack.b2nd#data")
            expect(page).to_have_url(re.compile(re.escape(f"{proxy.url}/d/lab/tomo/stack.b2nd?tab=table")))
            expect(page.locator("#cell-0-1")).to_have_text("30001")
            expect(page.get_by_role("button", name="Live updates: Live")).to_be_visible()
            page.goto(f"{proxy.url}/d/lab/README.md")
            expect(page.frame_locator("iframe").get_by_role("heading", name="Beamline")).to_be_visible()
            page.get_by_role("link", name="Sign in").click()
            expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            assert page.url.startswith(f"{proxy.url}/login?next=")
            assert proxy.strays == []
        finally:
            site.drop(below)


def test_what_is_not_there_is_said_in_words(visit: Open) -> None:
    page = visit("/d/lab/nothing.b2nd")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
    answer = page.goto("/nowhere")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("There is no page “nowhere”.")).to_be_visible()
    page.get_by_role("link", name="All roots").last.click()
    expect(page.locator("a.root-card").first).to_be_visible()
    page.goto("/d/lab/tomo/stack.b2nd?dims=nonsense&scale=bad&cmap=Nope&dom=x:y")
    expect(page.get_by_test_id("read")).to_contain_text("[10,:,:]")


def test_the_page_works_on_a_phone(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd", phone=True)
    expect(page.get_by_test_id("read")).to_contain_text("[10,:,:]")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    expect(page.get_by_role("tree")).not_to_be_visible()
    page.get_by_label("Show or hide datasets").click()
    expect(page.get_by_role("tree")).to_be_visible()
    page.get_by_role("treeitem", name=re.compile("^scalar")).click()
    expect(page.get_by_test_id("scalar")).to_have_text("123.456")
    expect(page.get_by_role("tree")).not_to_be_visible()


def test_at_a_zoom_of_400_percent_the_page_scrolls_down_and_never_sideways(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd")
    page.set_viewport_size({"width": 320, "height": 256})
    for path in ("/d/lab/tomo/stack.b2nd", "/d/lab/images/colour.b2nd", "/login", "/d/lab/nothing.b2nd"):
        page.goto(path)
        if "b2nd" in path and "nothing" not in path:
            plot = page.locator(".plot canvas")
            plot.scroll_into_view_if_needed()
            box = plot.bounding_box()
            assert box is not None
            assert box["height"] > 100
        expect(page.locator(".main h1")).to_be_visible()
        assert page.evaluate("[document.documentElement, document.getElementById('main')].map(e => e.scrollWidth)") == [
            320,
            320,
        ], path


def test_a14_the_policy_of_the_page_allows_nothing_from_elsewhere(site: Site) -> None:
    answer = httpx.get(site.subscriber.url + "/d/lab/scalar.b2nd", trust_env=False)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    name = re.search(r'assets/[^"]+\.js', answer.text)
    assert name is not None
    asset = httpx.get(f"{site.subscriber.url}/{name[0]}", trust_env=False)
    assert "immutable" in asset.headers["cache-control"]
    assert asset.headers["content-encoding"] == "gzip"


def test_views_belong_to_a_version(site: Site) -> None:
    with httpx.Client(base_url=site.subscriber.url, trust_env=False) as client:
        version = client.get("/api/info/lab/tomo/stack.b2nd").json()["version"]
        kept = client.get(f"/api/view/slice/lab/tomo/stack.b2nd?s=1,2,3&v={version}")
        assert "immutable" in kept.headers["cache-control"]
        assert (kept.headers["x-shape"], kept.headers["x-dtype"], kept.headers["x-range"]) == (
            "[]",
            '"<u2"',
            "[3083.0, 3083.0]",
        )
        again = client.get(
            "/api/view/slice/lab/tomo/stack.b2nd?s=1,2,3", headers={"If-None-Match": kept.headers["etag"]}
        )
        assert again.status_code == 304
        assert client.get("/api/view/slice/lab/tomo/stack.b2nd?s=1,2,3&v=gone").status_code == 412


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("slice/lab/tomo/stack.b2nd?s=99", 400),
        ("slice/lab/tomo/stack.b2nd?s=spam", 400),
        ("slice/lab/nothing.b2nd", 404),
        ("slice/other/nothing.b2nd", 404),
        ("slice/@personal/x.b2nd", 404),
        ("tile/lab/images/mosaic.b2nd?level=9&s=:,:", 400),
        ("tile/lab/images/mosaic.b2nd?level=0&s=:,:", 413),
        ("tile/lab/line/current.b2nd?level=0", 400),
        ("line/lab/images/mosaic.b2nd", 400),
        ("stats/lab/tables/events.b2nd", 400),
        ("rows/lab/line/current.b2nd", 400),
        ("rows/lab/tables/events.b2nd?sort=nope", 400),
        ("export/lab/tomo/stack.b2nd?format=csv", 400),
    ],
)
def test_a_view_that_makes_no_sense_is_refused_with_a_sentence(site: Site, path: str, status: int) -> None:
    answer = httpx.get(f"{site.subscriber.url}/api/view/{path}", trust_env=False)
    assert answer.status_code == status
    assert len(answer.json()["detail"]) > 5
