"""The page about records in the journal, `docs/reference/records.md`: all fields and kinds, with an example of each."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.audit.administrator import Administrator
from pam_iampass.audit.journal import (
    ADMINISTRATION,
    ALERT,
    BACKUP_FAILED,
    ERROR,
    GATEWAY_ALERT,
    HOST_REPORT,
    INFO,
    MESSAGE_IDS,
    NOTICE,
    SESSION_IDS,
    Act,
    ActRecord,
    Journal,
    PamFileEvent,
    PamFileRecord,
    SessionRecord,
)
from pam_iampass.login.decisions import covered_elsewhere
from pam_iampass.outcome import Decision, Login, Outcome, Participants, Result, SessionEvent

_CATALOGUE = Path(__file__).parents[2] / "packaging/systemd/pam_iampass.catalog"
_SESSION = "5f0c8e1d2b7a4f369c04d1e8a7b65f32"
_LOGIN = "0b9e6d4c81f24a57a3d2c6f0e19b7a48"
_APPROVER = Participants(approver="alice")

_HEAD = """\
<!-- Made by `make pages` from `tools/docs/records_reference.py` and `pam_iampass/audit/journal.py`. -->
# Records in the journal

For a SIEM or a log shipper. On the machine, read the records with `pam-iampass log`, or with `journalctl -x`, which
explains each.

- All records have `SYSLOG_IDENTIFIER=pam_iampass` and `SYSLOG_FACILITY=10` (authpriv). Audit records have a
  `MESSAGE_ID`; a line without one is for people only.
- **Any user can write such fields.** Take only records whose `_UID`, which journald itself sets, is that of root,
  `_iampass` or, on a gateway, `_iampass-gateway`.
- If the agent cannot be reached, the PAM module writes a line without these fields, of priority 3:
  `pam_iampass(sshd:auth): outcome=unavailable result=denied user=alice service=sshd …`. In sudo and su it has the
  `_UID` of the caller, who could have forged it.
- Without a journal, syslog has `MESSAGE` alone: the same values as `name=value`. A value with a blank, a quote or a
  backslash is in double quotes, with a backslash before quotes and backslashes. `-` means unknown.
- All values are text of at most 2,048 characters, without control characters and line breaks, and without secrets,
  tokens and codes of pam-iampass. A command line can contain secrets. An unknown field is empty or missing.
