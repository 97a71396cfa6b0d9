"""Writes docs/one-server/clients.md: `/usr/bin/python3 -m tests.packages.clients_page > docs/one-server/clients.md`."""

from __future__ import annotations

from tests.packages.client_programs import ENTER
from tests.packages.client_table import CLIENTS
from tests.packages.clients import Way

HEAD = """\
# ssh clients

Which programs can log in through sshd in each of its [two ways](deploy.md#two-ways-into-sshd), and how many requests
the phone gets if it is more than one. Before OpenSSH 10.3 on the server (Debian 12 and 13), the user presses Enter at
the prompt. From 10.3 on (Debian testing), the request is sent without Enter, and a text says so.

Clients that work without a prompt also work with `setup sshd --codes`. Clients that work with a prompt also work in an
[account that several people share](shared-accounts.md).

All were tried as packaged in Debian 12, 13 and testing, with a key as the first factor. Without a prompt, only mosh and
ssh at a terminal have a terminal.

"""

SETTINGS = """
## If sshd asks with a prompt

**An open connection.** You answer the prompt once. Every program that uses OpenSSH's client can then use the
connection, also with `BatchMode=yes`, which otherwise turns prompts off:

    ssh -fNM -o ControlPath=~/.ssh/open server        # opens it
    ssh -o BatchMode=yes -o ControlPath=~/.ssh/open server
    ssh -O exit -o ControlPath=~/.ssh/open server     # closes it

**Enter without a terminal**, for OpenSSH before 10.3 on the server. ssh without a terminal answers prompts with an
empty line, which means Enter. If a program gives ssh a terminal and does not show the prompt there, this does the same:

    export SSH_ASKPASS=/bin/true SSH_ASKPASS_REQUIRE=force

**A recovery code** needs a terminal. Without one, the login is denied.

**asyncssh** needs a handler for prompts (`client_factory=Enter`):

"""


def page() -> str:
    """The whole page."""
    clients: dict[tuple[str, ...], list[str]] = {}
    for client in CLIENTS:
        results = (client.result(Way.QUIET), *(client.result(Way.PROMPT, new) for new in (False, True)))
        clients.setdefault(tuple(result.text for result in results), []).append(client.name)
    rows = [
        (
            "client",
            "without a prompt",
            "with a prompt, OpenSSH before 10.3",
            "with a prompt, OpenSSH 10.3 or later",
        ),
        ("---",) * 4,
        *(("; ".join(names), *results) for results, names in clients.items()),
    ]
    table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
    return HEAD + table + SETTINGS + "".join(f"    {line}".rstrip() + "\n" for line in ENTER.splitlines())


if __name__ == "__main__":
    print(page(), end="")
