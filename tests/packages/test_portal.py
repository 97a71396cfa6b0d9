"""The portal on a booted gateway, as docs/fleet/portal.md says it: from the installation to purge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.administrator import NAMES, Administrator, built
from tests.packages.booted import Booted
from tests.packages.kept_logins import wait_for
from tests.packages.phone import STATE
from tests.packages.typed_page import TypedPage, all_is_typed

PACKAGES = (*NAMES, "pam-iampass-gateway", "pam-iampass-portal")
GATEWAY, PORTAL = "gateway.example.com", "iampass.example.com"
ORIGIN = f"https://{PORTAL}"
IAMPASS_PORT = 9443
SETTINGS = "/etc/iampass-gateway/gateway.yaml"
SOCKET, SERVICE = "pam-iampass-portal.socket", "pam-iampass-portal.service"
ACTS = "pam-iampass-gateway-acts.socket"
SET_UP, STOP, REMOVE = "Set it up", "What a portal that was taken over can do", "Remove it"
ELSEWHERE = {"pam-iampass join"}  # which hosts type

#: A CA of the site's, which the machine trusts from then on, and the certificate of the portal.
MAKES_CERTIFICATE = f"""
import trustme
ca = trustme.CA()
ca.cert_pem.write_to_path("/usr/local/share/ca-certificates/site.crt")
made = ca.create_child_ca().issue_cert("{PORTAL}")
for pem in made.cert_chain_pems:
    pem.write_to_path("portal.pem", append=True)
