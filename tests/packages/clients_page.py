"""Writes docs/clients.md: `/usr/bin/python3 -m tests.packages.clients_page > docs/clients.md`."""

from __future__ import annotations

from tests.packages.client_programs import ENTER
from tests.packages.client_table import CLIENTS
from tests.packages.clients import Way

HEAD = """\
# ssh clients

Which programs can log in through sshd in each of its [two ways](deploy.md#two-ways-into-sshd), and how often the phone
rings. `make test-system` runs all of them, as packaged in Debian 12, 13 and testing, against booted machines of these
releases, with a key as the first factor. In the column without a prompt they have no terminal, except mosh and ssh at a
terminal; in the other one the user presses Enter at the prompt. Clients that work without a prompt also work with
`setup sshd --codes`. Clients that work with a prompt also work with `approver: key`, in an account that several people
share: the phone of the person whose key it is rings ([shared-accounts.md](shared-accounts.md)).

This page is made from the tests: `/usr/bin/python3 -m tests.packages.clients_page > docs/clients.md`.

"""

SETTINGS = """
## If sshd asks with a prompt

Two settings let every program that uses OpenSSH's client log in.

**A connection that is open.** Its user answers the prompt once; programs use it without any authentication, also with
`BatchMode=yes`:

    ssh -fNM -o ControlPath=~/.ssh/open server        # opens it
    ssh -o BatchMode=yes -o ControlPath=~/.ssh/open server
    ssh -O exit -o ControlPath=~/.ssh/open server     # closes it

**Enter without a terminal.** ssh without a terminal answers prompts with an empty line, which means Enter. If a program
gives ssh a terminal and does not show the prompt there, this does the same:

    export SSH_ASKPASS=/bin/true SSH_ASKPASS_REQUIRE=force

`BatchMode=yes`, and the programs that set it, answer no prompt in any case.

asyncssh calls a handler for prompts, which the program has to bring (`client_factory=Enter`):

"""


def page() -> str:
    """The whole page."""
    rows = [
        ("client", "without a prompt", "with a prompt"),
        ("---",) * 3,
        *((client.name, client.result(Way.QUIET).text, client.result(Way.PROMPT).text) for client in CLIENTS),
    ]
    table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
    return HEAD + table + SETTINGS + "".join(f"    {line}".rstrip() + "\n" for line in ENTER.splitlines())


if __name__ == "__main__":
    print(page(), end="")
