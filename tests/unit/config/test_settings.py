"""iampass.yaml: read as it is meant, or everything that is wrong with it at once."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pam_iampass.config import schema
from pam_iampass.config.settings import (
    AskedSettings,
    CoverSettings,
    ExemptSettings,
    RecoverySettings,
    SessionSettings,
    Settings,
    ThrottleSettings,
    check,
    load,
)
from pam_iampass.config.value_types import (
    Approver,
    AskForCode,
    Enforcement,
    Prompt,
    SecondPerson,
    UnlistedUsers,
    WhenUnavailable,
)
from pam_iampass.errors import ConfigurationError, Severity
from tests.support.folders import OWNER, put
from tools.docs import settings_reference

ROOT = Path(__file__).parents[3]


@dataclass
class Configuration:
    """A folder with settings and a secret."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "iampass.yaml"

    @property
    def secret(self) -> Path:
        return self.folder / "secret"

    def write(self, text: str | bytes) -> None:
        """`text` with an application id and the right secret in the two lines before it."""
        if isinstance(text, str):
            text = f"application_id: app\napplication_secret_file: {self.secret}\n{text}"
        put(self.file, text)

    def load(self, text: str = "") -> Settings:
        self.write(text)
        return load(self.file, owner=OWNER)

    def problems_in(self, text: str | bytes) -> list[str]:
        """The problems, without the file in front."""
        self.write(text)
        return self.problems()

    def problems(self) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            load(self.file, owner=OWNER)
        texts = [str(problem) for problem in caught.value.problems]
        assert all(text.startswith(f"{self.file}:") for text in texts)
        assert all(problem.remedy for problem in caught.value.problems)
        return [text[len(str(self.file)) + 1 :].lstrip() for text in texts]


@pytest.fixture
def configuration(own_folder: Path) -> Configuration:
    configuration = Configuration(own_folder)
    put(configuration.secret, "s3cret-of-ours\n", 0o600)
    return configuration


# What is right


def test_every_key_can_be_set(configuration: Configuration) -> None:
    certificates = put(configuration.folder / "ca.pem")
    settings = configuration.load(f"""
server: https://IAM.example.com:8443/
ca_file: {certificates}
proxy: http://proxy:3128
users: /srv/iampass/people.yaml
unlisted_users: "{{user}}@example.com"
unavailable: ignore
timeout: 2m
methods: [facial, device]
prompt: always
exempt:
  users: [backup, "no", null, 0123]
  groups: [Domain Users]
  networks: [192.0.2.0/24, 2001:db8::/32, 198.51.100.7]
throttle: {{cool_off: 0s, longest_cool_off: 2m, requests_per_hour: 5, logins_at_once: 1, spacing: 30s}}
recovery: {{ask: never, attempts_per_hour: 100}}
""")
    assert settings.server == "https://iam.example.com:8443"
    assert settings.ca_file == certificates
    assert settings.proxy == "http://proxy:3128"
    assert settings.users == Path("/srv/iampass/people.yaml")
    assert settings.service.exempt.users == {"backup", "no", "null", "0123"}
    assert settings.service.exempt.groups == {"Domain Users"}
    assert settings.service.exempt.networks == tuple(
        ipaddress.ip_network(text) for text in ("192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32")
    )
    assert settings.throttle == ThrottleSettings(0.0, 120.0, 5, 1, 30.0)
    assert settings.recovery == RecoverySettings(AskForCode.NEVER, 100)
    service = settings.for_service("any")
    assert service.timeout == 120.0
    assert service.methods == ("facial", "device")
    assert service.prompt is Prompt.ALWAYS
    assert service.unlisted_users.token_for("jo") == "jo@example.com"
    assert not service.unlisted_users.ignore
    assert service.unavailable is WhenUnavailable.IGNORE


def test_on_a_joined_host_everybody_is_asked_by_name(configuration: Configuration) -> None:
    joined = _joined(configuration, '[https://GW.example.com/, "https://gw2.example.com:8443"]')
    settings = configuration.load(f"""
joined_file: {joined}
server: https://iampass.example.com
unlisted_users: ignore
services: {{sudo: {{unlisted_users: "{{user}}@example.com"}}}}
""")
    assert settings.gateways == ("https://gw.example.com", "https://gw2.example.com:8443")
    assert settings.server == "https://iampass.example.com"
    assert (settings.application_id, settings.application_secret) == ("h-abcdefghijkl", "of-this-host")
    assert settings.gateway_ca == configuration.folder / "gateway-ca.pem"
    assert joined in settings.files
    for service in (settings.service, settings.for_service("sudo")):
        assert service.unlisted_users == UnlistedUsers(template="{user}", everybody=True)
    left = load(configuration.file, owner=OWNER, joined=configuration.folder / "none.yaml")
    assert (left.application_id, left.gateways) == ("app", ())


