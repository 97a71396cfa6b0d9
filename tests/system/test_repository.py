"""`make repository`, apt on a host that uses the result, and the Ansible role's ways to packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.gateway_machine import by
from tests.support.installation import ROOT
from tests.system.test_ansible import play

pytestmark = pytest.mark.needs_program("apt-get", "apt-ftparchive", "dpkg-deb", "gpg", "make")


def section(path: str, title: str) -> tuple[str, list[str]]:
    """A section of a page, and its blocks."""
    text = (ROOT / path).read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return text, [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)]


PAGE, BLOCKS = section("docs/fleet/many-machines.md", "A repository of your own")
ROLE_BLOCKS = section("packaging/ansible/README.md", "Where the packages come from")[1]
RELEASES = ("bookworm", "trixie")
NAMES = ("iampass-example", "libiampass-example")
KEYRING = Path("/etc/apt/keyrings/pam-iampass.asc")
LIST = Path("/etc/apt/sources.list")
SOURCES = Path("/etc/apt/sources.list.d")
SETTINGS = Path("/etc/apt/apt.conf.d")
SOURCE = SOURCES / "pam-iampass.sources"
COPIES = Path("/var/cache/pam-iampass-packages")
SAYS = Path("/usr/share/iampass-example/says")
ADDRESS = "https://packages.example.com/pam-iampass"
INSTALL = [
    {
        "hosts": "all",
        "gather_subset": ["min"],
        "tasks": [{"ansible.builtin.include_role": {"name": "pam_iampass", "tasks_from": "install.yml"}}],
    }
]


def run(*command: str | Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program; what it says on both channels is its stdout."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done


class Administrator:
    """Who builds packages, has a key, and serves what `make repository` writes."""

    def __init__(self, folder: Path) -> None:
        self.build = folder / "build"
        self.repository = self.build / "repository"
        self.gnupg = folder / "gnupg"
        self.gnupg.mkdir(mode=0o700)
        self.key = self.new_key()
        self._modified = 0

    def gpg(self, *arguments: str, before: tuple[str, ...] = ()) -> str:
        options = ("--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--yes")
        return run(*before, "gpg", *options, *arguments, GNUPGHOME=str(self.gnupg)).stdout

    def new_key(self) -> str:
        """Make a key as the page says; its fingerprint."""
        (command,) = re.findall("gpg (--quick-generate-key) '(.*)' (.*)", PAGE)
        self.gpg(command[0], command[1], *command[2].split())
        return self.keys()[-1]

    def keys(self) -> list[str]:
        """The fingerprints of all secret keys."""
        listed = self.gpg("--with-colons", "--list-secret-keys")
        return re.findall("^sec:.*\n(?:grp.*\n)*fpr:+([0-9A-F]{40}):", listed, re.MULTILINE)

    def package(self, version: str) -> None:
        """Build the packages of a version. They have the same version for all releases, and different contents."""
        architecture = run("dpkg", "--print-architecture").stdout.strip()
        for release in RELEASES:
            folder = self.build / "deb" / release
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name, of in zip(NAMES, ("all", architecture)):
                tree = self.build / "tree"
                (tree / "DEBIAN").mkdir(parents=True)
                (tree / "DEBIAN/control").write_text(
                    f"Package: {name}\nVersion: {version}\nArchitecture: {of}\n"
                    "Maintainer: Example <root@example.com>\nDescription: an example\n"
                )
                says = tree / "usr/share" / name / "says"
                says.parent.mkdir(parents=True)
                says.write_text(f"{version} for {release}\n")
                run("dpkg-deb", "--root-owner-group", "--build", tree, folder)
                shutil.rmtree(tree)
            (folder / "commit").touch()

    def files(self, release: str) -> list[str]:
        """The packages for a release. What the other might need comes last."""
        return [str(file) for file in sorted((self.build / "deb" / release).glob("*.deb"))]

    def make(
        self, key: str | None = None, *more: str, check: bool = True, before: tuple[str, ...] = ()
    ) -> str:
        """`make repository`; what it said. It fails, unless `check`."""
        words = [f"KEY={self.key if key is None else key}", f"BUILD={self.build}", *more]
        command = (*before, "make", "--no-print-directory", "repository", *words)
        done = run(*command, check=check, GNUPGHOME=str(self.gnupg))
        assert check or done.returncode != 0, done.stdout
        if check:
            self.touch()
        return done.stdout

    def touch(self) -> None:
        """Have no two versions of a list the same time, by which apt asks the web server whether it has a newer one."""
        self._modified += 1
        for file in self.repository.glob("dists/**/*"):
            modified = file.stat().st_mtime + self._modified
            os.utime(file, (modified, modified))


@pytest.fixture(scope="module")
def administrator() -> Iterator[Administrator]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # gpg-agent's socket needs a short path
    administrator = Administrator(folder)
    yield administrator
    run("gpgconf", "--homedir", administrator.gnupg, "--kill", "gpg-agent")
    shutil.rmtree(folder)


@pytest.fixture
def served(administrator: Administrator) -> Iterator[str]:
    """The address of a repository with version 1."""
    administrator.package("1")
    administrator.make()
    command: list[str | Path] = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        administrator.build,
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        (port,) = re.findall(" port ([0-9]+) ", server.stdout.readline())
        yield f"http://127.0.0.1:{port}/repository"
        server.kill()


@pytest.fixture(autouse=True)
def _host(tmp_path: Path) -> Iterator[None]:
    """A host that has no packages of ours, no other sources, and apt's own settings."""
    kept: dict[Path, Path] = {}
    for folder in (SOURCES, SETTINGS):
        (tmp_path / folder.name).mkdir()
        kept |= {file: tmp_path / folder.name / file.name for file in folder.iterdir()}
    if LIST.exists():  # of roots that mmdebstrap has made
        kept[LIST] = tmp_path / LIST.name
    for file, aside in kept.items():
        shutil.move(file, aside)
    yield
    run("dpkg", "--purge", *NAMES, check=False)
    shutil.rmtree(COPIES, ignore_errors=True)
    KEYRING.unlink(missing_ok=True)
    SOURCE.unlink(missing_ok=True)
    run("apt-get", "clean")
    run("apt-get", "update")  # forgets the lists
    for file, aside in kept.items():
        shutil.move(aside, file)


