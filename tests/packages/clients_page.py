"""Writes docs/one-server/clients.md: `/usr/bin/python3 -m tests.packages.clients_page > docs/one-server/clients.md`."""

from __future__ import annotations

from tests.packages.client_programs import ENTER
from tests.packages.client_table import CLIENTS
from tests.packages.clients import Way

HEAD = """\
# ssh clients

Which programs can log in through sshd in each of its [two ways](deploy.md#two-ways-into-sshd), and how often the phone
rings. `make test-system` runs all of them, as packaged in Debian 12, 13 and testing, against booted machines of these
releases, with a key as the first factor. In the column without a prompt they have no terminal, except mosh and ssh at a
terminal. With a prompt, the version of the server's OpenSSH matters. Before 10.3 (Debian 12 and 13) the user presses
Enter at the prompt. From 10.3 on (Debian testing) the request is sent without Enter, and a text says so.

Clients that work without a prompt also work with `setup sshd --codes`. Clients that work with a prompt also work with
`approver: key`, in an account that several people share: the phone of the person whose key it is rings
([shared-accounts.md](shared-accounts.md)).

This page is made from the tests: `/usr/bin/python3 -m tests.packages.clients_page > docs/one-server/clients.md`.

"""

SETTINGS = """
## If sshd asks with a prompt

Two settings let every program that uses OpenSSH's client log in.

**A connection that is open.** Its user answers the prompt once; programs use it without any authentication, also with
`BatchMode=yes`:

    ssh -fNM -o ControlPath=~/.ssh/open server        # opens it
    ssh -o BatchMode=yes -o ControlPath=~/.ssh/open server
    ssh -O exit -o ControlPath=~/.ssh/open server     # closes it

**Enter without a terminal**, for OpenSSH before 10.3 on the server. ssh without a terminal answers prompts with an
empty line, which means Enter. If a program gives ssh a terminal and does not show the prompt there, this does the same:

    export SSH_ASKPASS=/bin/true SSH_ASKPASS_REQUIRE=force

With `BatchMode=yes`, ssh does not use keyboard-interactive at all, and neither do programs that set it.

**A recovery code** needs a terminal: ssh without a terminal answers the question for a code with an empty line, and the
login is denied.

asyncssh calls a handler for prompts, which the program has to bring (`client_factory=Enter`):

"""


def page() -> str:
    """The whole page."""
    rows = [
        (
            "client",
            "without a prompt",
            "with a prompt, OpenSSH before 10.3",
            "with a prompt, OpenSSH 10.3 or later",
        ),
        ("---",) * 4,
        *(
            (
                client.name,
                client.result(Way.QUIET).text,
                *(client.result(Way.PROMPT, new).text for new in (False, True)),
            )
            for client in CLIENTS
        ),
    ]
    table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
    return HEAD + table + SETTINGS + "".join(f"    {line}".rstrip() + "\n" for line in ENTER.splitlines())


if __name__ == "__main__":
    print(page(), end="")