def _joined(configuration: Configuration, gateways: str) -> Path:
    """What `join` writes."""
    folder = configuration.folder
    put(folder / "gateway-ca.pem")
    put(folder / "gateway-secret", "of-this-host\n", 0o640)
    return put(folder / "joined.yaml", f"application_id: h-abcdefghijkl\ngateways: {gateways}\n")


def test_a_joined_host_needs_nothing_that_leads_to_iampass(configuration: Configuration) -> None:
    joined = _joined(configuration, "[https://gw.example.com]")
    gone = "application_id:\napplication_secret_file: /nowhere\nca_file: /nowhere\n"
    put(configuration.file, f"joined_file: {joined}\n{gone}")
    settings = load(configuration.file, owner=OWNER)
    assert settings.application_id == "h-abcdefghijkl"
    assert Path("/nowhere") not in settings.files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "application_id is not set"),
        ("gateways: []\n", "names no gateway"),
        ("gateways: [https://gw.example.com/iampass]\n", "has a path"),
        ("gateways: [http://gw.example.com]\n", "is not an https URL"),
        ("server: https://gw.example.com\n", "is not a known key"),
        ("application_secret_file: /nowhere\n", "is not a known key"),
        ("ca_file: /nowhere\n", "is not a known key"),
        ("{", "is not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_joined_file_denies_and_is_named(
    configuration: Configuration, text: str, says: str
) -> None:
    joined = put(configuration.folder / "joined.yaml", text)
    configuration.write(f"joined_file: {joined}\n")
    report = check(configuration.file, owner=OWNER)
    assert report.settings is None
    assert [problem for problem in report.problems if problem.file == joined and says in str(problem)]


@pytest.mark.parametrize("name", ["gateway-ca.pem", "gateway-secret"])
def test_the_secret_and_the_ca_of_a_joined_host_are_needed(configuration: Configuration, name: str) -> None:
    joined = _joined(configuration, "[https://gw.example.com]")
    (configuration.folder / name).unlink()
    configuration.write(f"joined_file: {joined}\n")
    (problem,) = check(configuration.file, owner=OWNER).problems
    assert (problem.file, problem.is_error) == (joined, True)
    assert f"{configuration.folder}/{name} does not exist" in problem.what


def test_a_joined_file_that_others_can_write_is_not_used(configuration: Configuration) -> None:
    joined = _joined(configuration, "[https://gw.example.com]")
    joined.chmod(0o666)
    configuration.write(f"joined_file: {joined}\n")
    assert "is writable" in str(check(configuration.file, owner=OWNER).problems[0])
    assert check(configuration.file, owner=OWNER).settings is None


def test_a_joined_file_can_be_without_effect(configuration: Configuration) -> None:
    _joined(configuration, "[https://gw.example.com]")
    assert configuration.load("joined_file: null\n").gateways == ()
    assert configuration.load(f"joined_file: {configuration.folder}/none.yaml\n").gateways == ()


def test_a_service_overrides_what_it_names_and_inherits_the_rest(configuration: Configuration) -> None:
    settings = configuration.load("""
timeout: 30s
methods: [facial]
unlisted_users: ignore
services:
  su: {approver: caller, timeout: 45s}
  sudo: {unlisted_users: deny, methods: [], prompt: never}
  sshd: {unavailable: ignore}
  login: {}
""")
    su, sudo = settings.for_service("su"), settings.for_service("sudo")
    assert (su.approver, su.timeout, su.methods) == (Approver.CALLER, 45.0, ("facial",))
    assert su.unlisted_users == UnlistedUsers.IGNORE
    assert (sudo.unlisted_users, sudo.methods, sudo.prompt) == (UnlistedUsers.DENY, (), Prompt.NEVER)
    assert (sudo.unavailable, sudo.timeout, sudo.approver) == (WhenUnavailable.DENY, 30.0, Approver.CALLER)
    assert settings.for_service("sshd").unavailable is WhenUnavailable.IGNORE
    assert settings.for_service("login") == settings.for_service("elsewhere") == settings.service


