"""ssh clients of all kinds, in each way into sshd: docs/one-server/clients.md says what this shows."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.client_programs import HOST, PROGRAMS
from tests.packages.client_runs import Ended, judge, play
from tests.packages.client_table import BASTION, BEHIND, EXEMPT, LOCAL
from tests.packages.clients import IN_TIME, Client, Way
from tests.packages.phone import token_of

ACCOUNTS = sorted({client.account for client in LOCAL} - {EXEMPT})
PACKAGES = (
    *("putty-tools", "dropbear-bin", "rsync", "git", "sshfs", "mosh", "lftp"),
    *("python3-paramiko", "python3-asyncssh"),
)
#: Whose key it is.
OWNER = "alice"
KEYS_ONLY = "/etc/ssh/sshd_config.d/20-keys.conf"
#: As many at a time: they wait most of the time.
AT_A_TIME = 4


@pytest.fixture(scope="module")
def laptop(machine: Booted, administrator: Administrator) -> Booted:
    """The machine with the clients, their keys, and an account for each row of the table."""
    accounts = " ".join(ACCOUNTS)
    machine.shell(
        f"""
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {" ".join(PACKAGES)}
        puttygen ~/key -o ~/key.ppk
        dropbearconvert openssh dropbear ~/key ~/key.dropbear
        ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d ' ' -f 2 > ~/fingerprint
        sed -i 's/^{HOST} /{HOST},{BEHIND},{BASTION} /' ~/known-hosts
        mkdir -p -m 700 ~/.ssh
        printf '%s\\n' 'IdentityFile /root/key' 'UserKnownHostsFile /root/known-hosts' > ~/.ssh/config
        umask 077
        for user in {accounts}; do
            useradd --create-home --shell /bin/sh $user
            cp -R --preserve=mode /home/alice/.ssh /home/$user/
        done
        umask 022
        for user in {accounts} {EXEMPT}; do
            cd /home/$user
            echo "precious of $user" > precious
            git init -q -b main repository && cd repository && cp ../precious .
            git add precious && git -c user.name=n -c user.email=e@example.com commit -q -m One
            chown -R $user: /home/$user
        done
        """
    )
    for name, program in PROGRAMS.items():
        machine.write(f"/root/{name}.py", program)
    address = [
        "nsenter",
        "-t",
        str(machine.pid),
        "--net",
        "ip",
        "address",
        "add",
        f"{BASTION}/32",
        "dev",
        "lo",
    ]
    subprocess.run(address, check=True)
    administrator.start_iampass("--auto=approve", *(f"--user={token_of(user)}" for user in ACCOUNTS))
    return machine


def configure(administrator: Administrator, way: Way) -> None:
    """Each account is that of one person, with a phone; or all of them are shared, and the key is alice's."""
    settings = {"exempt": f"{{users: [{EXEMPT}], networks: [{BASTION}/32]}}", "timeout": "60s"}
    if way is Way.KEY:
        settings["services"] = "{sshd: {approver: key}}"
        settings["throttle"] = "{spacing: 0s}"  # all of them ring at one phone
    administrator.configure(**settings)
    if way is Way.KEY:
        key = administrator.machine.run("cat", "/root/key.pub").stdout.strip()
        table = f"{OWNER}: {{token: {token_of(OWNER)}, keys: ['{key}']}}\n"
    else:
        table = "".join(f"{user}: {token_of(user)}\n" for user in ACCOUNTS)
    administrator.machine.write("/etc/iampass/users.yaml", table, 0o640, "_iampass")
    if way is Way.CODES:
        administrator.machine.write(KEYS_ONLY, "PasswordAuthentication no\n")
    administrator.set_up("sshd", way.option)


@dataclass(frozen=True)
class Played:
    """The results of all runs in a way."""

    way: Way
    works: dict[str, Future[Ended]]
    """The runs that must get in, by the name of the client."""
    fails: dict[str, Future[Ended]]
    requests: Counter[str]
    """How many requests were approved for logins of each account."""
    approvers: set[tuple[str, str]]
    """Accounts, and who approved their logins."""
    others: set[str]
    """The outcomes of other logins."""


@pytest.fixture(scope="module", params=Way, ids=lambda way: way.value)
def played(request: pytest.FixtureRequest, laptop: Booted, administrator: Administrator) -> Iterator[Played]:
    """All clients in a way, some at a time."""
    way: Way = request.param
    configure(administrator, way)
    cursor = laptop.cursor()
    works: dict[str, Future[Ended]] = {}
    fails: dict[str, Future[Ended]] = {}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for client in LOCAL:
            result = client.result(way)
            for run, ended in ((result.works, works), (result.fails, fails)):
                if run is not None:
                    ended[client.name] = pool.submit(play, laptop, run, client.account)
    records = [record for record in laptop.journal(cursor) if "IAMPASS_OUTCOME" in record]
    approved = [record for record in records if record["IAMPASS_OUTCOME"] == "approved"]
    requests = Counter(record["IAMPASS_USER"] for record in approved)
    approvers = {(record["IAMPASS_USER"], record["IAMPASS_APPROVER"]) for record in approved}
    others = {record["IAMPASS_OUTCOME"] for record in records} - {"approved"}
    yield Played(way, works, fails, requests, approvers, others)
    administrator.undo("sshd")
    laptop.run("rm", "-f", KEYS_ONLY)


@pytest.mark.parametrize("client", LOCAL, ids=lambda client: client.name)
def test_a_client_gets_in_or_not_as_the_page_says(played: Played, client: Client) -> None:
    result = client.result(played.way)
    if result.works is not None:
        judge(result.works, played.works[client.name].result(), client.account, works=True)
    if result.fails is not None:
        judge(result.fails, played.fails[client.name].result(), client.account, works=False)
    assert played.requests[client.account] == (result.works.requests if result.works else 0)


def test_nobody_is_refused_but_by_their_client(played: Played) -> None:
    """Clients that leave at the prompt are the only ones that fail."""
    leave = played.way is Way.PROMPT and not IN_TIME
    assert played.others - {"exempt"} == ({"cancelled"} if leave else set())


def test_the_phone_that_rings_is_the_users_or_with_approver_key_that_of_the_keys_owner(
    played: Played,
) -> None:
    in_now = [client for client in LOCAL if (works := client.result(played.way).works) and works.requests]
    assert played.approvers == {
        (client.account, OWNER if played.way is Way.KEY else client.account) for client in in_now
    }