def use(administrator: Administrator, url: str, suite: str = "trixie") -> None:
    """Have the host use the repository, as the page says."""
    (source,) = [block for block in BLOCKS if block.startswith("Types: deb")]
    assert "Suites: trixie\n" in source
    SOURCE.write_text(source.replace(ADDRESS, url).replace("Suites: trixie", f"Suites: {suite}"))
    shutil.copy(administrator.repository / "pam-iampass.asc", KEYRING)


def install(*more: str) -> None:
    """The page's commands, for another package."""
    (commands,) = [block.splitlines() for block in BLOCKS if "apt install" in block]
    assert commands == ["apt update", "apt install libpam-iampass"]
    run("apt-get", "update", "--error-on=any")
    run("apt-get", "install", "-y", *more, "iampass-example")


def refused(said: str, *command: str) -> None:
    """A command of apt fails and says this, and the host has what it had."""
    before = SAYS.read_text() if SAYS.exists() else None
    done = run("apt-get", *command, check=False)
    assert done.returncode != 0, done.stdout
    assert re.search(said, done.stdout), done.stdout
    assert (SAYS.read_text() if SAYS.exists() else None) == before


UPDATE = ("update", "--error-on=any")
EXPIRED = "[Ee]xpired|EXPKEYSIG|not live"


@pytest.mark.parametrize("suite", RELEASES)
def test_a_host_gets_the_packages_for_its_release_and_newer_ones(
    administrator: Administrator, served: str, suite: str
) -> None:
    use(administrator, served, suite)
    install()
    assert SAYS.read_text() == f"1 for {suite}\n"
    run("apt-get", "install", "-y", "libiampass-example")
    administrator.package("2")
    administrator.make()
    install()
    assert SAYS.read_text() == f"2 for {suite}\n"
    # And back, as the page says: older packages, by name.
    administrator.package("1")
    administrator.make()
    (back,) = re.findall("`apt install (--allow-downgrades) libpam-iampass=VERSION`", PAGE)
    run("apt-get", "update", "--error-on=any")
    run("apt-get", "install", "-y", back, "iampass-example=1")
    assert SAYS.read_text() == f"1 for {suite}\n"


