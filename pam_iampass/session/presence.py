"""Whether a connection to another host begins within a login here: the same person, who has not gone away.

The question comes from the gateway, with the four addresses and ports that the other host's sshd has. The answer is the
kernel's: the socket was made by the user of the login, within the control group of the login session. No program of
another user, and none of the same user outside that session, can make such a socket, and the agent needs no
capability to see it.
"""

from __future__ import annotations

import os
from typing import Callable

from pam_iampass.config.value_types import address_of_machine
from pam_iampass.session.kept_session import AttachedLogin, KeptSession, State
from pam_iampass.system.sock_diag import owner_of_client

CGROUPS = "/sys/fs/cgroup"


def begins_in(kept: KeptSession, connection: str, is_running: Callable[[AttachedLogin], bool]) -> bool:
    """Whether a connection begins in a login of this session. `connection` is `SSH_CONNECTION` on the other host.

    `is_running` says whether the process of a login has not ended.
    """
    if kept.state is not State.OPEN or kept.revoked or kept.away or kept.approved == 0.0:
        return False
    # A second person has approved it, and is not the person who goes on from here.
    if kept.person != kept.approver:
        return False
    if kept.user != kept.approver:  # others may use the account, and enter the session of another one
        return False
    if between_hosts(connection) is None:
        return False
    owner = owner_of_client(connection)
    if owner is None:
        return False
    for login in kept.attached:
        if login.uid != owner.uid or _control_group(login) != owner.control_group:
            continue
        if is_running(login):  # asked last: until now, no other process had its id
            return True
    return False


def between_hosts(ssh_connection: str) -> str | None:
    """`SSH_CONNECTION` in the one form that each connection has; None if it has an address that every machine has.

    What is connected from and to 127.0.0.1 here says nothing of a connection that looks alike elsewhere.
    """
    try:
        client, client_port, server, server_port = ssh_connection.split(" ")
        ends = [
            (address_of_machine(client), int(client_port)),
            (address_of_machine(server), int(server_port)),
        ]
    except ValueError:
        return None
    if ends[0][0] == ends[1][0]:
        return None
    for address, port in ends:
        if address is None or not 0 < port < 65536:
            return None
    return " ".join(f"{address} {port}" for address, port in ends)


def _control_group(login: AttachedLogin) -> int | None:
    """The id of the control group that logind has made for a login; None if the login has none of its own.

    su and sudo are in the session of the login in which they were called. Where pam_systemd has failed, the process is
    in the control group of its service, with all other logins.
    """
    own = f"/user.slice/user-{login.uid}.slice/session-{login.xdg_session}.scope"
    try:
        with open(f"/proc/{login.pid}/cgroup", encoding="utf-8") as file:
            if f"0::{own}" not in file.read().split("\n"):
                return None
        return os.stat(CGROUPS + own).st_ino
    except (OSError, ValueError):
        return None
