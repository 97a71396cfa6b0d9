"""The settings of a gateway: all errors at once, with file, line and remedy; secrets that only root can read."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pam_iampass.errors import ConfigurationError
from pam_iampass.gateway.base import places, settings, settings_schema
from pam_iampass.gateway.cli import group as command
from tools.docs import settings_reference

WHOLE = """\
names: [gateway.example.com, 192.0.2.1]
listen: "[::]:8443"
application_id: fleet
application_secret_file: {folder}/application-secret
key_file: {folder}/key
ca_file: {folder}/ca.pem
certificate_file: {folder}/certificate.pem
certificate_key_file: {folder}/certificate-key.pem
groups:
  servers: {{everybody: true}}
  bastion: {{people: [staff, oncall], admit: true}}
"""
SECRETS = {"application-secret": "s3cret\n", "key": "00" * 32 + "\n", "certificate-key.pem": "private"}


@pytest.fixture
def folder(trusted_folder: Path) -> Path:
    for name, content in SECRETS.items():
        (trusted_folder / name).write_text(content)
        (trusted_folder / name).chmod(0o600)
    for name in ("ca.pem", "certificate.pem"):
        (trusted_folder / name).write_text("certificate")
    return trusted_folder


def _written(folder: Path, text: str) -> Path:
    file = folder / "gateway.yaml"
    file.write_text(text.format(folder=folder))
    return file


def test_a_whole_file_is_read(folder: Path) -> None:
    found = settings.load(_written(folder, WHOLE))
    assert found.names == ("gateway.example.com", "192.0.2.1")
    assert found.listen == ("::", 8443)
    assert (found.application_secret, found.previous_secret, found.key) == ("s3cret", "", bytes(32))
    assert found.groups["servers"] == settings.GroupSettings(everybody=True)
    assert found.groups["bastion"] == settings.GroupSettings(frozenset({"staff", "oncall"}), admit=True)
    assert (found.limits.requests_per_hour, found.keep_records) == (30, 365 * 86400.0)
    assert "s3cret" not in repr(found)
    assert repr(bytes(32)) not in repr(found)


def test_every_mistake_is_named_with_its_line(folder: Path) -> None:
    wrong = (
        WHOLE.replace('"[::]:8443"', "8443").replace("admit: true", "admit: yes").replace("names:", "name:")
    )
    _, problems = settings.check(_written(folder, wrong))
    found = {(problem.line, problem.key) for problem in problems}
    assert found == {(1, "name"), (None, "names"), (2, "listen"), (11, "groups.bastion.admit")}
    assert "did you mean names?" in problems[0].remedy


def test_presence_starts_from_hosts_that_were_admitted(folder: Path) -> None:
    covered = WHOLE.replace(
        "servers: {{everybody: true", "servers: {{everybody: true, covered_by: [{bastion}]"
    )

    def written(*bastions: str) -> Path:
        return _written(folder, covered.replace("{bastion}", ", ".join(bastions)))

    found = settings.load(written("bastion"))
    assert found.groups["servers"].covered_by == {"bastion"}
    assert (found.groups["servers"].codes, found.groups["bastion"].codes) == (True, False)
    for wrong, what in (
        ("nowhere", "nowhere is no group"),
        ("servers", "hosts join servers without being admitted"),
    ):
        _, (problem,) = settings.check(written("bastion", wrong))
        assert (problem.line, problem.key) == (10, "groups.servers.covered_by")
        assert problem.what.startswith(what)
    covered = covered.replace("admit: true", "admit: true, codes: true")
    assert settings.load(written("bastion")).groups["bastion"].codes


def test_a_group_that_names_nobody_is_a_warning_and_admits_nobody(folder: Path) -> None:
    text = WHOLE.replace("servers: {{everybody: true}}", "servers: {{admit: true}}\n  empty: {{people: []}}")
    found, problems = settings.check(_written(folder, text))
    assert found is not None
    assert [(problem.line, problem.key, problem.severity.value) for problem in problems] == [
        (10, "groups.servers", "warning"),
        (11, "groups.empty", "warning"),
    ]
    assert problems[0].what == "admits nobody: all logins to its hosts are denied"
    for group in ("servers", "empty", "default", "unheard"):
        assert not found.admits(group, ["staff"]), group
    assert found.admits("bastion", ["others", "staff"])
    assert not found.admits("bastion", [])


def test_everybody_and_some_exclude_each_other(folder: Path) -> None:
    text = WHOLE.replace("everybody: true", "everybody: true, people: [staff]")
    _, (problem,) = settings.check(_written(folder, text))
    assert (problem.line, problem.key) == (10, "groups.servers.people")
    assert problem.is_error
    everybody = settings.load(_written(folder, WHOLE))
    assert everybody.admits("servers", [])


OPERATORS = """\
portal: {{origin: https://iampass.example.com:8445}}
self_service: [staff]
operators:
  admin: [it]
  auditor: [sec, it]
  helpdesk:
    people: [desk]
    helps: [staff, oncall]
"""


def test_operators_have_the_roles_of_all_their_groups(folder: Path) -> None:
    found = settings.load(_written(folder, WHOLE + OPERATORS))
    assert found.self_service == {"staff"}
    assert found.portal is not None
    assert (found.portal.origin, found.portal.rp_id) == (
        "https://iampass.example.com:8445",
        "iampass.example.com",
    )
    operators = found.operators
    assert operators.helps == {"staff", "oncall"}
    assert operators.roles_of(["it", "staff"]) == {"admin", "auditor"}
    assert operators.roles_of(iter(["desk", "sec"])) == {"helpdesk", "auditor"}
    assert operators.roles_of(["staff", "IT", "admin"]) == set()


def test_by_default_nobody_is_an_operator_and_there_is_no_portal(folder: Path) -> None:
    nothing = "operators: {{}}\nportal: {{}}\nself_service: []\n"
    for text in (WHOLE, WHOLE + nothing):
        found = settings.load(_written(folder, text))
        assert (found.operators, found.self_service, found.portal) == (
            settings.OperatorSettings(),
            frozenset(),
            None,
        )
        assert found.operators.roles_of(["", "staff", "it"]) == set()


@pytest.mark.parametrize(("group", "role"), [("it", "admin"), ("sec", "auditor"), ("desk", "helpdesk")])
def test_a_help_desk_that_helps_an_operator_is_refused(folder: Path, group: str, role: str) -> None:
    text = OPERATORS.replace("auditor: [sec, it]", "auditor: [sec]").replace(
        "oncall]", f"oncall,\n      {group}]"
    )
    found, (problem,) = settings.check(_written(folder, WHOLE + text))
    assert found is None
    line = (WHOLE + text).splitlines().index(f"      {group}]") + 1
    assert (problem.line, problem.key) == (line, "operators.helpdesk.helps")
    assert problem.what == f"{group} is a group of the role {role}: the help desk would reach an operator"
    assert problem.remedy == f"delete {group} here"


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ("operators: [it]", "operators", "is a list, not a mapping"),
        ("operators: {{admin: it}}", "operators.admin", "is a text, not a list"),
        ("operators: {{root: [it]}}", "operators.root", "is not a known key"),
        ("operators: {{admin: [it, a/b]}}", "operators.admin", '"a/b" contains a slash'),
        ("operators: {{helpdesk: [desk]}}", "operators.helpdesk", "is a list, not a mapping"),
        ("operators: {{helpdesk: {{people: [desk]}}}}", "operators.helpdesk", "names nobody whom it helps"),
        ("operators: {{helpdesk: {{helps: [staff]}}}}", "operators.helpdesk", "names nobody who helps"),
        (
            "operators: {{helpdesk: {{people: [desk], helps: []}}}}",
            "operators.helpdesk",
            "names nobody whom it helps",
        ),
        (
            "operators: {{helpdesk: {{people: [desk], helps: [a/b]}}}}",
            "operators.helpdesk.helps",
            '"a/b" contains a slash',
        ),
        ("self_service: staff", "self_service", "is a text, not a list"),
        ("self_service: [everybody, everybody]", "self_service", "is listed twice"),
        ("portal: https://iampass.example.com", "portal", "is a text, not a mapping"),
        ("portal: {{origin: [a, b]}}", "portal.origin", "is a list, not an https address"),
    ],
)
def test_a_mistake_in_who_administers_is_an_error(folder: Path, text: str, key: str, what: str) -> None:
    found, problems = settings.check(_written(folder, f"{WHOLE}{text}\n"))
    errors = [problem for problem in problems if problem.is_error]
    assert found is None
    assert [(problem.line, problem.key) for problem in errors] == [(WHOLE.count("\n") + 1, key)]
    assert what in errors[0].what
    assert errors[0].remedy


def test_operators_without_a_portal_are_a_warning(folder: Path) -> None:
    text = OPERATORS.partition("\n")[2]
    found, problems = settings.check(_written(folder, WHOLE + text))
    assert found is not None
    assert [(problem.key, problem.is_error) for problem in problems] == [
        ("self_service", False),
        ("operators", False),
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "https://iampass.example.com",
        "https://iampass.example.com:8443",
        "https://iampass.example.com:80",
        "https://iampass",
        "https://xn--bcher-kva.example",
        "https://localhost",
        "http://localhost",
        "http://localhost:8080",
    ],
)
def test_an_origin_is_taken_as_it_is_written(folder: Path, origin: str) -> None:
    found = settings.load(_written(folder, f"{WHOLE}portal: {{{{origin: '{origin}'}}}}\n"))
    assert found.portal == settings.PortalSettings(origin)
    assert found.portal.rp_id == origin.split("/")[2].split(":")[0]


@pytest.mark.parametrize(
    ("origin", "remedy"),
    [
        ("https://iampass.example.com/", "write https://iampass.example.com"),
        ("https://iampass.example.com:443", "write https://iampass.example.com"),
        ("HTTPS://IamPass.example.com:08443", "write https://iampass.example.com:8443"),
        ("http://localhost:80", "write http://localhost"),
        ("http://iampass.example.com", "write the https address"),
        ("http://sub.localhost", "write the https address"),
        ("https://192.0.2.1", ""),
        ("https://127.1", ""),
        ("https://0x7f000001", ""),
        ("https://2130706433:8443", ""),
        ("https://[2001:db8::1]", ""),
        ("https://b\u00fccher.example", "write the name in that form"),
        ("https://\u212aelvin.example", "write the name in that form"),
        ("https://iampass.example.com.", ""),
        ("https://iampass..example.com", ""),
        ("https://-iampass.example.com", ""),
        ("https://iam_pass.example.com", ""),
        (f"https://{'a' * 64}.example.com", ""),
        (f"https://{'a.' * 126}example", ""),
        ("https://iampass.example.com:0", ""),
        ("https://iampass.example.com:65536", ""),
        ("https://iampass.example.com:", ""),
        ("https://iampass.example.com/portal", ""),
        ("https://iampass.example.com?x", ""),
        ("https://iampass.example.com#x", ""),
        ("https://user@iampass.example.com", ""),
        ("https://*.example.com", ""),
        ("https://", ""),
        ("iampass.example.com", ""),
        ("ftp://iampass.example.com", ""),
        ("null ", ""),
        ("", ""),
    ],
)
def test_an_origin_that_browsers_do_not_send_is_refused(folder: Path, origin: str, remedy: str) -> None:
    found, (problem,) = settings.check(_written(folder, f"{WHOLE}portal: {{{{origin: '{origin}'}}}}\n"))
    assert found is None
    assert (problem.line, problem.key) == (WHOLE.count("\n") + 1, "portal.origin")
    assert problem.remedy.startswith(remedy or "write for example https://iampass.example.com")


def test_a_list_of_gateways_has_this_one(folder: Path) -> None:
    assert settings.load(_written(folder, WHOLE)).gateways == ()
    both = "gateways: [https://gateway.example.com:8443, https://other.example.com:8443]\n"
    assert settings.load(_written(folder, WHOLE + both)).gateways[1] == "https://other.example.com:8443"
    with pytest.raises(ConfigurationError, match="has no address of this gateway"):
        settings.load(_written(folder, WHOLE + "gateways: [https://other.example.com:8443]\n"))
    for wrong in ("http://gateway.example.com", "https://gateway.example.com/path", "gateway.example.com"):
        assert settings.check(_written(folder, WHOLE + f"gateways: [{wrong}]\n"))[0] is None


def test_what_watches_the_gateway_has_an_address_of_its_own_or_none(folder: Path) -> None:
    assert settings.load(_written(folder, WHOLE)).monitoring == ("127.0.0.1", 8444)
    assert settings.load(_written(folder, WHOLE + "monitoring: null\n")).monitoring is None
    with pytest.raises(ConfigurationError, match="is the port of the hosts"):
        settings.load(_written(folder, WHOLE + "monitoring: 192.0.2.1:8443\n"))


def test_records_stay_for_as_long_as_limits_look_at_them(folder: Path) -> None:
    """A code for a lost phone is for once a week, and a person is known on a host for 30 days."""
    assert settings.load(_written(folder, WHOLE + "records: {{keep: 30d}}\n")).keep_records == 30 * 86400
    with pytest.raises(ConfigurationError, match=r"records\.keep"):
        settings.load(_written(folder, WHOLE + "records: {{keep: 29d}}\n"))


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_that_others_can_read_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o644)
    with pytest.raises(ConfigurationError, match="every user can access"):
        settings.load(_written(folder, WHOLE))


@pytest.mark.parametrize("content", ["", "00" * 31, "zz" * 32, "00" * 32 + "\n" + "00" * 32])
def test_what_is_no_key_is_refused(folder: Path, content: str) -> None:
    (folder / "key").write_text(content)
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        settings.load(_written(folder, WHOLE))


@pytest.mark.parametrize(
    "conninfo",
    [
        "dbname=x password=hunter2",
        "password = 'hunter2' dbname=x",
        "dbname=x sslpassword=hunter2",
        "postgresql://x:hunter2@db.example.com/x",
        "postgres://x@db.example.com/x?password=hunter2",
        "postgresql://x@db.example.com/x?pass%77ord=hunter2",
        "postgresql://x:hunter2@[::1/x",
        "postgresql://x:%zzhunter2@db.example.com/x",
        "dbname=x password=a hunter2",
        "dbname=x password=a hunter2=",
        "dbname=x passwort=hunter2",
        "dbname=x PASSWORD=hunter2",
        "dbname=x password='hunter2",
    ],
)
def test_a_password_of_the_database_does_not_stand_in_the_file_and_is_shown_nowhere(
    folder: Path, conninfo: str
) -> None:
    file = _written(folder, WHOLE + f'database: "{conninfo}"\n')
    with pytest.raises(ConfigurationError) as refused:
        settings.load(file)
    (problem,) = refused.value.problems
    assert (problem.key, ".pgpass" in problem.remedy) == ("database", True)
    typed = CliRunner().invoke(command, ["init", "--database", conninfo])
    assert (typed.exit_code, ".pgpass" in typed.output) == (2, True)
    looked = CliRunner().invoke(command, ["check", "--config", str(file)])
    assert looked.exit_code == 1
    everywhere = f"{problem!r} {refused.value} {refused.value.diagnostics()} {typed.output} {looked.output}"
    assert "hunter2" not in everywhere


@pytest.mark.parametrize(
    "database", ['"password=hunter2', "{{password=hunter2}}", "a: password=hunter2", "@hunter2"]
)
def test_no_error_of_a_file_that_is_no_yaml_quotes_it(folder: Path, database: str) -> None:
    _, problems = settings.check(_written(folder, WHOLE + f"database: {database}\n"))
    assert problems
    assert "hunter2" not in str([(problem, problem.remedy) for problem in problems])


def test_a_password_elsewhere_than_in_the_file_is_none_in_it(folder: Path) -> None:
    conninfo = "host=db.example.com dbname=passwords passfile=/etc/iampass-gateway/pgpass sslmode=verify-full"
    assert settings.load(_written(folder, WHOLE + f"database: {conninfo}\n")).database == conninfo


def test_the_service_reads_the_secrets_that_systemd_passes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = folder / "credentials"
    passed.mkdir()
    for name in SECRETS:
        os.rename(folder / name, passed / name)
        (passed / name).chmod(0o440)
    with pytest.raises(ConfigurationError):
        settings.load(_written(folder, WHOLE))
    monkeypatch.setenv(places.CREDENTIALS, str(passed))
    found = settings.load(_written(folder, WHOLE))
    assert found.application_secret == "s3cret"
    assert found.certificate_key_file == passed / "certificate-key.pem"


def test_a_service_that_answers_no_host_needs_no_key_of_the_certificate(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = folder / "credentials"
    passed.mkdir()
    for name in SECRETS:
        os.rename(folder / name, passed / name)
    monkeypatch.setenv(places.CREDENTIALS, str(passed))
    os.remove(passed / "certificate-key.pem")
    assert settings.load(_written(folder, WHOLE)).application_secret == "s3cret"


def test_a_new_file_shows_who_administers_by_default_as_it_can_be_written(folder: Path) -> None:
    template = settings_schema.template({})
    lines = re.findall(r"^# (  \w+: .*|\w+:)$", template[template.index("# portal:\n") :], re.MULTILINE)
    assert lines == [
        "portal:",
        "  origin: null",
        "operators:",
        "  admin: []",
        "  auditor: []",
        "  helpdesk: {people: [], helps: []}",
    ]
    found = settings.load(_written(folder, WHOLE + "\n".join(lines).replace("{", "{{").replace("}", "}}")))
    assert found == settings.load(_written(folder, WHOLE))


def test_the_page_of_all_settings_is_current() -> None:
    page = Path(__file__).parents[2] / "docs/reference/gateway-settings.md"
    assert page.read_text("utf-8") == settings_reference.gateway().page()


@pytest.mark.parametrize(
    "place", ["{folder}", "{folder}/dumps", "{parent}", "/etc/iampass-gateway/x", "/etc"]
)
def test_dumps_and_the_key_are_not_near_each_other(folder: Path, place: str) -> None:
    where = place.format(folder=folder, parent=folder.parent)
    _, problems = settings.check(_written(folder, WHOLE + f"backup: {{{{folder: {where}}}}}\n"))
    (problem,) = problems
    assert (problem.key, problem.is_error) == ("backup.folder", True)
    assert "an attacker has the fleet" in problem.what


def test_a_link_does_not_bring_dumps_near_the_key(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "dumps"
    link.symlink_to(folder / "key-is-here")
    _, problems = settings.check(_written(folder, WHOLE + f"backup: {{{{folder: {link}}}}}\n"))
    assert [problem.key for problem in problems] == ["backup.folder"]


def test_dumps_are_off_unless_a_folder_is_named(folder: Path) -> None:
    assert settings.load(_written(folder, WHOLE)).backup is None
    found = settings.load(_written(folder, WHOLE + "backup: {{folder: /var/backups/iampass-gateway}}\n"))
    assert found.backup == settings.BackupSettings(Path("/var/backups/iampass-gateway"), 14)