def test_an_older_copy_of_the_repository_is_ignored(administrator: Administrator, served: str) -> None:
    use(administrator, served)
    older = administrator.build / "older"
    shutil.copytree(administrator.repository, older)
    dated = older / "dists/trixie/InRelease"
    assert "\nDate: " in dated.read_text()
    signed = dated.read_bytes()
    while (
        administrator.make()
        and administrator.repository.joinpath("dists/trixie/Release").read_text()
        == (older / "dists/trixie/Release").read_text()
    ):
        pass  # until the date, in seconds, is another
    administrator.package("2")
    administrator.make()
    install()
    shutil.rmtree(administrator.repository)
    older.rename(administrator.repository)
    for _ in range(9):
        administrator.touch()
    assert (administrator.repository / "dists/trixie/InRelease").read_bytes() == signed
    run("apt-get", "update")
    assert "Candidate: 2" in run("apt-cache", "policy", "iampass-example").stdout


def test_a_changed_package_is_refused(administrator: Administrator, served: str) -> None:
    use(administrator, served)
    (package,) = administrator.repository.glob("pool/trixie/iampass-example_*.deb")
    package.write_bytes(package.read_bytes()[:-1] + b"?")
    run("apt-get", *UPDATE)
    refused("Hash Sum mismatch", "install", "-y", "iampass-example")
    assert not SAYS.exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("main/binary-*/Packages", "Hash Sum mismatch|unexpected size"),
        ("InRelease", "NOSPLIT|OpenPGP signature verification failed|BADSIG|is not signed"),
    ],
)
def test_a_changed_list_is_refused(administrator: Administrator, served: str, name: str, said: str) -> None:
    use(administrator, served)
    install()
    administrator.package("2")
    administrator.make()
    (file,) = administrator.repository.glob(f"dists/trixie/{name}")
    file.write_text(file.read_text().replace("trixie", "Trixie"))
    administrator.touch()
    refused(said, *UPDATE)
    assert "Candidate: 1" in run("apt-cache", "policy", "iampass-example").stdout


def test_another_key_is_refused(administrator: Administrator, served: str, tmp_path: Path) -> None:
    use(administrator, served)
    install()
    variables = {**role(administrator, served, tmp_path), "pam_iampass_state": "latest"}
    variables["pam_iampass_repository_key"] = KEYRING.read_text()
    another = administrator.new_key()
    try:
        administrator.package("2")
        administrator.make(another)
        refused("NO_PUBKEY|Missing key|not signed", *UPDATE)
        assert "Candidate: 1" in run("apt-cache", "policy", "iampass-example").stdout
        played = play(tmp_path, {"older": variables}, INSTALL)["older"]
        assert played.failed == 1, played.shown
        assert "several keys" in administrator.make("root@example.com", check=False)
    finally:
        administrator.gpg("--delete-secret-and-public-key", another)


def test_lists_of_a_key_that_never_expires_are_good_for_a_year(administrator: Administrator) -> None:
    """An attacker who holds newer ones back cannot do so for ever."""
    administrator.gpg("--quick-generate-key", "Endless", "ed25519", "sign", "never")
    (endless,) = set(administrator.keys()) - {administrator.key}
    try:
        administrator.package("1")
        administrator.make(endless)
    finally:
        administrator.gpg("--delete-secret-and-public-key", endless)
    release = (administrator.repository / "dists/trixie/Release").read_text()
    date, until = (
        parsedate_to_datetime(text)
        for text in re.findall("^(?:Date|Valid-Until): (.*)$", release, re.MULTILINE)
    )
    assert timedelta(days=364) < until - date < timedelta(days=367)


