"""What `check` concludes from the answers of IAMPASS: which of id, secret and token is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_iampass.check.iampass import ServiceCheck
from pam_iampass.config import settings
from tests.support.folders import OWNER, put
from tests.support.scripted_server import ScriptedServer, Step, answer, scripted_server

NOT_FOUND = answer(404, body=b"Client Application x or User y not found")
YES = answer(200, {"status": True, "device_registered": True})
ADDED_NOBODY = answer(201, {"status": True, "users": {"created": [], "existing": []}})
TOKENS = {"alice": "token-of-alice", "bob": "token-of-bob"}


def findings(
    folder: Path,
    server: ScriptedServer,
    tokens: dict[str, str],
    secrets: str = "s3cret\n",
    joined: bool = False,
    others: tuple[str, ...] = (),
    more: str = "",
) -> list[tuple[str, str, str]]:
    """Id, title and remedy of each finding. `others` are more gateways that the host knows, `more` more settings."""
    secret, ca_file = (
        put(folder / "secret", secrets, 0o640),
        put(folder / "ca.pem", Path(server.ca_file).read_text()),
    )
    text = f"application_id: my-app\napplication_secret_file: {secret}\nca_file: {ca_file}\n"
    if joined:
        of_host = f"application_id: my-app\ngateways: [{', '.join((*others, server.url))}]\n"
        put(folder / "joined.yaml", of_host)
        put(folder / "gateway-secret", secrets, 0o640)
        put(folder / "gateway-ca.pem", Path(server.ca_file).read_text())
    text += f"server: {server.url}\njoined_file: {folder}/joined.yaml\n{more}"
    read = settings.load(put(folder / "iampass.yaml", text), owner=OWNER)
    found = list(ServiceCheck(read, lambda line: None).findings(tokens))
    told = str(found)
    assert not any(token in told for token in (*tokens.values(), *secrets.split()))
    return [(one.kind, one.what, one.remedy) for one in found]


@pytest.mark.parametrize("tokens", [TOKENS, {}], ids=["with users", "without users"])
def test_an_application_that_is_not_known_is_named(own_folder: Path, tokens: dict[str, str]) -> None:
    with scripted_server(*[NOT_FOUND] * (2 + len(tokens))) as server:
        ((kind, title, remedy),) = findings(own_folder, server, tokens)
        last = server.requests[-1]
    assert (kind, title) == ("application-unknown", "IAMPASS does not know the application my-app")
    assert str(own_folder / "iampass.yaml") in remedy
    assert (last.method, last.target, last.body) == ("POST", "/management/add_users/my-app", b'{"users": []}')


@pytest.mark.parametrize(
    "answers",
    [
        [YES, NOT_FOUND],
        [NOT_FOUND, NOT_FOUND, ADDED_NOBODY],
        [NOT_FOUND, NOT_FOUND, answer(400, {"reason": "x"})],
    ],
    ids=["another user is known", "nobody can be added", "the empty list is rejected"],
)
def test_a_token_that_is_not_known_is_distinguished_from_an_application(
    own_folder: Path, answers: list[Step]
) -> None:
    with scripted_server(NOT_FOUND, *answers) as server:
        ((kind, title, _),) = findings(own_folder, server, TOKENS)
        assert len(server.requests) == 1 + len(answers)
    assert kind == "not-at-iampass"
    assert "bob" in title


@pytest.mark.parametrize("status", [401, 403])
def test_a_secret_that_is_refused_is_named(own_folder: Path, status: int) -> None:
    with scripted_server(answer(status)) as server:
        ((found, _, remedy),) = findings(own_folder, server, TOKENS)
    assert found == "service-refused"
    assert str(own_folder / "secret") in remedy


@pytest.mark.parametrize(
    ("answers", "accepted"), [([NOT_FOUND], "first"), ([answer(401), NOT_FOUND], "second")]
)
def test_the_accepted_one_of_two_secrets_is_named(
    own_folder: Path, answers: list[Step], accepted: str
) -> None:
    with scripted_server(*answers, YES) as server:
        ((found, title, remedy),) = findings(own_folder, server, {"alice": "token"}, "n3w\n0ld\n")
    assert (found, title.rpartition(" ")[2]) == ("previous-secret-left", accepted)
    assert str(own_folder / "secret") in title
    assert str(own_folder / "secret") in remedy


# A host that has joined a gateway


def host(status: str, *gateways: str, **members: bool) -> Step:
    told = {"name": "web1", "group": "web", "status": status, "gateways": list(gateways), **members}
    return answer(200, told)


def test_a_joined_host_asks_its_gateway_about_itself_and_nothing_about_people(own_folder: Path) -> None:
    with scripted_server(host("active")) as server:
        assert findings(own_folder, server, TOKENS, joined=True) == []
        assert [(one.method, one.target) for one in server.requests] == [("GET", "/fleet/host/my-app")]


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (host("waiting"), "it is waiting"),
        (host("suspended"), "it is suspended"),
        (answer(401), "the gateway does not know it"),
        (NOT_FOUND, "the gateway does not know it"),
    ],
)
def test_a_host_that_the_gateway_does_not_serve_is_an_error(own_folder: Path, step: Step, what: str) -> None:
    with scripted_server(step) as server:
        ((kind, title, _),) = findings(own_folder, server, {}, joined=True)
        assert kind == "gateway-refuses"
        assert title.endswith(f": {what}")
        assert len(server.requests) == 1


def test_each_gateway_of_a_host_is_asked_and_one_that_does_not_answer_is_named(own_folder: Path) -> None:
    with scripted_server(host("active")) as server:
        ((kind, title, _),) = findings(own_folder, server, {}, joined=True, others=("https://localhost:1",))
    assert (kind, title) == (
        "gateway-away",
        "A gateway of this host does not serve it: https://localhost:1",
    )


def test_a_list_of_gateways_that_has_changed_is_a_warning(own_folder: Path) -> None:
    with scripted_server(host("active", "https://gateway.example.com")) as server:
        ((kind, title, remedy),) = findings(own_folder, server, {}, joined=True)
    assert (kind, remedy) == ("gateways-differ", "pam-iampass join --update")
    assert title.endswith(": https://gateway.example.com")


def test_secrets_of_an_application_that_are_left_on_a_joined_host_are_found(own_folder: Path) -> None:
    left = put(own_folder / "application-secret.old", "s3cret\n", 0o640)
    with scripted_server(host("active")) as server:
        ((kind, title, _),) = findings(own_folder, server, {}, joined=True)
    assert kind == "gateway-secret-left"
    assert title.endswith(f": {left}")


@pytest.mark.parametrize(
    ("members", "keep", "found"),
    [
        ({"covers": True}, "false", ["Logins here cover no login"]),
        ({"covered": True}, "false", ["Logins here are covered by no login"]),
        ({"covers": True, "covered": True}, "false", ["Logins here cover and are covered by no login"]),
        ({"covers": False, "covered": False}, "false", []),
        ({"covers": True, "covered": True}, "true", []),
    ],
)
def test_it_is_a_warning_if_logins_can_neither_cover_nor_be_covered_although_the_gateway_lets_them(
    own_folder: Path, members: dict[str, bool], keep: str, found: list[str]
) -> None:
    more = f"session: {{keep: {keep}}}\n"
    with scripted_server(host("active", **members)) as server:
        told = findings(own_folder, server, {}, joined=True, more=more)
    assert [title.partition(" on another host, although")[0] for _, title, _ in told] == found
    assert [kind for kind, _, _ in told] == ["presence-not-kept"] * len(found)


def test_a_gateway_that_cannot_be_reached_is_called_a_gateway(own_folder: Path) -> None:
    with scripted_server(answer(503)) as server:
        ((kind, title, _),) = findings(own_folder, server, {}, joined=True)
    assert (kind, title) == ("service-unreachable", "This machine cannot use the gateway")


def test_the_clock_of_the_gateway_counts(own_folder: Path) -> None:
    late = answer(
        200,
        {"name": "w", "group": "g", "status": "active", "gateways": []},
        headers={"Date": "Thu, 01 Jan 2099 00:00:00 GMT"},
    )
    with scripted_server(late) as server:
        assert [kind for kind, *_ in findings(own_folder, server, {}, joined=True)] == ["clock-off"]


def test_a_gateway_whose_database_does_not_answer_is_not_called_unreachable(own_folder: Path) -> None:
    away = answer(503, {"reason": "DATABASE_AWAY", "detail": "ask again"})
    with scripted_server(*[away] * 9) as server:
        ((kind, title, _),) = findings(own_folder, server, {}, joined=True)
    assert kind == "service-unreachable"
    assert title == "This machine cannot use the gateway: the gateway cannot use its database"
