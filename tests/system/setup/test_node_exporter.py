"""A real node_exporter reads what the agent and setup write, by way of links as docs/one-server/operations.md has them
made."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.deadline import PATIENCE
from tests.support.directory import PACKAGES
from tests.support.installation import ROOT
from tests.support.prometheus import Scrape
from tests.support.world import wait_until
from tests.system.setup.conftest import Administrator

#: The folder of Debian's package.
FOLDER = Path("/var/lib/prometheus/node-exporter")
PROGRAM = "/usr/bin/prometheus-node-exporter"


@contextmanager
def node_exporter() -> Iterator[str]:
    """Its address, while it runs as another user, without the collectors of the machine."""
    (package,) = (PACKAGES.parent / "exporter").glob("prometheus-node-exporter_*.deb")
    subprocess.run(["dpkg", "--extract", package, "/"], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--collector.disable-defaults", "--collector.textfile", f"--web.listen-address={address}"]
    options.append(f"--collector.textfile.directory={FOLDER}")
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    running = subprocess.Popen([*as_nobody, PROGRAM, *options], stderr=subprocess.DEVNULL)
    try:
        yield address
    finally:
        running.terminate()
        running.wait()


def scrape(address: str) -> Scrape | None:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as response:
            return Scrape(response.read().decode(), time.time())
    except urllib.error.URLError:
        return None


def test_a_node_exporter_that_follows_the_links_has_the_figures_of_agent_and_pam_files(
    administrator: Administrator,
) -> None:
    page = (ROOT / "docs/one-server/operations.md").read_text()
    links = re.findall(r"^    (ln -s /run/iampass/\S+ \S+)$", page, re.M)
    assert len(links) == 2
    with node_exporter() as address:
        for link in links:
            subprocess.run(link.split(), check=True)
        wait_until(lambda: scrape(address), "node_exporter does not answer")

        def now(name: str, **labels: str) -> float:
            found = scrape(address)
            assert found is not None
            assert found.value("gateway_ready") == 0
            assert "node_textfile_scrape_error 0\n" in found.text
            return found.value(name, **labels)

        approved = {"service": "sudo", "outcome": "approved", "result": "success"}
        before = now("logins_total", **approved)
        administrator.setup("sudo")
        assert now("pam_in_force", service="sudo") == 1
        assert administrator.become_root("sudo", "-k", "true")[0] == 0
        wait_until(lambda: now("logins_total", **approved) == before + 1, "the login is not counted")
        assert now("reachable") == 1
        assert 0 <= time.time() - now("written_timestamp_seconds") < 60
        administrator.setup("undo")
        found = scrape(address)
        assert found is not None
        assert "iampass_pam" not in found.text
        # Its user can write nothing else in /run/iampass.
        for path in ("/run/iampass/x", "/run/iampass/pam-files.prom", "/run/iampass/metrics/x"):
            tried = subprocess.run(
                ["setpriv", "--reuid=_iampass", "--regid=_iampass", "--clear-groups", "touch", path],
                check=False,
            )
            assert (tried.returncode == 0) == path.startswith("/run/iampass/metrics/")
        os.unlink("/run/iampass/metrics/x")
    for link in links:
        os.unlink(link.split()[-1])