@pytest.mark.parametrize(("program", "login"), [("su", "su-l"), ("sudo", "sudo-i")])
@pytest.mark.parametrize(
    ("services", "approver", "login_shell"),
    [
        ("{}", Approver.CALLER, Approver.CALLER),
        ("{PROGRAM: {timeout: 30s}}", Approver.CALLER, Approver.CALLER),
        ("{LOGIN: {timeout: 30s}}", Approver.CALLER, Approver.CALLER),
        ("{PROGRAM: {approver: user}}", Approver.USER, Approver.USER),
        ("{PROGRAM: {approver: user}, LOGIN: {timeout: 30s}}", Approver.USER, Approver.CALLER),
    ],
)
def test_in_sudo_and_su_the_caller_approves_unless_it_is_written_otherwise(
    configuration: Configuration,
    program: str,
    login: str,
    services: str,
    approver: Approver,
    login_shell: Approver,
) -> None:
    services = services.replace("PROGRAM", program).replace("LOGIN", login)
    settings = configuration.load(f"services: {services}")
    assert settings.for_service(program).approver is approver
    assert settings.for_service(login).approver is login_shell
    assert settings.for_service("doas").approver is Approver.USER


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{user: carol}", SecondPerson(("carol",))),
        ("{users: [carol, alice]}", SecondPerson(("carol", "alice"))),
        ("{group: oncall, allow_self: true}", SecondPerson(group="oncall", allow_self=True)),
    ],
)
def test_a_second_person_is_named_by_a_mapping(
    configuration: Configuration, written: str, meant: SecondPerson
) -> None:
    settings = configuration.load(f"services: {{sudo: {{approver: {written}}}}}")
    assert settings.for_service("sudo").approver == settings.for_service("sudo-i").approver == meant


@pytest.mark.parametrize(
    ("written", "key", "what"),
    [
        ("{}", "approver", "names nobody"),
        ("{allow_self: true}", "approver", "names nobody"),
        ("{user: carol, group: oncall}", "approver", "has both user and group"),
        ("{users: []}", "approver.users", "names nobody"),
        ("{user: [carol]}", "approver.user", "is a list, not a name of the user table"),
        ("{users: [a/b]}", "approver.users", '"a/b" contains a slash'),
        ("{persons: [carol]}", "approver.persons", "is not a known key"),
        ("[carol]", "approver", "is a list, not user, caller, key, login or a mapping"),
    ],
)
def test_a_mapping_that_names_no_second_person_is_an_error(
    configuration: Configuration, written: str, key: str, what: str
) -> None:
    (problem,) = configuration.problems_in(f"services: {{sudo: {{approver: {written}}}}}")
    assert problem == f"3: services.sudo.{key}: {what}"


def test_a_service_has_its_own_exemptions_and_its_own_who_is_asked(configuration: Configuration) -> None:
    settings = configuration.load("""
exempt: {users: [backup], rules: [user carol from 192.0.2.0/24, "group Domain Users from 2001:db8::/32"]}
asked: {groups: [staff]}
methods: [facial]
services:
  sudo: {exempt: {groups: [operators]}, methods: [device]}
  su: {exempt: {}, asked: {}}
  login: {timeout: 30s}
""")
    general, sudo, su = settings.service, settings.for_service("sudo"), settings.for_service("su")
    assert general.exempt.users == {"backup"}
    assert [(rule.is_group, rule.name, str(rule.network)) for rule in general.exempt.rules] == [
        (False, "carol", "192.0.2.0/24"),
        (True, "Domain Users", "2001:db8::/32"),
    ]
    assert sudo.exempt == ExemptSettings(groups=frozenset({"operators"}))
    assert (sudo.asked, general.asked) == (AskedSettings(groups=frozenset({"staff"})),) * 2
    assert (su.exempt, su.asked) == (ExemptSettings(), AskedSettings())
    assert settings.for_service("login").exempt == general.exempt
    assert (general.own_methods, sudo.own_methods, su.own_methods) == ((), ("device",), ())