made.private_key_pem.write_to_path("portal.key")
"""
#: Prints status, CSP and body of an answer of the portal.
ASKS = """
import sys, urllib.request
method, url, origin = sys.argv[1:]
request = urllib.request.Request(url, b"" if method == "POST" else None, {"Origin": origin} if origin else {})
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.headers["Content-Security-Policy"])
print(answer.read().decode())
"""


@pytest.fixture(scope="module")
def page() -> TypedPage:
    return TypedPage("docs/fleet/portal.md")


@pytest.fixture(scope="module")
def machine(root: Path) -> Iterator[Booted]:
    """A machine that has the names of the gateway and the portal."""
    booted = Booted(root)
    try:
        (booted.root / "etc/hostname").write_text(f"{GATEWAY}\n")
        (booted.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {GATEWAY} {PORTAL}\n")
        booted.boot()
        yield booted
    finally:
        booted.close()


@pytest.fixture(scope="module")
def administrator(machine: Booted) -> Administrator:
    """The administrator of a gateway that is set up, in whose folder the packages are."""
    found = Administrator(machine, ("alice",), IAMPASS_PORT)
    found.install(*built(PACKAGES[:-1]))
    for package in built(PACKAGES):
        machine.copy_in(package, "/root/packages")
    found.start_iampass()
    given = [
        "--application-id",
        "demo",
        "--secret-file",
        "-",
        "--server",
        f"https://127.0.0.1:{IAMPASS_PORT}",
    ]
    given += ["--server-ca-file", "/etc/iampass/ca.pem"]
    machine.run("pam-iampass-gateway", "init", *given, stdin=machine.read(f"{STATE}/application-secret"))
    return found


def asked(machine: Booted, method: str = "GET", path: str = "/", origin: str = "") -> tuple[str, str]:
    """The first line that the portal answers, with the status, and the page."""
    done = machine.run("python3", "-c", ASKS, method, f"{ORIGIN}{path}", origin)
    head, _, body = done.stdout.partition("\n")
    return head, body


def shows(machine: Booted, unit: str, name: str) -> str:
    return machine.run("systemctl", "show", "-P", name, unit).stdout.strip()


def findings(machine: Booted) -> set[str]:
    """What `check` finds, but for what every gateway here has: no backup is made, and there may be no people."""
    report = machine.run("pam-iampass-gateway", "check", "--offline", "--json", check=False).stdout
    return {each["id"] for each in json.loads(report)["findings"]} - {"backup-off", "no-people"}


def is_running(machine: Booted) -> bool:
    return machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"


def test_it_is_off_until_it_is_set_up(machine: Booted, administrator: Administrator, page: TypedPage) -> None:
    install = page.command(SET_UP, "apt install").replace("apt install", "apt-get install -y")
    machine.shell(f"cd /root/packages && DEBIAN_FRONTEND=noninteractive {install}")
    assert machine.run("dpkg", "--verify", "pam-iampass-portal").stdout == ""
    for unit in (SOCKET, ACTS):
        assert machine.run("systemctl", "is-enabled", unit, check=False).stdout == "disabled\n"
        assert shows(machine, unit, "ActiveState") == "inactive"
    assert machine.shell("ls -A /etc/iampass-portal") == ""
    assert is_running(machine)
    assert findings(machine) == set()


def test_one_command_sets_it_up_and_prints_the_link_of_its_admin(
    machine: Booted, administrator: Administrator, page: TypedPage
) -> None:
    machine.shell(
        f"install -d /etc/ssl/iampass; cd /etc/ssl/iampass; umask 077; python3 -c '{MAKES_CERTIFICATE}'"
    )
    type_setup = f"{page.command(SET_UP, 'cd ')}; {page.command(SET_UP, 'pam-iampass-gateway portal setup')}"
    distrusted = machine.run("sh", "-c", type_setup, check=False)
    assert "The portal's certificate is not trusted by browsers: " in distrusted.stderr
    assert machine.shell("ls -A /etc/iampass-portal") == ""

    machine.shell("chmod 644 /usr/local/share/ca-certificates/site.crt; update-ca-certificates")
    before = machine.read(SETTINGS)
    assert "# portal:\n" in before
    machine.write(SETTINGS, f"{before}\n{page.command(SET_UP, 'operators: ')}\n")
    page.type(machine, SET_UP, "pam-iampass-gateway user add")
    said = machine.run("sh", "-c", type_setup).stdout
    [link] = re.findall(f"^  ({ORIGIN}/link#.+)$", said, re.M)
    added = [line for line in machine.read(SETTINGS).splitlines() if line not in before.splitlines()]
    assert added == [f"portal: {{origin: {ORIGIN}}}", "operators: {admin: [it]}"]
    for unit in (SOCKET, ACTS):
        assert machine.run("systemctl", "is-enabled", unit).stdout == "enabled\n"
    assert "All is well." in page.type(machine, SET_UP, "pam-iampass-gateway portal status").stdout
    assert f"{ORIGIN}/link#" in page.type(machine, SET_UP, "pam-iampass-gateway operator link").stdout
    assert findings(machine) == set()
    assert is_running(machine)
    shown = machine.shell("cd /etc/iampass-portal && stat -c '%N %U:%G' *")
    assert shown.replace("'", "").splitlines() == [
        "certificate-key.pem -> /etc/ssl/iampass/portal.key root:root",
        "certificate.pem -> /etc/ssl/iampass/portal.pem root:root",
        "portal.yaml root:root",
    ]
    assert machine.run(
        "runuser", "-u", "_iampass-portal", "--", "cat", "/etc/ssl/iampass/portal.key", check=False
    ).returncode
    assert link not in machine.run("journalctl", "--no-pager", "-u", "pam-iampass-*").stdout


def test_people_are_shown_where_they_sign_in(machine: Booted, administrator: Administrator) -> None:
    head, body = asked(machine)
    assert head.startswith("401 default-src 'none'")
    assert "Sign in with a passkey" in body
    assert asked(machine, "POST", "/sign-in/challenge", ORIGIN)[0].startswith("200 ")
    for origin in ("", f"{ORIGIN}:9443", "https://example.com", "null"):
        assert asked(machine, "POST", "/sign-in/challenge", origin)[0].startswith("403 "), origin


def test_the_service_has_no_network_no_rights_and_nothing_of_the_gateway(
    machine: Booted, administrator: Administrator
) -> None:
    machine.run("systemd-analyze", "security", "--no-pager", "--threshold=10", SERVICE)
    process = shows(machine, SERVICE, "MainPID")
    status = dict(
        line.split(":\t", 1) for line in machine.read(f"/proc/{process}/status").splitlines() if ":\t" in line
    )
    uid, gid = (machine.run("id", option, "_iampass-portal").stdout.strip() for option in ("-u", "-g"))
    assert set(status["Uid"].split()) == {uid}
    assert (status["Seccomp"], status["NoNewPrivs"], int(status["CapBnd"], 16)) == ("2", "1", 0)
    inside = ["nsenter", "-t", process, "--net", "--mount", "-S", uid, "-G", gid, "--"]
    network = machine.run("nsenter", "-t", process, "--net", "--", "tail", "-n", "+3", "/proc/net/dev").stdout
    assert [line.split(":")[0].strip() for line in network.splitlines()] == ["lo"]
    for path in (SETTINGS, "/etc/iampass-gateway/key", "/run/postgresql", "/etc/ssl/iampass/portal.key"):
        assert (
            machine.run(*inside, "ls" if path.startswith("/run") else "cat", path, check=False).returncode
            != 0
        ), path
    passed = f"/run/credentials/{SERVICE}/certificate-key.pem"
    there = set(machine.run(*inside, "find", "/run", "!", "-type", "d", check=False).stdout.split())
    sockets = {"/run/iampass-gateway/acts.sock", "/run/systemd/notify"}
    assert there == {passed, passed.replace("-key", ""), *sockets}
    assert machine.run(*inside, "cat", passed).stdout.startswith("-----BEGIN ")
    assert int(shows(machine, SERVICE, "MemoryMax")) == 512 * 2**20
    assert int(shows(machine, SERVICE, "CPUWeight")) == 20


def test_however_often_it_is_killed_it_answers_again_and_the_gateway_goes_on(
    machine: Booted, administrator: Administrator, page: TypedPage
) -> None:
    gateway = shows(machine, "pam-iampass-gateway.service", "MainPID")
    for _ in range(7):  # systemd's default limit is five starts in ten seconds
        machine.run("systemctl", "kill", "--signal=KILL", SERVICE)
        assert asked(machine)[0].startswith("401 ")
    page.type(machine, SET_UP, "systemctl restart pam-iampass-portal")
    assert asked(machine)[0].startswith("401 ")
    machine.run("systemctl", "stop", "postgresql@17-main")
    head, body = asked(machine, "POST", "/sign-in/challenge", ORIGIN)
    assert head.startswith(("200 ", "503 ")), body
    machine.run("systemctl", "start", "postgresql@17-main")
    page.type(machine, STOP, "systemctl stop")
    assert {"acts-down", "portal-down"} <= findings(machine)
    assert shows(machine, "pam-iampass-gateway.service", "MainPID") == gateway
    machine.run("systemctl", "start", SOCKET, ACTS)
    wait_for(lambda: findings(machine) == set(), "all is well")


def test_settings_that_do_not_fit_the_gateways_are_found(
    machine: Booted, administrator: Administrator
) -> None:
    file = "/etc/iampass-portal/portal.yaml"
    before = machine.read(file)
    machine.write(file, before.replace(PORTAL, "other.example.com"))
    assert "portal-settings" in findings(machine)
    machine.write(file, f"{before}orign: x\n")
    assert "portal-settings" in findings(machine)
    machine.write(file, before)
    gateways = "/etc/iampass-gateway/gateway.yaml"
    kept = machine.read(gateways)
    machine.write(gateways, re.sub("^portal:.*\n", "", kept, flags=re.MULTILINE))
    assert "portal-settings" in findings(machine)
    machine.write(gateways, kept)
    assert findings(machine) == set()


def test_behind_a_proxy_it_has_no_certificate(machine: Booted, administrator: Administrator) -> None:
    machine.run("pam-iampass-gateway", "portal", "setup", "--origin", ORIGIN, "--proxy", "127.0.0.1")
    assert machine.shell("ls /etc/iampass-portal") == "portal.yaml\n"
    said = machine.run(
        "python3", "-c", ASKS, "POST", "http://127.0.0.1:8445/sign-in/challenge", ORIGIN
    ).stdout
    assert said.startswith("200 ")
    assert "certificate" not in machine.run("pam-iampass-gateway", "portal", "status").stdout
    assert machine.run("sh", "-c", "ss -Hltn 'sport = 443'", check=False).stdout == ""
    assert is_running(machine)


def test_purge_leaves_nothing_of_it(
    machine: Booted, administrator: Administrator, page: TypedPage, request: pytest.FixtureRequest
) -> None:
    page.type(machine, REMOVE, "apt purge")
    page.type(machine, REMOVE, "systemctl disable --now pam-iampass-gateway-acts.socket")
    left = machine.shell(
        "find / /var -xdev -path /var/cache -prune -o -path /root -prune -o -path /proc -prune"
        " -o -name '*iampass?portal*' -print"
    )
    assert [line for line in left.splitlines() if "/dpkg/" not in line] == []
    assert machine.run("test", "-f", "/etc/ssl/iampass/portal.key").returncode == 0
    assert is_running(machine)
    assert findings(machine) == set()
    all_is_typed(request, page, ELSEWHERE)
