"""Which other sshd check finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_iampass.check.sshd_instances import SshdInstance, others
from pam_iampass.system.programs import find
from tests.support.folders import put

DEBIAN = """
[Service]
EnvironmentFile=-{defaults}
ExecStartPre=/usr/sbin/sshd -t
ExecStart=-/usr/sbin/sshd -i $SSHD_OPTS
"""


class Units:
    """Folders of unit files, a folder for /proc, and a file with the variables of the distribution's unit."""

    def __init__(self, folder: Path) -> None:
        self.defaults = folder / "ssh"
        self.proc = folder / "proc"
        self.proc.mkdir()
        self.folders = [folder / "etc", folder / "generator", folder / "lib"]
        self.write("lib/sshd@.service", DEBIAN.format(defaults=self.defaults))

    def write(self, name: str, text: str) -> None:
        file = self.proc.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def found(self) -> list[SshdInstance]:
        return others(tuple(map(str, self.folders)), self.proc)

    def only(self) -> SshdInstance:
        (found,) = self.found()
        return found


@pytest.fixture
def units(trusted_folder: Path) -> Units:
    return Units(trusted_folder)


def service(command: str, more: str = "") -> str:
    return f"[Service]\n{more}ExecStart={command}\n"


def test_a_unit_with_the_usual_configuration_is_no_other_sshd(units: Units) -> None:
    units.defaults.write_text('# comment\nSSHD_OPTS="-o LogLevel=DEBUG -p 2222"\n')
    units.write("etc/ssh.service", service("/usr/sbin/sshd -D -f /etc/ssh/sshd_config"))
    units.write("lib/sshd-keygen.service", service("/usr/sbin/sshd-keygen"))
    units.write("lib/other.service", service("/usr/bin/other --for-sshd-d"))
    assert units.found() == []


def test_options_of_a_unit_are_found_wherever_they_stand(units: Units) -> None:
    units.write("lib/sshd-admin.service", service("/usr/sbin/sshd -D \\\n  -f /etc/ssh/admin"))
    assert units.only() == SshdInstance("sshd-admin.service", options=("-f", "/etc/ssh/admin"))
    assert units.only().configuration == Path("/etc/ssh/admin")
    units.write("etc/sshd-admin.service.d/override.conf", service("\nExecStart=/usr/sbin/sshd -D"))
    assert units.found() == []
    units.defaults.write_text("SSHD_OPTS=-o PAMServiceName=su -o HostKey=/x\n")
    assert units.only() == SshdInstance("sshd@.service", options=("-o", "PAMServiceName=su"))
    units.write("etc/sshd@.service", service("@/usr/sbin/sshd sshd"))
    assert units.only().unclear, "with @, the second word is the name of the process"


def test_an_environment_counts_and_a_specifier_is_unclear(units: Units) -> None:
    more = 'Environment="FILE=/etc/ssh/one" X=y\n'
    units.write("etc/sshd-one.service", service("/usr/sbin/sshd -D -f ${FILE}", more))
    assert units.only().options == ("-f", "/etc/ssh/one")
    units.write("etc/sshd-one.service", service("/usr/sbin/sshd -D -f /etc/ssh/%i"))
    assert units.only().unclear == "/usr/sbin/sshd -D -f /etc/ssh/%i"


@pytest.mark.parametrize(
    "command",
    ["/bin/sh -c 'exec /usr/sbin/sshd -f /x'", "/usr/sbin/sshd -D what", "/home/mallory/sshd -D -f /x"],
)
def test_a_command_that_is_not_understood_is_reported(units: Units, command: str) -> None:
    units.write("etc/sshd-odd.service", service(command))
    assert units.only().name == "sshd-odd.service"
    assert units.only().unclear


def test_variables_that_others_can_write_are_not_taken(units: Units) -> None:
    for mode, is_taken in ((0o644, True), (0o666, False)):
        put(units.defaults, "SSHD_OPTS=-f /etc/ssh/of-mallory\n", mode)
        assert (units.only().options == ("-f", "/etc/ssh/of-mallory")) is is_taken
    assert str(units.defaults) in units.only().unclear


def test_a_masked_unit_and_an_alias_of_a_unit_are_no_other_sshd(units: Units) -> None:
    units.write("lib/sshd-x.service", service("/usr/sbin/sshd -f /x"))
    units.folders[0].mkdir()
    (units.folders[0] / "sshd-x.service").symlink_to("/dev/null")
    (units.folders[0] / "sshd.service").symlink_to("/lib/systemd/system/ssh.service")
    assert units.found() == []


def test_the_sockets_of_systemds_generator_have_no_addresses(units: Units) -> None:
    units.write("generator/sshd-unix-local@.service", DEBIAN.format(defaults=units.defaults))
    assert units.only() == SshdInstance("sshd-unix-local@.service", local=True)


def process(units: Units, number: int, line: str, uids: str = "0 0 0 0", program: str | None = None) -> None:
    folder = units.proc / str(number)
    folder.mkdir()
    (folder / "cmdline").write_text(line)
    (folder / "status").write_text(f"Name: sshd\nUid: {uids}\n".replace(" ", "\t"))
    (folder / "exe").symlink_to(program or os.path.realpath(find("sshd") or "/usr/sbin/sshd"))
    (folder / "root").symlink_to("/")


def test_a_running_sshd_shows_its_options(units: Units) -> None:
    process(units, 7, "sshd: /usr/sbin/sshd -D -f /etc/ssh/two [listener] 0 of 10-100 startups\0\0\0")
    assert units.only() == SshdInstance("sshd, process 7", options=("-f", "/etc/ssh/two"))
    process(units, 8, "sshd: alice [priv]\0\0")
    process(units, 9, "sshd: alice@pts/0\0\0")
    assert len(units.found()) == 1
    process(units, 10, "/usr/sbin/sshd\0-D\0-f\0/etc/ssh/three\0")
    process(units, 11, "sshd: /usr/sbin/sshd -D -f /etc/ssh/th\0")
    assert {one.name: bool(one.unclear) for one in units.found()} == {
        "sshd, process 7": False,
        "sshd, process 10": False,
        "sshd, process 11": True,
    }


LINE = "sshd: /usr/sbin/sshd -f /x [listener] 0 of 10-100 startups\0"


@pytest.mark.parametrize("uids", ["1000 0 0 0", "0 1000 0 0", "0 0 1000 0", "0 0 0 1000"])
def test_a_process_that_is_not_roots_in_each_user_id_is_no_sshd(units: Units, uids: str) -> None:
    process(units, 7, LINE, uids)
    assert units.found() == []


def test_a_process_of_root_that_runs_another_program_is_no_sshd_whatever_it_is_called(units: Units) -> None:
    process(units, 7, LINE, program="/usr/bin/sudo")
    process(units, 8, "/tmp/sshd\0-D\0", program="/usr/bin/sudo")
    assert units.found() == []


def test_the_program_is_not_the_one_that_the_command_line_names(units: Units) -> None:
    process(units, 7, "/tmp/mallory/sshd\0-D\0-f\0/x\0")
    process(units, 8, "/usr/sbin/sshd\0-D\0-f\0/x\0", program="/opt/sshd")
    assert {one.name: one.unclear for one in units.found()} == {
        "sshd, process 7": "/tmp/mallory/sshd -D -f /x",
        "sshd, process 8": "/opt/sshd",
    }


def test_an_sshd_that_runs_on_after_an_upgrade_is_found(units: Units) -> None:
    process(units, 7, LINE, program=f"{os.path.realpath(find('sshd') or '/usr/sbin/sshd')} (deleted)")
    assert units.only().options == ("-f", "/x")