def test_a_service_overrides_single_keys_of_the_session(configuration: Configuration) -> None:
    settings = configuration.load("""
session: {keep: true, longest: 8h, check: 1m, when_away: lock, covers: {services: [sudo]}}
services:
  su: {session: {keep: false, covers: {for: 5m}}}
  login: {timeout: 30s, session: {}}
  sshd: {session: {unlock_on_return: true, when_closed: revoke, covers_connections: true, covers: {services: []}}}
""")
    general = SessionSettings(
        *(True, 28800.0, 60.0, Enforcement.END, Enforcement.LOCK, False, False),
        CoverSettings(frozenset({"sudo"}), 900.0),
    )
    assert settings.service.session == settings.for_service("login").session == general
    su = replace(general, keep=False, covers=CoverSettings(frozenset({"sudo"}), 300.0))
    assert settings.for_service("su").session == su
    assert settings.for_service("sshd").session == replace(
        general,
        unlock_on_return=True,
        when_closed=Enforcement.REVOKE,
        covers_connections=True,
        covers=CoverSettings(frozenset(), 900.0),
    )


def test_a_cover_cannot_outlast_its_session(configuration: Configuration) -> None:
    assert configuration.problems_in("""
session: {longest: 10m}
services:
  su: {session: {longest: 1h}}
  login: {session: {longest: 1h, covers: {for: 2h}}}
  sshd: {session: {keep: true}}
""") == [
        "4: session.longest: covers.for (900s) is longer than session.longest (600s)",
        "7: services.login.session.covers.for: covers.for (7200s) is longer than session.longest (3600s)",
    ]


def test_a_cover_without_a_kept_session_is_a_warning(configuration: Configuration) -> None:
    configuration.load("session: {covers: {services: [sudo]}, covers_connections: true}")
    found = check(configuration.file, owner=OWNER).problems
    assert [(problem.key, problem.severity) for problem in found] == [
        ("session.covers.services", Severity.WARNING),
        ("session.covers_connections", Severity.WARNING),
    ]
    configuration.load("session: {covers: {services: [x]}}\nservices: {sshd: {session: {keep: true}}}")
    assert not check(configuration.file, owner=OWNER).problems


@pytest.mark.parametrize(
    "rule",
    ["carol", "carol from 192.0.2.0/24", "user carol", "user carol from here", "user from 192.0.2.0/24"],
)
def test_a_rule_names_a_user_or_a_group_and_a_network(configuration: Configuration, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=r"services.sudo.exempt.rules: .* is not a (rule|network)"):
        configuration.load(f"services: {{sudo: {{exempt: {{rules: [{rule}]}}}}}}")


@pytest.mark.parametrize("null", ["null", "~", ""])
def test_null_stands_for_the_systems_certificates_and_no_proxy(
    configuration: Configuration, null: str
) -> None:
    settings = configuration.load(f"ca_file: {null}\nproxy: {null}\n")
    assert settings.ca_file is None
    assert settings.proxy is None


def test_the_files_that_the_settings_came_from_are_named(configuration: Configuration) -> None:
    certificates = put(configuration.folder / "ca.pem")
    settings = configuration.load(f"ca_file: {certificates}")
    assert settings.files == (configuration.file, configuration.secret, certificates)


def test_the_secret_is_in_no_representation(configuration: Configuration) -> None:
    settings = configuration.load()
    assert "s3cret" not in repr(settings) + str(settings)


@pytest.mark.parametrize("text", ["1s", "290s", "4m"])
def test_a_timeout_from_one_second_to_290_is_taken(configuration: Configuration, text: str) -> None:
    assert configuration.load(f"timeout: {text}").service.timeout in (1.0, 290.0, 240.0)


# What is wrong with one key


