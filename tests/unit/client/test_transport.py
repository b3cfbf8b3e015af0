"""How the client behaves towards servers that refuse, stumble, ask for patience or are something else."""

import pickle
from collections.abc import Callable

import httpx
import pytest

import caterva2
from caterva2 import _transport, errors

Handler = Callable[[httpx.Request], httpx.Response]
URLBASE = "http://sub.example"


def client_of(handler: Handler, **options) -> caterva2.Client:
    return caterva2.Client(URLBASE, transport=httpx.MockTransport(handler), **options)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    waits = []
    monkeypatch.setattr(_transport.time, "sleep", waits.append)
    return waits


def answers(*responses: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """Return a handler that gives these answers in turn, and the requests that it saw."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = responses[min(len(seen), len(responses)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler, seen


@pytest.mark.parametrize("error", [kind for kind in errors.BY_CODE.values() if kind is not errors.Caterva2Error])
def test_an_error_is_of_its_own_class_and_of_httpx(error):
    body = errors.to_body(error("tell me why"))
    handler, _ = answers(httpx.Response(error.status, json=body, headers={"retry-after": "3600"}))
    with client_of(handler) as client, pytest.raises(error) as caught:
        client.get_info("foo/x.b2nd")
    assert isinstance(caught.value, httpx.HTTPStatusError)
    assert caught.value.response.status_code == error.status
    assert caught.value.detail == "tell me why"
    assert "tell me why" in str(caught.value)
    assert caught.value.retry_after_s == 3600
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, error)
    assert str(again) == str(caught.value)


@pytest.mark.parametrize(
    ("status", "phrase"), [(400, "Bad Request"), (401, "Unauthorized"), (404, "Not Found"), (500, "Server Error")]
)
def test_the_reason_phrase_is_in_the_message(status, phrase):
    handler, _ = answers(httpx.Response(status, json={"detail": "x"}))
    with client_of(handler) as client, pytest.raises(httpx.HTTPStatusError, match=phrase):
        client.get_roots()


def test_findings_of_a_validation_become_a_sentence():
    detail = [{"type": "missing", "loc": ["query", "nchunk"], "msg": "Field required", "input": None}]
    handler, _ = answers(httpx.Response(422, json={"detail": detail}))
    with client_of(handler) as client, pytest.raises(httpx.HTTPStatusError, match="nchunk: Field required"):
        client.get_roots()


def test_another_program_is_said_to_be_one():
    handler, _ = answers(httpx.Response(200, text="<html>It works!</html>"))
    with client_of(handler) as client, pytest.raises(ValueError, match="does not answer as a Caterva2 subscriber"):
        client.get_roots()


def test_a_moved_server_is_named():
    handler, _ = answers(httpx.Response(308, headers={"location": "https://new.example/"}))
    with client_of(handler) as client, pytest.raises(httpx.HTTPStatusError, match=r"moved to https://new\.example/"):
        client.get_roots()


def test_reads_are_tried_again(no_waiting):
    handler, seen = answers(
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(503),
        httpx.Response(200, json={}),
    )
    with client_of(handler) as client:
        assert client.get_roots() == {}
    assert len(seen) == 4
    assert len(no_waiting) == 3


def test_retry_after_is_honoured(no_waiting):
    handler, _ = answers(httpx.Response(429, headers={"retry-after": "4"}), httpx.Response(200, json={}))
    with client_of(handler) as client:
        client.get_roots()
    assert no_waiting == [4]


def test_a_wait_that_is_too_long_is_reported_instead(no_waiting):
    handler, seen = answers(httpx.Response(429, headers={"retry-after": "600"}, json={"detail": "slow down"}))
    with client_of(handler) as client, pytest.raises(errors.TooManyRequests) as caught:
        client.get_roots()
    assert caught.value.retry_after_s == 600
    assert len(seen) == 1
    assert no_waiting == []


@pytest.mark.parametrize("answer", [httpx.ReadError("cut"), httpx.Response(503), httpx.Response(500)])
def test_a_change_of_unknown_outcome_is_not_made_twice(answer):
    handler, seen = answers(answer)
    with client_of(handler) as client, pytest.raises(httpx.HTTPError):
        client.move("@public/a", "@public/b")
    assert len(seen) == 1


def test_a_change_that_the_service_put_off_is_made_later():
    handler, seen = answers(httpx.Response(503, headers={"retry-after": "1"}), httpx.Response(200, json="@public/b"))
    with client_of(handler) as client:
        assert client.move("@public/a", "@public/b") == "@public/b"
    assert len(seen) == 2


def test_silence_is_a_timeout():
    handler, seen = answers(httpx.ReadTimeout("silence"))
    with client_of(handler, timeout=3) as client, pytest.raises(TimeoutError, match="Timeout after 3 seconds"):
        client.get_roots()
    assert len(seen) == 1


@pytest.mark.parametrize(("timeout", "facts", "data"), [(5, 5, 60), (7, 7, 7), (None, None, None)])
def test_data_may_take_longer_to_begin_unless_a_timeout_was_chosen(timeout, facts, data):
    handler, seen = answers(httpx.Response(404, json={"detail": "Not Found"}))
    with client_of(handler, timeout=timeout) as client:
        for ask in (client.get_info, client.fetch):
            with pytest.raises(errors.NotFound):
                ask("foo/x.b2nd")
    assert [request.extensions["timeout"]["read"] for request in seen] == [facts, data]


def test_an_unreachable_server_is_named():
    handler, _ = answers(httpx.ConnectError("Connection refused"))
    with (
        client_of(handler) as client,
        pytest.raises(httpx.ConnectError, match=r"cannot connect to http://sub\.example"),
    ):
        client.get_roots()


@pytest.mark.parametrize("auth", [("me@example.com", "secret"), caterva2.BasicAuth("me@example.com", "secret")])
def test_login_sends_the_password_once_and_the_cookie_always(auth):
    handler, seen = answers(
        httpx.Response(204, headers={"set-cookie": "c2subauth=abc; HttpOnly; Path=/"}), httpx.Response(200, json={})
    )
    with client_of(handler, auth=auth) as client:
        client.get_roots()
        assert client.cookie == "c2subauth=abc"
    assert seen[0].url.path == "/auth/jwt/login"
    assert seen[0].content == b"username=me%40example.com&password=secret"
    assert seen[1].headers["cookie"] == "c2subauth=abc"


def test_an_expired_session_is_renewed():
    login = {"set-cookie": "c2subauth=new"}
    handler, seen = answers(
        httpx.Response(204, headers={"set-cookie": "c2subauth=old"}),
        httpx.Response(401, json={"detail": "Unauthorized"}),
        httpx.Response(204, headers=login),
        httpx.Response(200, json={}),
    )
    with client_of(handler, auth=("me", "secret")) as client:
        assert client.get_roots() == {}
    assert seen[3].headers["cookie"] == "c2subauth=new"


def test_a_refused_login_is_not_repeated():
    handler, seen = answers(
        httpx.Response(204, headers={"set-cookie": "c2subauth=old"}),
        httpx.Response(401, json={"detail": "Unauthorized"}),
    )
    with client_of(handler, auth=("me", "secret")) as client, pytest.raises(errors.NotAuthenticated):
        client.get_roots()
    assert len(seen) == 3


@pytest.mark.parametrize("auth", [None, ("", ""), ("me", None), caterva2.BasicAuth()])
def test_without_credentials_nothing_is_sent(auth):
    handler, seen = answers(httpx.Response(500))
    with client_of(handler, auth=auth) as client:
        assert client.cookie is None
    assert seen == []


@pytest.mark.parametrize("auth", [["me", "secret"], {"username": "me"}, "me:secret"])
def test_other_credentials_are_refused(auth):
    with pytest.raises(ValueError, match="auth must be BasicAuth or a tuple"):
        client_of(lambda request: httpx.Response(500), auth=auth)


def test_a_token_is_sent_as_bearer_and_never_shown():
    handler, seen = answers(httpx.Response(200, json={}))
    auth = caterva2.TokenAuth("t0k3n")
    with client_of(handler, auth=auth) as client:
        client.get_roots()
    assert seen[0].headers["authorization"] == "Bearer t0k3n"
    assert "t0k3n" not in repr(auth)
    assert "secret" not in repr(caterva2.BasicAuth("me", "secret"))


@pytest.mark.parametrize("urlbase", ["localhost:8002", "ftp://x", "", "http://"])
def test_a_base_that_is_no_url_is_refused(urlbase):
    with pytest.raises(ValueError, match="invalid HTTP"):
        caterva2.Client(urlbase)


@pytest.mark.parametrize("name", ["a b.b2nd", "100%.b2nd", "q?x=1#y.b2nd", "día.b2nd", "!_attrs_.json"])
def test_names_survive_the_way_through_a_url(name):
    handler, seen = answers(httpx.Response(200, json={"mtime": None}))
    with client_of(handler) as client:
        client.get_info(f"foo/{name}")
    assert seen[0].url.path == f"/api/info/foo/{name}"
    assert not seen[0].url.query
