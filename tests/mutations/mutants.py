"""The invariants, changes that break each of them, and the test that detects each change.

One for each rule of an invariant, and for each rule that a known attack led to.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("pam_iampass/**/*.py", "doors/native/*.c", "packaging/debian/*.prerm")
TESTS = ("tests/**/test_*.py",)
_TEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One change that breaks an invariant. It names no file, so code can be moved and files renamed."""

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


#: The mutants of each invariant.
MUTANTS = {
    "PAM_SUCCESS means approved": (
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
    "Only an outage can be tolerated, and only before the request was started": (
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
            "a gateway that has not tried to connect says that nothing was sent",
            'if unsent and _names(members, "nothing_sent"',
            'if _names(members, "nothing_sent"',
            "test_a_statement_about_anything_else_is_not_believed",
        ),
        Mutant(
            "a statement that nothing was sent is believed after an attempt that may have left",
            "raise (others or failures)[-1]",
            "raise failures[-1]",
            "test_a_statement_after_an_attempt_that_may_have_left_is_not_believed",
        ),
        Mutant(
            "IAMPASS itself is believed that it has sent nothing",
            "if parameters and not self.origin.gateways:",
            "if False:",
            "test_a_plain_server_gets_no_parameters",
        ),
        Mutant(
            "a gateway that was busy takes a connection for one that was not answered",
            "or not _has_peer(sock):",
            "or True:",
            "test_a_connection_that_was_made_while_the_event_loop_was_held_up_is_one",
        ),
        Mutant(
            "a gateway's request that met the end of its connection counts as if it had not been sent",
            "attempt.served = attempt.sent = True",
            "attempt.served = True",
            "test_a_kept_alive_connection_that_ends_under_a_request_may_have_carried_it[reset]",
        ),
    ),
    "A host asks its gateways, and rings at most once": (
        Mutant(
            "a start without an id is repeated at the next gateway",
            "return failed and (repeatable or not error.may_have_started)",
            "return failed",
            "test_a_start_without_an_id_is_not_repeated_once_it_may_have_left",
        ),
        Mutant(
            "all starts of a host have the same id",
            'return {"request_id": secrets.token_urlsafe(16), ',
            'return {"request_id": "the-same-for-all-starts", ',
            "test_each_request_has_an_id_of_its_own",
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
            "a user table that is missing is an empty one, also where IAMPASS is asked",
            "if self._optional and trusted_file.is_missing(self._users):",
            "if trusted_file.is_missing(self._users):",
            "test_a_missing_table_denies_all_who_have_no_file_of_their_own",
        ),
        Mutant(
            "a start of which a gateway does not know whether it rang counts for no limit",
            " and decision.outcome is not Outcome.UNAVAILABLE",
            "",
            "test_a_denial_after_which_a_phone_may_have_rung_counts[unavailable]",
        ),
        Mutant(
            "a login that a gateway refuses in words of its own is let in",
            'return denied(outcome, f"{reason}, says the gateway',
            'return Decision(outcome, Result.IGNORED, f"{reason}, says the gateway',
            "test_what_a_gateway_says_denies_with_a_sentence_for_both[unavailable]",
        ),
        Mutant(
            "IAMPASS itself says how a login ends that it refuses",
            "decisions.not_asked(session.failure_reason)",
            "denied(Outcome(session.refusal.outcome), session.failure_reason, session.refusal.message)",
            "test_iampass_itself_refuses_in_no_words_of_its_own",
        ),
        Mutant(
            "a session covers although IAMPASS knows no phone",
            "answer = self.manager.has_registered_mobile_device(token, deadline=deadline)",
            "answer = ManagementAPIResult.has_mobile_device",
            "test_a_user_whose_phone_was_lost_elsewhere_is_no_longer_covered_even_with_a_new_phone",
        ),
        Mutant(
            "the methods of the user table count no more at a gateway",
            "return Phone(token, methods, ",
            "return Phone(token, service.methods, ",
            "test_the_methods_of_the_table_still_hold",
        ),
    ),
    "The caller's environment is not trusted": (
        Mutant(
            "a certificate that was verified once is never verified again",
            "if self._clock() - verified >= VERIFIED_SECONDS:",
            "if False:",
            "test_a_further_connection_goes_on_with_the_tls_session_for_an_hour_after_the_certificate_was_verified",
        ),
        Mutant(
            "TLS honors SSLKEYLOGFILE",
            "context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)",
            "context = ssl.create_default_context()",
            "test_a_hostile_environment_changes_nothing",
        ),
        Mutant(
            "a file that other users can write is read",
            "if status.st_mode & 0o022:",
            "if False:",
            "test_a_file_that_others_can_write_is_refused",
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
    "One person, one request on the phone at a time": (
        Mutant(
            "a denial returns PAM_MAXTRIES in every application",
            "return PamCode.MAXTRIES if login.through_sshd else PamCode.ABORT",
            "return PamCode.MAXTRIES",
            "test_a_denial_ends_the_login_at_once_in_each_application",
        ),
        Mutant(
            "a start whose response was lost is repeated",
            "idempotent=request_id is not None)",
            "idempotent=True)",
            "test_a_start_that_may_have_reached_the_service_is_never_repeated",
        ),
        Mutant(
            "two logins of one person have a request at the same time",
            "return self.turn_holder() is None and now >= self.next_turn",
            "return now >= self.next_turn",
            "test_a_second_login_has_its_turn_when_the_first_has_ended",
        ),
        Mutant(
            "a user of the machine has an origin for each loopback address",
            "address is not None and address.is_loopback",
            'str(address) == "127.0.0.1"',
            "test_an_origin_is_a_service_and_a_host_or_the_network_in_which_an_ipv6_host_chooses_its_address",
        ),
    ),
    "One absolute deadline": (
        Mutant(
            "a TLS handshake goes on as long as bytes come",
            "if self._until.expired:\n            raise socket.timeout\n"
            "        self._sock.settimeout(self._until.remaining() or 1e-6)",
            "self._sock.settimeout(60.0)",
            "test_messages_without_end_hold_no_handshake_beyond_the_deadline",
        ),
        Mutant(
            "the timeout restarts with each byte",
            "self._received += count",
            "self._received += count\n        self.deadline = Deadline.after(6.0)",
            "test_each_fault_is_its_error_in_time_after_one_try[dripping body-poll]",
        ),
        Mutant(
            "the native door waits two seconds past its deadline",
            "login->stream.deadline = deadline_in(login->frame.number + GRACE_MS);",
            "login->stream.deadline = deadline_in(login->frame.number + GRACE_MS + 2000);",
            "test_the_deadline_holds_for_the_whole_wait",
        ),
        Mutant(
            "a gateway's polls use the connections of its starts",
            "self._sessions[lane])",
            "self._sessions[Lane.decisions])",
            "test_polls_that_hang_leave_room_for_a_start_and_wait_for_no_outage",
        ),
    ),
    "Every started session is ended": (
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
        Mutant(
            "what a login has started outlives its process that was killed",
            "EndCause.KILLED if kept.killed else EndCause.LOGIN",
            "EndCause.LOGIN",
            "test_the_agent_has_what_is_left_of_a_killed_login_ended",
        ),
        Mutant(
            "what su has started outlives it",
            "roots += self._strays.among(processes) if self._strays else ()",
            "pass",
            "test_what_su_has_started_is_ended_although_its_caller_kills_su",
        ),
        Mutant(
            "without an audit session, what has left its parent outlives its login",
            "return (self.parent, self.session) if self.session != login else (self.parent,)",
            "return (self.parent,)",
            "test_what_heeds_no_signal_ends_with_its_login_without_logind_and_audit_session",
        ),
        Mutant(
            "the end of a login by `exec su` ends what the caller of su has started before",
            " if self.session != login else (self.parent,)",
            "",
            "test_what_is_in_the_session_that_the_process_of_a_login_leads_can_be_older_than_the_login",
        ),
        Mutant(
            "without an audit session, what is started during the notice outlives its login",
            "            self._members.find()",
            "            pass",
            "test_what_a_user_starts_during_the_notice_before_they_log_out_is_ended",
        ),
        Mutant(
            "a login of which the agent was not told is not ended",
            "if kept.ended_by not in _REASONS:",
            "if kept.ended_by not in _REASONS or not kept.attached:",
            "test_a_login_of_which_the_agent_was_not_told_is_ended_like_any_other",
        ),
        Mutant(
            "who is removed stays logged in",
            "_pending, sessions, problem = self._cut_off(name, facts)",
            "sessions, problem = list[str](), ''",
            "test_a_user_who_is_removed_is_logged_out",
        ),
        Mutant(
            "a login that begins while a user is removed stays",
            ", *begun]",
            "]",
            "test_a_login_that_begins_before_a_removed_user_is_out_of_the_table_is_ended",
        ),
        Mutant(
            "a login that opens after its approval was thought to be over cannot be ended",
            "(os.getsid(self.peer_pid) if in_sshd else 0) or self.peer_pid",
            "self.peer_pid",
            "test_in_sshd_a_session_lasts_until_the_process_of_the_connection_ends_and_not_the_one_that_asked",
        ),
        Mutant(
            "another process with the id of a login that has ended keeps its session",
            "self.descriptors.inode(pidfd) != inode",
            "False",
            "test_another_process_with_the_id_of_a_login_that_has_ended_is_not_taken_for_it",
        ),
    ),
    "One audit record per login": (
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
    ),
    "Untrusted text is escaped": (
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
    "A login that needs no second factor uses no network": (
        Mutant(
            "an exempt login sends a request to IAMPASS",
            "if isinstance(found, policy.Exempt):",
            "configuration.api.authenticate_user(account.name)\n    if isinstance(found, policy.Exempt):",
            "test_an_exempt_login_is_ignored_and_costs_no_network",
        ),
        Mutant(
            "a secret is used although an access control list lets a user read it",
            "if secret and has_access_list(file):",
            "if False:",
            "test_a_secret_with_an_access_control_list_is_refused_although_its_mode_is_right",
        ),
    ),
    "The phone is never the only factor by mistake": (
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
    ),
    "User names come from NSS": (
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
    "doctor and setup report the ways around the phone": (
        Mutant(
            "a line that no longer keeps anybody out is not found",
            "if refusing is None or refusing.top in replaced:",
            "if True or refusing.top in replaced:",
            "test_a_stack_is_found_to_be_what_it_is[an approval jumps over who is kept out]",
        ),
        Mutant(
            "a Match block that cannot be evaluated is passed over",
            "return found or None",
            "return found",
            "test_a_block_that_cannot_be_evaluated_is_handed_back",
        ),
        Mutant(
            "the rules of sudo-rs are not read",
            "if SUDOERS_RS.exists():",
            "if False:",
            "test_a_line_of_sudo_rs_and_a_service_for_everybody_are_found_where_the_file_of_sudo_asks",
        ),
        Mutant(
            "a PAM service that lets in by the password alone is no way in",
            "for login in self._logins(True, PamCode.ABORT)",
            "for login in self._logins(False, PamCode.ABORT)",
            "test_a_service_lets_in_unasked_if_it_passes_although_the_phone_denies",
        ),
    ),
    "Nobody approves for another person, except to become root": (
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
            "with the password of another user, that user approves sudo",
            'same_program(login.service) == "su" and account.uid',
            "account.uid",
            "test_in_sudo_the_caller_approves_whatever_user_pam_names",
        ),
        Mutant(
            "who logs in approves as their own second person",
            "if not second.allow_self:",
            "if False:",
            "test_who_logs_in_is_not_asked_unless_that_is_allowed",
        ),
        Mutant(
            "a person who uses a shared account, and is not known, approves as their own second person",
            "if isinstance(person, Nobody) and not second.allow_self:",
            "if False:",
            "test_whom_no_key_names_is_let_in_by_nobody_not_even_by_themselves",
        ),
        Mutant(
            "an account that several people share is one person's because it has a token",
            "if users.accounts_are_shared and not (entry and entry.keys):",
            "if False:",
            "test_a_shared_account_with_a_token_is_nobodys_own_unless_there_are_keys_of_its_name",
        ),
        Mutant(
            "a user table that an editor has just emptied says that nobody shares an account",
            "if self._shared_accounts:",
            "if False:",
            "test_a_user_table_that_an_editor_has_emptied_does_not_make_a_shared_account_one_persons",
        ),
        Mutant(
            "in a login session begun by a key that belongs to no person, the account counts as the user of sudo",
            "if isinstance(by_key, Nobody) and not named:",
            "if False:",
            "test_in_a_login_session_begun_by_a_key_of_nobodys_nobody_approves",
        ),
        Mutant(
            "a person without a token is not their own second person by another name",
            'return Nobody(f"{name} has no token',
            'return name or Nobody(f"{name} has no token',
            "test_who_has_a_key_under_another_name_or_was_removed_is_not_their_own_second_person",
        ),
        Mutant(
            "the record of a login to a shared account does not say who logs in",
            '{} if person in ("", user, approver) else {"person": person}',
            "{}",
            "test_the_record_names_who_logs_in_to_a_shared_account_and_has_it_approved",
        ),
        Mutant(
            "a key that is taken away while its login is at the prompt lets in",
            "(found.approver, found.counted) == (required.approver, required.counted)",
            "True",
            "test_a_key_that_is_taken_away_or_given_to_another_while_its_login_is_at_the_prompt_lets_nobody_in",
        ),
        Mutant(
            "a second person who approved a login is who uses sudo in it",
            "frozenset(kept.person for kept in here if kept.person)",
            "frozenset(kept.approver for kept in here)",
            "test_the_second_person_who_approved_a_login_is_not_who_uses_sudo_in_it",
        ),
        Mutant(
            "a second name with the same phone approves",
            "and found[name].token not in own_tokens",
            "",
            "test_who_logs_in_is_not_asked_by_another_name_with_the_same_phone",
        ),
        Mutant(
            "after a refusal the next second person is asked",
            "if decision.outcome not in decisions.ASK_THE_NEXT:",
            "if decision.outcome is Outcome.APPROVED:",
            "test_a_refusal_ends_the_login",
        ),
        Mutant(
            "a second person is asked while the one before may still approve",
            "if request.left_open or deadline",
            "if deadline",
            "test_nobody_is_asked_while_the_request_to_somebody_else_may_still_be_approved",
        ),
        Mutant(
            "who asks second people is held back by no limit of their own",
            "refusal = own.count()",
            "refusal = None",
            "test_after_two_failures_who_asks_must_wait_and_others_need_not",
        ),
        Mutant(
            "who logs in redeems a recovery code where second people must approve",
            "if required.asker:",
            "if False:",
            "test_a_recovery_code_of_nobody_is_taken",
        ),
        Mutant(
            "an outage is tolerated after a second person was asked",
            "self._may_be_outage and not",
            "not",
            "test_an_outage_is_tolerated_only_before_anybody_was_asked",
        ),
        Mutant(
            "who was removed meanwhile gets in by the approval of their second person",
            "or (own is not None and own.phone_is_lost())",
            "or False",
            "test_an_approval_does_not_count_once_either_of_the_two_was_removed_or_has_lost_their_phone",
        ),
        Mutant(
            "of two people who have the same key, one approves",
            "if len(people) > 1:",
            "if False:",
            "test_a_key_of_two_people_is_denied_whatever_the_setting_says",
        ),
        Mutant(
            "an account without a key in the account phase is that of the person whose key came before",
            "if login.phase is Phase.ACCOUNT:  # the method",
            "if False:  # the method",
            "test_what_sshd_does_not_say_names_nobody",
        ),
        Mutant(
            "a person without a token passes where the key names them",
            "unlisted.ignore and not shared",
            "unlisted.ignore",
            "test_nobody_passes_for_lack_of_a_token",
        ),
        Mutant(
            "whoever uses the account approves sudo in everybody's login session",
            " and is_within(kept, audit_session, uid)",
            "",
            "test_no_other_login_session_names_the_person",
        ),
        Mutant(
            "of two people who approved a login session, one approves",
            "first, *others = sorted(people)",
            "first, *others = sorted(people)[:1]",
            "test_a_login_session_that_two_people_approved_is_denied_whatever_the_setting_says",
        ),
        Mutant(
            "another login to the same account opens the session of the person who was approved",
            "kept.approver != kept.user and login.pid not in known",
            "False",
            "test_to_a_shared_account_in_sshd_only_the_process_that_was_approved_attaches",
        ),
        Mutant(
            "a key that was taken from a person still names them",
            "if self._looked is None or self._looked[0] <= arrived:",
            "if self._looked is None:",
            "test_both_places_count_and_changes_do_at_once",
        ),
        Mutant(
            "a broken file of keys is an empty one",
            "if not found and index.broken:",
            "if False:",
            "test_a_broken_file_names_nobody_and_who_is_in_no_other_is_denied",
        ),
        Mutant(
            "the broken file of a person brings back the keys of the line that it replaces",
            "if file != self.users or user not in self.owners:",
            "if user not in self.entries:",
            "test_keys_of_a_person_whose_own_file_is_broken_are_not_those_of_the_line_that_it_replaces",
        ),
        Mutant(
            "people whose keys are in a broken file share no accounts",
            "return bool(index.people or index.broken)",
            "return bool(index.people)",
            "test_accounts_are_shared_while_anybody_has_keys_or_may_have_some",
        ),
        Mutant(
            "PAM_RUSER alone says who the caller is",
            "if named.uid != real.uid:",
            "if False:",
            "test_a_caller_who_names_another_user_is_denied_and_nobody_is_asked",
        ),
    ),
    "Setup refuses what would lock out or would not ask the phone, and restores the rest": (
        Mutant(
            "what another su or sudo of the login has started is ended",
            "(ids[1] == 0 and process.started > self.started)",
            "False",
            "test_what_su_has_not_started_goes_on",
        ),
        Mutant(
            "setup opens as root what a link of a user names",
            "with reading_as(user), open(",
            "with open(",
            "test_a_link_of_the_user_leads_root_to_nothing_that_only_root_can_read",
        ),
        Mutant(
            "our line comes before the password",
            "self._after[top].append(self._ours(",
            "self._before[top].append(self._ours(",
            "test_a_wrong_password_rings_no_phone[debian-sudo-]",
        ),
        Mutant(
            "a PAM file that was restored without our lines stays without",
            "return not has_asking_line(text_of(current.content))",
            "return False",
            "test_a_new_version_of_a_file_gets_the_lines_and_keeps_its_own",
        ),
        Mutant(
            "an expired password skips the phone in the account phase of sshd",
            "self._before[top] += guards",
            "self._after[top] += guards",
            "test_an_expired_password_still_leads_to_the_phone[debian-quiet]",
        ),
        Mutant(
            "a line leads past our session line, and the phone cannot end the login",
            "if jumps or ends:",
            "if False:",
            "test_every_session_passes_our_line_and_ends_as_it_did[ends]",
        ),
    ),
    "A bypass is made by root, for one person, and ends": (
        Mutant(
            "a bypass lets in a new account of the same name",
            "(self.user, self.uid) == (person.name, uid)",
            "self.user == person.name",
            "test_it_is_for_one_account_and_for_one_service_if_it_names_one",
        ),
    ),
    "Who is exempt is what the settings say, and a name that cannot be looked up exempts nobody": (
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
    "Only a login session that a door, as root, has registered is ended or locked": (
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
    ),
    "Nothing in the session phases lets anyone in or fails a login": (
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
    "What an administrator relies on when nothing works does what it says": (
        Mutant(
            "a refused removal of the packages leaves the second factor off",
            'refuse_if "$(foreign)"',
            "",
            "test_a_refused_removal_leaves_the_second_factor_on[_deb]",
        ),
    ),
    "Only a status that IAMPASS reports twice ends or locks a login, and nothing that was revoked comes back": (
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
    ),
    "A kept session covers its own login session only, while IAMPASS says that it is active": (
        Mutant(
            "doas goes on with a password that was typed before the phone was away",
            "(of_doas[1] if of_doas else name) in owners",
            "name in owners",
            "test_a_program_that_remembers_the_password_asks_for_it_again[doas]",
        ),
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
            "a further connection is covered where others can use the agent of the person who has the key",
            " or request.key_names_person:",
            ":",
            "test_anything_else_is_not_covered[ssh where the key says who of an account's people logs in]",
        ),
        Mutant(
            "what stands in the place of an address is one",
            'return str(ip_address((ssh_connection or "").partition(" ")[0]) or "")',
            'return (ssh_connection or "").partition(" ")[0]',
            "test_a_connection_without_an_address_asks_the_phone",
        ),
        Mutant(
            "a session covers without IAMPASS being asked",
            "self._ask_status(entry.kept, self.connect, deadline) is Status.active",
            "True",
            "test_without_an_active_session_at_this_moment_the_phone_is_asked",
        ),
        Mutant(
            "a user who takes all ports goes on after the end on the phone",
            "Configurations(network, OwnPorts(network).network,",
            "Configurations(network, network,",
            "test_a_user_who_takes_all_ports_does_not_keep_the_phone_from_ending_their_login",
        ),
        Mutant(
            "a connection of the user from anywhere begins in the login",
            "if login.uid != owner.uid or _control_group(login) != owner.control_group:",
            "if login.uid != owner.uid:",
            "test_no_other_connection_begins_in_it",
        ),
        Mutant(
            "a login has the control group of the session that it names, whose ever that is",
            """if f"0::{own}" not in file.read().split("\\n"):""",
            """if "0::" not in file.read():""",
            "test_a_login_within_the_session_of_another_user_has_no_control_group_of_its_own",
        ),
        Mutant(
            "a socket that listens at the client's port is taken for the connection",
            "len(reply) < _ATTRIBUTES or reply[_STATE] != _ESTABLISHED:",
            "len(reply) < _ATTRIBUTES:",
            "test_a_socket_that_listens_at_the_clients_port_is_no_connection",
        ),
        Mutant(
            "connections begin in a session that covers nothing any more",
            " or kept.revoked or kept.away or kept.approved == 0.0",
            "",
            "test_nothing_begins_in_a_session_that_is_not_open_covers_nothing_or_was_approved_by_a_second_person",
        ),
        Mutant(
            "a login to an account that several people use covers one of them on another host",
            "if kept.user != kept.approver:",
            "if False:",
            "test_nothing_begins_in_a_session_that_is_not_open_covers_nothing_or_was_approved_by_a_second_person",
        ),
        Mutant(
            "a host looks for a connection between addresses that each machine has",
            "if between_hosts(connection) is None:",
            "if False:",
            "test_what_begins_at_an_address_that_each_machine_has_does_not_begin_in_it",
        ),
    ),
    "A login on another host covers only the very connection, and what can be ended with it": (
        Mutant(
            "what is covered by a login on another host is an approval",
            "Result.IGNORED, reason, message, session=session",
            "Result.SUCCESS, reason, message, session=session",
            "test_a_login_that_one_on_another_host_covers_is_ignored_recorded_and_kept",
        ),
        Mutant(
            "a gateway that says active, and nothing of another host, lets in",
            "session.active and session.covered_by is not None and connection:",
            "session.active and connection:",
            "test_active_alone_lets_nobody_in",
        ),
        Mutant(
            "with each login on a further host, the time for which an approval covers sudo begins anew",
            "life.approved(kept, now - age or now, since, opener)",
            "life.approved(kept, now, since, opener)",
            "test_it_covers_sudo_only_for_as_long_as_the_approval_on_the_phone",
        ),
        Mutant(
            "a login that is not kept is covered by one on another host",
            "may_be_covered = self._keeping.wanted",
            "may_be_covered = True",
            "test_what_could_not_be_ended_or_asks_a_second_person_is_not_covered",
        ),
        Mutant(
            "any program names a connection from another host",
            "if not login.through_sshd or login.real_uid != 0 or",
            "if not login.through_sshd or",
            "test_a_connection_that_is_not_known_to_be_that_of_sshd_is_not_named",
        ),
        Mutant(
            "the PAM environment alone names the connection from another host",
            "if is_served_by(named, self._sockets)",
            "if named",
            "test_the_connection_of_another_login_is_not_named",
        ),
        Mutant(
            "what a login on another host covers covers what comes from there later",
            " or kept.covered_by:",
            ":",
            "test_it_covers_no_further_connection",
        ),
    ),
    "Who is asked is the gateway's to say": (
        Mutant(
            "the row of a person counts as the database has it",
            "values = gateway.keys.verified(TABLE, row, **asked)\n    plain",
            "values = dict(row)\n    plain",
            "test_who_can_write_to_the_database_only_lets_nobody_in",
        ),
        Mutant(
            "a person who is being removed can log in until IAMPASS has been told",
            "name, status=PersonStatus.REMOVING)",
            "name, status=PersonStatus.ACTIVE)",
            "test_a_removal_that_iampass_did_not_hear_of_goes_on_and_meanwhile_nobody_gets_in",
        ),
        Mutant(
            "a directory is believed whatever its certificate",
            "(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)",
            "(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_NEVER)",
            "test_a_certificate_that_is_not_trusted",
        ),
        Mutant(
            "people whom another server of the directory has are taken for gone",
            "if dn is None:",
            "if dn is None:\n                continue\n            if False:",
            "test_a_referral",
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
        Mutant(
            "two people whom a directory tells apart have the groups of each other",
            "(name.lower(), value.lower()) for name",
            "(name.lower(), value.casefold()) for name",
            "test_nobody_is_in_the_groups_of_an_entry_whose_dn_is_another_one_for_the_directory",
        ),
        Mutant(
            "groups from any part of the directory count",
            "if parsed[-len(self._base) :] != self._base:",
            "if False:",
            "test_groups_elsewhere_do_not_count",
        ),
        Mutant(
            "an entry that claims the name of a person who has left keeps them here",
            "answer.held.update(map(_id, ids) if ids else names)",
            "answer.held.update(names)",
            "test_who_claims_another_name_gets_nothing_and_keeps_nobody_here",
        ),
        Mutant(
            "the directory takes over people who were added here",
            "elif person.source is Source.LOCAL:",
            "elif False:",
            "test_local_people_are_left_alone",
        ),
    ),
    "Anyone who can watch a gateway reads figures, and costs it nothing": (
        Mutant(
            "a host chooses the labels of figures",
            "service if service in SERVICES else OTHER",
            "service or OTHER",
            "test_no_label_has_what_a_host_has_chosen",
        ),
        Mutant(
            "each who asks takes a connection to the database",
            "if self._look is None or (self._look.done() and is_old):",
            "if self._look is None or is_old or not self._look.done():",
            "test_many_who_ask_use_one_connection",
        ),
        Mutant(
            "a password in the gateway's settings stays there",
            'if option.dispchar == b"*"',
            'if option.dispchar == b"x"',
            "test_a_password_of_the_database_does_not_stand_in_the_file_and_is_shown_nowhere",
        ),
        Mutant(
            "errors of the gateway's settings show a password",
            "value = node.text if invalid.value is None else invalid.value",
            "value = node.text",
            "test_a_password_of_the_database_does_not_stand_in_the_file_and_is_shown_nowhere",
        ),
    ),
    "A gateway has a phone ring at most once, for those it may, and approves nothing that IAMPASS does not": (
        Mutant(
            "a start that was made is made again",
            'if read["session"]["id"] is not None:',
            "if False:",
            "test_a_repeat_gets_the_session_of_the_first_call",
        ),
        Mutant(
            "the id of a request stands for any parameters",
            "session.parameters == asked.digest",
            "True",
            "test_the_id_of_a_request_is_bound_to_all_that_was_asked_for",
        ),
        Mutant(
            "a start that IAMPASS may still begin holds no turn",
            "held = max(waits_until - time.monotonic(), 0.0)",
            "held = 0.0",
            "test_a_start_that_iampass_has_not_answered_holds_the_turn_as_long_as_its_login_would_wait",
        ),
        Mutant(
            "a phone that may be ringing is asked again",
            "session.deadline.timestamp() + turns.END_SECONDS",
            "before.now",
            "test_a_phone_rings_at_most_once_whenever_the_gateway_is_killed",
        ),
        Mutant(
            "a nonce is good more than once",
            '"INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s))"',
            '"INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s)) ON CONFLICT DO NOTHING"',
            "test_a_nonce_is_good_once_over_all_gateways",
        ),
        Mutant(
            "a start uses up no nonce",
            "spend_nonce(connection)\n        name",
            "name",
            "test_a_nonce_is_good_once_over_all_gateways",
        ),
        Mutant(
            "a join uses up no nonce",
            "await use_up_nonce(connection, id, credentials)",
            "pass",
            "test_a_join_is_good_once_although_its_host_was_removed",
        ),
        Mutant(
            "nothing was sent, whatever IAMPASS did",
            "isinstance(failure, Unavailable) and failure.outage",
            "True",
            "test_it_is_not_made_where_iampass_accepts_and_hangs_up",
        ),
        Mutant(
            "a database that has no connection left is away",
            "nothing_sent=away.unreachable)",
            "nothing_sent=True)",
            "test_it_is_not_made_where_all_connections_to_the_database_are_in_use",
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
            "what IAMPASS said long ago is told as of now",
            "if last is None or time.monotonic() - last.at >= FRESH_SECONDS:",
            "if last is None:",
            "test_a_session_that_is_open_is_asked_for_now",
        ),
        Mutant(
            "a session that its gateway does not know is over",
            "self._poll({id: entry})",
            "self._heard.told(entry, Status.closed)",
            "test_what_the_gateway_does_not_know_any_more_ends_nothing",
        ),
        Mutant(
            "a host is told of the sessions of another one",
            " AND session.host = %s",
            " AND %s <> ''",
            "test_the_sessions_of_another_host_are_not_known",
            also=((", id=id, host=host.id)", ", id=id)"),),
        ),
        Mutant(
            "a gateway writes what it saw before another one took over",
            "not gateway.leases.is_held(session.id, epoch, lease)",
            "False",
            "test_what_is_said_under_a_lease_that_another_gateway_has_now_is_not_written",
        ),
        Mutant(
            "nobody polls the sessions of a gateway that has died",
            "ON lease_holder.id = lease.holder AND lease_holder.until > now()",
            "ON lease_holder.id = lease.holder",
            "test_the_sessions_of_a_gateway_that_is_killed_are_taken_over",
        ),
        Mutant(
            "what IAMPASS says once ends a session",
            "suspect is not None and suspect.away is status.away",
            "status is not suspect",
            "test_what_iampass_says_once_ends_nothing",
        ),
        Mutant(
            "an old copy of the database answers polls",
            "if gateway.restored:\n            return _RESTORED",
            "if False:\n            return _RESTORED",
            "test_an_old_copy_of_the_database_says_nothing_of_a_session_or_a_host",
        ),
        Mutant(
            "an old copy of the database has phones ring until the gateway looks at it",
            'if row.pop("older"):',
            'if row.pop("older") is None:',
            "test_a_database_that_was_exchanged_for_an_old_copy_is_noticed_by_the_next_call",
        ),
        Mutant(
            "a request goes on ringing while a gateway holds the poll of a client that has hung up",
            "until_readable=self.pause,",
            "until_readable=None,",
            "test_a_client_that_hangs_up_while_its_poll_is_held_ends_the_request",
        ),
        Mutant(
            "a status that no gateway has written answers a poll",
            "Status.identifying if is_identifying else Status.pending",
            'Status[row["status"]]',
            "test_a_status_that_is_not_verified_approves_nobody",
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
            "a statement that is lost has not happened",
            "with _known(connection):\n                yield",
            "with suppress():\n                yield",
            "test_a_statement_whose_connection_is_lost_may_have_happened",
        ),
        Mutant(
            "the database is away for long after it is back",
            "reconnect_timeout=2.0,",
            'reconnect_timeout=float("inf"),',
            "test_a_database_is_used_again_soon_after_it_is_back",
        ),
        Mutant(
            "a code of an old copy of the database is good if that is found out meanwhile",
            "Reason.RESTORED if gateway.restored else found",
            "found",
            "test_a_code_that_was_redeemed_in_a_database_that_is_found_to_be_older_then_is_refused",
        ),
        Mutant(
            "headers without end fill the memory of a server",
            "self._incomplete > _HEAD + self._bounds.body",
            "False",
            "test_nobody_sends_headers_without_end",
        ),
        Mutant(
            "a client without a credential takes all descriptors of a server",
            "full = self._accepted >= self._bounds.connections",
            "full = False",
            "test_there_are_no_more_connections_than_the_server_can_serve",
        ),
        Mutant(
            "a server whose event loop is busy does not answer TCP",
            "self._loop.call_soon_threadsafe(self._begin, sock, owner)",
            "self._loop.call_soon_threadsafe(self._begin, sock, owner)\n"
            "            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(2)",
            "test_a_server_that_is_busy_answers_tcp",
        ),
        Mutant(
            "one address has all connections of a server",
            "if full or self._accepted_of[owner] >= self._bounds.of_one_address:",
            "if full:",
            "test_one_address_leaves_connections_for_others_also_without_a_handshake",
        ),
        Mutant(
            "a compressed body fills the memory of a server",
            "auto_decompress=False,\n            keepalive",
            "auto_decompress=True,\n            keepalive",
            "test_a_body_is_no_larger_than_what_was_sent",
        ),
        Mutant(
            "a connection is held without asking anything",
            "if not self._request_count:",
            "if False:",
            "test_nobody_holds_a_connection_without_asking_anything",
        ),
        Mutant(
            "one host has all connections of a gateway to its database",
            "self._share = max(1, connections // 2)",
            "self._share = connections",
            "test_a_host_leaves_connections_to_others_and_all_hosts_some_to_the_gateway",
        ),
        Mutant(
            "a client without a credential fills a gateway's journal",
            "if self._lines <= _LINES_A_SECOND:",
            "if self._lines:",
            "test_a_client_without_a_credential_does_not_fill_the_journal",
        ),
        Mutant(
            "a person of a host's table is asked on the phone of another person",
            "if owner != name:",
            "if False:",
            "test_a_token_that_is_not_that_of_one_person_alone_is_not_taken_over",
        ),
        Mutant(
            "the sessions of a suspended host go on",
            "if not host.status.keeps_sessions:\n        raise",
            "if False:\n        raise",
            "test_a_host_that_is_suspended_or_removed_has_no_sessions",
        ),
        Mutant(
            "a suspended host asks",
            "if host.status is not HostStatus.ACTIVE:\n        return Reason",
            "if False:\n        return Reason",
            "test_a_host_that_is_suspended_or_waits_asks_nobody",
        ),
        Mutant(
            "phones that a suspended host has ring go on ringing",
            "return replace(done, ended=await end_sessions(gateway, done.ended))",
            "return done",
            "test_a_suspended_host_has_no_phone_ring_and_keeps_its_sessions",
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
            "of two gateways, one goes on with what the other one has found to be an old copy",
            "OR (SELECT old_copy FROM fleet) IS TRUE",
            "",
            "test_what_one_finds_to_be_an_old_copy_is_one_for_all_until_it_is_confirmed",
        ),
        Mutant(
            "hosts that nobody uses keep a person out of all others",
            "more = _share(limits) * (login.is_familiar + login.is_usual)",
            "more = _share(limits) * login.is_usual",
            "test_hosts_that_nobody_uses_do_not_keep_a_person_out",
        ),
        Mutant(
            "a gateway that does not reach IAMPASS goes on as the only one that polls its sessions",
            "self.leaves_all = is_cut_off",
            "self.leaves_all = False",
            "test_a_gateway_that_does_not_reach_iampass_leaves_its_sessions_to_one_that_may",
        ),
        Mutant(
            "a login that had begun before a phone was lost is approved by it",
            "return lost >= session.began_at.timestamp()",
            "return False",
            "test_what_a_lost_phone_approves_lets_nobody_in",
        ),
        Mutant(
            "one host has messages sent to everybody in the directory",
            'of_host["sent"] >= _MESSAGES_OF_HOST',
            "False",
            "test_one_host_has_few_messages_sent_and_then_there_is_an_alert",
        ),
        Mutant(
            "wrong codes for one person take those of all others",
            '({"person": person}, _WRONG_OF_PERSON)',
            '({"person": person}, _WRONG_OF_HOST)',
            "test_wrong_codes_for_one_person_leave_others_theirs",
        ),
        Mutant(
            "one host may use up the requests of a person",
            "return refusal or throttle.joined(",
            "return throttle.joined(",
            "test_one_host_gets_a_third_of_what_may_be_asked_of_a_person",
        ),
        Mutant(
            "one host may have all calls of IAMPASS under way",
            "if own >= gateway.settings.limits.calls_of_host:",
            "if False:",
            "test_one_host_leaves_others_half_of_the_calls",
        ),
        Mutant(
            "one accomplice releases the brake",
            'if counted["cancelled"] < max(_BRAKE_PEOPLE, counted["approved"] + 1):',
            'if counted["cancelled"] < _BRAKE_PEOPLE or counted["approved"]:',
            "test_an_accomplice_who_approves_again_and_again_does_not_release_the_brake",
        ),
        Mutant(
            "a host learns which names there are",
            "refused.reason not in (Reason.UNKNOWN_USER, Reason.NOT_ON_THIS_HOST)",
            "True",
            "test_refused_starts_do_not_fill_the_records_and_then_say_nothing_of_names",
        ),
        Mutant(
            "a start that was given up becomes a session",
            "if before.state is not State.STARTING:",
            "if False:",
            "test_a_start_that_was_given_up_while_iampass_was_called_stays_so_and_rings_no_longer",
        ),
        Mutant(
            "a person who was removed meanwhile gets a session",
            " or person is None or not person.active:",
            ":",
            "test_a_person_who_is_removed_while_iampass_is_called_gets_no_session",
        ),
        Mutant(
            "a primary that was replaced is connected to again",
            "connection.history < self.history",
            "False",
            "test_a_server_that_was_the_primary_before_another_one_is_not_used",
        ),
        Mutant(
            "an answer that is written while the gateway looks is taken back",
            "        for id, status in list(self.noted_requests.items()):\n",
            "        for id, status in list[Any]():\n",
            "test_an_answer_that_is_written_while_the_gateway_looks_is_not_taken_back",
        ),
        Mutant(
            "an answer that may have been written is taken back",
            "    except UnknownOutcome:\n        gateway.note_request(session.id, None)\n        raise\n",
            "    except UnknownOutcome:\n        raise\n",
            "test_an_answer_that_is_written_while_the_gateway_looks_is_not_taken_back",
        ),
        Mutant(
            "a request that begins while the gateway looks is not on the phone for a while",
            "if status is None or id not in withdrawn:",
            "if status is None:",
            "test_a_request_that_begins_while_the_gateway_looks_is_on_the_phone",
        ),
        Mutant(
            "a request that has begun for a host that is suspended at once can be approved",
            "if status is None or id not in withdrawn:",
            "if id:",
            "test_a_request_that_was_begun_for_a_host_that_is_suspended_at_once_is_ended",
        ),
        Mutant(
            "suspending a host ends what was approved at that moment",
            "            self.withdrawn.discard(id)\n",
            "",
            "test_an_approval_that_is_written_while_the_gateway_finds_its_host_suspended_is_not_ended",
        ),
        Mutant(
            "a gateway that has compared takes back what an administrator has confirmed since",
            "WHERE old_copy IS NULL AND id = %s AND restores = %s FOR UPDATE",
            "WHERE old_copy IS NULL AND id = %s AND restores >= %s FOR UPDATE",
            "test_a_database_that_is_confirmed_while_a_gateway_compares_it_is_no_old_copy_again",
        ),
        Mutant(
            "other gateways are not told of a copy that is older than the last confirmation",
            "row = await one(connection, unmarked, mark.fleet, found.restores)",
            "row = await one(connection, unmarked, mark.fleet, mark.restores)",
            "test_a_copy_that_is_older_than_the_last_confirmation_is_marked_for_the_other_gateways",
        ),
        Mutant(
            "a login fails whose phone rings if a connection to the database is missing for a moment",
            "            is_again = True\n            await asyncio.sleep(_AGAIN_SECONDS)\n",
            "            return None\n",
            "test_what_iampass_has_said_is_written_once_there_is_a_connection_again",
        ),
        Mutant(
            "a host is told of a session by a commit that may not have happened",
            "        except DatabaseAway as away:\n            if not is_again:\n",
            "        except DatabaseError as away:\n            if not is_again:\n",
            "test_it_is_not_made_where_a_commit_may_have_happened",
        ),
        Mutant(
            "a phone rings on for a login that has given up while the database was away",
            "                if is_again and is_too_late():\n",
            "                if is_again and not gateway:\n",
            "test_what_iampass_has_begun_is_ended_if_it_is_not_written_before_the_login_gives_up",
        ),
        Mutant(
            "a group of hosts that does not say for whom admits everybody",
            "return self.everybody or not self.people.isdisjoint(groups)",
            "return self.everybody or not self.people or not self.people.isdisjoint(groups)",
            "test_a_group_that_does_not_say_for_whom_admits_nobody",
        ),
        Mutant(
            "a host is told a name that nobody has from that of a person of other hosts",
            "return Reason.NOT_ON_THIS_HOST.name if reason == Reason.UNKNOWN_USER.name else reason",
            "return reason",
            "test_a_person_of_other_hosts_and_a_name_that_nobody_has_read_the_same",
        ),
        Mutant(
            "a host asks without end who may log in",
            'asked["minute"] >= CALLS_A_MINUTE',
            "False",
            "test_its_calls_and_the_names_in_them_are_few",
        ),
        Mutant(
            "an administrator whom the gateway does not let in sets a service up",
            'return f"the gateway says that {name} may not log in here", remedy',
            'return "", ""',
            "test_an_administrator_of_other_hosts_would_be_locked_out",
        ),
    ),
    "Over hosts, a login is covered by an approved one in which it begins, and ends with it": (
        Mutant(
            "of two hosts that claim one connection the first is believed",
            "if len(hosts_of_it) != 1 or (await",
            "if not found or (await",
            "test_if_two_hosts_say_that_one_connection_begins_there_the_phone_is_asked",
        ),
        Mutant(
            "a host may guess connections without end",
            "if counted[name] >= most:",
            "if False:",
            "test_a_host_that_names_connections_which_nobody_confirms_has_the_phone_asked_without_further_questions",
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
            "a question can be answered at any time",
            " AND asked_at > now() - make_interval(secs => %s) FOR UPDATE",
            " AND %s IS NOT NULL FOR UPDATE",
            "test_without_an_answer_in_time_the_phone_is_asked",
        ),
        Mutant(
            "another machine answers for a host",
            "counts = await hosts.is_its_machine(",
            "counts = True or await hosts.is_its_machine(",
            "test_an_answer_from_another_machine_does_not_count",
        ),
        Mutant(
            "a weaker method covers a stronger one",
            " <= strength(session.methods)",
            " <= 9",
            "test_nobody_is_asked_who_may_not_cover_it[stronger-method]",
        ),
        Mutant(
            "a second person is taken for the one who logs in",
            'not by_phone and asked.request_id is not None and "asker" not in asked.details',
            "not by_phone and asked.request_id is not None",
            "test_nobody_is_asked_who_may_not_cover_it[second-person]",
        ),
        Mutant(
            "who has approved another one's login is taken for the one who is logged in",
            'and "asker" not in session.details',
            "and True",
            "test_what_a_second_person_has_approved_covers_no_login_of_that_person",
        ),
        Mutant(
            "a session covers a login after it has ended",
            "and session.state is State.OPEN\n        and session.status is Status.active",
            "",
            "test_what_ends_or_changes_before_the_session_is_written_leaves_none[session]",
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
            "who deletes the row of a login ends what it covers",
            'raise Tampered("session: a row that others name as their parent has gone")',
            "return Status.closed",
            "test_who_writes_to_the_database_ends_no_covered_login",
        ),
        Mutant(
            "presence starts from hosts that have joined before they had to be admitted",
            "and there.admitted",
            "",
            "test_a_host_that_nobody_has_admitted_covers_nothing",
        ),
        Mutant(
            "hosts from which presence starts redeem recovery codes",
            '"codes": name not in begins,',
            '"codes": True,',
            "test_presence_starts_from_hosts_that_were_admitted",
        ),
        Mutant(
            "covered logins outlive the one that covers them",
            "presence.follow_parents(gateway),",
            "",
            "test_no_session_outlives_the_one_that_covers_it[phone]",
        ),
        Mutant(
            "what a suspended host has confirmed stays",
            " OR (host.status IN ('active', 'stopped')) IS NOT TRUE OR child",
            " OR child",
            "test_no_session_outlives_the_one_that_covers_it[host-suspended]",
        ),
        Mutant(
            "a client that knows no covered logins has one",
            "not by_phone and asked.request_id is not None",
            "not by_phone",
            "test_nobody_is_asked_about_another_person_or_for_a_client_that_does_not_know_such_sessions",
        ),
        Mutant(
            "the starts of one person take all questions of a host",
            '("of_person", _QUESTIONS_OF_PERSON,',
            '("of_person", 1000,',
            "test_the_starts_of_one_person_leave_others_questions",
        ),
        Mutant(
            "guesses that are made at one moment do not count",
            "AND asked_at > now() - interval '1 hour'\n        GROUP BY connection",
            "AND asked_at BETWEEN now() - interval '1 hour' AND now() - interval '2 s'\n        GROUP BY connection",
            "test_a_host_that_names_connections_which_nobody_confirms_has_the_phone_asked_without_further_questions",
        ),
    ),
    "What an administrator takes away is taken on all hosts at once": (
        Mutant(
            "logins that wait for their turn ring a lost phone",
            "await turns.change(connection, self.person, throttle.phone_lost)",
            "pass",
            "test_logins_that_wait_for_their_turn_never_ring_a_lost_phone",
        ),
        Mutant(
            "sessions are ended at IAMPASS only",
            "await asking.write_status(gateway, session, Status.closed)",
            "pass",
            "test_an_end_holds_for_the_hosts_even_if_iampass_is_away",
        ),
    ),
    "A bypass of the fleet is an administrator's, for one person, for some hosts, for a time": (
        Mutant(
            "a bypass that was answered to another request counts",
            'not _names(members, "bypassed", request_id, response.nonce)',
            '"bypassed" not in members',
            "test_a_bypass_for_another_request_is_not_believed",
        ),
        Mutant(
            "the bypass at the gateway is an approval",
            "Result.IGNORED, reason, decisions.BYPASSED",
            "Result.SUCCESS, reason, decisions.BYPASSED",
            "test_a_bypass_at_the_gateway_is_ignored_by_pam_and_counts_as_no_request",
        ),
        Mutant(
            "the bypass of a second person counts",
            'read["counted"]["bypassed"] and asked.request_id is not None and "asker" not in asked.details',
            'read["counted"]["bypassed"] and asked.request_id is not None',
            "test_a_second_person_who_is_bypassed_is_asked",
        ),
        Mutant(
            "a bypass counts where the group forbids it",
            "if policy is None or not policy.bypasses:\n        return None",
            "if policy is None:\n        return None",
            "test_no_host_of_a_group_that_forbids_it_hears_of_one",
        ),
        Mutant(
            "a bypass counts on all hosts",
            "return here and (not self.services or",
            "return (not self.services or",
            "test_it_is_for_services_hosts_and_groups",
        ),
        Mutant(
            "a bypass counts without its MAC",
            "bypass = _bypass(gateway.keys.verified(TABLE, row))",
            "bypass = _bypass(row)",
            "test_the_database_makes_and_prolongs_none",
        ),
        Mutant(
            "the clock of the database alone says when a bypass is over",
            "if gateway.clock() < bypass.ends_at.timestamp() + _CLOCKS_DIFFER:",
            "if bypass:",
            "test_a_database_whose_clock_was_set_back_prolongs_none",
        ),
        Mutant(
            "bypasses of an old copy count once it is confirmed",
            'for name in await _taken(connection, "bypass")',
            "for name in ()",
            "test_it_holds_on_every_host_at_once_and_goes_when_an_old_copy_is_confirmed",
        ),
    ),
    "A recovery code of the fleet is good once, for one person, where the group allows it": (
        Mutant(
            "a redemption reads all wrong codes of years",
            "WHERE fields ? 'wrong_code' AND at > now() - interval '1 hour' AND NOT EXISTS",
            "WHERE fields ? 'wrong_code' AND at > greatest(now() - interval '1 hour', (SELECT max(act.at)"
            " FROM record AS act WHERE act.person = record.person AND act.kind = 'act')) AND NOT EXISTS",
            "test_a_redemption_reads_what_is_recent",
        ),
        Mutant(
            "a code is used up for a login that has given up",
            "if time.monotonic() >= asked.gives_up_at:",
            "if False:",
            "test_a_code_is_not_used_up_for_a_login_that_has_given_up",
        ),
        Mutant(
            "a code is good twice",
            " and used[number] is None",
            "",
            "test_a_code_lets_in_once_and_each_redemption_is_an_alert",
        ),
        Mutant(
            "two hosts use one code at the same time",
            "SELECT * FROM recovery WHERE person = %s FOR UPDATE",
            "SELECT * FROM recovery WHERE person = %s",
            "test_two_hosts_with_one_code_at_one_moment_and_one_gets_in",
        ),
        Mutant(
            "a row of codes counts without its MAC",
            "values = gateway.keys.verified(TABLE, row, person=person.name)",
            "values = dict(row)",
            "test_the_database_holds_no_code_and_nothing_that_was_changed_counts",
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
        Mutant(
            "codes of an old copy are good once it is confirmed",
            'for name in await _taken(connection, "recovery")',
            "for name in ()",
            "test_an_old_copy_of_the_database_redeems_nothing_and_its_codes_are_void_once_it_is_confirmed",
        ),
        Mutant(
            "a code is sent to a second gateway",
            '{path_segment(user)}{query}", read, body)',
            '{path_segment(user)}{query}", read, body, idempotent=True)',
            "test_a_code_that_may_have_left_is_sent_to_no_other_gateway",
        ),
        Mutant(
            "the answer to another code counts",
            'if members.text("request_id") != parameters["request_id"]:',
            'if not members.text("request_id"):',
            "test_an_answer_about_another_code_is_invalid",
        ),
        Mutant(
            "codes of a host count after any failure of a gateway",
            "if isinstance(error, Unavailable) and error.outage and not error.may_have_started:",
            "if error:",
            "test_a_code_that_has_left_is_no_code_of_the_host",
        ),
    ),
    "A person has one request at a time over all hosts, and no host or address keeps others from their turn": (
        Mutant(
            "on a slowed host people who use it wait like strangers",
            "if login.is_familiar:\n        return own",
            "if False:\n        return own",
            "test_whoever_has_approved_on_a_slowed_host_has_few_requests_there",
        ),
        Mutant(
            "on a slowed host people who use it take the turns of those who are new there",
            " AND NOT {turns.FAMILIAR} LIMIT 1",
            " LIMIT 1",
            "test_those_who_cancel_do_not_take_the_turns_of_people_who_are_new_on_a_slowed_host",
        ),
        Mutant(
            "on a slowed host those who cancel take the turns of people who are new there",
            "return own > 0 or recent is not None",
            "return recent is not None",
            "test_those_who_cancel_do_not_take_the_turns_of_people_who_are_new_on_a_slowed_host",
        ),
        Mutant(
            "on a slowed host a login that has waited for its turn is refused",
            "elif host.is_slowed(now) and await starts.is_held_back(",
            "elif host.is_slowed(now) or await starts.is_held_back(",
            "test_a_login_that_waits_for_its_turn_on_a_host_that_is_slowed_meanwhile_has_it",
        ),
        Mutant(
            "a host that is stopped by itself ends the sessions of people who have nothing to do with it",
            "return self in (HostStatus.ACTIVE, HostStatus.STOPPED)",
            "return self is HostStatus.ACTIVE",
            "test_a_host_that_is_stopped_by_itself_ends_nobodys_session",
        ),
        Mutant(
            "a host that an administrator has suspended has its sessions again",
            "if locked is None or locked.status is not HostStatus.ACTIVE:",
            "if locked is None:",
            "test_who_cancels_a_request_of_a_suspended_host_does_not_undo_that",
        ),
        Mutant(
            "a phone rings for so short that nobody can cancel",
            "max(start.duration, SHORTEST_REQUEST_SECONDS)",
            "start.duration",
            "test_a_phone_rings_for_long_enough_to_be_answered_whatever_a_host_asks_for",
        ),
        Mutant(
            "a host may have any number of people asked who do not approve",
            "if exceeds and not login.is_familiar:",
            "if False:",
            "test_a_host_has_few_people_asked_who_do_not_approve",
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
            "several hosts of one attacker keep a person from all others",
            "count = len(elsewhere) - max(login.strange_hosts - 1, 0)",
            "count = len(elsewhere)",
            "test_many_hosts_of_one_attacker_keep_nobody_from_a_host_where_they_log_in",
        ),
        Mutant(
            "a stolen password takes all places of its owner on a host",
            " and each.is_usual == login.is_usual for each",
            " for each",
            "test_a_stolen_password_takes_no_place_of_its_owner_on_a_host",
        ),
        Mutant(
            "logins on other hosts from where a person is take the places where the person logs in",
            "if not login.is_usual:\n        places",
            "if True:\n        places",
            "test_logins_on_many_hosts_from_the_address_of_a_person_take_no_place_where_she_logs_in",
        ),
        Mutant(
            "a stolen password takes all places of its owner on all hosts",
            "if not login.is_usual and sum(",
            "if sum(",
            "test_a_stolen_password_takes_no_place_of_its_owner_on_any_host_where_she_logs_in",
        ),
        Mutant(
            "logins from elsewhere go before those of the person",
            "return not was_passed, not login.is_usual, last",
            "return not was_passed, False, last",
            "test_a_login_from_a_usual_origin_waits_for_one_of_all_others_at_most",
        ),
        Mutant(
            "logins from a usual place keep those from elsewhere from their turn",
            "return not was_passed, ",
            "return False, ",
            "test_a_usual_origin_that_always_waits_keeps_nobody_from_a_turn_elsewhere",
        ),
        Mutant(
            "logins from elsewhere that have waited go before those of the person",
            "was_passed = was_usual and ",
            "was_passed = ",
            "test_a_login_from_a_usual_origin_waits_for_one_of_all_others_at_most",
        ),
        Mutant(
            "a stolen password uses up the requests of its owner",
            "_share(limits) * (1 + login.is_usual)",
            "_share(limits)",
            "test_a_stolen_password_uses_up_no_requests_of_its_owner",
        ),
        Mutant(
            "logins that wait on one host take the places of those on all others",
            "places = sum(each.host == login.host for each in of_origin)",
            "places = len(of_origin)",
            "test_logins_that_wait_on_one_host_take_no_place_of_those_on_another",
        ),
        Mutant(
            "repeats of one start take all calls of a gateway",
            ") + gateway.repeats[host_id]",
            ")",
            "test_repeats_of_one_start_count_as_calls_of_their_host",
        ),
        Mutant(
            "two gateways give a turn at the same moment",
            "connection.take(Lock.TURNS, person)",
            "pass",
            "test_the_first_logins_of_a_person_wait_for_each_other",
        ),
        Mutant(
            "a host has a turn for each address that it names before others have one",
            "last = max(of_origin, of_host)",
            "last = of_host = of_origin",
            "test_an_attacker_does_not_keep_the_person_from_a_turn[from one host with many addresses]",
        ),
        Mutant(
            "one address takes all places of a person's logins that wait",
            "places >= limits.logins_at_once or ",
            "",
            "test_an_attacker_does_not_keep_the_person_from_a_turn[from one address on all hosts]",
        ),
        Mutant(
            "a login that has given up while it waited rings",
            "if session.waits:",
            "if False:",
            "test_a_login_that_has_given_up_while_it_waited_never_rings",
        ),
        Mutant(
            "who may not ask any more when the turn comes does",
            "starts.find_allowed_person(gateway, connection, host, host.machine",
            "starts.find_allowed_person(gateway, connection, type(host)("
            '**{**vars(host), "status": type(host.status).ACTIVE}), host.machine',
            "test_who_may_not_ask_any_more_when_the_turn_comes_does_not[HOST_SUSPENDED]",
        ),
        Mutant(
            "on a host of a gateway an attacker's login holds up those from elsewhere",
            "queue_scope: ClassVar[Scope] = Scope.ORIGIN",
            "queue_scope: ClassVar[Scope] = Scope.PERSON",
            "test_here_only_logins_of_one_origin_wait_for_each_other",
        ),
        Mutant(
            "a caller finds out for nothing when a person logs in",
            "            self.sent = Sent.COUNTS_HERE\n            self.announce(",
            "            self.announce(",
            "test_to_hang_up_while_a_gateway_has_another_login_come_first_counts_as_a_failure",
        ),
        Mutant(
            "the ends of one host take all calls",
            "async with gateway.share_of_ends(session.host):",
            "if True:",
            "test_one_host_leaves_others_half_of_the_ends_and_none_of_its_own_is_lost",
        ),
        Mutant(
            "a login waits for as long as its host says, and has its turn",
            "min(patience, start.duration, LONGEST_REQUEST_SECONDS)",
            "min(patience, start.duration)",
            "test_a_request_has_its_turn_for_335_seconds_at_most_whatever_its_host_asks_for",
        ),
        Mutant(
            "the machine of a slowed host becomes another host with the same invite",
            "policy is None or policy.admit or braked",
            "policy is None or policy.admit",
            "test_a_host_that_joins_with_the_invite_of_a_slowed_one_waits_until_it_is_admitted",
        ),
        Mutant(
            "a host that has joined anew knows the people of the one before",
            "(SELECT joined_at FROM host WHERE host.name = session.host_name)",
            "'-infinity'",
            "test_of_people_who_are_new_on_a_slowed_host_one_a_minute_is_asked[29-28]",
        ),
        Mutant(
            "on a slowed host people who come through another one wait like strangers",
            "record.fields->>'outcome' IN ('approved', 'covered') AND record.at >",
            "record.fields->>'outcome' = 'approved' AND record.at >",
            "test_whoever_logs_in_through_another_host_is_not_new_on_a_slowed_one",
        ),
        Mutant(
            "a host that has phones ring for nothing is an alert only at its limit",
            "if unapproved < quarter:",
            "if unapproved < most:",
            "test_a_host_that_has_phones_ring_for_nothing_is_an_alert_before_it_is_at_its_limit",
        ),
        Mutant(
            "nobody hears of a person who cancels again and again",
            "await _report_cancels(connection, before.person)",
            "pass",
            "test_a_person_who_cancels_again_and_again_is_an_alert_whichever_hosts_ask",
        ),
        Mutant(
            "an approval on one host forgets the failures of others",
            "failures = _without(state.failures, login.place)",
            'failures = {at: each for at, each in state.failures.items() if at.partition(" ")[0] != login.origin}',
            "test_what_a_person_approves_on_one_host_forgets_no_failures_of_others",
        ),
        Mutant(
            "what a person approves on a host does not help them there",
            "found.count and found.last > since",
            "found.count",
            "test_an_approval_on_one_of_several_hosts_ends_the_row_there_only",
        ),
        Mutant(
            "a login waits for another gateway that notes when its host was seen",
            "WHERE host = %s FOR UPDATE SKIP LOCKED)",
            "WHERE host = %s FOR UPDATE)",
            "test_the_call_of_a_host_is_noted_now_and_then_and_waits_for_nobody_who_notes_it",
        ),
    ),
    "An invite is for the hosts that it says, and no host takes the place of another": (
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
            "a gateway without a descriptor takes the database for unreachable",
            "_FAR_SIDE = {errno.ECONNREFUSED,",
            "_FAR_SIDE = {errno.EMFILE, errno.ECONNREFUSED,",
            "test_a_connection_for_which_there_is_no_descriptor_does_not_say_that_nothing_was_sent[DATABASE_AWAY]",
        ),
        Mutant(
            "a gateway takes any database over that was confirmed nowhere",
            "if before is not None and before.fleet != mark.fleet:",
            "if before is not None:",
            "test_a_copy_of_the_same_installation_is_not_adopted_unless_it_is_confirmed",
        ),
        Mutant(
            "joining: an invite does not expire",
            "if expired:",
            "if False:",
            "test_an_invite_that_has_expired_is_refused",
        ),
        Mutant(
            "joining: an invite for a name is for any",
            "if invite.name not in (None, joining.name):",
            "if False:",
            "test_an_invite_for_a_name_is_for_no_other",
        ),
        Mutant(
            "joining: an invite for a network is for any",
            "invite.network is not None and not _within(remote, invite.network)",
            "False",
            "test_an_invite_for_a_network_is_for_no_other",
        ),
        Mutant(
            "joining: the signature does not hold for the body",
            "hashlib.sha256(request.body).hexdigest()",
            "digest",
            "test_the_signature_holds_for_the_body",
        ),
        Mutant(
            "joining: an invite that no gateway has written counts",
            "values = gateway.keys.verified(INVITES, row, **asked)",
            "values = dict(row)",
            "test_an_invite_that_was_written_in_the_database_itself_does_not_count",
        ),
        Mutant(
            "joining: a host is admitted by being suspended and resumed",
            "HostStatus.ACTIVE if may_ask else HostStatus.WAITING",
            "HostStatus.ACTIVE",
            "test_a_host_that_is_suspended_before_it_is_admitted_waits_again_when_it_is_resumed",
        ),
        Mutant(
            "joining: each role of the database server can take the locks of people",
            'as_postgres(*query, f"REVOKE CONNECT',
            '(*query, f"REVOKE CONNECT',
            "test_only_the_service_has_the_database",
        ),
        Mutant(
            "joining: a host that no gateway has written counts",
            "values = gateway.keys.verified(TABLE, row, **asked)\n    return Host(",
            "values = dict(row)\n    return Host(",
            "test_a_host_that_was_written_in_the_database_itself_does_not_count",
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
        Mutant(
            "joining: another gateway gets the secret that the first one has",
            "if not secret or take(CA_FILE).content != authority:",
            "if not secret:",
            "test_a_secret_that_another_gateway_may_have_is_not_used",
        ),
        Mutant(
            "what is recorded after a restore makes up for what was lost",
            "return _written(found) != mark.written",
            "return False",
            "test_what_is_recorded_after_a_restore_does_not_make_up_for_what_was_lost",
        ),
        Mutant(
            "what an administrator has done is remembered only by the service",
            "if has_act and self.after_act is not None:",
            "if False:",
            "test_a_copy_from_before_an_act_is_noticed_although_no_service_has_looked_since",
        ),
        Mutant(
            "what happened just before the service stopped is not remembered",
            "ValueError, OSError):\n        await restored.look(gateway)",
            "ValueError, OSError):\n        pass",
            "test_the_service_remembers_how_far_the_database_is_when_it_stops",
        ),
        Mutant(
            "joining: one machine has the limits of several hosts",
            "SELECT name FROM host WHERE machine = %s",
            "SELECT name FROM host WHERE machine = %s AND false",
            "test_one_machine_is_one_host",
        ),
        Mutant(
            "joining: nobody hears which host has the machine of another one",
            "refusal, taken = _machine_taken(), f\", the machine of {other['name']}\"",
            'refusal, taken = _machine_taken(), ""',
            "test_one_machine_is_one_host",
        ),
        Mutant(
            "each address of a client's network may guess connections anew",
            "64 if ':' in address else 32",
            "128 if ':' in address else 32",
            "test_all_addresses_of_a_network_that_a_client_can_have_are_one",
        ),
        Mutant(
            "what a host reports of a login counts as a decision",
            '"reported": outcome, "login": login})',
            '"outcome": outcome, "login": login})',
            "test_a_report_is_no_decision_and_makes_no_host_familiar",
        ),
        Mutant(
            "a host reports approvals",
            "if outcome not in _OUTCOMES or not all(",
            "if not all(",
            "test_it_can_say_nothing_else",
        ),
        Mutant(
            "a host fills the database with reports",
            "if room <= 0 or written",
            "if written",
            "test_beyond_its_share_of_an_hour_its_logins_are_only_counted",
        ),
        Mutant(
            "a host fills the database with reports in parallel calls",
            "connection.take(Lock.REPORTS, host.name)",
            "pass",
            "test_parallel_calls_are_counted_one_after_the_other",
        ),
        Mutant(
            "a login is written as often as its host reports it",
            "if report.login not in told]",
            "]",
            "test_a_login_is_written_once",
        ),
        Mutant(
            "what a host reports is not cleaned",
            '_TEXTS[name]: clean(text, 200 if name == "reason" else 100)',
            "_TEXTS[name]: text",
            "test_its_texts_are_cleaned_and_short",
        ),
        Mutant(
            "another machine reports with the key of a host",
            "            if is_its_machine:\n                await _write",
            "            if True:\n                await _write",
            "test_another_machine_with_its_key_reports_nothing",
        ),
        Mutant(
            "a login waits for its report",
            "pamh.after_reply.callback(self._report, arguments.config, login, decision)",
            "self._report(arguments.config, login, decision)",
            "test_a_login_that_needs_no_phone_is_answered_before_it_is_reported",
        ),
        Mutant(
            "the reports that wait have no bound",
            "if len(self._queue) < MOST and",
            "if",
            "test_the_queue_is_bounded_and_what_it_loses_is_counted_once",
        ),
        Mutant(
            "what others than root have written is reported as a rescue",
            "frozenset({ROOT}) if self.rescues else None",
            "None if self.rescues else None",
            "test_what_a_door_has_let_in_without_the_agent_is_reported_later_and_nothing_that_others_wrote",
        ),
        Mutant(
            "a user who runs sudo in a loop keeps the reports of others out of the queue",
            "and len(of_one) < MOST_OF_ONE:",
            "and True:",
            "test_one_person_leaves_room_in_the_queue_for_others",
        ),
        Mutant(
            "a user of a host who runs sudo in a loop keeps the other logins there out of the fleet's log",
            "if room <= 0 or written[actor] >= REPORTS_OF_ONE:",
            "if room <= 0:",
            "test_one_user_of_a_host_leaves_room_in_the_hour_for_others",
        ),
        Mutant(
            "a file of settings that cannot be read keeps all other reports of the host back",
            "self._queue.values() if each.config not in failed), None)",
            "self._queue.values()), None) if not failed else None",
            "test_settings_that_cannot_be_read_and_gateways_that_are_away_hold_up_no_other_reports",
        ),
    ),
    "Only who may do it acts on the fleet, and the record says who it was": (
        Mutant(
            "the record of an act names the administrator of the process",
            "by=actor.fields,",
            "by=None,",
            "test_the_record_of_an_act_names_the_actor_and_how_they_are_known",
        ),
        Mutant(
            "everybody can do every act",
            "if Role.ROOT not in actor.roles:",
            "if not actor.roles:",
            "test_nobody_but_root_of_a_gateway_can_act",
        ),
        Mutant(
            "two acts can wait for each other's people",
            "ORDER BY name FOR NO KEY UPDATE",
            "ORDER BY name DESC FOR NO KEY UPDATE",
            "test_actor_and_target_are_locked_in_the_order_of_their_names",
        ),
        Mutant(
            "who sees nobody sees the records of everybody",
            "if wanted.of is not None:",
            "if wanted.of:",
            "test_who_sees_nobody_sees_no_record_and_no_session",
        ),
        Mutant(
            "people see the records in which a host names them as the caller",
            'conditions.append("person = ANY(%s)")',
            "conditions.append(\"%s && ARRAY[person, fields->>'caller']\")",
            "test_records_are_of_the_person_and_not_of_the_caller_whom_a_host_names",
        ),
        Mutant(
            "people see the logins of others",
            "None if reach.all else list(reach.people)",
            "None",
            "test_sessions_are_of_the_person_who_is_asked_and_not_of_the_caller_whom_a_host_names",
        ),
        Mutant(
            "an auditor sees phone numbers",
            'Role.AUDITOR: ("user",',
            'Role.AUDITOR: ("phone_number", "user",',
            "test_auditors_and_helpdesk_see_no_phone_numbers",
        ),
        Mutant(
            "help desk sees people of groups that it does not help",
            "actor.helps.issuperset(person.groups)",
            "not actor.helps.isdisjoint(person.groups)",
            "test_people_see_themselves_auditors_all_and_helpdesk_who_has_only_groups_that_it_helps",
        ),
    ),
    "A phone that was reported lost approves nothing, and IAMPASS hears of each act once it answers": (
        Mutant(
            "a lost phone rings until IAMPASS has disabled it",
            'if read["counted"]["phone_lost"]:',
            "if False:",
            "test_while_iampass_is_away_a_lost_phone_rings_for_nobody_and_a_new_bypass_lets_in",
        ),
        Mutant(
            "a bypass of the person survives the report of a lost phone",
            "bypassed = await bypasses.remove(connection, self.person)",
            "bypassed = 1",
            "test_sessions_bypasses_and_the_phone_end_and_codes_are_named_and_kept",
        ),
        Mutant(
            "the report of a lost phone ends codes that nobody wanted to end",
            "if self.end_codes:",
            "if True:",
            "test_sessions_bypasses_and_the_phone_end_and_codes_are_named_and_kept",
        ),
        Mutant(
            "nobody goes on with an act that was killed before IAMPASS knew",
            "await _resume_steps(gateway, await steps.take(gateway))",
            "await steps.take(gateway)",
            "test_a_report_that_is_killed_before_iampass_is_told_goes_on_and_disables_once",
        ),
        Mutant(
            "sessions whose end was killed go on",
            "gateway, connection, [session.id for session in wanted.found])",
            "gateway, connection, [])",
            "test_an_end_of_sessions_that_is_killed_goes_on",
        ),
        Mutant(
            "IAMPASS is told for ever that a phone is lost, and disables the next one",
            "if await steps.lost_phone_is_known(connection, step):",
            "if step:",
            "test_a_report_that_is_killed_before_iampass_is_told_goes_on_and_disables_once",
        ),
        Mutant(
            "the next phone is registered before IAMPASS has disabled the lost one",
            "if await steps.waits_for_iampass(connection, name):",
            "if not name:",
            "test_no_link_is_shown_and_the_next_phone_waits_until_the_lost_one_is_disabled",
        ),
        Mutant(
            "who can write to the database has phones disabled",
            "values = gateway.keys.verified(TABLE, row)",
            "values = dict(row)",
            "test_a_row_that_no_gateway_has_written_disables_no_phone",
        ),
        Mutant(
            "IAMPASS that declines is taken to have disabled the phone",
            "if isinstance(error, Unavailable) or (yield from _may_have_phone(application, user)):",
            "if isinstance(error, Unavailable):",
            "test_iampass_that_declines_although_there_is_a_phone_is_told_again",
        ),
        Mutant(
            "without a gateway, a lost phone is asked by logins that begin before IAMPASS has disabled it",
            "return replace(state, lost=now) if self._is_lost(person) else state",
            "return state",
            "test_a_phone_that_iampass_cannot_be_told_of_stays_lost_until_the_report_is_taken_back",
        ),
        Mutant(
            "an agent that is killed forgets which phone IAMPASS is still to disable",
            "self._configs = {**stored, **self._configs}",
            "self._configs = {**self._configs}",
            "test_no_login_asks_it_also_of_an_agent_that_starts_later",
        ),
        Mutant(
            "without a gateway, the next phone is registered before IAMPASS has disabled the lost one",
            'lost = ask("phone waits", user=user, token=token)',
            "lost = None",
            "test_an_agent_that_is_killed_tells_iampass_of_the_lost_phone_once_it_starts_again",
        ),
        Mutant(
            "who has no phone at IAMPASS is kept out for ever once it is reported lost",
            "if isinstance(error, Unavailable) or (yield from _may_have_phone(application, user)):",
            "if error:",
            "test_iampass_that_declines_for_want_of_a_phone_keeps_nobody_out_for_ever",
        ),
        Mutant(
            "help desk registers the next phone before IAMPASS has disabled the lost one",
            "await require_no_lost_phone(work.connection, self.person)",
            "pass",
            "test_a_new_phone_waits_until_the_lost_one_is_disabled_and_is_not_for_who_has_left",
        ),
        Mutant(
            "one person's row that no gateway has written keeps the phones of others, and their sessions",
            "await asyncio.gather(_resume_ends(gateway, ended), *map(tell, lost))",
            "for name in lost:\n        await tell_of_lost_phone(gateway, name)\n"
            "    await _resume_ends(gateway, ended)",
            "test_a_person_whose_row_no_gateway_has_written_holds_up_no_other_step",
        ),
        Mutant(
            "a gateway that comes late with a step has the next phone disabled",
            "FROM step JOIN person ON name = lost_phone_of",
            "FROM step RIGHT JOIN person ON name = lost_phone_of",
            "test_a_gateway_that_comes_late_with_a_step_leaves_the_next_phone_alone",
            also=(
                (
                    'gateway.keys.verified(steps.TABLE, row["step"], lost_phone_of=name)["id"]',
                    'row["step"]["id"]',
                ),
            ),
        ),
        Mutant(
            "an earlier report that IAMPASS answers late takes the place of a later one",
            '"DELETE FROM step WHERE id = %s", (step,)',
            '"DELETE FROM step WHERE id = %s OR true", (step,)',
            "test_a_phone_that_is_reported_again_meanwhile_waits_for_an_answer_of_its_own",
        ),
        Mutant(
            "a restored database has phones disabled that were registered since",
            "UPDATE step SET tried_at = 'infinity' WHERE lost_phone_of IS NOT NULL",
            "UPDATE step SET tried_at = tried_at WHERE lost_phone_of IS NOT NULL",
            "test_an_old_copy_disables_no_phone_and_denies_until_it_is_reported_again",
        ),
        Mutant(
            "a session that IAMPASS declines to end is not ended there",
            "is_ended = call is None or await gateway.iampass.call(call, _END_SECONDS, Lane.decisions)",
            "is_ended = call is None or await gateway.iampass.call(call, _END_SECONDS, Lane.decisions) or True",
            "test_iampass_that_declines_to_end_a_session_is_told_again_unless_it_is_over",
        ),
        Mutant(
            "a login is covered although the phone was reported lost while hosts were asked",
            "if not isinstance(person, Person) or await steps.waits_for_iampass(connection, person.name):",
            "if not isinstance(person, Person):",
            "test_what_ends_or_changes_before_the_session_is_written_leaves_none[phone]",
        ),
        Mutant(
            "a lost phone without a known token counts as disabled",
            "if not phone.token:",
            "if not phone.token and self._phones.discard(phone):",
            "test_a_phone_that_iampass_cannot_be_told_of_stays_lost_until_the_report_is_taken_back",
        ),
        Mutant(
            "another application is told of a lost phone, and knows no such person",
            "if settings.application_id != application:",
            "if not settings.application_id:",
            "test_a_phone_that_iampass_cannot_be_told_of_stays_lost_until_the_report_is_taken_back",
        ),
        Mutant(
            "the phone of a token that only one service uses is not disabled",
            "services = self.service, *self.services.values()",
            "services = (self.service,)",
            "test_the_tokens_of_a_person_are_those_of_all_services",
        ),
        Mutant(
            "a user who is removed here only counts as one whose lost phone is disabled",
            "codes, sessions = _forget(name)\n        file",
            "codes, sessions = _forget(name)\n        ask('phone forget', user=name)\n        file",
            "test_a_removal_forgets_a_lost_phone_only_if_iampass_has_deleted_the_user",
        ),
        Mutant(
            "the sessions of who is removed go on if the command is killed",
            "return found, await add_ends_of(inner, connection, name)",
            "return found, EndedSessions([])",
            "test_a_removal_that_is_killed_is_finished_by_a_second_run_and_a_gateway_ends_the_sessions",
        ),
        Mutant(
            "a lost phone rings for another name that has the same token",
            "if context.state.lost_phones.reported_since(context.began, required.phone.token):",
            "if False:",
            "test_it_rings_for_no_other_name_with_the_same_token_either",
        ),
        Mutant(
            "a lost phone approves a login of another name that it was asked by, once IAMPASS has disabled it",
            "or self._reported.get(token, -1.0) >= began",
            "",
            "test_a_login_that_has_begun_before_the_report_for_another_name_is_denied_although_iampass_knows",
        ),
        Mutant(
            "what a lost phone has approved for another name goes on",
            "person in (kept.approver, kept.person) or kept.token in tokens",
            "person in (kept.approver, kept.person)",
            "test_what_a_phone_has_approved_ends_also_if_it_is_reported_lost_for_another_name_that_has_it",
        ),
        Mutant(
            "the second report of a phone has the next one disabled",
            "self._phones.disabled(phone.application, [phone.token])",
            "self._phones.discard(phone)",
            "test_iampass_is_told_once_of_a_phone_that_was_reported_for_two_names",
        ),
        Mutant(
            "a user whom IAMPASS declines to delete counts as deleted",
            "if (yield from knows_user(application, user)):",
            "if False:",
            "test_who_is_gone_already_is_no_error_if_iampass_says_so_for_certain",
        ),
        Mutant(
            "until IAMPASS has disabled a lost phone, sudo asks for no recovery code",
            "denied(Outcome.NO_DEVICE, _PHONE_LOST",
            "denied(Outcome.DENIED, _PHONE_LOST",
            "test_who_has_lost_the_phone_is_asked_for_a_recovery_code_where_no_prompt_has_offered_it",
        ),
        Mutant(
            "a gateway that asks no lost phone denies, so that hosts ask for no recovery code",
            "PHONE_LOST = (\n        Outcome.NO_DEVICE",
            "PHONE_LOST = (\n        Outcome.DENIED",
            "test_while_iampass_is_away_a_lost_phone_rings_for_nobody_and_a_new_bypass_lets_in",
        ),
        Mutant(
            "a host takes it for a refusal that its gateway asks no lost phone",
            "Outcome.NO_DEVICE,\n        Outcome.UNLISTED",
            "Outcome.UNLISTED",
            "test_a_login_that_has_waited_in_vain_says_why",
        ),
        Mutant(
            "one lost phone keeps out everybody who needs a second person",
            "ASK_THE_NEXT = (Outcome.NO_DEVICE, ",
            "ASK_THE_NEXT = (",
            "test_who_has_lost_the_phone_is_followed_by_the_next",
        ),
        Mutant(
            "the lost phone of a name that nobody has counts as disabled",
            "is_nobody = own_account is None",
            "is_nobody = False",
            "test_who_is_no_user_of_this_machine_or_of_iampass_has_no_phone_that_was_disabled",
        ),
        Mutant(
            "the lost phone of a user whom IAMPASS does not know counts as disabled",
            "is_known = any(_may_be_known(service.manager, token) for token in tokens)",
            "is_known = True",
            "test_who_is_no_user_of_this_machine_or_of_iampass_has_no_phone_that_was_disabled",
        ),
        Mutant(
            "turns from elsewhere put a login from a usual place back behind those of another host",
            'kind = f"{_USUAL} " if login.is_usual else ""',
            'kind = ""',
            "test_turns_from_elsewhere_and_of_usual_origins_on_another_host_do_not_put_a_usual_login_back",
        ),
        Mutant(
            "root of a host has as many logins of a person wait as it names usual places",
            "alike >= most:",
            "not login.is_usual and alike >= most:",
            "test_logins_from_many_origins_take_a_third_of_the_places_on_one_host[True]",
        ),
        Mutant(
            "a gateway whose disk is full takes the database for an old copy",
            "failure = OSError(f",
            "gateway.restored, failure = True, OSError(f",
            "test_a_full_disk_makes_no_old_copy_and_hides_none",
        ),
        Mutant(
            "an old copy that comes while the disk is full is not noticed",
            "gateway.unwritten = mark",
            "gateway.unwritten = None",
            "test_a_full_disk_makes_no_old_copy_and_hides_none",
        ),
        Mutant(
            "the finder of a lost phone has a link sent to it by a login",
            "person.phone_number is None or not person.invites:",
            "person.phone_number is None:",
            "test_the_finder_of_a_lost_phone_who_logs_in_is_sent_no_link[a lost phone]",
        ),
        Mutant(
            "an old copy forgets that a phone was lost, and a login has a link sent to it",
            "await people.stop_invites(gateway, connection, source=people.Source.LDAP)",
            "False",
            "test_the_finder_of_a_lost_phone_who_logs_in_is_sent_no_link[an old copy of the database]",
        ),
        Mutant(
            "the phone of a person who is being removed lets somebody in between two steps",
            "await turns.change(connection, name, throttle.phone_lost)",
            "pass",
            "test_what_the_phone_approves_while_its_person_is_being_removed_lets_nobody_in",
        ),
    ),
}
