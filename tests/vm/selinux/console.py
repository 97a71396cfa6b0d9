"""A login at the serial console."""

from __future__ import annotations

from tests.packages.people import WHO, type_password
from tests.vm.site import Site


def at_the_console(site: Site, *, asked: bool = True, code: str = "") -> bool:
    """A login of alice at the serial console; whether she got in.

    The phone approves it; or, if there is a recovery code, nobody answers.
    """
    console = site.machine.console()
    console.sendline("")
    console.expect("login: ")
    console.sendline("alice")
    type_password(console)
    if code:
        site.request("alice")
        console.expect("IAMPASS recovery code")
        console.sendline(code)
    elif asked:
        site.approve("alice")
    inside: bool = console.expect([r"\$ ", "login: "]) == 0
    if inside:
        console.sendline(WHO)
        console.expect("In as alice.")
        # Not on the line above: what is on its way to the console is lost at the end.
        console.sendline("exit")
        console.expect("login: ")
    console.close()
    return inside
