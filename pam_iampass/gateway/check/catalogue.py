"""Every kind of finding of `pam-iampass-gateway check`. `docs/reference/gateway-findings.md` is made from it."""

from __future__ import annotations

from pam_iampass.check.catalogue import KINDS as HOST_KINDS
from pam_iampass.check.catalogue import FindingKind, error_kind, note_kind, of_kind, warning_kind
from pam_iampass.errors import Problem, Severity

_RESTART = "systemctl restart pam-iampass-gateway"

SECTIONS: dict[str, tuple[FindingKind, ...]] = {
    "Settings and files": (
        error_kind(
            "settings-error",
            "The settings have a problem: {what}",
            "With an error the gateway does not start. A running one keeps its settings.",
            "{remedy}",
        ),
        error_kind(
            "certificate-not-valid",
            "The gateway's certificate {what}",
            "Hosts deny their logins if the certificate does not come from the fleet's CA, or lacks the name or"
            " address by which they call the gateway.",
            f"pam-iampass-gateway certificate renew; {_RESTART}",
        ),
        error_kind(
            "authority-not-valid",
            "The certificate of the fleet's CA cannot be used",
            "No host can join, and the gateway's certificate cannot be renewed.",
            "Restore ca.pem from your backup. Without one, make a new CA, and let all hosts join again:"
            " docs/fleet/gateway-operations.md, TLS",
        ),
        warning_kind(
            "certificate-expires",
            "The gateway's certificate {what}",
            "After that, hosts deny their logins.",
            f"pam-iampass-gateway certificate renew; {_RESTART}",
        ),
    ),
    "Service": (
        error_kind(
            "service-down",
            "The service does not answer: {what}",
            "Hosts deny their logins, or let them continue without the phone with `unavailable: ignore`.",
            "systemctl status pam-iampass-gateway; journalctl -u pam-iampass-gateway",
        ),
        error_kind(
            "other-service",
            "Another service answers on the gateway's port",
            "",
            "ss -ltnp: find out what listens there",
        ),
        error_kind(
            "acts-down",
            "The service for the portal does not answer: {what}",
            "Nobody can sign in at the portal. Logins to hosts do not need it.",
            "systemctl enable --now pam-iampass-gateway-acts.socket; journalctl -u pam-iampass-gateway-acts",
        ),
        error_kind(
            "acts-socket",
            "The socket for the portal can be used by others: {what}",
            "Only the portal's user and root may connect. Anyone else who can connect can try links and passkeys, and"
            " name any address as their own.",
            "systemctl restart pam-iampass-gateway-acts.socket; if it is so again, look for changes of the unit:"
            " systemctl cat pam-iampass-gateway-acts.socket",
        ),
    ),
    "Portal": (
        error_kind(
            "portal-settings",
            "The portal's settings have a problem: {what}",
            "With an error the portal does not start. If its origin is not that of gateway.yaml, nobody can sign in.",
            "Correct {file}; then: systemctl restart pam-iampass-portal",
        ),
        error_kind(
            "portal-files",
            "The portal's certificate and key cannot be used: {what}",
            "Only root may be able to change these files, links to them, and the folders above. Otherwise a user could"
            " have systemd pass any file of root to the portal, such as the key file.",
            "{remedy}",
        ),
        error_kind(
            "portal-down",
            "The portal does not answer: {what}",
            "Nobody can sign in. Logins to hosts do not need it.",
            "systemctl enable --now pam-iampass-portal.socket; journalctl -u pam-iampass-portal",
        ),
        error_kind(
            "portal-certificate",
            "The portal's certificate {what}",
            "Browsers show an error. The certificate must name the host of `origin`, and come from a CA that the"
            " computers of your people trust. The file must also contain the intermediate certificates.",
            "pam-iampass-gateway portal setup, with the right --certificate and --key",
        ),
        warning_kind(
            "portal-certificate-expires",
            "The portal's certificate is valid for {days} days",
            "After that, browsers show an error.",
            "Have it renewed where it comes from; then: systemctl restart pam-iampass-portal",
        ),
    ),
    "Database": (
        error_kind(
            "database-away",
            "The database cannot be used: {what}",
            "The gateway denies all logins.",
            "Check PostgreSQL, `database` in gateway.yaml, and the rights of the role",
        ),
        error_kind(
            "writes-fail",
            "The running gateway cannot write to the database: {what}",
            "Logins are denied, although the database can be read.",
            "On the machine of the database: df -h; journalctl -k; the log of PostgreSQL",
        ),
        warning_kind(
            "disk-little-room",
            "The disk of the database is nearly full: {free} of {size} are free",
            "With a full disk, logins are denied. If less than 16 MiB are free, this is an error. `check` examines"
            " only a database on this machine.",
            "df -h; make room, or use a larger disk. `records` in gateway.yaml sets how long the log is kept",
        ),
        error_kind(
            "tables-old",
            "The tables are not those of this version: {what}",
            "A gateway does not start with the tables of an older version.",
            f"pam-iampass-gateway migrate; {_RESTART}",
        ),
        error_kind(
            "database-restored",
            "The database is an old copy: {what}",
            "The gateways answer no host until you confirm the copy. In it, hosts that were removed since are back."
            " When you confirm, all invites become void.",
            "pam-iampass-gateway restored",
        ),
        error_kind(
            "rows-not-ours",
            "{rows} not written by a gateway of this fleet",
            "Something with access to the database has changed them, or the key file is another one. These hosts"
            " cannot send requests, and these people cannot be asked.",
            "Find out who can write to the database; then remove these rows and add them again",
        ),
        error_kind(
            "database-clock",
            "The database's clock is {what} this machine's",
            "The gateway uses the database's clock, except to check signatures. If the clocks differ by more than 300"
            " s, calls of hosts are refused.",
            "timedatectl: set both clocks",
        ),
        warning_kind(
            "database-locks",
            "{name} is {value} in PostgreSQL, not {wanted}",
            "A pooler has not passed on this setting. Logins can wait longer for a lock, and a gateway that loses"
            " power in a transaction keeps its locks.",
            "docs/fleet/gateway-several.md, A pooler in front of PostgreSQL",
        ),
        warning_kind(
            "database-plain",
            "The connection to the database is not encrypted",
            "An attacker on the network can read the names of people and hosts, and hold up logins. Tokens, secrets"
            " and phone numbers stay encrypted, and no row can be forged.",
            "sslmode=verify-full in `database` of gateway.yaml",
        ),
        warning_kind(
            "database-open",
            "Every role of the PostgreSQL server can connect to the gateway's database",
            "Such a role can read and write nothing there, but can hold up logins: it can take locks and all"
            " connections.",
            "As the account postgres: psql -c 'REVOKE CONNECT ON DATABASE {name} FROM PUBLIC'",
        ),
    ),
    "Backup": (
        error_kind(
            "backup-fails",
            "There is no good backup of the database: {what}",
            "After a loss of the database, all hosts must then join and all people register again. If there are"
            " several gateways, a missing folder is only a note (`backup-off`).",
            "{remedy}",
        ),
        note_kind(
            "backup-off",
            "No backup of the database is made on this machine",
            "One gateway of a fleet should make one each night, unless you make them by other means.",
            "docs/fleet/gateway-operations.md, Backup",
        ),
    ),
    "IAMPASS": (
        error_kind(
            "iampass-fails",
            "IAMPASS cannot be used: {what}",
            "No phone can be asked.",
            "{remedy}",
        ),
        error_kind(
            "application-unknown",
            "IAMPASS does not know the application",
            "No phone can be asked: IAMPASS answers every request with 404.",
            "Check application_id and server in gateway.yaml",
        ),
        HOST_KINDS["previous-secret-left"],
    ),
    "Clock": (
        error_kind(
            "clock-off",
            "This machine's clock is {seconds} s {side} IAMPASS's",
            "The gateway checks signatures by this clock. At more than 300 s, it refuses every call of a host whose"
            " clock is right (CLOCK_OFF).",
            "timedatectl set-ntp true, or enable another time service",
        ),
    ),
    "People": (
        note_kind(
            "no-people",
            "Nobody has been added yet",
            "The gateway denies every login.",
            "pam-iampass-gateway enroll USER --group GROUP",
        ),
        note_kind(
            "passkeys-of-nobody",
            "{name} has passkeys that do not count",
            "They belong to a person who cannot log in any more, or to an earlier person of this name. Nobody can sign"
            " in with them.",
            "pam-iampass-gateway operator end {name}, unless the person comes back",
        ),
    ),
    "Hosts": (
        error_kind(
            "group-without-settings",
            "Hosts or invites have the group {group}, which is not in the settings",
            "No host can join with such an invite. Logins on hosts of the group are denied.",
            "Write the group into `groups` in gateway.yaml and restart the service; or pam-iampass-gateway host remove,"
            " host revoke",
        ),
        error_kind(
            "group-of-nobody",
            "Nobody has the group {name}, which the settings name",
            "Perhaps the name is misspelled in gateway.yaml or in the groups of the people. These people are denied on"
            " hosts, have no role, or get no help.",
            "Correct it in gateway.yaml and restart the service; or: pam-iampass-gateway user add USER --group {name}",
        ),
        error_kind(
            "role-of-nobody",
            "Nobody has the role {role}",
            "Nobody who may log in has one of its groups. Only root of a gateway can do what the role does.",
            "Correct `operators` in gateway.yaml and restart the service; or: pam-iampass-gateway user add USER --group"
            " GROUP",
        ),
        warning_kind(
            "hosts-suspended",
            "{hosts} suspended",
            "Logins on these hosts are denied.",
            "pam-iampass-gateway log --host HOST; pam-iampass-gateway host resume HOST",
        ),
        note_kind(
            "hosts-waiting",
            "{hosts} waiting to be admitted",
            "",
            "pam-iampass-gateway host admit HOST",
        ),
    ),
}
"""All kinds of findings, under the headings of the page."""

KINDS = {kind.id: kind for kinds in SECTIONS.values() for kind in kinds}


def finding(
    kind_id: str, subject: str, evidence: str, severity: Severity | None = None, **words: object
) -> Problem:
    """A finding. `words` fill in its title and its remedy; everything is cleaned."""
    return of_kind(KINDS[kind_id], subject, evidence, severity, **words)