- [SECURITY.md](../../SECURITY.md#who-can-delete-records) says who can delete records, and how to send the journal to
  another machine.

## Fields

| field | type | what it is |
| --- | --- | --- |
"""

_QUERIES = """\
## Queries

With journalctl, as root; `id -u _iampass` finds the service's user:

    journalctl SYSLOG_IDENTIFIER=pam_iampass _UID=0 _UID=$(id -u _iampass) --since today
    journalctl SYSLOG_IDENTIFIER=pam_iampass _UID=$(id -u _iampass) IAMPASS_OUTCOME=denied IAMPASS_OUTCOME=timed_out
    journalctl SYSLOG_IDENTIFIER=pam_iampass _UID=$(id -u _iampass) IAMPASS_RESULT=ignored
    journalctl SYSLOG_IDENTIFIER=pam_iampass _UID=0 _UID=$(id -u _iampass) MESSAGE_ID={administration}
    journalctl SYSLOG_IDENTIFIER=pam_iampass _UID=0 _UID=$(id -u _iampass) --priority=crit

In this order, they show everything, phones that did not approve, logins without the second factor, acts of
administrators, and what to look at now. A login with a recovery code has the outcome `recovered`. A shipper sends what
`journalctl -o json` prints, an object a line. This counts how often each person has denied on the phone:

    journalctl -o json SYSLOG_IDENTIFIER=pam_iampass --since today |
        jq -r --arg uid $(id -u _iampass) 'select(._UID == $uid and .IAMPASS_OUTCOME == "denied") | .IAMPASS_APPROVER' |
        sort | uniq -c

If one person denies more than two requests in ten minutes, another person probably has their password or key. In a
store of logs, count by `IAMPASS_APPROVER` over all hosts. The user id of `_iampass` differs between machines. If the
shipper drops fields that begin with `_`, have it drop the records of other users first.

## What to alert on

| select | it means | do |
| --- | --- | --- |
| `PRIORITY` 0 to 2 on a host | `rescue=` was used, or a service no longer asks the phone | `pam-iampass check` |
| `IAMPASS_OUTCOME=recovered` or `bypassed` | a login without the phone | ask the person |
| `IAMPASS_OUTCOME=unavailable` with `IAMPASS_RESULT=ignored` | `unavailable: ignore` was used | ask the person |
| more than two `denied` of one `IAMPASS_APPROVER` in ten minutes | a stolen password or key | change it |
| `IAMPASS_EVENT=backup_failed` | no backup of the gateway's database | `pam-iampass-gateway check` |
| an alert of a gateway (`MESSAGE_ID={alert}`) | by its text, in the next table | as there |

| text in `IAMPASS_REASON` of a gateway's alert | do |
| --- | --- |
{alerts}

## Kinds

| record | `MESSAGE_ID` | `PRIORITY` | `IAMPASS_OUTCOME` or `IAMPASS_EVENT` |
| --- | --- | --- | --- |
"""

ALERTS = {
    (
        "has denied",
        "are refused: too many",
    ): "An attacker may have the password or key of this person: change it.",
    (
        "did not approve",
        "says that a login is not theirs",
        "are not approved",
        "people have denied requests",
    ): ("Ask the people. If they did not log in, change their passwords and keys, and examine the host."),
    (
        "another machine uses the credential",
        "may be looking for names",
        "before people have answered",
        "were not approved within an hour",
        "recovery codes of this host are not looked at",
    ): "The host may be taken over: [suspend it](../fleet/fleet-security.md#a-host-was-taken-over).",
    (
        "a connection is said to begin",
        "names connections to other hosts",
        "no host confirms the connections",
    ): ("A host lies, or its addresses are not set ([bastion.md](../fleet/bastion.md))."),
    ("hosts that join with invite",): "Examine the slowed host. Admit only machines that you know.",
    ("was redeemed", "has made a recovery code", "were replaced"): "Ask the person.",
    (
        "lost phone of",
    ): "Wait: the gateway repeats the report, and denies the logins until IAMPASS has the report.",
    (
        "was not written by",
        "the database shows another row",
        "a row has gone",
        "rows of people were deleted",
        "leases in the database",
    ): "An attacker may write to the database: find out who can.",
}
"""What an administrator does about alerts of a gateway with these texts."""

_GATEWAY = """
## On a gateway

`IAMPASS_CALLER`, `IAMPASS_SERVICE`, `IAMPASS_RHOST` and `IAMPASS_COMMAND` are what the host says.

A login has a record on the host and one on the gateway, with the same `IAMPASS_LOGIN`. If the host allowed it by
itself, the gateway's record has `IAMPASS_REPORTED` in place of `IAMPASS_OUTCOME`.

## Examples

Without the fields that repeat others: `MESSAGE`, `MESSAGE_ID` and those of syslog.

"""

#: Each field with its type and what it is.
FIELDS = {
    "MESSAGE_ID": ("id, 32 hexadecimal digits", "the kind of record, see below"),
    "PRIORITY": (
        "number from 0 to 7",
        "1 an alert, 2 look at it now, 3 an error of this machine, 4 denied or unusual, 5 and 6 as usual",
    ),
    "MESSAGE": ("text", "the other fields as words, or a sentence"),
    "IAMPASS_OUTCOME": ("a name, see [Kinds](#kinds)", "how a login ended"),
    "IAMPASS_REPORTED": (
        "as `IAMPASS_OUTCOME`, without `approved`",
        "on a gateway, how a login ended that the host allowed by itself. Only the host says so",
    ),
    "IAMPASS_RESULT": (
        "`success`, `ignored`, `denied`; of acts `success`, `failed`",
        "`ignored`: the login passed without the phone. It is what PAM was told",
    ),
    "IAMPASS_EVENT": (
        "a name, see [Kinds](#kinds)",
        "what happened, if the record is not about a decision. In acts, the verb",
    ),
    "IAMPASS_HOST": (
        "text",
        "on a gateway, the host that asked, or that the act concerns. `(gateway)`: the gateway itself asked. "
        "`(helpdesk)`: it asked for a help desk. On a host, see `_HOSTNAME`",
    ),
    "IAMPASS_USER": (
        "name of an account; on a gateway of a person",
        "who logs in: in su the target; in sudo the caller or, with `rootpw`, `targetpw` or `runaspw`, the user whose "
        "password is asked for. In acts, the person whom the act concerns",
    ),
    "IAMPASS_APPROVER": (
        "name of a person",
        "the person whose phone was asked, whose recovery code was used, or who was bypassed. With `approver: key`, "
        "this person may have no account. Empty if nobody had to approve, or if the login ended before that was known",
    ),
    "IAMPASS_PERSON": (
        "name of a person",
        "who logs in, if neither the user nor the approver. With a second person: the person of the key in a shared "
        "account. With `acts_for`: the account that acts for the approver, if it has become another user",
    ),
    "IAMPASS_CALLER": (
        "name of an account, or number of one without a name",
        "who started the application (real user id). Empty if unknown, as in sshd. In acts the administrator: at the "
        "portal the person who signed in, in a command by the kernel's login uid, else the caller of sudo",
    ),
    "IAMPASS_SERVICE": (
        "name",
        "the PAM service; of a bypass also `all`",
    ),
    "IAMPASS_RHOST": (
        "address or name",
        "the remote host, as the application names it. In acts, the host from which the administrator logged in",
    ),
    "IAMPASS_TTY": ("path", "the administrator's terminal"),
    "IAMPASS_SESSION": (
        "id, 32 hexadecimal digits",
        "the kept session that the login began, or that covered it. It is no secret",
    ),
    "IAMPASS_LOGIN": (
        "id, 32 hexadecimal digits",
        "the login: the same in all its records on the host and on a gateway. It is no secret",
    ),
    "IAMPASS_COVERED_BY": (
        "name of a host",
        "the other host of the gateway whose login covers this one, so that no phone was asked",
    ),
    "IAMPASS_COMMAND": (
        "text",
        "the command line of sudo, su or doas, quoted as for a shell, and the folder. If it is long, its beginning and "
        "end. Missing with `show_command: false`",
    ),
    "IAMPASS_ELAPSED_MS": (
        "number",
        "milliseconds from the request until the decision. 0, or missing on a gateway, if no request was sent",
    ),
    "IAMPASS_REASON": ("text", "the reason, for an administrator. In acts, what was done, or why it failed"),
}


class _Records:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.fields: list[dict[str, str]] = []

    def write(self, fields: dict[str, str], patience: float = 0.0) -> None:
        self.fields.append(fields)


@dataclass(frozen=True)
class Example:
    """A record, and to which kind of records it belongs."""

    kind: str
    fields: dict[str, str]


def examples() -> list[Example]:
    """At least one of each MESSAGE_ID, as the program writes it."""
    records = _Records()
    journal = Journal(records)
    kinds: list[str] = []

    def made(kind: str) -> None:
        kinds.extend([kind] * (len(records.fields) - len(kinds)))

    for login, decision in _logins():
        journal.record(login, decision)
    made("logins")
    for event, reason in _SESSION_REASONS.items():
        warning = event is SessionEvent.SILENT
        journal.session(
            SessionRecord(event, _SESSION, "alice", "alice", "sshd", "192.0.2.7", reason, warning)
        )
    journal.session(
        SessionRecord(
            *(SessionEvent.ENDED, _SESSION, "deploy", "carol", "login", ""),
            reason="ended by an administrator",
            person="alice",
        )
    )
    made("sessions")
    by = Administrator("root", "carol", "/dev/pts/1", "203.0.113.7")
    journal.act(ActRecord(Act.THROTTLE_CLEAR, "alice", by))
    journal.act(ActRecord(Act.SETUP, "", Administrator("root"), "sshd: no line before ours", failed=True))
    journal.act(ActRecord(Act.BYPASS, "alice", by, "until 2026-11-28 14:00:00; ticket 4711", service="all"))
    journal.act(
        ActRecord(Act.BYPASS_OVER, "alice", Administrator("carol"), "its time is over", service="all")
    )
    made("acts")
    for file_event, reason in _PAM_REASONS.items():
        journal.pam_file(PamFileRecord(file_event, "sshd", reason))
    made("PAM files")
    journal.left_open(
        Login("alice", "sshd", participants=_APPROVER, id=_LOGIN), "end: iam-api.com did not respond in time"
    )
    made("sessions left open")
    for message_id, priority, values, reason in _OF_A_GATEWAY:
        journal.write(message_id, priority, values, reason)
    made("a gateway")
    return [Example(kind, fields) for kind, fields in zip(kinds, records.fields)]


def _logins() -> list[tuple[Login, Decision]]:
    """A login for each outcome, and some that have more fields."""
    ssh = Login("alice", "sshd", "192.0.2.7", participants=_APPROVER, id=_LOGIN)
    nobody = Login("backup", "sshd", "192.0.2.9", id=_LOGIN)
    by_alice = Participants(caller="alice", approver="alice", command="sudo apt upgrade (in /home/alice)")
    sudo = Login("alice", "sudo", participants=by_alice, id=_LOGIN)
    approved_by_carol = Participants(approver="carol", person="alice")
    second = Login("deploy", "sshd", "192.0.2.7", participants=approved_by_carol, id=_LOGIN)
    denied, ignored, success = Result.DENIED, Result.IGNORED, Result.SUCCESS
    return [
        (ssh, Decision(Outcome.APPROVED, success, elapsed=4.213, session=_SESSION)),
        (second, Decision(Outcome.APPROVED, success, "asked: carol approved", elapsed=9.5)),
        (ssh, Decision(Outcome.RECOVERED, success, "9 codes are left")),
        (nobody, Decision(Outcome.EXEMPT, ignored, "exempt: user backup")),
        (sudo, Decision(Outcome.COVERED, ignored, f"covered by {_SESSION}", session=_SESSION)),
        (
            Login("alice", "sshd", "192.0.2.4", participants=_APPROVER, id=_LOGIN),
            replace(covered_elsewhere("bastion", "alice", _SESSION, ""), elapsed=0.412),
        ),
        (ssh, Decision(Outcome.BYPASSED, ignored, "until 2026-11-28 14:00:00, by carol: ticket 4711")),
        (ssh, Decision(Outcome.DENIED, denied, "USER_DECLINED", elapsed=3.25)),
        (ssh, Decision(Outcome.TIMED_OUT, denied, "nobody has answered", elapsed=60.0)),
        (ssh, Decision(Outcome.NO_DEVICE, denied, "NO_MOBILE_DEVICE", elapsed=0.12)),
        (
            Login("dave", "sshd", "192.0.2.7", id=_LOGIN),
            Decision(Outcome.UNLISTED, denied, "dave has no token"),
        ),
        (sudo, Decision(Outcome.UNAVAILABLE, denied, "start: connecting to iam-api.com failed", elapsed=3.0)),
        (ssh, Decision(Outcome.MISCONFIGURED, denied, "/etc/iampass/iampass.yaml:7: timeout: too long")),
        (ssh, Decision(Outcome.THROTTLED, denied, "backoff: 40 s are left")),
        (ssh, Decision(Outcome.CANCELLED, denied, "the client has hung up", elapsed=2.0)),
    ]


_SESSION_REASONS = {
    SessionEvent.OPENED: "",
    SessionEvent.ENDED: "the login is over",
    SessionEvent.AWAY: "walkaway",
    SessionEvent.BACK: "active",
    SessionEvent.SILENT: "poll: iam-api.com responded with 503",
}
_PAM_REASONS = {
    PamFileEvent.RENEWED: "/etc/pam.d/sshd",
    PamFileEvent.OUT_OF_FORCE: "/etc/pam.d/sshd: account required pam_iampass.so",
    PamFileEvent.OFF: "/etc/pam.d/sshd: given up, after 3 attempts within an hour",
}
_ASKED = {"host": "web1", "user": "alice", "approver": "alice", "service": "sshd", "rhost": "192.0.2.7"}
_ENDED = {**_ASKED, "event": SessionEvent.ENDED.value, "session": _SESSION}
_REPORT = {"host": "web1", "user": "backup", "reported": "exempt", "service": "sshd", "login": _LOGIN}
_ACT = {"event": "user_add", "user": "alice", "approver": "alice", "caller": "carol", "rhost": "203.0.113.7"}
_OF_A_GATEWAY = (
    (
        MESSAGE_IDS[Outcome.APPROVED],
        INFO,
        {**_ASKED, "outcome": "approved", "elapsed_ms": "4213", "session": _SESSION, "login": _LOGIN},
        "",
    ),
    (SESSION_IDS[SessionEvent.ENDED], INFO, _ENDED, "the host has ended it"),
    (ADMINISTRATION, NOTICE, _ACT, "groups: web"),
    (GATEWAY_ALERT, ALERT, {"host": "web1"}, "another machine uses the credential of this host"),
    (HOST_REPORT, NOTICE, _REPORT, "exempt: user backup"),
    (
        BACKUP_FAILED,
        ERROR,
        {"event": "backup_failed"},
        "the disk of /var/backups/iampass-gateway has too little room: 300 MiB must be free",
    ),
)


def page() -> str:
    """The page in docs/."""
    found = examples()
    rows = [f"| `{name}` | {type_} | {what} |" for name, (type_, what) in FIELDS.items()]
    kinds = [
        _kind(subject, [each.fields for each in found if each.fields["MESSAGE_ID"] == message_id])
        for message_id, subject in _subjects().items()
    ]
    first = {example.kind: example for example in reversed(found)}
    shown = [f"Of {kind}:\n\n{_shown(first[kind])}" for kind in dict.fromkeys(each.kind for each in found)]
    alerts = "\n".join(
        f"| {', '.join(f'`{text}`' for text in texts)} | {do} |" for texts, do in ALERTS.items()
    )
    queries = _QUERIES.replace("{administration}", ADMINISTRATION).replace("{alert}", GATEWAY_ALERT)
    queries = queries.replace("{alerts}", alerts)
    return _HEAD + "\n".join(rows) + "\n\n" + queries + "\n".join(kinds) + "\n" + _GATEWAY + "\n".join(shown)


def _kind(subject: str, found: list[dict[str, str]]) -> str:
    """The row of a kind of record."""

    def values(*names: str) -> list[str]:
        return list(dict.fromkeys(each[name] for each in found for name in names if each.get(name)))

    names = [f"`{value}`" for value in values("IAMPASS_OUTCOME", "IAMPASS_EVENT", "IAMPASS_REPORTED")]
    priorities = sorted(values("PRIORITY"))
    cells = [subject, f"`{found[0]['MESSAGE_ID']}`", ", ".join(priorities), ", ".join(names)]
    return f"| {' | '.join(cells)} |"


def _subjects() -> dict[str, str]:
    """The subject of each MESSAGE_ID in the journal's catalogue."""
    catalogue = _CATALOGUE.read_text(encoding="utf-8")
    return dict(re.findall(r"^-- ([0-9a-f]{32})\nSubject: (.+)$", catalogue, re.MULTILINE))


def _shown(example: Example) -> str:
    """An example as JSON, without what all records have alike and what only repeats the rest."""
    fields = [
        f"{json.dumps(name)}: {json.dumps(value)}"
        for name, value in example.fields.items()
        if name not in ("MESSAGE", "MESSAGE_ID") and not name.startswith("SYSLOG_")
    ]
    lines = [""]
    for field in fields:
        if len(lines[-1]) + len(field) > 110:
            lines.append("")
        lines[-1] += f"{field}, "
    text = "\n     ".join(line.rstrip() for line in lines).rstrip(",")
    return f"    {{{text}}}\n"


def man_page_terms() -> str:
    """The fields of a login's record, for pam_iampass(8)."""
    of_logins = [
        name
        for name in FIELDS
        if any(name in example.fields for example in examples() if example.kind == "logins")
    ]
    return "\n\n".join(
        f"`{name}`\n:   {FIELDS[name][1][0].upper()}{FIELDS[name][1][1:]}."
        for name in of_logins
        if name.startswith("IAMPASS_")
    )
