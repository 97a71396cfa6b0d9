"""Changes that break what this project guarantees, and the test that detects each change.

Each guarantee of SECURITY.md has a group of its number and name; the other groups are about fleets, and about `setup`
and `check`. A mutant stands for a central rule: one whose failure would admit somebody, ask the wrong phone, lock
people out or hide an act. The tests of a rule's details need none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCES = (
    "pam_iampass/**/*.py",
    "doors/native/*.c",
    "doors/pam_python/*.py",
    "packaging/debian/*.prerm",
    "packaging/*.sh",
    "packaging/ansible/roles/*/*/*.yml",
)
TESTS = ("tests/**/test_*.py",)
_TEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One change that breaks a rule. It names no file, so code can be moved and files renamed."""

    what: str
    """The effect of the change."""
    text: str
    """Occurs once in all sources; `replacement` takes its place. The shortest text that says the rule."""
    replacement: str
    test: str
    """The test that must fail, or one of its parametrised forms. No other test has its name."""
    also: tuple[tuple[str, str], ...] = ()
    """Further texts of the same file, and what takes their places, if the rule is held in several places."""

    def file(self, root: Path) -> str:
        """The source that is changed, below `root`. Raises ValueError unless each text occurs exactly once, there."""
        files: set[str] = set()
        for text, _ in self.changes:
            found = [file for file, source in _sources(root).items() for _ in range(source.count(text))]
            files.update(found)
            if len(found) != 1 or len(files) != 1:
                raise ValueError(f"{self.what}: this must occur once, and does in {found}: {text}")
        return files.pop()

    def node(self, root: Path) -> str:
        """The test, as pytest names it. Raises ValueError unless there is exactly one."""
        found = _tests(root).get(self.test.partition("[")[0], [])
        if len(found) != 1:
            raise ValueError(f"{self.what}: one test must have this name, and {found} have it: {self.test}")
        return f"{found[0]}::{self.test}"

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """Each text with what takes its place."""
        return ((self.text, self.replacement), *self.also)

    def applied(self, source: str) -> str:
        """The text of the source with the changes."""
        for text, replacement in self.changes:
            source = source.replace(text, replacement)
        return source


def _texts(root: Path, patterns: Iterable[str]) -> dict[str, str]:
    files = sorted(file for pattern in patterns for file in root.glob(pattern))
    return {str(file.relative_to(root)): file.read_text(encoding="utf-8") for file in files}


@functools.cache
def _sources(root: Path) -> dict[str, str]:
    return _texts(root, SOURCES)


@functools.cache
def _tests(root: Path) -> dict[str, list[str]]:
    """The files in which each test is defined."""
    found: dict[str, list[str]] = {}
    for file, source in _texts(root, TESTS).items():
        for name in _TEST.findall(source):
            found.setdefault(name, []).append(file)
    return found


