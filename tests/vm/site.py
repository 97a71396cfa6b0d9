"""The people of the virtual machine: its administrator, those who log in, and their phones."""

from __future__ import annotations

from pam_iampass.sandbox.sessions import SandboxSession
from tests.packages.people import KEY, WHO, Users, type_password
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal
from tests.vm.machine import Machine
from tests.vm.qemu import PATIENCE

PORT = 8443
AGENT = "pam-iampass-agent"
PEOPLE = ("alice", "bob", "dave")
#: Seconds for a login: as many as sshd's own LoginGraceTime leaves to it.
TIMEOUT = 90


def token_of(user: str) -> str:
    """The user's IAMPASS token."""
    return f"token-of-{user}"


class Site(Users):
    """The machine of `machine`, whose users have phones at `iampass`."""

    def __init__(self, machine: Machine, iampass: Sandbox) -> None:
        super().__init__(machine)
        self.machine = machine
        self.iampass = iampass
        self.last: SandboxSession | int = 0
        """The newest request that was seen on a phone; 0 before there was one."""
        for user in PEOPLE:
            iampass.add_user(token_of(user))

    # The administrator

    def configure(self, iampass: Sandbox | None = None, **settings: str) -> None:
        """Write the settings, and everybody's token."""
        sandbox = iampass or self.iampass
        secret = "/etc/iampass/application-secret"
        self.machine.write(secret, sandbox.application_secret, 0o640, "_iampass")
        self.machine.write("/etc/iampass/ca.pem", sandbox.ca_file.read_text())
        values = {"application_id": "demo", "server": f"https://iampass.test:{sandbox.port}"}
        values |= {
            "ca_file": "/etc/iampass/ca.pem",
            "timeout": f"{TIMEOUT}s",
            "throttle": "{spacing: 0s}",
            **settings,
        }
        text = "".join(f"{key}: {value}\n" for key, value in values.items())
        self.machine.write("/etc/iampass/iampass.yaml", text, 0o640, "_iampass")
        users = "".join(f"{user}: {token_of(user)}\n" for user in PEOPLE)
        self.machine.write("/etc/iampass/users.yaml", users, 0o640, "_iampass")

    def set_up(self, *words: str) -> str:
        """`pam-iampass setup`; its output. root has no phone here, of which setup warns: --force."""
        return self.machine.run("pam-iampass", "setup", *words, "--force").stdout

    # Those who log in

    def sudo_over_ssh(self, user: str) -> Terminal:
        """sudo in a login by ssh that nobody has to approve; the password has been typed."""
        terminal = self.ssh(user, f"sudo -k sh -c '{WHO}'", options=(*KEY, "-tt"))
        type_password(terminal)
        return terminal

    # Their phones

    def request(self, user: str) -> SandboxSession:
        """The request on the user's phone, once there is a new one."""
        after = self.last if isinstance(self.last, SandboxSession) else None
        self.last = self.iampass.wait_for_request(token_of(user), PATIENCE, after=after)
        return self.last

    def approve(self, user: str) -> None:
        """Approve the request, once it is there."""
        self.iampass.approve(self.request(user))

    def deny(self, user: str) -> None:
        """Deny the request, once it is there."""
        self.iampass.deny(self.request(user))