@pytest.mark.long
def test_an_expired_key_is_refused_until_it_is_extended(
    administrator: Administrator, served: str, tmp_path: Path
) -> None:
    then = by("-9999999")
    administrator.gpg("--quick-generate-key", "Old", "ed25519", "sign", "1d", before=then)
    (old,) = set(administrator.keys()) - {administrator.key}
    administrator.make(old, before=then)
    use(administrator, served)
    refused(EXPIRED, *UPDATE)
    refused("Unable to locate", "install", "-y", "iampass-example")
    played = play(tmp_path, {"expired": role(administrator, served, tmp_path)}, INSTALL)["expired"]
    assert played.failed == 1, played.shown
    assert re.search(EXPIRED, played.shown)
    assert "has expired" in administrator.make(old, check=False)
    (command,) = re.findall("gpg (--quick-set-expire) FINGERPRINT (.*)", PAGE)
    administrator.gpg(command[0], old, command[1])
    administrator.make(old)
    refused(EXPIRED, *UPDATE)
    use(administrator, served)
    install()
    administrator.gpg("--delete-secret-and-public-key", old)


def test_the_repository_has_the_packages_and_nothing_secret(
    administrator: Administrator, served: str
) -> None:
    def contents() -> dict[str, bytes]:
        files = (file for file in administrator.repository.rglob("*") if file.is_file())
        return {str(file.relative_to(administrator.repository)): file.read_bytes() for file in files}

    first = contents()
    lists = {
        *("InRelease", "Release", "Release.gpg"),
        f"main/binary-{run('dpkg', '--print-architecture').stdout.strip()}/Packages",
    }
    expected = {f"dists/{release}/{name}" for release in RELEASES for name in lists}
    for release in RELEASES:
        expected |= {f"pool/{release}/{Path(file).name}" for file in administrator.files(release)}
    assert set(first) == {"pam-iampass.asc", *expected}
    assert b"BEGIN PGP PUBLIC KEY BLOCK" in first["pam-iampass.asc"]
    assert not any(b"PRIVATE" in content for content in first.values())
    assert {
        oct(file.stat().st_mode & 0o777) for file in administrator.repository.rglob("*") if file.is_file()
    } == {"0o644"}
    # What somebody has put there is not signed, but gone.
    (administrator.repository / "pool/trixie/evil_1_all.deb").write_text("evil")
    assert f"signed by {administrator.key}; hosts accept them until 20" in administrator.make()
    again = contents()
    assert set(again) == set(first)
    assert {name for name in first if first[name] != again[name]} <= {
        f"dists/{release}/{name}" for release in RELEASES for name in ("InRelease", "Release", "Release.gpg")
    }


def test_what_cannot_be_made_leaves_the_repository_as_it_was(
    administrator: Administrator, served: str
) -> None:
    def refuses(said: str, key: str | None = None, *more: str) -> None:
        before = (administrator.repository / "dists/trixie/InRelease").read_bytes()
        shown = administrator.make(key, *more, check=False)
        assert said in shown, shown
        assert (administrator.repository / "dists/trixie/InRelease").read_bytes() == before
        assert {file.name for file in administrator.build.iterdir()} == {"deb", "repository"}

    refuses("say which key signs", "")
    refuses("no secret key nobody@example.com", "nobody@example.com")
    refuses("no secret key --help", "--help")
    site = administrator.build / "deb/site"
    site.mkdir()
    (site / "index.html").touch()
    refuses("is no repository of pam-iampass", None, f"REPOSITORY={site}")
    assert (site / "index.html").exists()
    shutil.rmtree(site)
    (administrator.build / "deb/bookworm/commit").unlink()
    refuses("is no complete build")
    (administrator.build / "deb/bookworm/commit").touch()
    for package in administrator.files("trixie"):
        whole = Path(package).read_bytes()
        Path(package).write_bytes(whole[:-1])
        refuses(Path(package).name)
        Path(package).write_bytes(whole)
    shutil.rmtree(administrator.build / "deb")
    (administrator.build / "deb").mkdir()
    refuses("run make deb")


def role(administrator: Administrator, url: str, folder: Path) -> dict[str, Any]:
    """The role's variables for a repository, as its page has them. The public key lies beside the playbook."""
    shutil.copy(administrator.repository / "pam-iampass.asc", folder)
    variables = yaml.safe_load(ROLE_BLOCKS[0])
    assert variables["pam_iampass_repository"] == ADDRESS
    return {**variables, "pam_iampass_repository": url, "pam_iampass_packages": ["iampass-example"]}