#: The mutants of each group.
MUTANTS = {
    "Guarantee 1: What approves": (
        Mutant(
            "any status that is not a failure counts as an approval",
            "if session.active:\n        return Decision(",
            "if not session.failed:\n        return Decision(",
            "test_any_status_but_active_is_no_approval",
        ),
        Mutant(
            "a session that is active before anyone was asked counts as an approval",
            "if session.active:\n            unasked",
            "if False:\n            unasked",
            "test_a_session_that_is_active_before_anyone_was_asked_is_no_approval_and_is_ended",
        ),
        Mutant(
            "an ignored login returns PAM_SUCCESS",
            "if self.result is Result.SUCCESS:",
            "if self.result in (Result.SUCCESS, Result.IGNORED):",
            "test_unlisted_users_go_as_the_policy_says_and_never_by_success",
        ),
        Mutant(
            "the native door returns PAM_SUCCESS for any result",
            "*result = (int)code;",
            "*result = PAM_SUCCESS;",
            "test_a_known_result_is_passed_on",
        ),
        Mutant(
            "a recovery code can be used again",
            "same and stored.used_at is None",
            "same",
            "test_each_of_ten_codes_is_good_once",
        ),
        Mutant(
            "a login whose approval arrives while the phone is reported lost is approved",
            "if phone_is_lost():  # again",
            "if False:  # again",
            "test_a_phone_that_is_reported_lost_while_its_approval_arrives_approves_and_keeps_nothing",
        ),
    ),
    "Guarantee 2: Outages": (
        Mutant(
            "a user who takes all TCP ports makes an outage",
            "errno.ETIMEDOUT, socket.EAI_AGAIN}",
            "errno.ETIMEDOUT, socket.EAI_AGAIN, errno.EADDRNOTAVAIL}",
            "test_a_user_who_takes_all_tcp_ports_makes_no_outage",
        ),
        Mutant(
            "an outage is tolerated for callers with a user id of their own",
            " and login.real_uid == 0",
            "",
            "test_an_outage_is_ignored_in_sshd_and_login_only_and_only_if_root_called",
        ),
        Mutant(
            "a lost response counts as if no request had been sent",
            "exchange.sent = True",
            "exchange.sent = False",
            "test_each_fault_is_its_error_in_time_after_one_try[reset after the request-start]",
        ),
        Mutant(
            "a gateway's statement about an earlier request is believed",
            'named.text("nonce")) == (request_id, str(nonce))',
            'named.text("nonce"))[0] == request_id',
            "test_an_old_statement_told_again_is_not_believed",
        ),
        Mutant(
            "nothing was sent, whatever IAMPASS did",
            "isinstance(failure, Unavailable) and failure.outage",
            "True",
            "test_it_is_not_made_where_iampass_accepts_and_hangs_up",
        ),
    ),
    "Guarantee 3: The process that decides": (
        Mutant(
            "TLS honors SSLKEYLOGFILE",
            "context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)",
            "context = ssl.create_default_context()",
            "test_a_hostile_environment_changes_nothing",
        ),
        Mutant(
            "a session is polled where its URL says",
            'url = f"{transport.origin.url}{split_for_wire(call.url)[1]}"',
            "url = call.url",
            "test_of_the_urls_of_a_session_only_path_and_query_are_used",
        ),
        Mutant(
            "gateways are trusted by the certificates of the system",
            "values.update(found, gateway_ca=ca_file)",
            "values.update(found, gateway_ca=None)",
            "test_on_a_joined_host_everybody_is_asked_by_name",
        ),
        Mutant(
            "the door does not check the owner of the agent's process",
            "peer.uid == 0",
            "true",
            "test_denied_where_another_user_listens",
        ),
        Mutant(
            "a set-uid program is answered on the control socket",
            "line.split()[1:4]",
            "line.split()[2:3] * 3",
            "test_a_set_uid_program_that_is_led_to_the_socket_gets_nothing",
        ),
    ),
    "Guarantee 4: Requests": (
        Mutant(
            "a start without an id is repeated at the next gateway",
            "return failed and (repeatable or not error.may_have_started)",
            "return failed",
            "test_a_start_without_an_id_is_not_repeated_once_it_may_have_left",
        ),
        Mutant(
            "a start whose response was lost is repeated",
            "idempotent=request_id is not None)",
            "idempotent=True)",
            "test_a_start_that_may_have_reached_the_service_is_never_repeated",
        ),
        Mutant(
            "two logins of one person have a request at the same time",
            "if self.turn_holder() is not None or now < self._earliest(login):",
            "if now < self._earliest(login):",
            "test_a_second_login_has_its_turn_when_the_first_has_ended",
        ),
        Mutant(
            "after a refusal the next second person is asked",
            "if decision.outcome not in decisions.ASK_THE_NEXT:",
            "if decision.outcome is Outcome.APPROVED:",
            "test_a_refusal_ends_the_login",
        ),
        Mutant(
            "an attacker's starts that reach no phone keep a person out from every address",
            "if request.origin == login.place]",
            "]",
            "test_starts_for_which_no_phone_rings_keep_nobody_out_elsewhere_and_can_be_cleared",
        ),
        Mutant(
            "an sshd that shows no text in time asks for no Enter",
            "SHOWS_TEXT = (10, 3)",
            "SHOWS_TEXT = (9, 8)",
            "test_the_version_in_the_program_says_whether_it_shows_a_text_at_once",
        ),
    ),
    "Guarantee 5: Time": (
        Mutant(
            "a TLS handshake goes on as long as bytes come",
            "if self._until.expired:\n            raise socket.timeout\n"
            "        self._sock.settimeout(self._until.remaining() or 1e-6)",
            "self._sock.settimeout(60.0)",
            "test_messages_without_end_hold_no_handshake_beyond_the_deadline",
        ),
        Mutant(
            "the native door waits two seconds past its deadline",
            "login->stream.deadline = deadline_in(login->frame.number + GRACE_MS);",
            "login->stream.deadline = deadline_in(login->frame.number + GRACE_MS + 2000);",
            "test_the_deadline_holds_for_the_whole_wait",
        ),
        Mutant(
            "a login waits for its report",
            "pamh.after_reply.callback(self._report, arguments.config, login, decision)",
            "self._report(arguments.config, login, decision)",
            "test_a_login_that_needs_no_phone_is_answered_before_it_is_reported",
        ),
    ),
    "Guarantee 6: Ends": (
        Mutant(
            "a client over AF_UNIX that hangs up is not noticed",
            '#define SOCKET "socket:["',
            '#define SOCKET "no socket"',
            "test_over_a_unix_socket_too",
        ),
        Mutant(
            "sessions are never ended",
            "self.cleanup.callback(self._end, started.session, self._keeping)",
            "pass",
            "test_denied_on_the_phone_ends_the_login_at_once",
        ),
        Mutant(
            "the module does not detect that the application died",
            "if self._connection.fileno() in ready:",
            "if False:",
            "test_when_the_application_dies_the_session_is_ended_within_a_second",
        ),
        Mutant(
            "a kept session outlasts its login",
            "return _ended(kept, EndCause.KILLED if kept.killed else EndCause.LOGIN)",
            "return Step(kept)",
            "test_a_session_lasts_as_long_as_the_login_and_leaves_two_records",
        ),
    ),
    "Guarantee 7: Records": (
        Mutant(
            "an error inside the module writes no audit record",
            "except BaseException as error:  # noqa: BLE001 - an entry point: SystemExit",
            "except ZeroDivisionError as error:  # noqa: BLE001 - an entry point: SystemExit",
            "test_whatever_is_raised_inside_denies_and_leaves_a_record",
        ),
        Mutant(
            "the native door writes no audit record if it gets no result",
            "if (!call->no_agent && failure.error != ECANCELED)",
            "if (false)",
            "test_leaves_one_audit_record",
        ),
        Mutant(
            "what an administrator does leaves no record",
            "self._journal.act(ActRecord(",
            "str((",
            "test_a_session_is_over_with_its_login_when_the_command_says_so",
        ),
        Mutant(
            "a name of the program that the caller has chosen pushes the arguments out of sight",
            "bool behind_first = false;",
            "bool behind_first = true;",
            "test_the_record_and_the_log_say_what_runs_whatever_the_arguments_are",
        ),
        Mutant(
            "secrets in arguments are in records although the settings leave commands out",
            "if configuration.settings.show_command:",
            "if True:",
            "test_the_record_has_the_command_unless_the_settings_leave_it_out[false]",
        ),
    ),
    "Guarantee 8: Foreign text": (
        Mutant(
            "a key id closes its quotes, and goes on as our own text",
            """.replace('"', '\\\\"'), limit)""",
            ", limit)",
            "test_a_key_id_cannot_close_its_quotes",
        ),
        Mutant(
            "unprintable characters are not escaped",
            "character if character.isprintable() else _escape(character)",
            "character",
            "test_controls_and_direction_marks_become_visible_escapes",
        ),
        Mutant(
            "the native door logs names without escaping",
            "if (byte > ' ' && byte < 0x7f && byte != '\\\\')",
            "if (byte != 0)",
            "test_no_name_can_forge_a_record",
        ),
    ),
    "Guarantee 9: Files": (
        Mutant(
            "a file that other users can write is read",
            "if status.st_mode & 0o022:",
            "if False:",
            "test_a_file_that_others_can_write_is_refused",
        ),
        Mutant(
            "a secret is used although an access control list lets a user read it",
            "if secret and has_access_list(file):",
            "if False:",
            "test_a_secret_with_an_access_control_list_is_refused_although_its_mode_is_right",
        ),
        Mutant(
            "a user table that is missing is an empty one, also where IAMPASS is asked",
            "if self._optional and trusted_file.is_missing(self._users):",
            "if trusted_file.is_missing(self._users):",
            "test_a_missing_table_denies_all_who_have_no_file_of_their_own",
        ),
    ),
    "Guarantee 10: The first factor": (
        Mutant(
            "first_factor is not checked",
            "not login.accepted(arguments.first_factor)",
            "False",
            "test_without_the_key_that_is_demanded_nobody_passes_exempt_or_not",
        ),
        Mutant(
            "text chosen by the client counts as a key",
            'line.split(" ", 1)[0] == method',
            'method in line.split(" ")',
            "test_an_accepted_key_is_the_first_word_of_a_line",
        ),
        Mutant(
            "where no agent runs, rescue= lets in on an auth line without a key",
            "arguments.first_factor && key_accepted(call->pamh);",
            "arguments.first_factor && (key_accepted(call->pamh) || true);",
            "test_on_an_auth_line_only_behind_a_key_that_sshd_has_accepted",
        ),
        Mutant(
            "rescue= lets in when an agent has denied",
            "result = call->no_agent ? without_agent(call, denial, &failure) : denial;",
            "result = without_agent(call, denial, &failure);",
            "test_an_agent_that_dies_in_the_login_lets_nobody_in",
        ),
        Mutant(
            "our line comes before the password",
            "self._after[top].append(self._ours(",
            "self._before[top].append(self._ours(",
            "test_a_wrong_password_rings_no_phone[debian-sudo-]",
        ),
        Mutant(
            "an expired password skips the phone in the account phase of sshd",
            "self._before[top] += guards",
            "self._after[top] += guards",
            "test_an_expired_password_still_leads_to_the_phone[debian-quiet]",
        ),
    ),
    "Guarantee 11: The user": (
        Mutant(
            "the user name is used as typed",
            "entry = pwd.getpwnam(name)",
            "entry = pwd.struct_passwd((name, *pwd.getpwnam(name)[1:]))",
            "test_a_name_is_what_the_name_service_says_whatever_was_typed",
        ),
        Mutant(
            "a request is sent for a name that NSS does not know",
            "return decisions.no_account()",
            "account = type('Account', (), {'name': login.user, 'uid': 65534, 'gid': 65534})",
            "test_no_account_of_this_machine_is_denied_before_any_prompt",
        ),
    ),
    "Guarantee 12: Bypasses": (
        Mutant(
            "a bypass lets in a new account of the same name",
            "(self.user, self.uid) == (person.name, uid)",
            "self.user == person.name",
            "test_it_is_for_one_account_and_for_one_service_if_it_names_one",
        ),
        Mutant(
            "a bypass is prolonged by setting the clock",
            "elapsed = now.since_boot - self.made.since_boot",
            "elapsed = now.wall - self.made.wall",
            "test_within_a_boot_it_lasts_its_time_however_the_clock_is_set",
        ),
        Mutant(
            "a bypass goes on after a reboot",
            "elif self.survives_reboot and now.wall",
            "elif now.wall",
            "test_it_survives_no_reboot",
        ),
    ),
    "Guarantee 13: Ending logins": (
        Mutant(
            "a registration by the agent's user counts",
            'trusted_file.read(f"{self.folder}/{name}", limit=_LIMIT)',
            'open(f"{self.folder}/{name}", "rb").read()',
            "test_a_registration_that_root_has_not_written_touches_nobody",
        ),
        Mutant(
            "a process with the id of one that has ended is taken for it",
            "process is not None and process.started == login.started",
            "process is not None",
            "test_a_process_id_that_was_used_again_is_another_process",
        ),
        Mutant(
            "a limit of the caller of su leaves a login that nothing can end",
            "if (!session_keep(call)) {",
            "if (!session_keep(call) && false) {",
            "test_a_login_whose_session_could_not_be_registered_is_denied",
        ),
        Mutant(
            "what heeds no signal outlives its login",
            "not self._members.kill(KILL_SECONDS):",
            "not self.login.has_ended(KILL_SECONDS):",
            "test_what_a_login_has_started_is_ended_with_it_though_it_heeds_no_signal",
        ),
        Mutant(
            "what another su or sudo of the login has started is ended",
            "(ids[1] == 0 and process.started > self.started)",
            "False",
            "test_what_su_has_not_started_goes_on",
        ),
    ),
    "Guarantee 14: The session phases": (
        Mutant(
            "the native door lets a login in by its session phase",
            'OPEN_SESSION, flags, argc, argv, false, ""});',
            'OPEN_SESSION, flags, argc, argv, false, ""});\n    return PAM_SUCCESS;',
            "test_a_phase_alone_is_ignored",
        ),
        Mutant(
            "an error while a session opens is raised",
            "except BaseException as error:  # noqa: BLE001 - an entry point\n",
            "except ZeroDivisionError as error:\n",
            "test_an_error_of_the_one_who_keeps_sessions_fails_no_login",
        ),
    ),
    "Guarantee 15: A kept session only takes away": (
        Mutant(
            "a status that is reported once ends a login",
            "entry.suspect is None or entry.suspect.away is not status.away",
            "False",
            "test_a_status_that_is_reported_once_ends_nothing",
        ),
        Mutant(
            "an error of IAMPASS ends a login",
            "self._failed(entry, error)\n            return",
            "status = Status.closed",
            "test_an_outage_ends_nothing",
        ),
        Mutant(
            "who is removed stays logged in",
            "_pending, sessions, problem = self._cut_off(name, facts)",
            "sessions, problem = list[str](), ''",
            "test_a_user_who_is_removed_is_logged_out",
        ),
    ),
    "Guarantee 16: What a kept session covers": (
        Mutant(
            "another login session of the user is covered",
            "any((login.audit_session, login.uid) == place for login in kept.attached)",
            "any(login.uid == place[1] for login in kept.attached)",
            "test_anything_else_is_not_covered",
        ),
        Mutant(
            "an audit session counts whoever it was begun for",
            'strcmp(read_proc("/proc/self/loginuid", found, sizeof found), uid) == 0',
            'uid[0] != read_proc("/proc/self/loginuid", found, sizeof found)[0] + 10',
            "test_an_audit_session_is_sent_only_of_who_is_logged_in_there",
        ),
        Mutant(
            "what is not known of the first factor of a further connection is the same",
            "return None if self.phase is Phase.ACCOUNT else self.ssh_auth_info",
            "return self.ssh_auth_info",
            "test_a_connection_by_another_first_factor_asks_the_phone",
        ),
        Mutant(
            "a session covers without IAMPASS being asked",
            "self._ask_status(entry.kept, self.connect, deadline) is Status.active",
            "True",
            "test_without_an_active_session_at_this_moment_the_phone_is_asked",
        ),
    ),
    "Guarantee 17: Codes before the key": (
        Mutant(
            "the line that only takes a code lets in whoever types something",
            "                self._typed[connection] = _Typed(text, pidfd)\n        return PamCode.MAXTRIES",
            "                self._typed[connection] = _Typed(text, pidfd)\n        return PamCode.SUCCESS",
            "test_a_code_is_redeemed_in_the_account_phase_and_not_before",
        ),
        Mutant(
            "what was typed counts in the other connections of the same client",
            "return _Connection(pid, application.ssh_connection, application.user), pidfd",
            'return _Connection(pid, "", application.user), pidfd',
            "test_another_connection_has_no_code_and_what_was_typed_counts_once",
        ),
        Mutant(
            "what was typed for one user counts for another",
            "return _Connection(pid, application.ssh_connection, application.user), pidfd",
            'return _Connection(pid, application.ssh_connection, ""), pidfd',
            "test_a_login_as_another_user_has_no_code",
        ),
        Mutant(
            "a text that is no code rings the phone",
            "        if before is not None and isinstance(required, ApprovalRequired):",
            "        if read(before) is not None and isinstance(required, ApprovalRequired):",
            "test_what_is_no_code_denies_and_no_phone_rings[a]",
        ),
        Mutant(
            "in the native door the line that only takes a code has decided for the account phase",
            'bool only_code = has_argument(&call, "codes");',
            'bool only_code = has_argument(&call, "codes") && false;',
            "test_where_a_block_of_the_administrator_accepts_passwords_the_phone_is_asked_after_them",
        ),
        Mutant(
            "in the pam_python door it has",
            'if "codes" in argv:',
            "if False:",
            "test_the_pam_python_door_does_the_same",
        ),
    ),
    "Guarantee 18: Each command of sudo": (
        Mutant(
            "a command without a password is not asked about",
            """!has_argument(&call, "always") || getuid() == 0""",
            """true || getuid() == 0""",
            "test_with_always_the_module_decides_about_a_command_of_sudo_once",
        ),
        Mutant(
            "without an agent the commands of root fail",
            """ || getuid() == 0))
        goto out;""",
            """))
        goto out;""",
            "test_with_always_root_is_not_asked_and_needs_no_agent",
        ),
        Mutant(
            "what only begins as a spared command runs without the phone",
            "found.length == spared[i].length && memcmp(found.head, spared[i].bytes, found.length) == 0",
            "found.length >= spared[i].length && memcmp(found.head, spared[i].bytes, spared[i].length) == 0",
            "test_to_list_and_to_validate_rings_no_phone_and_with_anything_else_it_rings",
        ),
        Mutant(
            "a module that reports an expired password comes before the phone",
            "_may_end(one) or role(one) is Role.OTHER_FACTOR",
            "_may_end(one)",
            "test_a_sudo_that_asks_for_every_command_asks_before_a_password_has_expired",
        ),
        Mutant(
            "sudo writes what we say to the output of its command",
            '_RUNS_A_COMMAND = ("sudo", "su", "doas")',
            '_RUNS_A_COMMAND = ("su", "doas")',
            "test_nothing_of_ours_gets_into_the_output_of_a_command_of_sudo",
        ),
    ),
    "Guarantee 19: Accounts that act for a person": (
        Mutant(
            "it is let in by an exemption",
            "reason = exempted_by_name(account, service, accounts)\n    if reason is not None:",
            "reason = exempted_by_name(account, service, accounts)\n    if False:",
            "test_an_account_that_acts_for_a_person_and_is_exempt_is_denied",
        ),
        Mutant(
            "a bypass of its owner lets it in",
            "found = policy.Person(agent.account.name, agent.account)",
            "found = policy.Person(agent.owner, policy.own_account(agent.owner, context.accounts))",
            "test_a_bypass_of_the_owner_does_not_count_for_it_and_one_of_the_account_does",
        ),
        Mutant(
            "a recovery code lets it in",
            "    if required.asks_owner:\n        return _ask_owner",
            "    if required.asks_owner and read(typed) is None:\n        return _ask_owner",
            "test_no_recovery_code_counts_for_it",
            also=(
                (
                    "    if required.asker:\n        return _ask_second",
                    "    if required.others:\n        return _ask_second",
                ),
            ),
        ),
        Mutant(
            "once it has become its owner it counts as its owner",
            "if own is not None or login.login_uid == asked.uid:",
            "if True:",
            "test_an_agent_that_has_become_its_owner_is_still_the_agent",
        ),
        Mutant(
            "the native door does not say whose login session it is called in",
            'add_item(frame, "login_uid", login_uid(',
            'add_item(frame, "unknown", login_uid(',
            "test_the_agent_is_told_in_whose_login_session_an_application_is_called_but_for_sshd",
        ),
        Mutant(
            "its owner may approve as the second person",
            "frozenset([agent.owner] if agent else ())",
            "frozenset[str]()",
            "test_the_owner_is_not_the_second_person_for_it",
        ),
        Mutant(
            "a session of its owner covers it, and one of it covers its owner",
            "request.of_gateway, request.agent\n",
            "request.of_gateway, kept.agent\n",
            "test_what_was_approved_for_one_of_them_covers_nothing_of_the_other",
        ),
        Mutant(
            "its requests take from the limit of its owner",
            "    if login.is_agents:\n        return replace(state, of_agents={",
            "    if False:\n        return replace(state, of_agents={",
            "test_an_hour_of_calls_rings_the_phone_as_often_as_the_budget_says_and_keeps_its_owner_from_nothing",
        ),
        Mutant(
            "its owner approves it by mistake: an approval that comes once they log in lets it in",
            "self.withdrawn = is_withdrawn()",
            "self.withdrawn = session.in_progress and is_withdrawn()",
            "test_an_approval_that_comes_once_its_owner_logs_in_does_not_let_it_in",
        ),
    ),
    "Nobody approves or is exempt unless the settings say so": (
        Mutant(
            "the caller of su approves for any target",
            " or _is_su_to_another(login, account)",
            "",
            "test_a_user_who_knows_the_password_of_another_user_does_not_become_them_by_a_phone_of_their_own",
        ),
        Mutant(
            "an exempt caller needs no phone to become any user",
            "reason = exemption(asked, login,",
            "reason = exemption(accounts.with_uid(login.real_uid or account.uid), login,",
            "test_an_exempt_caller_becomes_root_without_a_phone_and_no_other_user",
        ),
        Mutant(
            "PAM_RUSER alone says who the caller is",
            "if named.uid != real.uid:",
            "if False:",
            "test_a_caller_who_names_another_user_is_denied_and_nobody_is_asked",
        ),
        Mutant(
            "who logs in approves as their own second person",
            "if not second.allow_self:",
            "if False:",
            "test_who_logs_in_is_not_asked_unless_that_is_allowed",
        ),
        Mutant(
            "an account that several people share is one person's because it has a token",
            "if users.accounts_are_shared and not (entry and entry.keys):",
            "if False:",
            "test_a_shared_account_with_a_token_is_nobodys_own_unless_there_are_keys_of_its_name",
        ),
        Mutant(
            "a second name with the same phone approves",
            "and found[name].token not in own_tokens",
            "",
            "test_who_logs_in_is_not_asked_by_another_name_with_the_same_phone",
        ),
        Mutant(
            "who logs in redeems a recovery code where second people must approve",
            "if required.asker:\n        return",
            "if False:\n        return",
            "test_a_recovery_code_of_nobody_is_taken",
        ),
        Mutant(
            "of two people who have the same key, one approves",
            "if len(people) > 1:",
            "if False:",
            "test_a_key_of_two_people_is_denied_whatever_the_setting_says",
        ),
        Mutant(
            "whoever uses the account approves sudo in everybody's login session",
            " and is_within(kept, audit_session, uid)",
            "",
            "test_no_other_login_session_names_the_person",
        ),
        Mutant(
            "a rule exempts its user wherever the login comes from",
            "if _network_of(login.rhost, (rule.network,)) and is_named_by(",
            "if is_named_by(",
            "test_a_rule_exempts_its_user_or_group_in_its_network_only",
        ),
        Mutant(
            "a member of an asked group passes while the name service that knows the group is out of reach",
            "accounts.check_groups(account)",
            "pass",
            "test_while_groups_cannot_be_looked_up_nobody_passes_as_not_asked",
        ),
    ),
    "Setup, check and the watch leave no way around the phone": (
        Mutant(
            "a line that no longer keeps anybody out is not found",
            "if refusing is None or refusing.top in replaced:",
            "if True or refusing.top in replaced:",
            "test_a_stack_is_found_to_be_what_it_is[an approval jumps over who is kept out]",
        ),
        Mutant(
            "a PAM service that lets in by the password alone is no way in",
            "for login in self._logins(True, PamCode.ABORT)",
            "for login in self._logins(False, PamCode.ABORT)",
            "test_a_service_lets_in_unasked_if_it_passes_although_the_phone_denies",
        ),
        Mutant(
            "the end of a trial of another way switches the phone off",
            "return Trial(secrets.token_hex(8), tuple(services), now, now + seconds, earlier)",
            "return Trial(secrets.token_hex(8), tuple(services), now, now + seconds)",
            "test_another_way_into_sshd_is_tried_and_the_one_before_comes_back",
        ),
        Mutant(
            "the watch does not look at the settings of sshd and sudo",
            "(*switched_off.of_files(name, stacks), *self._program(name, stacks))",
            "(*switched_off.of_files(name, stacks),)",
            "test_what_switches_the_phone_off_for_a_service_is_an_error_everywhere[sshd without PAM]",
        ),
        Mutant(
            "a PAM file that was restored without our lines stays without",
            "return not has_asking_line(text_of(current.content))",
            "return False",
            "test_a_new_version_of_a_file_gets_the_lines_and_keeps_its_own",
        ),
        Mutant(
            "a refused removal of the packages leaves the second factor off",
            'refuse_if "$(foreign)"',
            "",
            "test_a_refused_removal_leaves_the_second_factor_on[_deb]",
        ),
    ),
    "A host believes a gateway about this login only": (
        Mutant(
            "a login that a gateway refuses in words of its own is let in",
            'return denied(outcome, f"{reason}, says the gateway',
            'return Decision(outcome, Result.IGNORED, f"{reason}, says the gateway',
            "test_what_a_gateway_says_denies_with_a_sentence_for_both[unavailable]",
        ),
        Mutant(
            "a gateway that says active, and nothing of another host, lets in",
            "session.active and session.covered_by is not None and connection:",
            "session.active and connection:",
            "test_active_alone_lets_nobody_in",
        ),
        Mutant(
            "a bypass that was answered to another request counts",
            'not _names(members, "bypassed", request_id, response.nonce)',
            '"bypassed" not in members',
            "test_a_bypass_for_another_request_is_not_believed",
        ),
        Mutant(
            "codes of a host count after any failure of a gateway",
            "if isinstance(error, Unavailable) and error.outage and not error.may_have_started:",
            "if error:",
            "test_a_code_that_has_left_is_no_code_of_the_host",
        ),
    ),
    "A gateway asks a phone once, and approves nothing that IAMPASS does not": (
        Mutant(
            "a start that was made is made again",
            'if read["session"]["id"] is not None:',
            "if False:",
            "test_a_repeat_gets_the_session_of_the_first_call",
        ),
        Mutant(
            "a nonce is good more than once",
            '"INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s))"',
            '"INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s)) ON CONFLICT DO NOTHING"',
            "test_a_nonce_is_good_at_one",
        ),
        Mutant(
            "a final status changes",
            "if before.state is not State.OPEN or before.status is status:",
            "if before.status is status:",
            "test_a_final_status_never_changes",
        ),
        Mutant(
            "a session that is active before anyone was asked is one",
            "elif begun is not None and begun.in_progress:",
            "elif begun is not None:",
            "test_a_session_that_is_active_before_anyone_was_asked_is_ended",
        ),
        Mutant(
            "a person of a host's table is asked on the phone of another person",
            "if owner != name:",
            "if False:",
            "test_a_token_that_is_not_that_of_one_person_alone_is_not_taken_over",
        ),
        Mutant(
            "a person who was removed meanwhile gets a session",
            "            or person is None\n            or not person.active\n            or (session.agent and",
            "            or (person and session.agent and",
            "test_a_person_who_is_removed_while_iampass_is_called_gets_no_session",
        ),
    ),
    "The key of a host asks for its own people, on its own machine": (
        Mutant(
            "the body of a start, which has the command, is not covered by the signature",
            'if start.body or "body_sha256" in given:',
            'if "body_sha256" in given:',
            "test_a_command_that_the_signed_query_does_not_cover_is_refused",
        ),
        Mutant(
            "a host is told of the sessions of another one",
            " AND session.host = %s",
            " AND %s <> ''",
            "test_the_sessions_of_another_host_are_not_known",
            also=((", id=id, host=host.id)", ", id=id)"),),
        ),
        Mutant(
            "a suspended host asks",
            "if host.status is not HostStatus.ACTIVE:\n        return Reason",
            "if False:\n        return Reason",
            "test_a_host_that_is_suspended_or_waits_asks_nobody",
        ),
        Mutant(
            "a host asks people of other groups",
            "if not gateway.settings.admits(host.group, person.groups):",
            "if False:",
            "test_only_people_of_its_groups_are_asked_for_a_host",
        ),
        Mutant(
            "a machine that does not say which it is may use the credential of another one",
            "if machine == host.machine:",
            "if machine in (None, host.machine):",
            "test_only_the_first_machine_goes_on",
        ),
        Mutant(
            "a host has several requests on a phone",
            "queued = not after.has_turn(login)",
            "queued = False",
            "test_a_host_has_one_request_on_a_phone_at_a_time",
        ),
        Mutant(
            "one accomplice releases the brake",
            'if counted["cancelled"] < max(_BRAKE_PEOPLE, counted["approved"] + 1):',
            'if counted["cancelled"] < _BRAKE_PEOPLE or counted["approved"]:',
            "test_an_accomplice_who_approves_again_and_again_does_not_release_the_brake",
        ),
        Mutant(
            "a group of hosts that does not say for whom admits everybody",
            "return self.everybody or not self.people.isdisjoint(groups)",
            "return self.everybody or not self.people or not self.people.isdisjoint(groups)",
            "test_a_group_that_does_not_say_for_whom_admits_nobody",
        ),
    ),
    "The database or a backup alone approves nothing": (
        Mutant(
            "the row of a person counts as the database has it",
            "values = gateway.keys.verified(TABLE, row, **asked)\n    plain",
            "values = dict(row)\n    plain",
            "test_who_can_write_to_the_database_only_lets_nobody_in",
        ),
        Mutant(
            "a person whose row was deleted in the database joins anew, without the report of a lost phone",
            'return Names(frozenset(found), digest, _fleet(gateway, row)["people"] != digest)',
            "return Names(frozenset(found), digest, False)",
            "test_whoever_deletes_the_row_of_a_person_in_the_database_has_no_link_sent_to_a_lost_phone",
        ),
        Mutant(
            "a row of a session that no gateway has written counts",
            "return from_verified(gateway, gateway.keys.verified(TABLE, row, **asked))",
            "return from_verified(gateway, row)",
            "test_the_database_approves_nobody",
        ),
        Mutant(
            "the owner of the database shows another row than it was asked for",
            "if any(values[name] != value for name, value in asked.items()):",
            "if any(name not in values for name in asked):",
            "test_the_database_shows_no_other_row_than_it_was_asked_for",
        ),
        Mutant(
            "a bypass counts without its MAC",
            "bypass = _bypass(gateway.keys.verified(TABLE, row))",
            "bypass = _bypass(row)",
            "test_the_database_makes_and_prolongs_none",
        ),
        Mutant(
            "the clock of the database alone says when a bypass is over",
            "if not gateway.is_over(bypass.ends_at):",
            "if bypass:",
            "test_a_database_whose_clock_was_set_back_prolongs_none",
        ),
        Mutant(
            "a row of codes counts without its MAC",
            "values = gateway.keys.verified(TABLE, row, person=person.name)",
            "values = dict(row)",
            "test_the_database_holds_no_code_and_nothing_that_was_changed_counts",
        ),
        Mutant(
            "joining: a host that no gateway has written counts",
            "values = gateway.keys.verified(TABLE, row, **asked)\n    return Host(",
            "values = dict(row)\n    return Host(",
            "test_a_host_that_was_written_in_the_database_itself_does_not_count",
        ),
        Mutant(
            "who can write to the database has a lost phone count again",
            "person is None or not person.active or before.began_before_loss(person.phone_lost_at)",
            "before.began_before_loss(datetime.fromtimestamp(over.state.lost, timezone.utc))",
            "test_what_a_lost_phone_approves_lets_nobody_in_although_rows_were_deleted",
        ),
        Mutant(
            "the owner of the database makes an operator",
            'values = gateway.keys.verified(TABLE, row["passkey"], **asked)',
            'values = row["passkey"]',
            "test_rows_that_no_gateway_has_written_count_for_nobody",
        ),
        Mutant(
            "others see the dumps",
            'if status.st_mode & 0o077:\n            what = f"is a folder of dumps',
            'if False:\n            what = f"is a folder of dumps',
            "test_no_dump_is_made_in_a_folder_that_others_can_enter[449]",
        ),
        Mutant(
            "dumps are beside the key",
            "if real == other or real in other.parents or other in real.parents:",
            "if False:",
            "test_dumps_and_the_key_are_not_near_each_other[{folder}]",
        ),
        Mutant(
            "who can write to the database gives a session for ever to a gateway that there is not",
            '"until > now() AND until <= clock_timestamp() + make_interval(secs => %s)"',
            '"until > now() AND %s::float8 > 0"',
            "test_no_session_is_given_away_for_ever",
            also=(('" OR until > clock_timestamp() + make_interval(secs => %s)"', '" OR %s::float8 < 0"'),),
        ),
    ),
    "An old copy of the database serves nobody": (
        Mutant(
            "an old copy of the database has phones ring until the gateway looks at it",
            'if row.pop("older"):',
            'if row.pop("older") is None:',
            "test_a_database_that_was_exchanged_for_an_old_copy_is_noticed_by_the_next_call",
        ),
        Mutant(
            "of two gateways, one goes on with what the other one has found to be an old copy",
            "OR (SELECT old_copy FROM fleet) IS TRUE",
            "",
            "test_what_one_finds_to_be_an_old_copy_is_one_for_all_until_it_is_confirmed",
        ),
        Mutant(
            "codes of an old copy are good once it is confirmed",
            'for name in await _taken(connection, "recovery")',
            "for name in ()",
            "test_an_old_copy_of_the_database_redeems_nothing_and_its_codes_are_void_once_it_is_confirmed",
        ),
        Mutant(
            "a gateway takes any database over that was confirmed nowhere",
            "if before is not None and before.fleet != mark.fleet:",
            "if before is not None:",
            "test_a_copy_of_the_same_installation_is_not_adopted_unless_it_is_confirmed",
        ),
        Mutant(
            "an old copy of the database serves who has signed in",
            'raise ActRefused("the database is an old copy"',
            'print("the database is an old copy"',
            "test_an_old_copy_of_the_database_serves_nothing_and_once_confirmed_operators_have_no_passkey",
        ),
    ),
    "Several gateways agree how a session ends": (
        Mutant(
            "a gateway of an older release makes the row of a person invalid that a newer one has written",
            "{**gateway.keys.verified(TABLE, found), **await _columns(gateway, connection, changed)}",
            "await _columns(gateway, connection, changed)",
            "test_what_a_gateway_of_a_newer_release_has_written_stays_when_this_one_changes_the_row"
            "[person-name-_change_person]",
        ),
        Mutant(
            "a session that its gateway does not know is over",
            "self._poll({id: entry})",
            "self._heard.told(entry, Status.closed)",
            "test_what_the_gateway_does_not_know_any_more_ends_nothing",
        ),
        Mutant(
            "a gateway writes what it saw before another one took over",
            "not gateway.leases.is_held(session.id, epoch, lease)",
            "False",
            "test_what_is_said_under_a_lease_that_another_gateway_has_now_is_not_written",
        ),
        Mutant(
            "nobody polls the sessions of a gateway that has died",
            "ON lease_holder.id = lease.holder AND {_IS_ALIVE}",
            "ON lease_holder.id = lease.holder AND %s::float8 > 0",
            "test_the_sessions_of_a_gateway_that_is_killed_are_taken_over",
        ),
        Mutant(
            "what IAMPASS says once ends a session",
            "suspect is not None and suspect.away is status.away",
            "status is not suspect",
            "test_what_iampass_says_once_ends_nothing",
        ),
    ),
    "A login on another host covers only its own connections": (
        Mutant(
            "of two hosts that claim one connection the first is believed",
            "if len(hosts_of_it) != 1 or (await",
            "if not found or (await",
            "test_if_two_hosts_say_that_one_connection_begins_there_the_phone_is_asked",
        ),
        Mutant(
            "a login is covered whatever the host says where it begins",
            "for id, session in questions.items() if answers.get(id)]",
            "for id, session in questions.items() if id in answers]",
            "test_a_host_that_says_no_has_the_phone_asked",
        ),
        Mutant(
            "IAMPASS is not asked about the session that covers a login",
            "(await asking.poll_iampass(gateway, found[0])).status is not Status.active",
            "False",
            "test_iampass_is_asked_at_that_moment",
        ),
        Mutant(
            "another machine answers for a host",
            "counts = await hosts.is_its_machine(",
            "counts = True or await hosts.is_its_machine(",
            "test_an_answer_from_another_machine_does_not_count",
        ),
        Mutant(
            "who has approved another one's login is taken for the one who is logged in",
            'and "asker" not in session.details',
            "and True",
            "test_what_a_second_person_has_approved_covers_no_login_of_that_person",
        ),
        Mutant(
            "a covered login covers further ones",
            "and (session.approved or theirs.covers_further)",
            "and True",
            "test_a_covered_login_covers_no_further_one",
        ),
        Mutant(
            "a connection is more than one login",
            "if used is not None:",
            "if False:",
            "test_a_connection_is_one_login",
        ),
        Mutant(
            "covered logins outlive the one that covers them",
            "presence.follow_parents(gateway),",
            "",
            "test_no_session_outlives_the_one_that_covers_it[phone]",
        ),
        Mutant(
            "a connection of the user from anywhere begins in the login",
            "if login.uid != owner.uid or _control_group(login) != owner.control_group:",
            "if login.uid != owner.uid:",
            "test_no_other_connection_begins_in_it",
        ),
        Mutant(
            "any program names a connection from another host",
            "if not login.through_sshd or login.real_uid != 0 or",
            "if not login.through_sshd or",
            "test_a_connection_that_is_not_known_to_be_that_of_sshd_is_not_named",
        ),
    ),
    "No stranger, host or address keeps a person out, or forges figures": (
        Mutant(
            "a host that is stopped by itself ends the sessions of people who have nothing to do with it",
            "return self in (HostStatus.ACTIVE, HostStatus.STOPPED)",
            "return self is HostStatus.ACTIVE",
            "test_a_host_that_is_stopped_by_itself_ends_nobodys_session",
        ),
        Mutant(
            "a phone rings for so short that nobody can cancel",
            "max(start.duration, SHORTEST_REQUEST_SECONDS)",
            "start.duration",
            "test_a_phone_rings_for_long_enough_to_be_answered_whatever_a_host_asks_for",
        ),
        Mutant(
            "what one host says of a person keeps the person from all others",
            "if login.is_familiar:\n            count = len",
            "if False:\n            count = len",
            "test_what_one_host_says_keeps_nobody_from_another_where_they_log_in",
        ),
        Mutant(
            "a stolen password rings the phone once on each host",
            "count = len(elsewhere) - max(login.strange_hosts - 1, 0)",
            "count = 0",
            "test_a_stolen_password_rings_little_more_often_on_hosts_where_the_person_logs_in",
        ),
        Mutant(
            "a stolen password takes all places of its owner on a host",
            " and each.is_usual == login.is_usual for each",
            " for each",
            "test_a_stolen_password_takes_no_place_of_its_owner_on_a_host",
        ),
        Mutant(
            "a stolen password uses up the requests of its owner",
            "_share(limits) * (1 + login.is_usual)",
            "_share(limits)",
            "test_a_stolen_password_uses_up_no_requests_of_its_owner",
        ),
        Mutant(
            "two gateways give a turn at the same moment",
            "connection.take(Lock.TURNS, person)",
            "pass",
            "test_the_first_logins_of_a_person_wait_for_each_other",
        ),
        Mutant(
            "a login that has given up while it waited rings",
            "if session.waits:",
            "if False:",
            "test_a_login_that_has_given_up_while_it_waited_never_rings",
        ),
        Mutant(
            "a client without a credential takes all descriptors of a server",
            "full = self._accepted >= self._bounds.connections",
            "full = False",
            "test_there_are_no_more_connections_than_the_server_can_serve",
        ),
        Mutant(
            "one address has all connections of a server",
            "if full or self._accepted_of[owner] >= self._bounds.of_one_address:",
            "if full:",
            "test_one_address_leaves_connections_for_others_also_without_a_handshake",
        ),
        Mutant(
            "a host chooses the labels of figures",
            "service if service in SERVICES else OTHER",
            "service or OTHER",
            "test_no_label_has_what_a_host_has_chosen",
        ),
    ),
    "Bypasses and recovery codes of the fleet count once, where they may": (
        Mutant(
            "logins by a bypass leave no trace if there are many",
            'connection.later(records.ADD_LOST, (1, recent["counting"]))',
            "pass",
            "test_many_logins_do_not_fill_the_records_but_each_is_counted_and_an_administrator_is_told",
        ),
        Mutant(
            "a bypass counts on all hosts",
            "return here and (not self.services or",
            "return (not self.services or",
            "test_it_is_for_services_hosts_and_groups",
        ),
        Mutant(
            "a code is good twice",
            " and used[number] is None",
            "",
            "test_a_code_lets_in_once_and_each_redemption_is_an_alert",
        ),
        Mutant(
            "two hosts use one code at the same time",
            'f"{_ROW} FOR UPDATE"',
            "_ROW",
            "test_two_hosts_with_one_code_at_one_moment_and_one_gets_in",
        ),
        Mutant(
            "all hosts redeem codes",
            "if policy is None or not policy.codes:",
            "if policy is None:",
            "test_a_group_whose_hosts_redeem_none_says_so_for_every_name_and_looks_at_no_code",
        ),
        Mutant(
            "guesses are without limit",
            "found = attempted(",
            "found = None and attempted(",
            "test_parallel_guesses_of_a_host_are_counted",
        ),
    ),
    "Links and sheets of codes reach their person only": (
        Mutant(
            "a mail that may have been sent is sent again",
            'return row["taken_at"] is not None',
            'return row["taken_at"] is not None or None',
            "test_a_run_that_is_killed_after_sendmail_has_the_mail_sends_it_not_again",
        ),
        Mutant(
            "a link is mailed to whoever has the phone that was lost",
            "return True if person.had_phone or person.phone_lost_at is not None else None",
            "return None",
            "test_who_has_had_a_phone_is_mailed_only_if_that_is_asked_for",
        ),
        Mutant(
            "an address may be several, an option or a header",
            "if len(text) > 254 or not _MAIL_ADDRESS.fullmatch(text):",
            "if len(text) > 254:",
            "test_what_is_not_one_plain_address_is_an_error_of_its_line",
        ),
        Mutant(
            "codes are mailed",
            "    ok = all(result.state is not _State.FAILED for result in results)\n    made = str(out)",
            "    for sheet in sheets:\n"
            '        __import__("subprocess").run(["sendmail", "x"], input=repr(sheet.codes).encode())\n'
            "    ok = all(result.state is not _State.FAILED for result in results)\n    made = str(out)",
            "test_each_person_has_a_page_with_their_codes_which_are_nowhere_else",
        ),
        Mutant(
            "everybody reads the sheets",
            "    write_new(folder, name, content)\n    try:\n        sync(folder)",
            "    write_new(folder, name, content, mode=0o644)\n    try:\n        sync(folder)",
            "test_each_person_has_a_page_with_their_codes_which_are_nowhere_else",
        ),
    ),
    "An invite lets in the hosts that it says": (
        Mutant(
            "joining: an attacker who knows the name and the machine of a host is that host",
            "hmac.compare_digest(host.secret.encode(), joining.secret.encode())",
            "True",
            "test_a_name_that_exists_is_never_taken_over[secret]",
        ),
        Mutant(
            "joining: an invite is never used up",
            "if invite.uses_left <= 0:",
            "if False:",
            "test_an_invite_can_be_used_as_often_as_it_says",
        ),
        Mutant(
            "joining: a suspended host leaves, and joins anew",
            "if host.status in (HostStatus.STOPPED, HostStatus.SUSPENDED):",
            "if False:",
            "test_a_host_that_is_suspended_or_slowed_does_not_leave",
        ),
        Mutant(
            "joining: the invite of a removed host is still good",
            'await remove_invite(connection, row["id"])',
            "pass",
            "test_who_is_suspended_or_removed_cannot_join_again_with_the_same_invite",
        ),
        Mutant(
            "joining: the signature does not hold for the body",
            "hashlib.sha256(request.body).hexdigest()",
            "digest",
            "test_the_signature_holds_for_the_body",
        ),
        Mutant(
            "joining: a host of a group with `admit` need not be admitted",
            "policy is None or policy.admit or braked",
            "policy is None or braked",
            "test_a_host_of_a_group_that_wants_it_waits_until_it_is_admitted",
        ),
        Mutant(
            "joining: a host trusts any server that answers at the address",
            "if not hmac.compare_digest(found, fingerprint):",
            "if False:",
            "test_another_gateway_is_not_trusted",
        ),
    ),
    "Reports of a host decide nothing, and hide nothing": (
        Mutant(
            "a host reports approvals",
            "if outcome not in _OUTCOMES or not all(",
            "if not all(",
            "test_it_can_say_nothing_else",
        ),
        Mutant(
            "another machine reports with the key of a host",
            "            if is_its_machine:\n                await _write",
            "            if True:\n                await _write",
            "test_another_machine_with_its_key_reports_nothing",
        ),
        Mutant(
            "a user of a host who runs sudo in a loop keeps the other logins there out of the fleet's log",
            "if room <= 0 or written[actor] >= REPORTS_OF_ONE:",
            "if room <= 0:",
            "test_one_user_of_a_host_leaves_room_in_the_hour_for_others",
        ),
        Mutant(
            "reports of a host push a person's logins off a page",
            "    if wanted.concerns:\n",
            "    if False:\n",
            "test_what_root_of_a_host_reports_hides_neither_acts_nor_logins_of_a_person",
        ),
    ),
    "A directory changes no person into another one": (
        Mutant(
            "a directory is believed whatever its certificate",
            "(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)",
            "(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_NEVER)",
            "test_a_certificate_that_is_not_trusted",
        ),
        Mutant(
            "half of the people lose access because the directory says so",
            "return self.losing > _SMALL and self.losing * _SHARE > self.people",
            "return False",
            "test_more_than_a_tenth_and_than_three_leave_only_if_told",
        ),
        Mutant(
            "a new person with the name of one who has left has their phone",
            "elif person.directory_id != entry.directory_id:",
            "elif False:",
            "test_another_person_of_the_same_name_gets_neither_token_nor_phone",
        ),
        Mutant(
            "a person whose name is another one's in other letters is that one for hosts",
            "entries[_as_compared(name)].append(entry)",
            "entries[name.casefold()].append(entry)",
            "test_a_name_that_a_directory_does_not_tell_from_another_one_is_nobodys",
        ),
    ),
    "The Ansible roles and the repository trust their administrator only": (
        Mutant(
            "what a host says of itself when it joins sets variables of the gateway",
            'delegate_to: "{{ item.item.name }}"\n  delegate_facts: true',
            'delegate_to: "{{ item.item.name }}"',
            "test_no_host_says_by_its_facts_what_becomes_of_it_or_of_others",
        ),
        Mutant(
            "whoever has joined under the name of a host is admitted in its place",
            "| trim == item.item.id",
            "| trim != ''",
            "test_one_who_has_joined_under_the_name_of_another_host_is_not_admitted",
        ),
        Mutant(
            "root writes where the account postgres can put links",
            "- postgres\n          - --\n          - sh",
            "- root\n          - --\n          - sh",
            "test_a_link_of_the_account_postgres_gives_it_no_file_of_roots[iampass-key.pem]",
        ),
        Mutant(
            "packages whose build did not pass its checks are signed",
            '[ -e "$folder/commit" ] || fail',
            '[ -e "$folder" ] || fail',
            "test_what_cannot_be_made_leaves_the_repository_as_it_was",
        ),
        Mutant(
            "the role takes lists that its key has not signed for those of last time",
            "- --error-on=any",
            "- --quiet",
            "test_another_key_is_refused",
        ),
        Mutant(
            "the role writes a secret key to all machines",
            "pam_iampass_repository_key is not search('PRIVATE KEY')",
            "pam_iampass_repository_key is defined",
            "test_the_role_refuses_a_repository_whose_key_it_is_not_given",
        ),
        Mutant(
            "a machine can name a file of the controller that the role gives it",
            "select('search', '[.](deb|rpm)$')",
            "select('search', '/')",
            "test_the_role_copies_nothing_but_packages_from_the_controller",
        ),
    ),
    "Who may act and read at a gateway, and what is recorded": (
        Mutant(
            "the record of an act names the administrator of the process",
            "by={**work.actor.fields, **verified},\n        host=work.host",
            "by=None,\n        host=work.host",
            "test_the_record_of_an_act_names_the_actor_and_how_they_are_known",
        ),
        Mutant(
            "everybody can do every act",
            "if Role.ROOT not in by.roles:",
            "if not by.roles:",
            "test_nobody_but_root_of_a_gateway_can_act",
        ),
        Mutant(
            "people see the logins of others",
            'return f"{column} = ANY(%s)", [own]',
            'return "true", []',
            "test_sessions_are_of_the_person_who_is_asked_and_not_of_the_caller_whom_a_host_names",
            also=(("dict.fromkeys(names, sees_all)", "dict.fromkeys(names, frozenset({Role.SELF}))"),),
        ),
        Mutant(
            "help desk sees people of groups that it does not help",
            "actor.may_help(person.groups)",
            "not actor.helps.isdisjoint(person.groups)",
            "test_people_see_themselves_auditors_all_and_helpdesk_who_has_only_groups_that_it_helps",
            also=(("AND groups <@ %s)", "AND groups && %s)"),),
        ),
        Mutant(
            "help desk does for everybody what it does for those whom it helps",
            "return Role.HELPDESK if Role.HELPDESK in may and is_helped else None",
            "return Role.HELPDESK if Role.HELPDESK in may else None",
            "test_each_act_is_for_whom_it_is_declared_and_a_token_alone_does_not_touch[dan-root]",
        ),
        Mutant(
            "people do for others what they may do for themselves",
            "if act.target == actor.name:",
            "if act.target is not None:",
            "test_each_act_is_for_whom_it_is_declared_and_a_token_alone_does_not_touch[ann-other]",
        ),
        Mutant(
            "a role that was taken away before an act is done still counts",
            "found = await _permitted(gateway, connection, by, act)\n            await _spend_id",
            "found = before\n            await _spend_id",
            "test_a_group_that_is_taken_away_between_challenge_and_completion_takes_the_role[locked]",
        ),
        Mutant(
            "a refused act leaves no record",
            "await _record_refusal(gateway, by, act, refusal)\n            raise",
            "raise",
            "test_an_act_is_done_once_over_all_gateways_and_its_touch_is_good_for_no_other",
        ),
        Mutant(
            "anybody who has signed in is told what asks others",
            "session.* FROM session WHERE person = %s",
            "session.* FROM session WHERE %s <> ''",
            "test_what_asks_others_is_not_told_and_a_second_person_is_told_whose_login_it_is",
            also=((", person=found.person.name)", ")"),),
        ),
    ),
    "A passkey counts for the portal and its own person": (
        Mutant(
            "a passkey counts although its user was not verified",
            '"user_verification": "required"}',
            '"user_verification": "preferred"}',
            "test_what_no_page_of_the_portal_has_got_is_no_assertion[without user verification]",
        ),
        Mutant(
            "a page at another port of the portal's host is taken for the portal",
            "verify_origin=lambda origin: origin == portal.origin",
            "verify_origin=None",
            "test_what_no_page_of_the_portal_has_got_is_no_assertion[another port]",
        ),
        Mutant(
            "an assertion counts for each challenge that it names",
            "_state(challenge),\n        [known],",
            "_state(challenge_of(answer)),\n        [known],",
            "test_what_no_page_of_the_portal_has_got_is_no_assertion[another challenge]",
        ),
        Mutant(
            "an assertion counts whatever was signed",
            "_server(portal).authenticate_complete(",
            "_ = (",
            "test_what_no_page_of_the_portal_has_got_is_no_assertion[flags changed since they were signed]",
        ),
        Mutant(
            "a passkey counts that was made for somebody else",
            "if handle != owner and not (named and handle is None):",
            "if handle is None and not named:",
            "test_a_passkey_that_was_made_for_somebody_else_is_refused",
        ),
    ),
    "A sign-in, a passkey or a link does what role, touch and phone allow": (
        Mutant(
            "the token of a sign-in alone does what needs a touch",
            "if found.role in act.declared.touch:",
            "if found.role in act.declared.touch and by.touch is not None:",
            "test_each_act_is_for_whom_it_is_declared_and_a_token_alone_does_not_touch[zoe-root]",
        ),
        Mutant(
            "a touch is good for other parameters",
            '{"act": act.declared.name, "parameters": dataclasses.asdict(act)}',
            '{"act": act.declared.name}',
            "test_a_touch_is_good_for_nothing_but_what_its_challenge_was_made_for",
        ),
        Mutant(
            "a touch is good for another sign-in",
            "gateway.keys.touch(stamp.hex(), purpose, who, canonical)",
            'gateway.keys.touch(stamp.hex(), purpose, "", canonical)',
            "test_a_challenge_is_bound_to_its_purpose_and_to_who_was_given_it",
        ),
        Mutant(
            "a sign-in never ends by itself",
            'if row["time"]["now"] >= ends_at or gateway.is_over(ends_at):',
            "if False:",
            "test_a_sign_in_ends_after_eight_hours_and_half_an_hour_without_anything_done",
        ),
        Mutant(
            "a later person of a name has the passkeys of the earlier one",
            'if values["owner"] != gateway.keys.owner(person.token):',
            "if False:",
            "test_removing_a_person_ends_everything_and_a_later_one_of_the_name_has_nothing_of_it",
        ),
        Mutant(
            "a thief who has signed in stays so when the phone is reported lost",
            "await sign_ins.end(connection, self.person, but=None if mine is None else mine.id, by=mine)",
            "...",
            "test_reporting_the_phone_lost_ends_all_sign_ins_but_the_one_by_which_it_is_done",
        ),
        Mutant(
            "a stolen token ends each newer sign-in of its owner",
            "id=id, by=work.sign_in)",
            "id=id)",
            "test_a_stolen_token_ends_no_sign_in_that_began_later[sign_in_end]",
        ),
        Mutant(
            "a role counts with a passkey that root has not made a link for",
            "self.passkey.roles & operators",
            "operators",
            "test_a_passkey_by_another_link_gives_no_role_also_after_a_promotion",
        ),
        Mutant(
            "help desk replaces the passkeys of an operator",
            "if has_role or await passkeys.is_by_root(connection, person.name):",
            "if False:",
            "test_a_link_for_others_replaces_no_passkey_of_roots_and_others_only_if_it_says_so",
        ),
        Mutant(
            "an operator keeps the passkey that a help desk has registered",
            "(name, link.replaces, bool(link.roles)),",
            "(name, link.replaces, False),",
            "test_a_help_desk_has_nothing_of_somebody_who_becomes_an_operator",
        ),
        Mutant(
            "a link that is used in parallel registers several passkeys",
            'connection.later("SELECT 1 FROM person WHERE name = %s FOR NO KEY UPDATE", (name,))',
            "...",
            "test_a_link_that_is_used_in_parallel_registers_one_passkey",
        ),
        Mutant(
            "who has a phone registers a passkey with a link alone",
            "if has_phone is Phone.REGISTERED:",
            "if has_phone is None:",
            "test_who_has_a_phone_approves_there_before_a_link_registers_a_passkey",
        ),
        Mutant(
            "who has a phone makes codes with a passkey alone",
            '    phone={SELF},\n    news="recovery codes",',
            '    news="recovery codes",',
            "test_who_has_reported_the_phone_lost_gets_nothing_that_must_be_approved_on_it",
        ),
        Mutant(
            "a code for a lost phone is made each day",
            "at > now() - interval '7 days' AND kind = 'act'",
            "at > now() - interval '1 second' AND kind = 'act' AND false",
            "test_one_code_for_a_lost_phone_once_a_week_for_groups_that_the_settings_name",
        ),
        Mutant(
            "an approval on the phone is good twice",
            "await sessions.close_row(gateway, connection, locked)\n    await steps",
            "await steps",
            "test_the_gateway_itself_rings_a_person_and_the_approval_is_good_once",
        ),
        Mutant(
            "the login of a host counts as an approval of what is done at the gateway",
            "return session.is_own and session.parameters",
            "return session.parameters",
            "test_the_login_that_a_host_has_had_approved_is_no_approval_of_anything_else",
        ),
        Mutant(
            "a request of the gateway that nobody has approved is an approval",
            "return cls.APPROVED if session.approved and session.state is State.OPEN else cls.OVER",
            "return cls.APPROVED",
            "test_what_was_not_approved_is_not_done[time_out]",
            also=(("if session.in_progress or (session.state", "if (session.state"),),
        ),
        Mutant(
            "a passkey without a role ends the one with the role",
            'if removed["roles"] and work',
            "if False and work",
            "test_a_further_passkey_removes_no_passkey_of_roots",
        ),
        Mutant(
            "replaced passkeys leave no alert",
            "if removed.rowcount:\n        await records.alert",
            "if False:\n        await records.alert",
            "test_a_link_for_others_replaces_no_passkey_of_roots_and_others_only_if_it_says_so",
        ),
        Mutant(
            "who has stolen a sign-in keeps its owner from ending it",
            "OF_SIGN_IN = \"fields->>'sign_in' = %s\"",
            "OF_SIGN_IN = \"%s <> '' AND fields->>'known_by' = 'sign-in'\"",
            "test_a_stolen_sign_in_leaves_few_records_a_minute_and_does_not_keep_its_owner_from_ending_it",
        ),
        Mutant(
            "one sign-in takes all connections",
            "        if few.locked():\n            raise CallRefused(Error.BUSY)\n",
            "",
            "test_one_sign_in_takes_neither_all_connections_nor_all_waits_for_phones",
        ),
        Mutant(
            "somebody's name silences an alert about another person",
            "is_same = \"fields->>'reason' = %(what)s\"",
            "is_same = \"starts_with(fields->>'reason', %(what)s)\"",
            "test_the_alert_of_another_person_whose_name_goes_on_silences_none[]",
        ),
        Mutant(
            "the token of a sign-in alone has IAMPASS asked",
            "if asks and before.role in act.declared.touch:",
            "if False:",
            "test_iampass_is_asked_nothing_without_the_touch_and_for_one_link_a_bounded_number_of_times",
        ),
    ),
    "The portal: its socket, certificate, pages and cookies": (
        Mutant(
            "any user who reaches the socket is answered",
            "if uid in uids:",
            "if uid >= 0:",
            "test_another_user_at_the_socket_is_answered_nothing",
        ),
        Mutant(
            "a field can be anything",
            "problem = check(given[name])",
            "problem = None",
            "test_each_field_that_is_wrong_is_named[/sign-in]",
        ),
        Mutant(
            "a form that names no origin counts",
            'is_ours = request.headers.getall("Origin", []) == [request.app[SETTINGS].origin]',
            'is_ours = request.headers.getall("Origin", []) in ([], [request.app[SETTINGS].origin])',
            "test_what_another_origin_sends_does_nothing",
        ),
        Mutant(
            "some answers may be framed, and have scripts of others",
            "app.on_response_prepare.append(_add_headers)",
            "",
            "test_every_answer_has_the_headers",
        ),
        Mutant(
            "a browser keeps pages with codes",
            'response.headers.setdefault("Cache-Control", "no-store")',
            'response.headers.setdefault("Cache-Control", "no-cache")',
            "test_what_is_shown_once_is_in_no_address_no_log_and_no_cache",
        ),
        Mutant(
            "scripts read the token of the sign-in",
            '"httponly": True',
            '"httponly": False',
            "test_cookies_are_kept_from_scripts_and_other_names",
        ),
        Mutant(
            "what one browser was asked for signs another one in",
            "had if _SECRET.fullmatch(had) else secrets.token_urlsafe(32)",
            '"A" * 43',
            "test_a_token_that_was_planted_before_is_replaced_and_a_planted_binding_is_worth_nothing",
        ),
        Mutant(
            "a link to the portal leads elsewhere after signing in",
            'text[1:2] not in ("/", "\\\\")',
            'text[1:2] != "/"',
            "test_nobody_is_sent_elsewhere",
        ),
        Mutant(
            "anybody says from which address a request comes",
            "hops and any(address in network for network in proxies)",
            "hops[0]",
            "test_only_a_proxy_of_the_settings_says_whose_request_it_is",
        ),
        Mutant(
            "a page that shows what was searched for is compressed",
            "return answer if request.query_string else compressed(request, answer)",
            "return compressed(request, answer)",
            "test_lists_and_files_are_compressed_but_no_page_with_a_search_an_act_a_code_or_a_link",
        ),
        Mutant(
            "texts of hosts are taken for parts of a page",
            "autoescape=True,",
            "autoescape=False,",
            "test_hostile_texts_change_nothing_of_any_page[admin]",
        ),
        Mutant(
            "a portal is set up with a certificate of another name, of the fleet's CA, or of yesterday",
            'return f"is not trusted by browsers: {error.verify_message}"',
            "return None",
            "test_browsers_do_not_trust_another_name_another_time_or_another_ca",
        ),
        Mutant(
            "a portal with another origin takes the place of the one to which passkeys are bound",
            "if before.portal != own:",
            "if before.portal is None:",
            "test_settings_to_which_it_cannot_be_added_are_left_alone",
        ),
        Mutant(
            "another account exchanges the key of the portal for a file of root's",
            "trusted_file.read(where)",
            "Path(where).read_bytes()",
            "test_nothing_is_written_for_a_key_that_others_can_exchange[folder]",
        ),
    ),
    "A phone that was reported lost, and a person who was removed": (
        Mutant(
            "a lost phone rings until IAMPASS has disabled it",
            "if person.phone_to_disable:\n        return await _refuse(",
            "if False:\n        return await _refuse(",
            "test_while_iampass_is_away_a_lost_phone_rings_for_nobody_and_a_new_bypass_lets_in",
        ),
        Mutant(
            "logins that wait for their turn ring a lost phone",
            "waiting.began_before_loss(found.phone_lost_at)",
            "False",
            "test_what_a_lost_phone_approves_lets_nobody_in_although_rows_were_deleted",
        ),
        Mutant(
            "a login that had begun before a phone was lost is approved by it",
            "return lost_at is not None and lost_at >= self.began_at",
            "return False",
            "test_what_a_lost_phone_approves_lets_nobody_in",
        ),
        Mutant(
            "a bypass of the person survives the report of a lost phone",
            "bypassed = await bypasses.remove(connection, self.person)",
            "bypassed = 1",
            "test_sessions_bypasses_and_the_phone_end_and_codes_are_named_and_kept",
        ),
        Mutant(
            "a gateway that comes late with a step has the next phone disabled",
            "if not person.phone_to_disable:",
            "if False:",
            "test_a_gateway_that_comes_late_with_a_step_leaves_the_next_phone_alone",
        ),
        Mutant(
            "the finder of a lost phone has a link sent to it by a login",
            "person.phone_number is None or not person.invites:",
            "person.phone_number is None:",
            "test_the_finder_of_a_lost_phone_who_logs_in_is_sent_no_link[a lost phone]",
        ),
        Mutant(
            "without a gateway, a lost phone is asked by logins that begin before IAMPASS has disabled it",
            "return replace(state, lost=now) if self._is_lost(person) else state",
            "return state",
            "test_a_phone_that_iampass_cannot_be_told_of_stays_lost_until_the_report_is_taken_back",
        ),
        Mutant(
            "a lost phone rings for another name that has the same token",
            "if context.state.lost_phones.reported_since(context.began, required.phone.token):",
            "if False:",
            "test_it_rings_for_no_other_name_with_the_same_token_either",
        ),
        Mutant(
            "a person who is being removed can log in until IAMPASS has been told",
            "name, status=PersonStatus.REMOVING)",
            "name, status=PersonStatus.ACTIVE)",
            "test_a_removal_that_iampass_did_not_hear_of_goes_on_and_meanwhile_nobody_gets_in",
        ),
        Mutant(
            "sessions are ended at IAMPASS only",
            "await asking.write_status(gateway, session, Status.closed)",
            "pass",
            "test_an_end_holds_for_the_hosts_even_if_iampass_is_away",
        ),
    ),
    "A gateway decides for accounts that act for a person": (
        Mutant(
            "a later person of the same name is its owner",
            "self.person == person.name and self.owner == gateway.keys.owner(person.token)",
            "self.person == person.name",
            "test_an_account_is_denied_if_it_or_its_owner_may_not_log_in_there[another_owner-NOT_ON_THIS_HOST]",
        ),
        Mutant(
            "it may log in to all hosts of its owner",
            "if host is not None and not gateway.settings.admits(host.group, agent.groups):",
            "if False:",
            "test_an_account_is_denied_if_it_or_its_owner_may_not_log_in_there[other_group-NOT_ON_THIS_HOST]",
        ),
        Mutant(
            "once it has become its owner it counts as its owner at a gateway",
            "if within is not None and within.person == person.name and asked.is_persons_own:",
            "if False:",
            "test_an_account_that_has_become_its_owner_is_still_the_account",
        ),
        Mutant(
            "a host does not tell its gateway in whose login session sudo is called",
            '"session_user": "" if people.session_user == request.approver else people.session_user,',
            '"session_user": "",',
            "test_sudo_in_the_login_session_of_an_account_that_acts_for_the_caller_is_a_call_of_that_account",
        ),
        Mutant(
            "its owner is the second person for it",
            "if person.name in {each.person for each in (agent, within) if each is not None}:",
            "if False:",
            "test_neither_is_an_account_a_second_person_nor_its_owner_one_for_it",
        ),
        Mutant(
            "a bypass of its owner lets it in, and the owner's news are told to it",
            'return not self.agent and "asker" not in self.details',
            'return "asker" not in self.details',
            "test_neither_bypass_nor_codes_nor_news_of_the_owner_are_for_the_account",
        ),
        Mutant(
            "a login of it covers its owner",
            "        and not session.agent\n",
            "",
            "test_an_account_that_acts_for_a_person_is_covered_by_nothing_and_covers_nothing",
        ),
        Mutant(
            "what one host says of it keeps it from all others",
            "if login.is_agents and not agent:",
            "if login.is_agents:",
            "test_what_one_host_does_with_the_name_of_an_account_does_not_keep_it_from_others",
        ),
        Mutant(
            "its request stays on the phone when its owner logs in",
            "(session.host = %s OR host.status = 'active') AND NOT {_WITHDRAWN}",
            "(session.host = %s OR host.status = 'active')",
            "test_a_login_of_the_owner_withdraws_the_request_of_the_account",
        ),
    ),
}
