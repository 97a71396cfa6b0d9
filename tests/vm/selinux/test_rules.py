"""After the logins: which rules of our policy they used."""

from __future__ import annotations

from tests.vm.auditing import Rule, rules, used
from tests.vm.machine import Machine
from tests.vm.site import Site

#: Who has the attributes of our policy, on this machine.
HAVE = {"pam_iampass_sshd_client": "sshd_t", "pam_iampass_local_client": "local_login_t"}
#: Rules that come with an interface of the policy, which is used all the same: to be started by init scripts, and by
#: the path of a program (init_daemon_domain); to log (logging_send_syslog_msg) where there is no journal; labelled
#: networks, systemd-resolved and the list of network interfaces (auth_use_nsswitch); /proc/meminfo and the like
#: (kernel_read_system_state); links in /proc (domain_read_all_domains_state), of which every domain is a case.
WITH_INTERFACES = (
    *(("initrc_t", kind) for kind in ("fd", "fifo_file", "process")),
    *(("init_t", kind) for kind in ("fifo_file", "process")),
    *(("console_device_t", "chr_file"), ("syslogd_t", "unix_stream_socket")),
    *(("kernel_t", "unix_dgram_socket"), ("kernel_t", "unix_stream_socket")),
    *(
        ("netif_t", "netif"),
        ("node_t", "node"),
        ("dns_client_packet_t", "packet"),
        ("dns_port_t", "tcp_socket"),
    ),
    *(("netlabel_peer_t", kind) for kind in ("peer", "rawip_socket", "tcp_socket", "udp_socket")),
    *(("domain", kind) for kind in ("dir", "file", "lnk_file")),
    *(("systemd_resolved_runtime_t", "file"), ("proc_t", "file"), ("self", "netlink_route_socket")),
)


def is_ours(rule: Rule) -> bool:
    """Whether a rule stands in our policy for its own sake."""
    started = rule.source in ("init_t", "initrc_t", "syslogd_t") and rule.kind in ("file", "process")
    return (rule.target, rule.kind) not in WITH_INTERFACES and not started


def test_every_rule_is_used(vm: Machine, site: Site) -> None:
    seen = used(vm.shell("cat /var/log/audit/audit.log*"))
    ports = {Rule(rule.source, "port_type", rule.kind) for rule in seen if "_port_t" in rule.target}
    others = {Rule(rule.source, "domain", rule.kind) for rule in seen if rule.target == "sshd_t"}
    unused = []
    for rule in rules(vm.read("/root/pam_iampass.cil")):
        source = HAVE.get(rule.source, rule.source)
        target = source if rule.target == "self" else rule.target
        if is_ours(rule) and Rule(source, target, rule.kind) not in seen | ports | others:
            unused.append(rule)
    assert not unused, "\n".join(map(str, sorted(unused)))
