"""No secret of a session is in what services write down, at the most talkative level (T11, A19)."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import httpx
import numpy as np

import caterva2
from tests.support.content import wait_subscribed, write_array
from tests.support.processes import wait_until
from tests.support.site import PASSWORD, USER, Site

WRONG, CHOSEN, LATER = "a guess that nobody made", "chosen by a link in a mail", "the third one of a session"


def mailed_token(site: Site) -> str:
    """Return the token of the reset mail."""

    def find() -> str | None:
        for mail in (site.subscriber.statedir / "mail").glob("*.eml"):
            found = re.search(r"/reset-password/([\w-]{43})", mail.read_text().replace("=\n", ""))
            if found is not None:
                return found[1]
        return None

    return str(wait_until(find, timeout_s=60, what="a mail is written"))


def secrets_of_services(site: Site) -> dict[str, str]:
    """Return what the services made for each other."""
    state = site.broker.statedir
    found = {name: (state / name).read_text().strip() for name in ("join.token", "admin.token")}
    with sqlite3.connect(state / "services.sqlite") as database:
        found |= {
            f"NATS password of {kid}": text for kid, text in database.execute("SELECT kid, password FROM services")
        }
    database.close()
    for service in site.services:
        key = service.statedir / "identity.key"
        if key.exists():
            found[f"key of {service.statedir.name}"] = json.loads(key.read_text())["d"]
    return found


def test_t11_a19_no_secret_of_a_session_is_in_any_log(tmp_path: Path) -> None:
    write_array(tmp_path / "source" / "a.b2nd", 1)
    with Site(tmp_path / "site", env={"CATERVA2_LOGLEVEL": "debug"}, login=True) as site:
        site.start(foo=tmp_path / "source")
        site.add_user(superuser=True)
        url, form = site.subscriber.url, {"username": USER, "password": PASSWORD}
        with site.client() as client:
            wait_subscribed(client, "foo")
        with httpx.Client(base_url=url) as browser:
            assert browser.post("/auth/jwt/login", data={**form, "password": WRONG}).status_code == 400
            assert browser.post("/auth/jwt/login", data=form, headers={"Sec-Fetch-Site": "none"}).status_code == 204
            cookies = dict(browser.cookies)
            token = browser.post("/api/tokens", json={"name": "x", "scopes": ["read", "write"]}).json()["token"]
            assert browser.post("/auth/forgot-password", json={"email": USER}).status_code == 202
            mailed = mailed_token(site)
            browser.get(f"/reset-password/{mailed}")
            assert browser.post("/auth/reset-password", json={"token": mailed, "password": CHOSEN}).status_code == 200
            assert browser.post("/auth/jwt/login", data={**form, "password": CHOSEN}).status_code == 204
            body = {"old_password": CHOSEN, "new_password": LATER}
            assert browser.post("/auth/change-password", json=body).status_code == 204
        with caterva2.Client(url, caterva2.TokenAuth(token)) as script:
            assert np.asarray(script.fetch("foo/a.b2nd")).sum() > 0
            (tmp_path / "x.txt").write_text("x")
            script.upload(tmp_path / "x.txt", "@personal/x.txt")
        assert httpx.get(f"{url}/api/roots", headers={"Authorization": f"Bearer {token}x"}).status_code == 401
        secrets = {
            "password": PASSWORD,
            "wrong password": WRONG,
            "password after a reset": CHOSEN,
            "changed password": LATER,
            "API token": token,
            "token of a mail": mailed,
            "secret of the site": "only-for-tests-",
            **cookies,
            **secrets_of_services(site),
        }
        logs = {service.statedir.name: service.log_path for service in site.services}
    assert {"c2subauth", "c2browser", "join.token"} <= secrets.keys()
    for name, path in logs.items():
        text = path.read_text(errors="replace")
        assert '"request"' in text, f"{name} logs its requests"
        assert [what for what, secret in secrets.items() if secret in text] == [], name
        assert not re.search(r"eyJ[\w-]+\.eyJ[\w-]+\.", text), f"{name} logs tokens of services"