WRONG: list[tuple[str, str]] = [
    ("application_secret_file: rel/secret", '"rel/secret" is not an absolute path'),
    ("server: http://iam-api.com", '"http://iam-api.com" is not an https URL'),
    ("server: https://", '"https://" has no valid host and port'),
    ("server: https://a:b@c", '"https://a:b@c" contains a user name or password'),
    ("server: https://a/path", '"https://a/path" has a path'),
    ("server:", "is empty"),
    ("ca_file: ca.pem", '"ca.pem" is not an absolute path'),
    ('ca_file: "/a\\eb"', '"/a\\x1bb" is a path with invisible characters'),
    ("proxy: http://proxy", '"http://proxy" has no port'),
    ("proxy: http://u:p@proxy:1", '"http://u:p@proxy:1" contains a user name or password'),
    ("users: users.yaml", '"users.yaml" is not an absolute path'),
    ("unlisted_users: Deny", '"Deny" is unknown'),
    ("unlisted_users: '{users}'", '"{users}" is not a valid template'),
    ("unlisted_users: '{user}{user}'", '"{user}{user}" is not a valid template'),
    ('unlisted_users: "{user}\\n"', '"{user}\\x0a" is not a template for a token'),
    ("unlisted_users: {user}", "is a mapping, not deny, ignore or a template"),
    ("unavailable: allow", '"allow" is unknown'),
    ("timeout: 60", '"60" has no unit'),
    ("timeout: 0s", '"0s" is out of range'),
    ("timeout: 291s", '"291s" is out of range'),
    ("methods:", "is empty"),
    ("methods: [face]", '"face" is not a method of IAMPASS'),
    ("methods: [facial, facial]", '"facial" is listed twice'),
    ("approver: caller", "is not a known key"),
    ("services: su", "is a text, not a mapping"),
]


