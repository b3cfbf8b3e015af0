"""Signing in, what is whose, uploads, expressions, administration; and changes as they happen."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import numpy as np
from playwright.sync_api import expect

from tests.support.openid import Provider
from tests.support.site import PASSWORD, USER, Site

from .conftest import Open
from .content import write


def test_a_wrong_password_is_said_and_the_fields_are_kept(visit: Open) -> None:
    page = visit("/login?next=/d/lab/scalar.b2nd", fresh=True)
    page.get_by_label("E-mail").fill(USER)
    page.get_by_label("Password", exact=True).fill("wrong password")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(page.get_by_label("E-mail")).to_have_value(USER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page).to_have_url(re.compile("/d/lab/scalar.b2nd$"))
    page.get_by_role("button", name=f"Account of {USER}").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_nobody_is_led_away_after_signing_in(visit: Open) -> None:
    page = visit("/login?next=https://example.org/", fresh=True)
    page.get_by_label("E-mail").fill(USER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("button", name=f"Account of {USER}")).to_be_visible()
    assert "example.org" not in page.url


def test_anonymous_visitors_see_no_private_root(visit: Open, site: Site) -> None:
    page = visit("/")
    tree = page.get_by_role("tree")
    expect(tree.get_by_role("treeitem", name=re.compile("^lab"))).to_be_visible()
    expect(tree.get_by_role("treeitem", name=re.compile("@personal|@shared"))).to_have_count(0)
    page.goto("/admin")
    expect(page.get_by_role("heading", name="Not for everybody")).to_be_visible()
    for path in ("/api/search?root=@shared", "/api/browse/@personal"):
        assert httpx.get(site.subscriber.url + path, trust_env=False).status_code in (401, 404)


def test_files_are_uploaded_found_renamed_and_deleted(visit: Open, tmp_path: Path) -> None:
    write(tmp_path / "mine.b2nd", np.arange(12.0).reshape(3, 4))
    page = visit("/d/@personal", user=True)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload here").click()
    chooser.value.set_files(tmp_path / "mine.b2nd")
    expect(page.get_by_text("Uploaded @personal/mine.b2nd")).to_be_visible()
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page).to_have_url(re.compile("/d/@personal/mine.b2nd|/d/%40personal/mine.b2nd"))
    expect(page.get_by_role("tab", name="Table")).to_be_visible()
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("button", name="Rename or move").click()
    page.get_by_label("New path").fill("@personal/renamed.b2nd")
    page.get_by_role("button", name="Move", exact=True).click()
    expect(page.get_by_role("heading", name="renamed.b2nd")).to_be_visible()
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_label("Type renamed.b2nd").fill("renamed.b2nd")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Deleted @personal/renamed.b2nd")).to_be_visible()


def test_an_expression_becomes_a_dataset(visit: Open) -> None:
    page = visit("/d/lab/tomo/stack.b2nd", user=True)
    expect(page.get_by_test_id("read")).to_contain_text("[10,:,:]")
    page.keyboard.press("=")
    box = page.get_by_role("dialog").get_by_role("combobox")
    box.fill("double = this * 2 + stack")
    expect(page.get_by_text("@personal/double.b2nd")).to_be_visible()
    box.press("Enter")
    expect(page.get_by_role("heading", name="double.b2nd")).to_be_visible()
    page.goto("/d/@personal/double.b2nd?tab=table&dims=1,y,x")
    expect(page.locator("#cell-2-3")).to_have_text(str(3 * (3000 + 80 + 3)))
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("combobox").fill("bad = this +* 2")
    page.get_by_role("dialog").get_by_role("combobox").press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()


def test_u5_the_quota_is_shown_and_kept_before_anything_is_sent(visit: Open, site: Site, tmp_path: Path) -> None:
    page = visit("/admin", user=True)
    row = page.get_by_role("row").filter(has=page.get_by_role("button", name=f"Quota of {USER}"))
    row.get_by_role("button", name="Quota").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("much")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("is not a size")
    page.get_by_role("dialog").get_by_role("textbox").fill("2000000")
    page.get_by_role("button", name="Save").click()
    try:
        expect(row).to_contain_text("of 2.00 MB")
        page.goto("/d/@personal")
        page.get_by_role("button", name=f"Account of {USER}").click()
        expect(page.get_by_text("of 2.00 MB used")).to_be_visible()
        expect(page.get_by_role("meter", name="Space used")).to_be_visible()
        page.keyboard.press("Escape")
        (tmp_path / "large.bin").write_bytes(bytes(3_000_000))
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Upload here").click()
        chooser.value.set_files(tmp_path / "large.bin")
        expect(page.get_by_text("Nothing was sent")).to_be_visible()
    finally:
        assert page.request.patch(f"{site.subscriber.url}/api/users/{USER}", data={"quota": None}).ok


def test_people_and_the_site_subscribe_each_for_themselves(visit: Open) -> None:
    page = visit("/subscriptions", user=True)
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="lab", exact=True))
    row.get_by_role("button", name="Subscribe", exact=True).click()
    expect(row).to_contain_text("you, the site")
    row.get_by_role("button", name="Unsubscribe").click()
    page.get_by_role("dialog").get_by_role("button", name="Unsubscribe").click()
    expect(page.get_by_text("You are not subscribed to lab any longer")).to_be_visible()
    expect(row).to_contain_text("the site")
    expect(row).not_to_contain_text("you, the site")
    # The site goes on following it.
    expect(row).to_contain_text("publisher online")


def test_a_token_is_made_shown_once_and_works(visit: Open, site: Site) -> None:
    page = visit("/account", user=True)
    page.get_by_label("New token for").fill("test script")
    page.get_by_role("button", name="Create").click()
    token = page.locator("code.secret").inner_text()
    answer = httpx.get(site.subscriber.url + "/api/me", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.json()["email"] == USER
    page.reload()
    expect(page.get_by_role("cell", name="test script", exact=True)).to_be_visible()
    expect(page.locator("code.secret")).to_have_count(0)
    page.get_by_label("Revoke test script").click()
    expect(page.get_by_role("cell", name="test script", exact=True)).to_have_count(0)


def test_administrators_change_rights_and_readers_notice(visit: Open, site: Site) -> None:
    page = visit("/admin", user=True)
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="lab", exact=True))
    row.get_by_role("button", name="Change").click()
    page.get_by_label("May read").fill(f"user:{USER}")
    page.get_by_role("button", name="Save").click()
    expect(row).to_contain_text(f"user:{USER}")
    try:
        assert httpx.get(site.subscriber.url + "/api/view/slice/lab/scalar.b2nd", trust_env=False).status_code == 404
        found = httpx.get(site.subscriber.url + "/api/search", trust_env=False).json()
        assert not [entry for entry in found["entries"] if entry["path"].startswith("lab/")]
    finally:
        row.get_by_role("button", name="Change").click()
        page.get_by_label("May read").fill("")
        page.get_by_role("button", name="Save").click()
        # The column beside it says "(default)" all the time.
        expect(row).not_to_contain_text(f"user:{USER}")
    assert httpx.get(site.subscriber.url + "/api/view/slice/lab/scalar.b2nd", trust_env=False).status_code == 200


def test_a_change_at_the_publisher_appears_by_itself(visit: Open, source: Path) -> None:
    write(source / "live/value.b2nd", np.array(1))
    page = visit("/d/lab")
    expect(page.get_by_role("main").get_by_role("link", name=re.compile("^live"))).to_be_visible()
    page.goto("/d/lab/live/value.b2nd")
    expect(page.get_by_test_id("scalar")).to_have_text("1")
    expect(page.get_by_role("button", name="Live updates: Live")).to_be_visible()
    write(source / "live/value.b2nd", np.array(2))
    expect(page.get_by_test_id("scalar")).to_have_text("2")
    expect(page.get_by_text("value.b2nd changed; you see the new version")).to_be_visible()
    write(source / "live/second.b2nd", np.array(3))
    expect(page.get_by_role("treeitem", name=re.compile("^second"))).to_be_visible()


def test_an_upload_elsewhere_appears_in_the_open_folder(visit: Open, site: Site, tmp_path: Path) -> None:
    page = visit("/d/@personal", user=True)
    expect(page.get_by_role("button", name="Live updates: Live")).to_be_visible()
    write(tmp_path / "elsewhere.b2nd", np.arange(3))
    client = site.client(user=True)
    client.upload(tmp_path / "elsewhere.b2nd", "@personal/elsewhere.b2nd")
    try:
        row = page.get_by_role("main").get_by_role("link", name=re.compile("^elsewhere"))
        expect(row).to_be_visible()
        expect(page.get_by_role("treeitem", name=re.compile("^elsewhere"))).to_be_visible()
    finally:
        client.get("@personal/elsewhere.b2nd").remove()
    expect(row).to_have_count(0)


def test_a9_an_identity_is_linked_signs_in_and_is_unlinked(visit: Open, provider: Provider) -> None:
    provider.person = {"sub": "user-at-university", "email": "user@university.example", "email_verified": True}
    page = visit("/login?next=account", fresh=True)
    page.get_by_label("E-mail").fill(USER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Link this account").click()
    expect(page.get_by_text("user-at-university")).to_be_visible()

    other = visit("/login?next=d/lab/scalar.b2nd", fresh=True)
    other.get_by_role("link", name="Sign in with Example University").click()
    expect(other.get_by_test_id("scalar")).to_have_text("123.456")
    expect(other.get_by_role("button", name=f"Account of {USER}")).to_be_visible()

    page.get_by_role("button", name="Unlink user-at-university").click()
    page.get_by_role("dialog").get_by_role("button", name="Unlink", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    other.goto("/login")
    provider.person = {**provider.person, "email_verified": False}
    other.get_by_role("link", name="Sign in with Example University").click()
    expect(other.get_by_role("heading", name="Signing in did not work")).to_be_visible()


def test_n7_events_go_on_where_a_reader_left_off(site: Site, source: Path) -> None:
    write(source / "events/first.b2nd", np.array(1))
    with httpx.Client(base_url=site.subscriber.url, trust_env=False, timeout=60) as client:
        first = _next_change(client, {}, "events/first.b2nd", source)
        write(source / "events/missed.b2nd", np.array(2))
        found = _read(client, {"Last-Event-ID": first}, "events/missed.b2nd")
        assert found is not None
        again = _read(client, {"Last-Event-ID": "another-life-3"}, "resync")
        assert again is not None


def _next_change(client: httpx.Client, headers: dict[str, str], path: str, source: Path) -> str:
    with client.stream("GET", "/api/events", headers=headers) as answer:
        number = 0
        last = ""
        for line in answer.iter_lines():
            if line.startswith("retry:"):
                write(source / path, np.array(number := number + 100))
            last = line.removeprefix("id: ") if line.startswith("id: ") else last
            if path in line:
                return last
    raise AssertionError("the stream ended")


def _read(client: httpx.Client, headers: dict[str, str], wanted: str) -> str | None:
    with client.stream("GET", "/api/events", headers=headers) as answer:
        for line in answer.iter_lines():
            if wanted in line:
                return line
    return None
