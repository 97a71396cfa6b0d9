"""`make demo` and `make test` where root may make no namespaces: what they say, and which machines they leave alone.

`.ci/fresh container` shows the rest: the demo in a real container, which has all its files back afterwards.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deadline import PATIENCE
from tests.support.installation import ROOT

SUPPORT = ROOT / "tests/support"
MARK = Path("/run/.containerenv")


def without(capability: str) -> tuple[str, ...]:
    """Before a command: run it as root without a capability. Below systemd-nspawn, root has inheritable ones, too."""
    return ("setpriv", "--inh-caps=-all", f"--bounding-set=-{capability}", "--")


WITHOUT_NAMESPACES = without("sys_admin")


@pytest.fixture
def container() -> Iterator[None]:
    """This copy of the machine looks like a container of Podman."""
    MARK.touch()
    yield
    MARK.unlink()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run it from the clone."""
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def isolated_root(*words: str) -> subprocess.CompletedProcess[str]:
    """Run isolated-root.sh where it can make no copy."""
    return run(*WITHOUT_NAMESPACES, "tests/support/isolated-root.sh", *words)


def test_without_namespaces_one_sentence_says_what_is_missing_and_what_to_type() -> None:
    for words in (("--check",), ("echo", "it runs")):
        done = isolated_root(*words)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert "CAP_SYS_ADMIN" in line
        assert "`docker run -it --privileged debian:13`" in line


@pytest.mark.parametrize("otherwise", ["--or-container", "--or-skip"])
def test_a_machine_that_is_no_container_is_not_changed(otherwise: str) -> None:
    for words in (("--check", otherwise), (otherwise, "echo", "it runs")):
        done = isolated_root(*words)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.endswith("is not used itself, because it is not a container of Docker or Podman.")


@pytest.mark.usefixtures("container")
def test_a_container_that_shares_files_with_its_host_is_not_changed() -> None:
    done = isolated_root("--or-container", "echo", "it runs")  # this copy has the clone, below /run
    assert done.returncode == 1
    assert done.stdout == ""
    assert "shared with something outside of it" in done.stderr


@pytest.mark.usefixtures("container")
def test_a_machine_where_root_has_all_rights_is_not_changed_even_if_it_has_the_mark_of_a_container() -> None:
    before = Path("/etc/passwd").read_bytes()
    done = run("/usr/bin/python3", str(SUPPORT / "container.py"), "echo", "it runs")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "because its root can have CAP_SYS_ADMIN" in done.stderr
    assert Path("/etc/passwd").read_bytes() == before


def test_users_and_settings_are_removed_from_copies_only() -> None:
    before = Path("/etc/passwd").read_bytes()
    done = run("env", "--unset=MACHINE_COPY", str(SUPPORT / "plain-machine.sh"), "/tmp")
    assert done.returncode == 1
    assert "this is not a copy of the machine" in done.stderr
    assert Path("/etc/passwd").read_bytes() == before


def test_root_without_the_right_to_configure_networks_has_one_that_it_can_configure(folder: Path) -> None:
    network = folder / "network"
    made = run(
        *without("net_admin"),
        *("sh", "-euc"),
        f"""
        ! unshare --net ip link set lo up 2> /dev/null
        tests/support/network-namespace.sh {network} 'ip link set lo up'
        nsenter --net={network} sh -euc 'ip link add one type veth peer name other; ip -brief link show lo'
        umount {network}
        rm {network}
        """,
    )
    assert made.returncode == 0, made.stderr
    assert "LOOPBACK,UP,LOWER_UP" in made.stdout


@pytest.mark.parametrize(
    ("where", "is_shared"),
    [
        ("/tmp", True),
        ("/var/lib", True),
        ("/home", True),
        ("THE CLONE", False),
        ("/run/secrets", False),
        ("/etc/hosts", False),
        ("/mnt", False),
    ],
)
@pytest.mark.usefixtures("container")
def test_what_may_be_mounted_from_outside_is_found(where: str, is_shared: bool, folder: Path) -> None:
    mounts = folder / "mounts"
    mounts.write_text(
        f"300 200 0:50 / {where.replace('THE CLONE', str(ROOT))} rw,relatime - tmpfs tmpfs rw\n"
    )
    done = run(*WITHOUT_NAMESPACES, "env", f"MOUNTS={mounts}", str(SUPPORT / "throw-away.sh"))
    assert ("shared with something outside" in done.stdout) is is_shared, done.stdout + done.stderr