@pytest.mark.parametrize(("line", "what"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_value_is_reported_with_file_line_and_key(
    configuration: Configuration, line: str, what: str
) -> None:
    text = "\n" + line
    if line.startswith("application_secret_file"):
        put(configuration.file, f"application_id: app\n\n\n{line}")
        assert configuration.problems() == [f"4: application_secret_file: {what}"]
        return
    assert configuration.problems_in(text) == [f"4: {line.partition(':')[0]}: {what}"]


@pytest.mark.parametrize("service", ["sudo", "su", "polkit-1", "elsewhere"])
def test_only_sshd_and_login_can_ignore_an_outage(configuration: Configuration, service: str) -> None:
    text = f"\nservices:\n  login: {{unavailable: ignore}}\n  {service}: {{unavailable: ignore}}"
    what = f"has no effect: an outage is never ignored in {service}"
    (problem,) = configuration.problems_in(text)
    assert problem.startswith(f"6: services.{service}.unavailable: {what}")


WRONG_INSIDE: list[tuple[str, str, str]] = [
    ("session: {keep: maybe}", "session.keep", '"maybe" is neither true nor false'),
    ("session: {longest: 59s}", "session.longest", '"59s" is out of range'),
    ("session: {covers: [sudo]}", "session.covers", "is a list, not a mapping"),
    ("exempt: {users: alice}", "exempt.users", "is a text, not a list"),
    ("exempt: {users: ['']}", "exempt.users", '"" is empty'),
    ("exempt: {users: [a/b]}", "exempt.users", '"a/b" contains a slash'),
    ("exempt: {users: ['!root']}", "exempt.users", '"!root" is a negation, which is not supported'),
    ("exempt: {groups: [a, b, a]}", "exempt.groups", '"a" is listed twice'),
    ("exempt: {networks: ['']}", "exempt.networks", '"" is not a network'),
    (
        "exempt: {networks: [10.0.0.1/8]}",
        "exempt.networks",
        '"10.0.0.1/8" has bits set after the prefix of 8',
    ),
    ("exempt: {networks: ['fe80::1%eth0']}", "exempt.networks", '"fe80::1%eth0" is not a network'),
    ("throttle: {cool_off: 901s}", "throttle.cool_off", '"901s" is out of range'),
    ("throttle: {requests_per_hour: 0}", "throttle.requests_per_hour", '"0" is out of range'),
    ("throttle: {requests_per_hour: many}", "throttle.requests_per_hour", '"many" is not a whole number'),
    ("recovery: {ask: always}", "recovery.ask", '"always" is unknown'),
    ("exempt: {hosts: []}", "exempt.hosts", "is not a known key"),
    ("services: {su: }", "services.su", "is empty"),
    ("services: {su: {approver: root}}", "services.su.approver", '"root" is unknown'),
    ("services: {su: {timeout: 10}}", "services.su.timeout", '"10" has no unit'),
    ("services: {su: {server: https://a}}", "services.su.server", "is not a known key"),
    ("services: {SU: {}}", "services.SU", '"SU" has capital letters, but PAM uses lower case'),
    ("services: {a/b: {}}", "services.a/b", '"a/b" is not a valid PAM service name'),
]


@pytest.mark.parametrize(("line", "key", "what"), WRONG_INSIDE, ids=[line for line, _, _ in WRONG_INSIDE])
def test_a_wrong_value_inside_is_reported_with_a_dotted_key(
    configuration: Configuration, line: str, key: str, what: str
) -> None:
    assert configuration.problems_in("\n" + line) == [f"4: {key}: {what}"]


@pytest.mark.parametrize("value", ["", " null", " ~", " ''"])
def test_an_application_id_that_is_not_filled_in_is_not_set(configuration: Configuration, value: str) -> None:
    put(configuration.file, f"application_secret_file: {configuration.secret}\napplication_id:{value}\n")
    assert configuration.problems() == ["2: application_id: application_id is not set"]


def test_an_application_id_that_is_missing_is_not_set(configuration: Configuration) -> None:
    put(configuration.file, f"application_secret_file: {configuration.secret}\n")
    assert configuration.problems() == ["application_id: application_id is not set"]


@pytest.mark.parametrize(
    "value", ["a b", "a/b", "a?b", "'a#b'", "a%b", "a:b", "ä", ".", "..", "a" * 257, '"a\\n"', "a\\b"]
)
def test_an_application_id_that_would_change_the_request_is_refused(
    configuration: Configuration, value: str
) -> None:
    put(configuration.file, f"application_secret_file: {configuration.secret}\napplication_id: {value}\n")
    (problem,) = configuration.problems()
    assert problem.startswith("2: application_id: ")
    assert problem.endswith("is not a valid application id")


def test_an_unknown_key_is_reported_with_the_near_one(configuration: Configuration) -> None:
    configuration.write("time_out: 60s\nzzz: 1\nexempt: {user: [a]}\nservices: {su: {aprover: ruser}}\n")
    remedies = [problem.remedy for problem in check(configuration.file, owner=OWNER).problems]
    assert remedies[0] == "did you mean timeout?"
    assert remedies[1].startswith("write one of application_id, ")
    assert remedies[2:] == ["did you mean users?", "did you mean approver?"]


def test_the_remedies_say_what_to_write(configuration: Configuration) -> None:
    configuration.write("timeout: 60\nprompt: maybe\nmethods: facial\nexempt: {networks: [10.1.2.3/8]}\n")
    assert [problem.remedy for problem in check(configuration.file, owner=OWNER).problems] == [
        "write 60s for seconds, 60m for minutes",
        "write auto, always or never",
        "write for example [acceptance, facial], or [] for none",
        "write 10.0.0.0/8, or 10.1.2.3 for that one address",
    ]


# Everything at once


def test_everything_that_is_wrong_is_reported_at_once_in_the_order_of_the_file(
    configuration: Configuration,
) -> None:
    put(
        configuration.file,
        """\
application_secret_file: /nowhere/secret
server: http://iam-api.com
timeout: 60
timeout: 90
methodes: []
exempt:
  users: [root, root, &x alice]
  networks: [10.0.0.1/8,
             ""]
services:
  su: {approver: root, timeout: 1h}
  Login: {}
unavailable: *x
ca_file: /dev/null
""",
    )
    assert configuration.problems() == [
        "1: application_secret_file: /nowhere does not exist",
        '2: server: "http://iam-api.com" is not an https URL',
        '3: timeout: "60" has no unit',
        "4: timeout: the key is duplicate (first in line 3)",
        "5: methodes: is not a known key",
        "7: an anchor (&name) is not supported",
        '7: exempt.users: "root" is listed twice',
        '8: exempt.networks: "10.0.0.1/8" has bits set after the prefix of 8',
        '9: exempt.networks: "" is not a network',
        '11: services.su.approver: "root" is unknown',
        '11: services.su.timeout: "1h" is out of range',
        '12: services.Login: "Login" has capital letters, but PAM uses lower case',
        "13: an alias (*name) is not supported",
        "14: ca_file: /dev/null is a device, not a regular file",
        "application_id: application_id is not set",
    ]


def test_what_stands_in_a_file_cannot_colour_a_terminal(configuration: Configuration) -> None:
    configuration.write('"\\e[31mred\\u202e": "\\e[0m"\nprompt: "\\e]0;x\\a"\n')
    with pytest.raises(ConfigurationError) as caught:
        load(configuration.file, owner=OWNER)
    problems_in = caught.value.diagnostics() + str(caught.value)
    assert all(character.isprintable() or character == "\n" for character in caught.value.diagnostics())
    assert "\\x1b" in problems_in


# Files that are no settings


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "application_id: is not set: the file is empty"),
        (b"# nothing\n", "application_id: is not set: the file is empty"),
        (b"application_id\n", "1: the file is a text, not a mapping"),
        (
            b"application_id: app\nserver: 'https",
            "2: the file is not valid YAML: while scanning a quoted scalar",
        ),
    ],
)
def test_a_file_that_is_no_settings_is_an_error(
    configuration: Configuration, content: bytes, problem: str
) -> None:
    assert configuration.problems_in(content)[0].startswith(problem)


