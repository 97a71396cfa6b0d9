"""The Ansible role for gateways, as far as one machine goes; test_gateway_role.py has more of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pam_iampass.gateway.hosts import certificates
from pam_iampass.gateway.hosts.certificates import Certified
from pam_iampass.setup import join
from tests.support.gateway_machine import ETC, SOCKETS, add_account, local_postgres, run_gateway, serving
from tests.support.installation import ROOT, install
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.system.test_ansible import Played, run_plays

pytestmark = pytest.mark.long

GATEWAYS = "pam_iampass_gateways"
NAME = "localhost"
PLAY = {"hosts": GATEWAYS, "gather_subset": ["min"], "roles": ["pam_iampass_gateway"]}
HOSTS = {
    "hosts": GATEWAYS,
    "gather_facts": False,
    "tasks": [{"include_role": {"name": "pam_iampass_gateway", "tasks_from": "hosts.yml"}}],
}
HERE = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
SECRET = "s3cret-of-the-application"
FILES = {"application-secret", "ca.pem", "certificate.pem", "certificate-key.pem", "key"}


@dataclass
class Fleet:
    """A machine that is to be a gateway, and what the inventory says of it."""

    server: Postgres
    settings: dict[str, Any]
    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of hosts, with variables of each."""

    def play(self, *plays: dict[str, Any]) -> Played:
        """Run the role, or other plays; what they did to the gateway."""
        variables = {
            **HERE,
            "pam_iampass_gateway_packages": [],
            "pam_iampass_gateway_settings": self.settings,
            "pam_iampass_gateway_application_secret": SECRET,
            **self.variables,
        }
        groups = {name: {"hosts": hosts} for name, hosts in self.groups.items()}
        inventory = {"all": {"children": {GATEWAYS: {"hosts": {NAME: {}}, "vars": variables}, **groups}}}
        return run_plays(self.folder, list(plays or (PLAY,)), inventory)[NAME]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A machine on which the packages are installed, and nothing else was done."""
    install()
    subprocess.run(
        ["make", "-C", str(ROOT), "install-gateway", "BUILD=/opt/build"], check=True, capture_output=True
    )
    add_account()
    with local_postgres() as server, Sandbox(application_id="demo", application_secret=SECRET) as sandbox:
        ca = Path("/etc/sandbox-ca.pem")
        shutil.copy(sandbox.ca_file, ca)
        ca.chmod(0o644)
        settings = {"application_id": "demo", "server": sandbox.url, "server_ca_file": str(ca)}
        try:
            yield Fleet(server, settings, tmp_path)
        finally:
            for folder in (ETC, Path("/var/lib/iampass-gateway")):
                shutil.rmtree(folder, ignore_errors=True)
            ETC.mkdir()


def there() -> set[str]:
    """The files of the gateway."""
    return {path.name for path in ETC.iterdir()}


def test_a_gateway_is_made_from_nothing_and_the_second_run_changes_nothing(fleet: Fleet) -> None:
    first = fleet.play()
    assert first.failed == 0, first.shown
    assert there() == FILES | {"gateway.yaml", "ca-key.pem"}
    for name in FILES - {"ca.pem", "certificate.pem"}:
        assert (ETC / name).stat().st_mode & 0o777 == 0o600
    key = (ETC / "key").read_text().strip()
    for secret in (SECRET, key):
        assert secret not in first.shown
    again = fleet.play()
    assert again.ended == (0, 0), again.shown
    fleet.variables["pam_iampass_gateway_application_secret"] = f"new\n{SECRET}"
    changed = fleet.play()
    assert changed.ended == (0, 1), changed.shown
    with serving():
        assert json.loads(run_gateway("host", "list", "--json"))["hosts"] == []


def test_a_secret_that_iampass_does_not_take_is_shown_as_such_and_can_be_corrected(fleet: Fleet) -> None:
    fleet.variables["pam_iampass_gateway_application_secret"] = "another-secret"
    played = fleet.play()
    assert played.failed == 1, played.shown
    assert "Then run init again" in played.shown
    assert "another-secret" not in played.shown
    del fleet.variables["pam_iampass_gateway_application_secret"]
    corrected = fleet.play()
    assert corrected.failed == 0, corrected.shown


def test_settings_that_check_refuses_are_never_put_in_place(fleet: Fleet) -> None:
    fleet.settings["groups"] = {"web": {"covered_by": ["bastion"], "everybody": True}}
    refused = fleet.play()
    assert refused.failed == 1, refused.shown
    assert "bastion is no group" in refused.shown
    assert there() == set(), "nor is a key made"
    fleet.settings["groups"]["bastion"] = {"everybody": True, "admit": True}
    taken = fleet.play()
    assert taken.failed == 0, taken.shown
    before = (ETC / "gateway.yaml").read_text()
    fleet.settings["listen"] = "nowhere"
    refused = fleet.play()
    assert refused.failed == 1, refused.shown
    assert "is not an address" in refused.shown
    assert (ETC / "gateway.yaml").read_text() == before
    assert ".ansible.yaml" not in there()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("key", "The certificate is of another key than the one that was given."),
        ("name", "The certificate does not name localhost."),
        ("ca", "The certificate is not from the CA"),
    ],
    ids=["key", "name", "ca"],
)
def test_a_certificate_with_which_no_gateway_starts_is_not_put_in_place(
    fleet: Fleet, what: str, said: str
) -> None:
    authority = certificates.new_authority("the site")
    other = certificates.new_authority("another site") if what == "ca" else authority
    made = certificates.new_certificate(["other" if what == "name" else NAME], other)
    key = certificates.new_certificate([NAME], authority).key if what == "key" else made.key
    use(fleet, authority, Certified(made.certificate, key))
    # The system trusts the other CA: hosts do not.
    shown = subprocess.run(
        ["openssl", "x509", "-hash", "-noout"], input=other.certificate, capture_output=True, check=True
    )
    trusted = Path("/etc/ssl/certs") / f"{shown.stdout.decode().strip()}.0"
    trusted.write_bytes(other.certificate)
    try:
        refused = fleet.play()
    finally:
        trusted.unlink()
    assert refused.failed == 1, refused.shown
    assert said in refused.shown
    assert key.decode().splitlines()[1] not in refused.shown
    assert there() == set()
    assert not list(Path("/run").glob("ansible.*"))


def test_a_certificate_of_the_sites_is_used_and_exchanged(fleet: Fleet) -> None:
    authority = certificates.new_authority("the site")
    use(fleet, authority, certificates.new_certificate([NAME], authority))
    first = fleet.play()
    assert first.failed == 0, first.shown
    assert "ca-key.pem" not in there()
    assert fleet.play().ended == (0, 0)
    newer = certificates.new_certificate([NAME], authority)
    use(fleet, authority, newer)
    exchanged = fleet.play()
    assert exchanged.ended == (0, 1), exchanged.shown
    assert (ETC / "certificate.pem").read_bytes().strip() == newer.certificate.strip()
    with serving():
        pass
    another = certificates.new_authority("another")
    use(fleet, another, certificates.new_certificate([NAME], another))
    refused = fleet.play()
    assert refused.failed == 1
    assert "The fleet has another CA, which its hosts trust." in refused.shown


def use(fleet: Fleet, authority: Certified, certificate: Certified) -> None:
    """Name a certificate in the inventory."""
    fleet.variables["pam_iampass_gateway_ca"] = authority.certificate.decode()
    fleet.variables["pam_iampass_gateway_certificate"] = certificate.certificate.decode()
    fleet.variables["pam_iampass_gateway_certificate_key"] = certificate.key.decode()


@pytest.mark.parametrize(
    "variables",
    [
        {"pam_iampass_gateway_settings": {}},
        {"pam_iampass_gateway_settings": {"application_id": "demo", "database": "dbname=x"}},
        {"pam_iampass_gateway_settings": {"application_id": "demo", "key_file": "/tmp/key"}},
        {
            "pam_iampass_gateway_database": "host=db user=x",
            "pam_iampass_gateway_database_password": "kept-to-us",
        },
        {"pam_iampass_gateway_certificate": "x"},
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_changes(
    fleet: Fleet, variables: dict[str, Any]
) -> None:
    fleet.variables = variables
    played = fleet.play()
    assert played.ended == (1, 0), played.shown
    assert "The gateways are the hosts of the inventory's group" in played.shown
    assert "kept-to-us" not in played.shown


def test_what_is_for_hosts_is_not_for_gateways(fleet: Fleet) -> None:
    """Variables of the other role that are for all machines change nothing here."""
    fleet.variables.update(
        pam_iampass_settings={"timeout": "never"}, pam_iampass_packages=["no-such-package"]
    )
    played = fleet.play()
    assert played.failed == 0, played.shown
    assert "never" not in (ETC / "gateway.yaml").read_text()


def test_a_host_of_the_inventory_joins_under_its_name_and_is_admitted(fleet: Fleet) -> None:
    fleet.settings["groups"] = {"db": {"everybody": True, "admit": True}}
    assert fleet.play().failed == 0
    fleet.groups["databases"] = {"db1.example.com": HERE}
    fleet.variables["pam_iampass_gateway_hosts"] = [{"hosts": "databases", "group": "db", "admit": True}]
    with serving():
        try:
            joins = fleet.play()
            assert joins.failed == 0, joins.shown
            again = fleet.play()
            assert again.ended == (0, 0), again.shown
            listed = json.loads(run_gateway("host", "list", "--json"))
            fleet.variables["pam_iampass_gateway_hosts"] = [{"hosts": "databases"}]
            elsewhere = fleet.play(HOSTS)
            assert elsewhere.ended == (0, 0), elsewhere.shown
            assert "is in the group db, not in default" in elsewhere.shown
        finally:
            join.leave(force=True)
    (host,) = listed["hosts"]
    assert (host["name"], host["group"], host["status"], host["admitted"]) == (
        "db1.example.com",
        "db",
        "active",
        True,
    )
    assert listed["invites"] == []


def test_a_host_that_cannot_join_is_named_and_its_invite_is_good_for_nothing(fleet: Fleet) -> None:
    fleet.groups["web"] = {
        "web1": {**HERE, "ansible_remote_tmp": "/proc/nowhere"},
        "web2": {**HERE, "ansible_connection": "ssh", "ansible_port": 9},
    }
    fleet.variables["pam_iampass_gateway_hosts"] = [{"hosts": "web"}]
    played = fleet.play()  # no gateway serves
    assert played.failed == 0, played.shown
    assert '"web1": "' in played.shown
    assert '"web2": "' in played.shown
    assert json.loads(run_gateway("host", "list", "--json"))["invites"] == []


def test_one_who_has_joined_under_the_name_of_another_host_is_not_admitted(fleet: Fleet) -> None:
    """Somebody else had an invite for this group, and was first."""
    fleet.settings["groups"] = {"db": {"everybody": True, "admit": True}}
    assert fleet.play().failed == 0
    fleet.groups["databases"] = {"db1": HERE}
    fleet.variables["pam_iampass_gateway_hosts"] = [{"hosts": "databases", "group": "db", "admit": True}]
    with serving():
        invite = json.loads(run_gateway("host", "invite", "--group", "db", "--json"))
        try:
            subprocess.run(
                ["pam-iampass", "join", invite["url"], "-", "--name", "db1"],
                input=invite["invite"],
                text=True,
                check=True,
            )
            text = join.JOINED.read_text()
            join.JOINED.write_text(text.replace("application_id: h", "application_id: x"))
            played = fleet.play()
            join.JOINED.write_text(text)
            (host,) = json.loads(run_gateway("host", "list", "--json"))["hosts"]
        finally:
            join.leave(force=True)
    assert played.ended == (0, 0), played.shown
    assert not host["admitted"]
    assert "waits: pam-iampass-gateway host admit db1" in played.shown


# A host that lies to Ansible

PROGRAM = """\
    #!/usr/bin/python3
    import json, sys
    words, typed = sys.argv[1:], "" if sys.argv[1:2] == ["host"] else sys.stdin.read()
    with open("/opt/programs/log", "a+") as log:
        log.seek(0)
        before = [json.loads(line) for line in log]
        log.write(json.dumps([words, typed]) + "\\n")
    if words[:2] == ["host", "list"]:
        joined = [said[4] for said, _ in before if said[0] == "join"]
        admitted = [said[2] for said, _ in before if said[:2] == ["host", "admit"]]
        groups = {said[said.index("--name") + 1]: said[-1] for said, _ in before if said[:2] == ["host", "invite"]}
        rows = [
            {"name": name, "id": "h-1", "group": groups[name], "status": "active", "admitted": name in admitted}
            for name in joined
        ]
        print(json.dumps({"hosts": rows}))
    elif words[:2] == ["host", "invite"]:
        name = words[words.index("--name") + 1]
        print(json.dumps({"id": "i-" + name, "invite": "invite-of-" + name, "url": "https://gateway"}))
    """
LIAR = """\
    #!/usr/bin/python3
    import json, subprocess, sys
    done = subprocess.run(["/usr/bin/python3", *sys.argv[1:]], stdin=sys.stdin, stdout=subprocess.PIPE, text=True)
    before, brace, rest = done.stdout.partition("{")
    answer = json.loads(brace + rest)
    answer["ansible_facts"] = {**answer.get("ansible_facts", {}), **json.load(open("/opt/programs/lies"))}
    print(before + json.dumps(answer))
    sys.exit(done.returncode)
    """
ADMIN = [{"hosts": "web", "group": "admin", "admit": True}]
LIES = {
    "pam_iampass_gateway_hosts": ADMIN,
    "pam_iampass_gateway_wanted": [
        {"name": name, "group": "admin", "admit": True, "network": []} for name in ("liar", "web2")
    ],
    "pam_iampass_gateway_invites": {"results": []},
    "pam_iampass_gateway_joined": {
        "stdout": json.dumps(
            {"hosts": [{"name": "liar", "id": "h-1", "status": "active", "admitted": False}]}
        )
    },
    "pam_iampass_gateway_first": "liar",
    "inventory_hostname": "db1",
    "group_names": ["admins"],
    "groups": {"web": ["liar"], "databases": ["liar"]},
    "item": {"item": {"name": "liar"}, "stdout": '{"url": "https://liar", "invite": "x"}'},
    "ansible_pipelining": False,
    "ansible_host": "liar",
}


def test_no_host_says_by_its_facts_what_becomes_of_it_or_of_others(fleet: Fleet) -> None:
    programs = Path("/opt/programs")
    programs.mkdir()
    for name, text in (("pam-iampass", PROGRAM), ("pam-iampass-gateway", PROGRAM), ("liar", LIAR)):
        (programs / name).write_text(textwrap.dedent(text))
        (programs / name).chmod(0o755)
    (programs / "lies").write_text(json.dumps(LIES))
    joined = join.JOINED
    joined.write_text("application_id: h-1\n")
    fleet.groups = {
        "web": {"liar": {**HERE, "ansible_python_interpreter": "/opt/programs/liar"}, "web2": HERE},
        "databases": {"db1": HERE},
        "admins": {},
    }
    fleet.variables["pam_iampass_gateway_hosts"] = [
        {"hosts": "web", "group": "web"},
        {"hosts": "databases", "group": "db", "admit": True},
    ]
    environment = {"PATH": "/opt/programs:/usr/bin:/bin"}
    facts = {"hosts": "web:databases", "gather_subset": ["min"], "tasks": [{"command": "true"}]}
    try:
        played = fleet.play(
            facts,
            *({**HOSTS, "environment": environment} for _ in range(2)),
            facts,
            {**HOSTS, "environment": environment},
        )
        said = [json.loads(line) for line in (programs / "log").read_text().splitlines()]
    finally:
        joined.unlink()
        shutil.rmtree(programs)
    assert played.failed == 0, played.shown
    assert "Removed restricted key from module data" in played.shown, "it has lied"
    expected = {"liar": "web", "web2": "web", "db1": "db"}
    invited = [words for words, _ in said if words[:2] == ["host", "invite"]]
    assert invited == [
        ["host", "invite", "--json", "--for", "15m", "--name", name, "--group", group]
        for name, group in expected.items()
    ]
    joins = [(words, typed.strip()) for words, typed in said if words[0] == "join"]
    assert joins == [
        (["join", "https://gateway", "-", "--name", name], f"invite-of-{name}") for name in expected
    ]
    admitted = [words for words, _ in said if words[:2] == ["host", "admit"]]
    assert admitted == [["host", "admit", "db1", "--id", "h-1"]], "another one of the name is not admitted"


DATABASE = {
    "hosts": GATEWAYS,
    "gather_facts": False,
    "tasks": [{"include_role": {"name": "pam_iampass_gateway", "tasks_from": "database.yml"}}],
}


@pytest.fixture
def of_postgres(fleet: Fleet) -> Iterator[Path]:
    """The folder that belongs to postgres, as Debian makes it."""
    folder = Path("/etc/postgresql")
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, "postgres", "postgres")
    fleet.variables["pam_iampass_gateway_database_password"] = "long-and-random"
    fleet.server.stop()  # it is no service, and would have to be restarted to listen
    fleet.server.start("-c", "listen_addresses=*", "-c", f"unix_socket_directories={SOCKETS}")
    try:
        yield folder
    finally:
        for path in folder.glob("*iampass*"):
            path.unlink()


def test_the_database_serves_other_gateways_encrypted_and_is_set_up_once(
    fleet: Fleet, of_postgres: Path
) -> None:
    made = fleet.play(DATABASE)
    assert made.failed == 0, made.shown
    assert "long-and-random" not in made.shown
    assert (ETC / "database.pem").read_text() == (of_postgres / "iampass.pem").read_text()
    assert (of_postgres / "iampass-key.pem").stat().st_mode & 0o777 == 0o600
    again = fleet.play(DATABASE)
    assert again.ended == (0, 0), again.shown
    connect = (
        f"host=localhost port={fleet.server.port} user=_iampass-gateway dbname=iampass sslmode=verify-full"
    )
    connect += f" sslrootcert={ETC}/database.pem channel_binding=require"
    with psycopg.connect(connect, password="long-and-random") as connection:
        assert connection.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(connect, password="another")


@pytest.mark.parametrize("link", ["iampass.pem", ".iampass.pem", "iampass-key.pem"])
def test_a_link_of_the_account_postgres_gives_it_no_file_of_roots(
    fleet: Fleet, of_postgres: Path, link: str
) -> None:
    secret = Path("/etc/secret-of-root")
    secret.write_text("of root")
    secret.chmod(0o600)
    (of_postgres / link).symlink_to(secret)
    try:
        played = fleet.play(DATABASE)
        assert played.failed == 1, played.shown
        assert "Permission denied" in played.shown
        assert (secret.read_text(), secret.owner()) == ("of root", "root")
        assert not (ETC / "database.pem").exists()
    finally:
        secret.unlink()