@pytest.mark.long
def test_the_role_installs_from_a_repository(
    administrator: Administrator, served: str, tmp_path: Path
) -> None:
    variables = role(administrator, served, tmp_path)
    first = play(tmp_path, {"first": variables}, INSTALL)["first"]
    assert first.ended == (0, 3), first.shown
    release = run("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME").stdout.strip()
    assert SAYS.read_text() == f"1 for {release}\n"
    assert KEYRING.read_bytes() == (administrator.repository / "pam-iampass.asc").read_bytes()
    assert [file.stat().st_mode & 0o777 for file in (KEYRING, SOURCE)] == [0o644, 0o644]
    administrator.package("2")
    administrator.make()
    assert play(tmp_path, {"present": variables}, INSTALL)["present"].ended == (0, 0)
    latest = {**variables, "pam_iampass_state": "latest"}
    for changed in (1, 0):
        played = play(tmp_path, {"latest": latest}, INSTALL)["latest"]
        assert played.ended == (0, changed), played.shown
    assert SAYS.read_text() == f"2 for {release}\n"


def test_the_role_refuses_a_repository_whose_key_it_is_not_given(
    administrator: Administrator, served: str, tmp_path: Path
) -> None:
    secret = administrator.gpg("--armor", "--export-secret-keys", administrator.key)
    assert "PRIVATE KEY" in secret
    variables = role(administrator, served, tmp_path)
    key = variables["pam_iampass_repository_key"]
    hosts: dict[str, dict[str, Any]] = {
        "none": {**variables, "pam_iampass_repository_key": ""},
        "a-path": {**variables, "pam_iampass_repository_key": "/etc/shadow"},
        "the-secret-one": {**variables, "pam_iampass_repository_key": secret},
        "both": {**variables, "pam_iampass_repository_key": key + secret},
        "an-option": {**variables, "pam_iampass_repository": f"{served}\nTrusted: yes"},
    }
    for host, played in play(tmp_path, hosts, INSTALL).items():
        assert played.ended == (1, 0), (host, played.shown)
        assert "pam_iampass_repository_key the text of pam-iampass.asc" in " ".join(played.shown.split())
        assert secret.splitlines()[3] not in played.shown
    assert not KEYRING.exists()
    assert not SOURCE.exists()


def test_the_role_installs_package_files_of_the_controller(
    administrator: Administrator, served: str, tmp_path: Path
) -> None:
    def copies() -> set[str]:
        return {file.name for file in COPIES.iterdir()}

    # As on the role's page: the files are below the folder of the playbook.
    ((release, file),) = re.findall("packages/(.*)/(.*[.]deb)", ROLE_BLOCKS[1])
    assert yaml.safe_load(ROLE_BLOCKS[1]) == {"pam_iampass_packages": [f"packages/{release}/{file}"]}
    (tmp_path / "packages").symlink_to(administrator.build / "deb")
    variables = {
        "pam_iampass_packages": [
            f"packages/{release}/{Path(each).name}" for each in administrator.files(release)
        ],
        "pam_iampass_folder": str(tmp_path / "elsewhere"),
    }
    for changed in (3, 0):
        played = play(tmp_path, {"files": variables}, INSTALL)["files"]
        assert played.ended == (0, changed), played.shown
    assert SAYS.read_text() == "1 for trixie\n"
    assert COPIES.stat().st_mode & 0o777 == 0o700
    older = copies()
    assert older == {Path(file).name for file in variables["pam_iampass_packages"]}
    (COPIES / "another_1_all.deb").touch()  # of another role
    administrator.package("2")
    newer = {"pam_iampass_packages": administrator.files("trixie")}
    played = play(tmp_path, {"newer": newer}, INSTALL)["newer"]
    assert played.ended == (0, 3), played.shown
    assert SAYS.read_text() == "2 for trixie\n"
    assert copies() & {*older, "another_1_all.deb"} == {"another_1_all.deb"}
    assert not (tmp_path / "elsewhere").exists(), "a machine's variables do not say where"


def test_the_role_copies_nothing_but_packages_from_the_controller(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the controller")
    names = {"another": str(secret), "disguised": f"{tmp_path}/x.deb/../secret"}
    hosts = {host: {"pam_iampass_packages": [name]} for host, name in names.items()}
    for host, played in play(tmp_path, hosts, INSTALL).items():
        assert played.ended == (1, 0), (host, played.shown)
    assert not COPIES.exists()