def test_a_file_that_cannot_be_trusted_is_an_error(configuration: Configuration) -> None:
    configuration.write("")
    configuration.file.chmod(0o666)
    assert configuration.problems() == ["is writable by users other than root (mode 0666)"]
    configuration.file.unlink()
    assert configuration.problems() == ["does not exist"]
    configuration.file.symlink_to("elsewhere")
    assert configuration.problems() == ["is a symbolic link, not a regular file"]
    configuration.folder.chmod(0o777)
    assert configuration.problems() == [
        f"{configuration.folder} is a folder that users other than root can write (mode 0777)"
    ]


# The secret


@pytest.mark.parametrize("content", [b"s", b"s\n", b"!~" * 100 + b"\n"])
def test_a_secret_is_one_word_with_or_without_a_newline(configuration: Configuration, content: bytes) -> None:
    put(configuration.secret, content, 0o600)
    assert configuration.load().application_secret == content.decode().strip()


@pytest.mark.parametrize("content", [b"new-one\nold-one", b"new-one\nold-one\n"])
def test_a_second_line_is_the_previous_secret(configuration: Configuration, content: bytes) -> None:
    put(configuration.secret, content, 0o600)
    settings = configuration.load()
    assert (settings.application_secret, settings.previous_secret) == ("new-one", "old-one")
    assert "old-one" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"a b\n", "is not one word of plain ASCII, or two on two lines"),
        (b"a\r\n", "is not one word of plain ASCII, or two on two lines"),
        ("é".encode(), "is not one word of plain ASCII, or two on two lines"),
        (b"a\nb\nc\n", "is not one word of plain ASCII, or two on two lines"),
        (b"a" * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_any_other_secret_is_refused_and_not_shown(
    configuration: Configuration, content: bytes, what: str
) -> None:
    put(configuration.secret, content, 0o600)
    assert configuration.problems_in("") == [f"2: application_secret_file: {configuration.secret} {what}"]


def test_a_secret_that_others_can_read_is_reported_with_a_remedy(configuration: Configuration) -> None:
    configuration.secret.chmod(0o644)
    configuration.write("")
    (problem,) = check(configuration.file, owner=OWNER).problems
    assert problem.remedy == f"chown root:_iampass {configuration.secret}; chmod 0640 {configuration.secret}"


def test_certificates_that_others_can_write_are_refused(configuration: Configuration) -> None:
    certificates = put(configuration.folder / "ca.pem", mode=0o666)
    assert configuration.problems_in(f"ca_file: {certificates}") == [
        f"3: ca_file: {certificates} is writable by users other than root (mode 0666)"
    ]


# Properties


KEYS = [entry.name for entry in schema.SCHEMA]
VALUES = st.recursive(
    st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_whatever_stands_in_the_file_gives_settings_or_a_configuration_error(
    configuration: Configuration, content: dict[str, Any]
) -> None:
    put(configuration.file, json.dumps(content))
    examination = check(configuration.file, owner=OWNER)
    assert bool(examination.problems) is (examination.settings is None)
    assert all(str(problem) and problem.remedy for problem in examination.problems)


# The schema, the page and the files that are installed


def test_the_page_of_all_settings_and_the_installed_file_are_current() -> None:
    assert (ROOT / "docs/reference/settings.md").read_text("utf-8") == settings_reference.HOST.page()
    assert (ROOT / "config" / "iampass.yaml").read_text("utf-8") == settings_reference.installed_file()


ABSENT: dict[str, tuple[object, str | None]] = {
    "server": ("https://iam-api.com", None),
    "joined_file": (Path("/etc/iampass/joined.yaml"), None),
    "ca_file": (None, None),
    "proxy": (None, None),
    "users": (Path("/etc/iampass/users.yaml"), None),
    "shared_accounts": (False, "true"),
    "show_command": (True, "false"),
    "unlisted_users": (UnlistedUsers.DENY, "ignore"),
    "unavailable": (WhenUnavailable.DENY, "ignore"),
    "timeout": (60.0, "290s"),
    "methods": ((), "[acceptance]"),
    "prompt": (Prompt.AUTO, "never"),
    "exempt.users": (frozenset(), "[root]"),
    "exempt.groups": (frozenset(), "[root]"),
    "exempt.networks": ((), "[192.0.2.0/24]"),
    "exempt.rules": ((), "[user root from 192.0.2.0/24]"),
    "asked.users": (frozenset(), "[root]"),
    "asked.groups": (frozenset(), "[root]"),
    "session.keep": (False, None),  # what is kept only takes away
    "session.longest": (43200.0, "24h"),
    "session.check": (30.0, "15m"),
    "session.when_closed": (Enforcement.END, "revoke"),
    "session.when_away": (Enforcement.REVOKE, None),  # nothing is kept that could be taken away
    "session.unlock_on_return": (False, "true"),
    "session.covers.services": (frozenset(), "[sudo]"),
    "session.covers.for": (900.0, "12h"),
    "session.covers_connections": (False, "true"),
    "throttle.cool_off": (30.0, "0s"),
    "throttle.longest_cool_off": (900.0, "0s"),
    "throttle.requests_per_hour": (30, "1000"),
    "throttle.logins_at_once": (10, "1000"),
    "throttle.spacing": (3.0, "0s"),
    "agents.requests_per_hour": (10, "1000"),
    "recovery.ask": (AskForCode.UNANSWERED, None),  # until somebody makes a code nobody is asked
    "recovery.attempts_per_hour": (5, "100"),
    "services": ({}, "{su: {approver: user}}"),
}
"""Each key: its value while the file does not have it, and one with which more people get in, or with less."""


def keys_of(entries: Iterable[schema.KeyOrSection], above: str = "") -> Iterator[str]:
    for entry in entries:
        below = entry if isinstance(entry, schema.Section) else entry.section
        if below is None or below.named:
            yield f"{above}{entry.name}"
        else:
            yield from keys_of(below.keys, f"{above}{entry.name}.")


def test_every_key_is_named_here_with_what_holds_without_it() -> None:
    required = {"application_id", "application_secret_file"}
    assert set(keys_of(schema.SCHEMA)) - required == set(ABSENT)


@pytest.mark.parametrize("key", ABSENT)
def test_a_file_that_does_not_have_a_key_is_as_safe_as_can_be(configuration: Configuration, key: str) -> None:
    def value(settings: Settings) -> object:
        steps = ["within" if step == "for" else step for step in key.split(".")]
        found: object = settings if hasattr(settings, steps[0]) else settings.service
        for step in steps:
            found = getattr(found, step)
        return found

    absent, weaker = ABSENT[key]
    assert value(configuration.load("")) == absent
    if weaker is not None:
        *above, last = key.split(".")
        text = "".join(f"{name}: {{" for name in above) + f"{last}: {weaker}" + "}" * len(above)
        assert value(configuration.load(text)) != absent


@pytest.mark.parametrize("service", ["su", "su-l", "sudo", "sudo-i"])
def test_a_file_that_does_not_have_an_approver_lets_nobody_become_root_without_the_caller(
    configuration: Configuration, service: str
) -> None:
    """PAM names root in su, and in sudo with `rootpw` and the like; root is exempt on most machines."""
    assert configuration.load("").for_service(service).approver is Approver.CALLER
    weaker = configuration.load(f"services: {{{service}: {{approver: user}}}}")
    assert weaker.for_service(service).approver is Approver.USER


def test_each_key_of_the_installed_file_stands_at_its_default(configuration: Configuration) -> None:
    text = (ROOT / "config" / "iampass.yaml").read_text("utf-8")
    text = text.replace("application_id:", "application_id: app")
    put(configuration.file, text.replace("/etc/iampass/application-secret\n", f"{configuration.secret}\n"))
    installed = load(configuration.file, owner=OWNER)
    assert installed == configuration.load("")
    for entry in schema.SCHEMA:
        assert re.search(f"^{entry.name}:", text, re.MULTILINE)
