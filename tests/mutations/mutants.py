"""The invariants, changes that break each of them, and the test that detects each change.

Two or three for each invariant and for each rule that a known attack led to.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("pam_iampass/**/*.py", "doors/native/*.c", "packaging/debian/*.prerm")


@dataclass(frozen=True)
class Mutant:
    """One change that breaks an invariant. It names no file, so code can be moved and files renamed."""

    what: str
    """The effect of the change."""
    text: str
    """Occurs once in all sources; `replacement` takes its place."""
    replacement: str
    test: str
    """The test that must fail, or one of its parametrised forms. No other test has its name."""

    def file(self, root: Path) -> str:
        """The source that is changed, below `root`. Raises ValueError unless the text occurs exactly once."""
        found = [
            file for file, source in _texts(root, SOURCES).items() for _ in range(source.count(self.text))
        ]
        if len(found) != 1:
            raise ValueError(f"{self.what}: this must occur once, and does in {found}: {self.text}")
        return found[0]

    def node(self, root: Path) -> str:
        """The test, as pytest names it. Raises ValueError unless there is exactly one."""
        definition = re.compile(rf"^def {re.escape(self.test.partition('[')[0])}\(", re.MULTILINE)
        files = _texts(root, ("tests/**/test_*.py",)).items()
        found = [file for file, source in files if definition.search(source)]
        if len(found) != 1:
            raise ValueError(f"{self.what}: one test must have this name, and {found} have it: {self.test}")
        return f"{found[0]}::{self.test}"


@functools.cache
def _texts(root: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    files = sorted(file for pattern in patterns for file in root.glob(pattern))
    return {str(file.relative_to(root)): file.read_text(encoding="utf-8") for file in files}


#: The mutants of each invariant.
_NEWS = (
    ' AND session.host = %s"\n'
    '        " WHERE session.version IS DISTINCT FROM seen.version",\n'
    "        *(list(versions), list(versions.values()), host),\n"
    "    )\n"
    "\n"
    "\n"
    "def news(\n"
    "    gateway: Gateway, host: Host, rows: Sequence[Mapping[str, Any]]\n"
    ") -> tuple[dict[uuid.UUID, HostSession | None], list[str]]:\n"
    '    """The sessions in the rows of `changed`, None for one that this host does not have; and what is\n'
    '    wrong with rows that no gateway has written."""\n'
    "    found: dict[uuid.UUID, HostSession | None] = {}\n"
    "    tampered = []\n"
    "    for row in rows:\n"
    '        id = row["seen"]["id"]\n'
    "        found[id] = None\n"
    '        if row["session"]["id"] is not None:\n'
    "            try:\n"
    '                found[id] = of(gateway, row["session"], id=id, host=host.id)'
)
"""Both of the places that hold a host to its own sessions."""
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
            "if session.active:\n            unasked = ProtocolError(",
            "if False:\n            unasked = ProtocolError(",
            "test_a_session_that_is_active_before_anyone_was_asked_is_no_approval_and_is_ended",
        ),
        Mutant(
            "an ignored login returns PAM_SUCCESS",
            "if self.result is Result.IGNORED:\n            return PamCode.IGNORE",
            "if self.result is Result.IGNORED:\n            return PamCode.SUCCESS",
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
            "if same and stored.used_at is None:",
            "if same:",
            "test_each_of_ten_codes_is_good_once",
        ),
        Mutant(
            "a login whose approval arrives while the phone is reported lost is approved",
            "self._keeping.approve()\n        if phone_is_lost():",
            "self._keeping.approve()\n        if False:",
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
            "a gateway that was busy takes the database for unreachable",
            'raise OSError("the name was not looked up in time") from None',
            "raise",
            "test_a_gateway_that_was_busy_does_not_take_the_database_for_unreachable",
        ),
        Mutant(
            "a gateway's request that met the end of its connection counts as if it had not been sent",
            "attempt.served = attempt.sent = True",
            "attempt.served = True",
            "test_a_kept_alive_connection_that_ends_under_a_request_may_have_carried_it[reset]",
        ),
        Mutant(
            "a gateway's poll is sent again, with a nonce that is used up, if its connection ends",
            "if attempt.sent:\n            # aiohttp would",
            "if False:\n            # aiohttp would",
            "test_a_poll_whose_connection_ends_is_not_repeated_behind_our_back",
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
            "a recovery code is sent over a connection that its gateway may be about to close",
            "self._kept_seconds if call.idempotent else self._idle_seconds",
            "self._kept_seconds",
            "test_a_code_is_not_sent_over_a_connection_that_its_gateway_may_be_about_to_close",
        ),
        Mutant(
            "all starts of a host have the same id",
            'return {"request_id": secrets.token_urlsafe(16), **told}',
            'return {"request_id": "the-same-for-all-starts", **told}',
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
            "a session from before a host has joined is not asked for any more",
            "if self.before is not None and self.before.origin.owns(call.url):",
            "if False:",
            "test_a_session_from_before_the_host_has_joined_is_asked_for_where_it_was_begun",
        ),
        Mutant(
            "a session that no gateway knows covers a login on a host of a gateway",
            "kept.token, kept.of_gateway):",
            "kept.token, request.of_gateway):",
            "test_such_a_session_covers_nothing[the name as the token]",
        ),
        Mutant(
            "a user table that is missing is an empty one, also where IAMPASS is asked",
            "if self._optional and trusted_file.is_missing(self._users):",
            "if trusted_file.is_missing(self._users):",
            "test_a_missing_table_denies_all_who_have_no_file_of_their_own",
        ),
        Mutant(
            "a gateway's denial without a request counts as a refusal by the person",
            "return self.may_have_left and not self._nobody_was_asked",
            "return self.may_have_left",
            "test_a_denial_of_a_gateway_that_has_asked_nobody_is_no_refusal_of_the_person[misconfigured]",
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
            "refusal = Refusal.of(members) if origin.gateways else None",
            "refusal = Refusal.of(members)",
            "test_iampass_itself_refuses_in_no_words_of_its_own",
        ),
        Mutant(
            "IAMPASS is asked until the agent restarts, although the host has joined",
            "files.append(str(settings.joined_file))",
            "pass",
            "test_the_gateway_is_asked_as_soon_as_the_host_has_joined_and_until_it_leaves",
        ),
        Mutant(
            "a session covers although IAMPASS knows no phone",
            "if self._required.settings.gateways:\n            return True",
            "if True:\n            return True",
            "test_a_user_whose_phone_was_lost_elsewhere_is_no_longer_covered_even_with_a_new_phone",
        ),
        Mutant(
            "the methods of the user table count no more at a gateway",
            "return Phone(token, methods, listed=entry is not None)",
            "return Phone(token, service.methods, listed=entry is not None)",
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
            "each connection that goes on with a session counts as if its certificate had been verified",
            "verified if goes_on else self._clock()",
            "self._clock()",
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
            "size == sizeof peer &&\n            peer.uid == 0)",
            "size == sizeof peer)",
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
            "a restart of the agent forgets the requests of logins that are pending",
            "if login.apart and not login.decided}",
            "if not login.decided}",
            "test_an_agent_that_starts_again_has_counted_what_was_before_and_nobody_waits",
        ),
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
            "return self.turn_holder(waits) is None and now >= self.next_turn",
            "return now >= self.next_turn",
            "test_a_second_login_has_its_turn_when_the_first_has_ended",
        ),
        Mutant(
            "a host has an origin for each of its names",
            "origin(login.service, login.address if login.through_sshd else login.rhost)",
            "origin(login.service, login.rhost)",
            "test_in_sshd_the_origin_is_the_address_and_no_host_name",
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
            "if self._until.expired:",
            "if False:",
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
            "self.cleanup.callback(self._end, session, self._keeping)",
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
            "the caller of su hides what it has started behind a set-uid program",
            "(ids[1] == 0 and process.started > self.started)",
            "ids[1] == 0",
            "test_what_su_has_left_is_found_whoever_has_adopted_it",
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
            "a login that a lost phone approves before it is disabled stays",
            'begun = [ident for user in request.texts("users") for ident in self._state.phone_lost(user)[1]]',
            "begun: list[str] = []",
            "test_a_login_that_a_lost_phone_approves_before_iampass_has_disabled_it_is_ended",
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
            'audit(call->pamh, LOG_ERR, "denied", &failure);\n            if (failure',
            "(void)audit;\n            if (failure",
            "test_leaves_one_audit_record",
        ),
        Mutant(
            "what an administrator does leaves no record",
            "self._journal.act(ActRecord(act, user, request.administrator, reason, failed, service))",
            "pass",
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
            "a device that a user names as their key is read",
            "if not stat.S_ISREG(status.st_mode):\n                what = f",
            "if stat.S_ISFIFO(status.st_mode):\n                what = f",
            "test_a_pipe_or_a_device_in_a_folder_of_a_user_is_not_opened_and_no_name_controls_the_terminal",
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
            "if arguments.first_factor is not None and not login.accepted(arguments.first_factor):",
            "if False:",
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
            'user failed: {error.strerror}") from None\n        return Account(entry.pw_name,',
            'user failed: {error.strerror}") from None\n        return Account(name,',
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
            "nothing is said of connections that are not covered where keys name people",
            "if session.keep and session.covers_connections and policy.key_names_person(service, table):",
            "if False:",
            "test_that_no_connection_is_covered_where_keys_name_people_is_found",
        ),
        Mutant(
            "nothing is said of a token with which people of a shared account approve for themselves",
            "if not keys.places or not (seconds or (named and not meant)):",
            "if True:",
            "test_a_token_of_an_account_to_which_people_log_in_by_their_keys_is_found",
        ),
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
            "for login in self._logins(True, PamCode.ABORT)\n        )",
            "for login in self._logins(False, PamCode.ABORT)\n        )",
            "test_a_service_lets_in_unasked_if_it_passes_although_the_phone_denies",
        ),
        Mutant(
            "of many conditions each is varied alone",
            "for pair in itertools.combinations(varied, 2):",
            "for pair in zip(varied):",
            "test_a_way_past_us_that_takes_two_conditions_is_found_among_many_and_what_is_left_out_is_said",
        ),
        Mutant(
            "doctor overlooks timestamps of sudo where nothing is revoked",
            "if line.value and (folder or owner):",
            "if False:",
            "test_that_sudo_remembers_where_nothing_is_revoked_is_found_if_any_session_is_kept",
        ),
    ),
    "Nobody approves for another person, except to become root": (
        Mutant(
            "the caller of su approves for any target",
            " or _is_su_to_another(login, account):\n",
            ":\n",
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
            "if keys.is_in_use and not keys.has(name):",
            "if False:",
            "test_a_shared_account_with_a_token_is_nobodys_own_unless_the_key_table_has_its_name",
        ),
        Mutant(
            "a key table that an editor has just emptied says that nobody shares an account",
            "return not (trusted_file.is_missing(self._keys) and trusted_file.is_missing(folder_of(self._keys)))",
            "return bool(self._look().people)",
            "test_a_key_table_that_an_editor_has_emptied_does_not_make_a_shared_account_one_persons",
        ),
        Mutant(
            "in a login session begun by a key that belongs to no person, the account counts as the user of sudo",
            "if isinstance(by_key, Nobody) and not named:",
            "if False:",
            "test_in_a_login_session_begun_by_a_key_of_nobodys_nobody_approves",
        ),
        Mutant(
            "a person without a token is not their own second person by another name",
            'return Nobody(f"{name} has no token in the user table, and may not be who it seems", "who you are")',
            "return name",
            "test_who_has_a_key_under_another_name_or_was_removed_is_not_their_own_second_person",
        ),
        Mutant(
            "a token that is made of any name says who a person is",
            "if not is_known:",
            "if False:",
            "test_who_has_a_key_under_another_name_or_was_removed_is_not_their_own_second_person",
        ),
        Mutant(
            "one phone is asked once for each of its names",
            "and one_each[found[name].token] == name\n",
            "\n",
            "test_two_names_with_one_phone_are_asked_once",
        ),
        Mutant(
            "a person who was let in by a second person cannot be put out by name",
            "if who in (kept.user, kept.person, kept.approver)]",
            "if who in (kept.user, kept.approver)]",
            "test_a_session_is_found_by_who_has_logged_in",
        ),
        Mutant(
            "a person without a token is not cut off by user remove",
            "if self.table.find(name) is not None:\n            return self.one(name)",
            "if True:\n            return self.one(name)",
            "test_who_was_let_in_by_a_second_person_is_found_by_name_and_put_out",
        ),
        Mutant(
            "the record of a login to a shared account does not say who logs in",
            '{} if person in ("", user, approver) else {"person": person}',
            "{}",
            "test_the_record_names_who_logs_in_to_a_shared_account_and_has_it_approved",
        ),
        Mutant(
            "a key that is taken away while its login is at the prompt lets in",
            "if (found.approver, found.counted) == (required.approver, required.counted):",
            "if True:",
            "test_a_key_that_is_taken_away_or_given_to_another_while_its_login_is_at_the_prompt_lets_nobody_in",
        ),
        Mutant(
            "covers of others wear out those of the second person who has approved them",
            "self._sessions.may_ask(self._required.counted)",
            "self._sessions.may_ask(self._required.approver)",
            "test_whoever_a_second_person_approves_for_does_not_wear_out_what_covers_that_person",
        ),
        Mutant(
            "a second person who approved a login is who uses sudo in it",
            "frozenset(kept.person for kept in here if kept.person)",
            "frozenset(kept.approver for kept in here)",
            "test_the_second_person_who_approved_a_login_is_not_who_uses_sudo_in_it",
        ),
        Mutant(
            "a person who was removed while a second person was asked gets into a shared account",
            "asker = asking.name if isinstance(person, Nobody) else person",
            "asker = asking.name",
            "test_the_approval_of_a_second_person_does_not_count_once_who_logs_in_was_removed",
        ),
        Mutant(
            "a second name with the same phone approves",
            "and found[name].token not in own_tokens\n",
            "\n",
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
            "who asks a second person keeps others from it",
            '(f"\\0{asker}" if asker else "")',
            '""',
            "test_after_two_failures_who_asks_must_wait_and_others_need_not",
        ),
        Mutant(
            "who logs in registers a phone for their second person",
            "if required.asker:\n        return",
            "if False:\n        return",
            "test_who_logs_in_is_shown_no_link_to_register_a_phone_for_somebody_else",
        ),
        Mutant(
            "an outage is tolerated after a second person was asked",
            "outage and self._may_be_outage",
            "outage",
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
            "text that the client chose in another line is a key",
            'if words[0] != "publickey":',
            'if "publickey" not in line:',
            "test_only_the_first_word_of_a_line_makes_it_a_key",
        ),
        Mutant(
            "a person without a token passes where the key names them",
            "unlisted.ignore and not shared",
            "unlisted.ignore",
            "test_nobody_passes_for_lack_of_a_token",
        ),
        Mutant(
            "whoever uses the account approves sudo in everybody's login session",
            "here = [kept for kept in every if kept.config == config and is_within(kept, audit_session, uid)]",
            "here = [kept for kept in every if kept.config == config]",
            "test_no_other_login_session_names_the_person",
        ),
        Mutant(
            "of two people who approved a login session, one approves",
            "if others:\n        found = ",
            "if False:\n        found = ",
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
            "if self._found is None or self._found[0] <= arrived:",
            "if self._found is None:",
            "test_both_places_count_and_changes_do_at_once",
        ),
        Mutant(
            "a broken file of keys is an empty one",
            "if not found and table.report.broken:",
            "if False:",
            "test_a_broken_file_names_nobody_and_who_is_in_no_other_is_denied",
        ),
        Mutant(
            "an exempt root who is to approve sudo by root's password is not reported as one",
            'kind == "sudo-asks-another" and without_phone(["root"])',
            "False",
            "test_a_line_about_whose_password_it_is_matters_only_if_that_user_is_to_approve",
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
            'OPEN_SESSION, flags, argc, argv, false, ""});\n    return PAM_IGNORE;',
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
            "if ends and (entry.suspect is None or entry.suspect.away is not status.away):",
            "if False:",
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
            "the audit session that the agent itself has counts",
            " and number != own else None",
            " and own else None",
            "test_the_audit_session_of_the_agent_is_that_of_no_login",
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
            "only approver: key says that the key names the person",
            "return by_key or (isinstance(service.approver, SecondPerson) and keys.is_in_use)",
            "return by_key",
            "test_a_key_names_a_person_if_it_says_who_must_approve_or_for_whom_a_second_person_does",
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
            "a session covers while polls fail for a cause on this machine",
            "if entry is None or entry.unaskable:",
            "if entry is None:",
            "test_while_polls_fail_for_a_cause_on_this_machine_nothing_is_covered_and_the_journal_says_so_once",
        ),
        Mutant(
            "a user who takes all ports goes on after the end on the phone",
            "Configurations(network, OwnPorts(network).network,",
            "Configurations(network, network,",
            "test_a_user_who_takes_all_ports_does_not_keep_the_phone_from_ending_their_login",
        ),
        Mutant(
            "a connection of any user within the login session begins in it",
            "if login.uid != owner.uid or _control_group(login) != owner.control_group:",
            "if _control_group(login) != owner.control_group:",
            "test_no_other_connection_begins_in_it",
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
            "the process of a login may have ended, and its id be another one's",
            "if is_running(login):  # asked last",
            "if True:  # asked last",
            "test_a_login_whose_process_has_ended_counts_no_more",
        ),
        Mutant(
            "a socket that listens at the client's port is taken for the connection",
            "len(reply) < _ATTRIBUTES or reply[_STATE] != _ESTABLISHED:",
            "len(reply) < _ATTRIBUTES:",
            "test_a_socket_that_listens_at_the_clients_port_is_no_connection",
        ),
        Mutant(
            "connections begin in a session that covers nothing any more",
            "kept.state is not State.OPEN or kept.revoked or kept.away or kept.approved == 0.0:",
            "kept.state is not State.OPEN:",
            "test_nothing_begins_in_a_session_that_is_not_open_covers_nothing_or_was_approved_by_a_second_person",
        ),
        Mutant(
            "a login to an account that several people use covers one of them on another host",
            "if kept.user != kept.approver:",
            "if False:",
            "test_nothing_begins_in_a_session_that_is_not_open_covers_nothing_or_was_approved_by_a_second_person",
        ),
        Mutant(
            "a connection within one machine is taken for one between two",
            "is_everywhere = address.is_loopback or ",
            "is_everywhere = ",
            "test_a_connection_between_two_hosts_has_addresses_of_its_own",
        ),
        Mutant(
            "a host looks for a connection between addresses that each machine has",
            "if between_hosts(connection) is None:",
            "if False:",
            "test_what_begins_at_an_address_that_each_machine_has_does_not_begin_in_it",
        ),
        Mutant(
            "a login that a second person has approved covers that person's own on another host",
            "if kept.person != kept.approver:",
            "if False:",
            "test_nothing_begins_in_a_session_that_is_not_open_covers_nothing_or_was_approved_by_a_second_person",
        ),
    ),
    "A login on another host covers only the very connection, and what can be ended with it": (
        Mutant(
            "what is covered by a login on another host is an approval",
            "return Decision(Outcome.COVERED, Result.IGNORED, reason, message, elapsed, session, host)",
            "return Decision(Outcome.APPROVED, Result.SUCCESS, reason, message, elapsed, session, host)",
            "test_a_login_that_one_on_another_host_covers_is_ignored_recorded_and_kept",
        ),
        Mutant(
            "a gateway that says active, and nothing of another host, lets in",
            "session.active and session.covered_by is not None and connection:",
            "session.active and connection:",
            "test_active_alone_lets_nobody_in",
        ),
        Mutant(
            "a gateway covers by another host what no connection was named for",
            "session.covered_by is not None and connection:",
            "session.covered_by is not None:",
            "test_a_login_for_which_no_connection_was_named_is_not_covered",
        ),
        Mutant(
            "another host has no name",
            "if not host or age < 0:",
            "if age < 0:",
            "test_active_alone_lets_nobody_in",
        ),
        Mutant(
            "that a login was covered is told again of another one",
            'if not _names(members, "covered", request_id, nonce):',
            "if False:",
            "test_active_alone_lets_nobody_in",
        ),
        Mutant(
            "with each login on a further host, the time for which an approval covers sudo begins anew",
            "life.approved(kept, now - age or now, since, opener)",
            "life.approved(kept, now, since, opener)",
            "test_it_covers_sudo_only_for_as_long_as_the_approval_on_the_phone",
        ),
        Mutant(
            "a gateway says of another host what is not active yet",
            "if session.active and session.covered_by is not None",
            "if session.covered_by is not None",
            "test_covered_without_active_is_an_ordinary_request",
        ),
        Mutant(
            "a login that is not kept is covered by one on another host",
            "bool(required.settings.gateways) and self._keeping.wanted",
            "bool(required.settings.gateways)",
            "test_what_could_not_be_ended_or_asks_a_second_person_is_not_covered",
        ),
        Mutant(
            "a login whose session cannot be kept is covered by one on another host",
            "if not kept:\n            self._may_be_covered",
            "if False:\n            self._may_be_covered",
            "test_a_login_whose_session_cannot_be_kept_is_not_covered_and_asks_the_phone",
        ),
        Mutant(
            "a login that a second person must approve is covered by that person's on another host",
            "login.real_uid != 0 or self._required.asker:",
            "login.real_uid != 0:",
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
            "return named if is_served_by(named, self._sockets) else",
            "return named if named else",
            "test_the_connection_of_another_login_is_not_named",
        ),
        Mutant(
            "any connection from another host is that of the login",
            'struct.unpack_from("=I", reply, _INODE)[0] in sockets',
            "bool(sockets)",
            "test_no_connection_is_served_by_the_sockets_of_a_process_that_serves_another_one",
        ),
        Mutant(
            "what a login on another host covers covers what comes from there later",
            "if kept.state not in (State.APPROVED, State.OPEN) or kept.covered_by:",
            "if kept.state not in (State.APPROVED, State.OPEN):",
            "test_it_covers_no_further_connection",
        ),
    ),
    "Who is asked is the gateway's to say": (
        Mutant(
            "the row of a person counts as the database has it",
            "values = gateway.keys.verified(TABLE, row, **asked)\n    plain:",
            "values = dict(row)\n    plain:",
            "test_who_can_write_to_the_database_only_lets_nobody_in",
        ),
        Mutant(
            "a person who is being removed can log in until IAMPASS has been told",
            "name, status=PersonStatus.REMOVING)",
            "name, status=PersonStatus.ACTIVE)",
            "test_a_removal_that_iampass_did_not_hear_of_goes_on_and_meanwhile_nobody_gets_in",
        ),
        Mutant(
            "a login that a lost phone approves meanwhile goes on",
            "            wait_for_starts(gateway, user)\n",
            "",
            "test_a_login_that_the_lost_phone_approves_meanwhile_ends_too",
        ),
        Mutant(
            "enrolling a person again gives them other groups",
            'if "groups" in differences:',
            "if False:",
            "test_other_groups_in_the_file_need_to_be_confirmed",
        ),
        Mutant(
            "a directory is believed whatever its certificate",
            "(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)",
            "(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_NEVER)",
            "test_a_certificate_that_is_not_trusted",
        ),
        Mutant(
            "people whom another server of the directory has are taken for gone",
            "            if dn is None:\n                raise DirectoryError(",
            "            if dn is None:\n                continue\n                raise DirectoryError(",
            "test_a_referral",
        ),
        Mutant(
            "an empty answer of the directory removes everybody",
            "    if not found:\n        raise DirectoryError(",
            "    if False:\n        raise DirectoryError(",
            "test_an_empty_answer",
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
            "a gateway with a restored database is ready",
            "if gateway.restored:\n        problems.append(",
            "if gateway.restored and row is None:\n        problems.append(",
            "test_it_is_ready_while_it_can_answer_hosts",
        ),
        Mutant(
            "it is not seen that commits hang",
            'if there < wanted or row["hang"]:',
            "if not wanted:",
            "test_it_says_whether_a_commit_would_hang",
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
            "return session if session.parameters == asked.digest else Reason.REQUEST_ID_REUSED",
            "return session",
            "test_the_id_of_a_request_is_bound_to_all_that_was_asked_for",
        ),
        Mutant(
            "a start whose gateway has died has not been made",
            "if found.status is None:\n        return _not_started(Reason.TRY_AGAIN.name",
            "if found.status is None:\n        return _not_started(Reason.IAMPASS_AWAY.name",
            "test_a_phone_rings_at_most_once_whenever_the_gateway_is_killed",
        ),
        Mutant(
            "a start that IAMPASS may still begin holds no turn",
            "held = max(waits_until - time.monotonic(), 0.0)",
            "held = 0.0",
            "test_a_start_that_iampass_has_not_answered_holds_the_turn_as_long_as_its_login_would_wait",
        ),
        Mutant(
            "a start that may have begun does not count as a request",
            "await _over(gateway, connection, session, RequestResult.FAILED, held)",
            "await _over(gateway, connection, session, RequestResult.NOT_SENT, held)",
            "test_a_start_that_iampass_has_answered_with_an_error_holds_no_turn",
        ),
        Mutant(
            "a phone that may be ringing is asked again",
            "after = turns.holding(after, login, session.deadline.timestamp() + turns.END_SECONDS)",
            "after = turns.holding(after, login, before.now)",
            "test_a_phone_rings_at_most_once_whenever_the_gateway_is_killed",
        ),
        Mutant(
            "a nonce is good more than once",
            '"INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s))"',
            '"INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s)) ON CONFLICT DO NOTHING"',
            "test_a_nonce_is_good_once_over_all_gateways",
        ),
        Mutant(
            "who waits for a lock sees what was there before, if the database says so",
            'b"BEGIN ISOLATION LEVEL READ COMMITTED"',
            'b"BEGIN"',
            "test_statements_see_what_others_have_committed_whatever_the_database_says",
        ),
        Mutant(
            "a host asks a gateway again that may have removed it",
            'if begins and not getattr(error, "may_have_started", False):',
            'if not getattr(error, "may_have_started", False):',
            "test_a_leave_whose_answer_was_lost_is_repeated",
        ),
        Mutant(
            "a machine joins although its settings name another file, and sends the secret of that one",
            "if read.settings is not None and read.settings.joined_file != JOINED:",
            "if read is None:",
            "test_a_machine_whose_settings_name_another_file_does_not_join",
        ),
        Mutant(
            "a start uses up no nonce",
            "        spend(connection)\n        person, found = await _admitted(",
            "        person, found = await _admitted(",
            "test_a_nonce_is_good_once_over_all_gateways",
        ),
        Mutant(
            "a start that is refused for the share of its host uses up no nonce",
            "asked, Reason.HOST_THROTTLED, spend)",
            "asked, Reason.HOST_THROTTLED)",
            "test_one_host_leaves_others_half_of_the_calls",
        ),
        Mutant(
            "a join uses up no nonce",
            "    await use_up_nonce(connection, id, credentials)\n    assert found is not None",
            "    assert found is not None",
            "test_a_join_is_good_once_although_its_host_was_removed",
        ),
        Mutant(
            "a call about the host itself uses up no nonce",
            "        await use_up_nonce(connection, host.id, credentials)\n    return host",
            "        pass\n    return host",
            "test_a_call_is_good_once",
        ),
        Mutant(
            "a question about kept sessions uses up no nonce",
            "            spend(connection)\n            host_rows, changed",
            "            host_rows, changed",
            "test_the_body_is_what_was_signed_and_is_good_once",
        ),
        Mutant(
            "an end uses up no nonce",
            "            spend(connection)\n            found = await sessions.find_with_host(",
            "            found = await sessions.find_with_host(",
            "test_a_nonce_of_an_end_is_good_once",
        ),
        Mutant(
            "nothing was sent, whatever IAMPASS did",
            'columns["nothing_sent"] = isinstance(failure, Unavailable) and failure.outage',
            'columns["nothing_sent"] = True',
            "test_it_is_not_made_where_iampass_accepts_and_hangs_up",
        ),
        Mutant(
            "nothing was sent where a request may have left",
            "        if not failure.may_have_started:\n            columns",
            "        if failure:\n            columns",
            "test_what_the_client_does_not_call_an_outage_is_none",
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
            "a request is on the phone for ever, as the database had it once",
            "if time.monotonic() - gateway.looked_at >= _LOOKED_SECONDS:",
            "if gateway.looked_at < 0:",
            "test_it_is_not_made_of_a_poll",
        ),
        Mutant(
            "a session that its gateway does not know is over",
            "change.status is None:\n                self._poll({id: entry})",
            "change.status is None:\n                self._heard.told(entry, Status.closed)",
            "test_what_the_gateway_does_not_know_any_more_ends_nothing",
        ),
        Mutant(
            "a host is told of the sessions of another one",
            _NEWS,
            _NEWS.replace(' AND session.host = %s"', " AND %s <> ''\"").replace(", host=host.id)", ")"),
            "test_the_sessions_of_another_host_are_not_known",
        ),
        Mutant(
            "a gateway writes what it saw before another one took over",
            "if epoch is not None and not gateway.leases.is_held(session.id, epoch, lease):",
            "if epoch is not None and not gateway.leases.is_held(session.id, epoch, lease) and not epoch:",
            "test_what_is_said_under_a_lease_that_another_gateway_has_now_is_not_written",
        ),
        Mutant(
            "logins do not wait as long for a migration as it waits for a lock",
            "SET LOCAL lock_timeout = '2s'",
            "SET LOCAL lock_timeout = '30s'",
            "test_gateways_are_upgraded_one_by_one_while_logins_wait_and_each_phone_rings_once",
        ),
        Mutant(
            "nobody polls the sessions of a gateway that has died",
            "ON lease_holder.id = lease.holder AND lease_holder.until > now()",
            "ON lease_holder.id = lease.holder",
            "test_the_sessions_of_a_gateway_that_is_killed_are_taken_over",
        ),
        Mutant(
            "what IAMPASS says once ends a session",
            "if status is Status.active or (suspect is not None and suspect.away is status.away):",
            "if status is not suspect:",
            "test_what_iampass_says_once_ends_nothing",
        ),
        Mutant(
            "a host that is suspended waits on",
            " OR host.status IS DISTINCT FROM 'active'",
            "",
            "test_a_host_that_is_suspended_waits_no_longer",
        ),
        Mutant(
            "an old copy of the database answers polls",
            "        if gateway.restored:\n            return _RESTORED\n",
            "",
            "test_an_old_copy_of_the_database_says_nothing_of_a_session_or_a_host",
        ),
        Mutant(
            "an old copy of the database has phones ring until the gateway looks at it",
            'if row.pop("older"):',
            'if row.pop("older") is None:',
            "test_a_database_that_was_exchanged_for_an_old_copy_is_noticed_by_the_next_call",
        ),
        Mutant(
            "an old copy of the database answers polls until the gateway looks at it",
            'if row["fleet"]["older"]:',
            'if row["fleet"]["older"] is None:',
            "test_a_database_that_was_exchanged_for_an_old_copy_is_noticed_by_the_next_call",
        ),
        Mutant(
            "a request that has begun while its host was suspended can be approved",
            "if session.id in gateway.withdrawn:",
            "if not gateway:",
            "test_a_request_that_has_begun_while_its_host_was_suspended_is_ended",
        ),
        Mutant(
            "a start locks its host before the turns of the person, another one the other way round",
            "    turns.lock(connection, name)\n    return await one(",
            '    connection.later("SELECT 1 FROM host WHERE id = %s FOR UPDATE", (host,))\n'
            "    turns.lock(connection, name)\n    return await one(",
            "test_the_turns_of_a_person_are_locked_before_a_host_is",
        ),
        Mutant(
            "what was taken over from a gateway that died is polled as late as ever",
            "within = min(self._check, _SOON_SECONDS) if taken_over else self._check",
            "within = self._check",
            "test_the_sessions_of_a_gateway_that_is_killed_are_taken_over",
        ),
        Mutant(
            "a held poll is answered from an old copy of the database",
            "return _RESTORED if gateway.restored else reply",
            "return reply",
            "test_a_poll_that_is_held_when_the_database_is_found_to_be_an_old_copy_is_not_answered_from_it",
        ),
        Mutant(
            "one session fills a gateway with polls that it holds",
            "if len(of_one) > _MOST_OF_ONE:",
            "if not of_one:",
            "test_a_session_cannot_hold_more_and_more",
        ),
        Mutant(
            "a request goes on ringing while a gateway holds the poll of a client that has hung up",
            "until_readable=self.pause,",
            "until_readable=None,",
            "test_a_client_that_hangs_up_while_its_poll_is_held_ends_the_request",
        ),
        Mutant(
            "requests of a suspended host are answered as long as they are on a phone",
            'if row["may_ask"]:',
            "if row:",
            "test_a_host_that_is_suspended_or_removed_has_no_sessions",
        ),
        Mutant(
            "a status that no gateway has written answers a poll",
            'is_identifying = row["status"] == Status.identifying.name\n'
            '                waiting[row["id"]] = Status.identifying if is_identifying else Status.pending',
            'waiting[row["id"]] = Status[row["status"]]',
            "test_a_status_that_is_not_verified_approves_nobody",
        ),
        Mutant(
            "one row in the database stops a gateway",
            "except TypeError:  # a number",
            "except KeyError:  # a number",
            "test_a_row_counts_only_as_it_was_written",
        ),
        Mutant(
            "a row of a session that no gateway has written counts",
            "return of_verified(gateway, gateway.keys.verified(TABLE, row, **asked))",
            "return of_verified(gateway, row)",
            "test_the_database_approves_nobody",
        ),
        Mutant(
            "the owner of the database shows another row than it was asked for",
            "if any(values[name] != value for name, value in asked.items()):",
            "if any(name not in values for name in asked):",
            "test_the_database_shows_no_other_row_than_it_was_asked_for",
        ),
        Mutant(
            "what a transaction was to begin with stays on its connection, and a nonce is not written",
            "        self.after_commit.clear()\n        self._before = []",
            "        self.after_commit.clear()",
            "test_what_is_executed_later_is_part_of_its_transaction_only",
        ),
        Mutant(
            "a statement that is lost has not happened",
            "            with _known(connection):\n                yield connection",
            "            yield connection",
            "test_a_statement_whose_connection_is_lost_may_have_happened",
        ),
        Mutant(
            "the database is away for long after it is back",
            "reconnect_timeout=2.0,",
            'reconnect_timeout=float("inf"),',
            "test_a_database_is_used_again_soon_after_it_is_back",
        ),
        Mutant(
            "an address for which no time was left has not answered",
            "(socket.socket(family, kind, protocol), address, seconds)",
            "(socket.socket(family, kind, protocol), address, until.remaining())",
            "test_an_address_has_its_time_even_if_the_event_loop_was_held_up_before_it",
        ),
        Mutant(
            "a client that reads no answers fills the memory of a server",
            " or len(self._messages) > self._bounds.waiting:",
            ":",
            "test_a_client_that_reads_no_answers_is_cut_off",
        ),
        Mutant(
            "a redemption that the database loses at once is not missed",
            "            await restored.look(gateway)\n",
            "            pass\n",
            "test_a_database_that_has_lost_a_redemption_at_once_is_found_to_be_older",
        ),
        Mutant(
            "a code of an old copy of the database is good if that is found out meanwhile",
            "return Reason.RESTORED if gateway.restored else found",
            "return found",
            "test_a_code_that_was_redeemed_in_a_database_that_is_found_to_be_older_then_is_refused",
        ),
        Mutant(
            "a thousand requests that wait for their turn connect to the database",
            "except TimeoutError:  # nobody has tried to connect",
            "except KeyError:  # nobody has tried to connect",
            "test_a_host_that_waits_for_its_own_connections_does_not_find_the_database_unreachable",
        ),
        Mutant(
            "headers without end fill the memory of a server",
            "if self._incomplete > _HEAD + self._bounds.body or ",
            "if ",
            "test_nobody_sends_headers_without_end",
        ),
        Mutant(
            "many short headers fill the memory of a server",
            "if self._lines > self._bounds.lines:",
            "if self._lines > 10**9:",
            "test_nobody_sends_many_short_headers",
        ),
        Mutant(
            "a server waits for the rest of a body when the connection is lost",
            "if self._work is not None and self._current_request is None:",
            "if not self:",
            "test_a_connection_that_has_ended_is_not_kept_in_memory",
        ),
        Mutant(
            "connections that were broken off stay in memory until Python looks for them",
            "if len(self._in_memory) > self._accepted + _UNFREED and not self._stopped.is_set():",
            "if not self:",
            "test_a_connection_that_has_ended_is_not_kept_in_memory",
        ),
        Mutant(
            "requests of clients that have hung up do not count",
            "            await asyncio.wait([work])",
            "            pass",
            "test_a_connection_counts_until_nothing_is_done_for_it_any_more",
        ),
        Mutant(
            "what is no HTTP fills the journal with tracebacks",
            'if not isinstance(kw.get("exc_info"), (HttpProcessingError, ConnectionError)):',
            "if kw:",
            "test_what_is_no_http_leaves_no_traceback",
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
            "a host has as many shares of the connections as addresses",
            "found.exploded[:19]",
            "found.exploded",
            "test_a_host_has_one_share_whatever_address_of_its_own_it_takes",
        ),
        Mutant(
            "a compressed body fills the memory of a server",
            "auto_decompress=False,\n            keepalive_timeout",
            "auto_decompress=True,\n            keepalive_timeout",
            "test_a_body_is_no_larger_than_what_was_sent",
        ),
        Mutant(
            "a connection is held without asking anything",
            "        if not self._request_count:\n            self.abort()",
            "        if not self:\n            self.abort()",
            "test_nobody_holds_a_connection_without_asking_anything",
        ),
        Mutant(
            "a lookup that ends later than a gateway's event loop waits is an outage",
            "return await asyncio.shield(self._lookup)",
            "return await asyncio.wait_for(asyncio.shield(self._lookup), self._seconds)",
            "test_a_lookup_that_is_answered_late_is_waited_for",
        ),
        Mutant(
            "one host has all connections of a gateway to its database",
            "self._share = max(1, connections // 2)",
            "self._share = connections",
            "test_a_host_leaves_connections_to_others_and_all_hosts_some_to_the_gateway",
        ),
        Mutant(
            "of more requests than there are connections for, those that have begun give up, too",
            "Deadline.after(_WAIT_SECONDS if known else CONNECT_SECONDS)",
            "Deadline.after(CONNECT_SECONDS)",
            "test_requests_whose_signature_is_not_checked_give_up_first",
        ),
        Mutant(
            "requests leave a gateway no connection to watch phones with",
            "self._for_requests = asyncio.Semaphore(max(1, connections - _OWN_CONNECTIONS))",
            "self._for_requests = asyncio.Semaphore(connections)",
            "test_a_host_leaves_connections_to_others_and_all_hosts_some_to_the_gateway",
        ),
        Mutant(
            "what is done for a request without a signature counts for nobody",
            'work_for(owner_of(request.remote) if request.remote else "", known=known)',
            "pass",
            "test_what_is_done_for_a_host_is_of_its_share",
        ),
        Mutant(
            "a client without a credential fills a gateway's journal",
            "if self._lines <= _LINES_A_SECOND:",
            "if self._lines:",
            "test_a_client_without_a_credential_does_not_fill_the_journal",
        ),
        Mutant(
            "a restored database is a new one again once enough was written to it",
            "(seen.old_copy or self.records < seen.records)",
            "self.records < seen.records",
            "test_what_is_behind",
        ),
        Mutant(
            "a person of a host's table is asked on the phone of another person",
            "                if owner != name:\n",
            "                if not owner:\n",
            "test_a_token_that_is_not_that_of_one_person_alone_is_not_taken_over",
        ),
        Mutant(
            "a token that IAMPASS does not know is taken over, and is anybody's who registers it later",
            "if phones[name] is PhoneState.UNKNOWN:",
            "if not phones[name]:",
            "test_a_token_that_is_not_that_of_one_person_alone_is_not_taken_over",
        ),
        Mutant(
            "the sessions of a suspended host go on",
            "if host.status is not HostStatus.ACTIVE:\n        raise RefusedRequest(403",
            "if not host:\n        raise RefusedRequest(403",
            "test_a_host_that_is_suspended_or_removed_has_no_sessions",
        ),
        Mutant(
            "a suspended host asks",
            "if host.status is not HostStatus.ACTIVE:\n        return Reason",
            "if not host:\n        return Reason",
            "test_a_host_that_is_suspended_or_waits_asks_nobody",
        ),
        Mutant(
            "phones that a suspended host has ring go on ringing",
            "suspends = after is HostStatus.SUSPENDED",
            "suspends = after is HostStatus.WAITING",
            "test_a_suspended_host_has_no_phone_ring_and_keeps_its_sessions",
        ),
        Mutant(
            "a host asks people of other groups",
            "if not gateway.settings.admits(host.group, person.groups):",
            "if False:",
            "test_only_people_of_its_groups_are_asked_for_a_host",
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
        Mutant(
            "a machine that does not say which it is may use the credential of another one",
            "if machine == host.machine:",
            "if machine in (None, host.machine):",
            "test_only_the_first_machine_goes_on",
        ),
        Mutant(
            "a host has several requests on a phone",
            "queued=not after.has_turn(login)",
            "queued=False",
            "test_a_host_has_one_request_on_a_phone_at_a_time",
        ),
        Mutant(
            "a login that waits is forgotten if its time passes while something else of the person is written",
            "pending=(*turns.overdue, *state.pending)",
            "pending=state.pending",
            "test_a_login_whose_time_is_over_is_ended_whatever_else_the_person_does",
        ),
        Mutant(
            "of two gateways, one goes on with what the other one has found to be an old copy",
            "    OR (SELECT old_copy FROM fleet) IS TRUE\n",
            "",
            "test_what_one_finds_to_be_an_old_copy_is_one_for_all_until_it_is_confirmed",
        ),
        Mutant(
            "hosts that nobody uses keep a person out of all others",
            "more = 0 if approved is None else _share(limits)",
            "more = 0",
            "test_hosts_that_nobody_uses_do_not_keep_a_person_out",
        ),
        Mutant(
            "a gateway that has left its sessions never finds out that IAMPASS answers it again",
            "if gateway.leases.leaves_all:\n                await _try",
            "if False:\n                await _try",
            "test_a_gateway_that_does_not_reach_iampass_leaves_its_sessions_to_one_that_may",
        ),
        Mutant(
            "a gateway leaves its sessions although IAMPASS answers",
            "                if _is_answer(error):",
            "                if isinstance(error, Refused):",
            "test_what_answers_is_not_away_whatever_it_says",
        ),
        Mutant(
            "a gateway that polls none asks about the same session each time",
            "secrets.choice(some)",
            "some[0]",
            "test_a_gateway_that_polls_none_asks_about_some_session_that_a_gateway_has_written",
        ),
        Mutant(
            "a gateway that does not reach IAMPASS goes on as the only one that polls its sessions",
            "self.leaves_all = is_cut_off and ",
            "self.leaves_all = False and ",
            "test_a_gateway_that_does_not_reach_iampass_leaves_its_sessions_to_one_that_may",
        ),
        Mutant(
            "a login that had begun before a phone was lost is approved by it",
            "return lost >= session.began_at.timestamp()",
            "return False",
            "test_what_a_lost_phone_approves_lets_nobody_in",
        ),
        Mutant(
            "logins at the same moment have more messages sent than one host may",
            "        connection.take(Lock.MESSAGES, host)\n",
            "",
            "test_logins_at_the_same_moment_do_not_have_more_messages_sent",
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
            "return share_refusal(turns, login.host, limits) or throttle.joined(",
            "return throttle.joined(",
            "test_one_host_gets_a_third_of_what_may_be_asked_of_a_person",
        ),
        Mutant(
            "one host may have all calls of IAMPASS under way",
            "if key not in gateway.starts and own >= max(",
            "if key not in gateway.starts and own > 99 * max(",
            "test_one_host_leaves_others_half_of_the_calls",
        ),
        Mutant(
            "a host goes on whose requests everybody cancels",
            'if counted["cancelled"] < max(_BRAKE_PEOPLE, counted["approved"] + 1):',
            "if _BRAKE_PEOPLE:",
            "test_three_people_who_cancel_slow_a_host_down",
        ),
        Mutant(
            "one accomplice releases the brake",
            'if counted["cancelled"] < max(_BRAKE_PEOPLE, counted["approved"] + 1):',
            'if counted["cancelled"] < _BRAKE_PEOPLE or counted["approved"]:',
            "test_an_accomplice_who_approves_again_and_again_does_not_release_the_brake",
        ),
        Mutant(
            "a host that ends its requests at once is not noticed",
            'many_people = counted["withdrawn"] >= max(_WITHDRAWN_PEOPLE, counted["approved"] + 1)',
            "many_people = False",
            "test_a_host_that_ends_its_requests_before_people_answer_is_reported",
        ),
        Mutant(
            "a host learns which names there are",
            "if recorded or reason not in (Reason.UNKNOWN_USER, Reason.NOT_ON_THIS_HOST):",
            "if recorded or reason:",
            "test_refused_starts_do_not_fill_the_records_and_then_say_nothing_of_names",
        ),
        Mutant(
            "starts for which no phone rings are without limit",
            'if read["counted"]["not_started"] >= _NOT_STARTED_A_MINUTE:',
            "if False:",
            "test_starts_for_which_no_phone_rings_are_few_too",
        ),
        Mutant(
            "a start that was given up becomes a session",
            "if before.state is not State.STARTING:",
            "if False:",
            "test_a_start_that_was_given_up_while_iampass_was_called_stays_so_and_rings_no_longer",
        ),
        Mutant(
            "the turn of a person passes on while IAMPASS is called",
            "return max(deadline, may_ring) + timedelta(seconds=_START_SECONDS)",
            "return max(deadline, may_ring)",
            "test_a_start_that_was_given_up_while_iampass_was_called_stays_so_and_rings_no_longer",
        ),
        Mutant(
            "a person who was removed meanwhile gets a session",
            "if host is None or person is None or not person.active:\n            columns",
            "if host is None:\n            columns",
            "test_a_person_who_is_removed_while_iampass_is_called_gets_no_session",
        ),
        Mutant(
            "a phone rings for a login that has given up while the database held it up",
            "if time.monotonic() < waits_until:",
            "if True:",
            "test_no_phone_rings_for_a_login_that_has_given_up_while_a_commit_waited_for_a_standby",
        ),
        Mutant(
            "a primary that was replaced is connected to again",
            "if connection.history[0] == self.history[0] and connection.history < self.history:",
            "if False:",
            "test_a_server_that_was_the_primary_before_another_one_is_not_used",
        ),
        Mutant(
            "a connection to a primary that was replaced is used on",
            "if connection.history != self._primary.history:",
            "if False:",
            "test_a_server_that_was_the_primary_before_another_one_is_not_used",
        ),
        Mutant(
            "a gateway that was idle goes on with the old primary, which was started again",
            "if connection.started == self._started:",
            "if True:",
            "test_of_a_server_that_was_started_anew_it_is_asked_whether_another_was_promoted",
        ),
        Mutant(
            "a gateway that starts asks one server after the other",
            "if not self.history[0]:",
            "if False:",
            "test_a_server_that_does_not_answer_does_not_hold_up_a_process_that_starts",
        ),
        Mutant(
            "after the promotion of a standby whose clock is behind nobody polls",
            "greatest(extract(epoch FROM clock_timestamp() - began_at), 0)",
            "extract(epoch FROM clock_timestamp() - began_at)",
            "test_a_request_is_polled_although_it_began_later_than_the_database_says_it_is_now",
        ),
    ),
    "Over hosts, a login is covered by an approved one in which it begins, and ends with it": (
        Mutant(
            "a login is covered whatever the host says where it begins",
            "found = next((questions[id] for id, begins in answers.items() if begins), None)",
            "found = next((questions[id] for id in answers), None)",
            "test_a_host_that_says_no_has_the_phone_asked",
        ),
        Mutant(
            "IAMPASS is not asked about the session that covers a login",
            "if found is not None and (await asking.ask(gateway, found)).status is not Status.active:",
            "if False:",
            "test_iampass_is_asked_at_that_moment",
        ),
        Mutant(
            "a login waits for as long as IAMPASS likes",
            "asyncio.wait_for(_parent(gateway, host, asked), ANSWER_SECONDS)",
            "asyncio.wait_for(_parent(gateway, host, asked), 60)",
            "test_iampass_has_no_longer_to_answer_than_hosts",
        ),
        Mutant(
            "a question can be answered at any time",
            " AND asked_at > now() - make_interval(secs => %s) FOR UPDATE",
            " AND %s IS NOT NULL FOR UPDATE",
            "test_without_an_answer_in_time_the_phone_is_asked",
        ),
        Mutant(
            "another machine answers for a host",
            "counts = await hosts.is_its_machine(gateway, connection, host, starts.machine_of(query))",
            "counts = True",
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
            ' and "asker" not in asked.details:\n        policy',
            ":\n        policy",
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
            "        and session.state is State.OPEN\n        and session.status is Status.active\n",
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
            "a covered login covers further ones without end",
            "for _ in range(_MOST_HOPS):",
            "for _ in range(99):",
            "test_it_does_if_its_group_says_so_and_all_end_with_the_first",
        ),
        Mutant(
            "a connection is more than one login",
            "if used is not None:\n            return None",
            "if False:\n            return None",
            "test_a_connection_is_one_login",
        ),
        Mutant(
            "once a covered login is over, another host says that the connection leads to itself",
            "WHERE parent = %s AND details->>'ssh_connection' = %s",
            "WHERE parent = %s AND state = 'open' AND details->>'ssh_connection' = %s",
            "test_a_connection_is_one_login",
        ),
        Mutant(
            "who deletes the row of a login ends what it covers",
            """    if found is None:
        raise Tampered("session: a row that others name as their parent has gone")
""",
            """    if found is None:
        return Status.closed
""",
            "test_who_writes_to_the_database_ends_no_covered_login",
        ),
        Mutant(
            "who deletes the row of a host ends what its logins cover",
            """        raise Tampered("host: a row has gone whose logins cover others")
""",
            "        return Status.closed\n",
            "test_who_writes_to_the_database_ends_no_covered_login",
        ),
        Mutant(
            "the logins of a host that is removed go on covering others",
            "if before.state is not State.OPEN or before.in_progress:",
            "if before.parent is None:",
            "test_no_session_outlives_the_one_that_covers_it[host-removed]",
        ),
        Mutant(
            "sessions that may not cover a login keep those from covering it that may",
            "QUESTIONS_A_MINUTE, _MOST_LOOKED_AT),",
            "QUESTIONS_A_MINUTE, _MOST_CANDIDATES),",
            "test_sessions_that_may_not_cover_it_keep_none_from_being_asked_about",
        ),
        Mutant(
            "presence starts from hosts that have joined before they had to be admitted",
            "        and there.admitted  # it",
            "        # it",
            "test_a_host_that_nobody_has_admitted_covers_nothing",
        ),
        Mutant(
            "a host asks as many questions as it likes",
            "asked_at > now() - interval '1 minute') < %s\"",
            "asked_at > now() - interval '1 minute') < 999 + %s\"",
            "test_a_host_asks_no_more_than_its_share",
        ),
        Mutant(
            "presence starts from hosts that anybody with an invite has let join",
            'elif not written[other].get("admit"):',
            "elif False:",
            "test_presence_starts_from_hosts_that_were_admitted",
        ),
        Mutant(
            "hosts from which presence starts redeem recovery codes",
            '"codes": name not in begins,',
            '"codes": True,',
            "test_presence_starts_from_hosts_that_were_admitted",
        ),
        Mutant(
            "covered logins outlive the one that covers them",
            "        presence.follow_parents(gateway),\n",
            "",
            "test_no_session_outlives_the_one_that_covers_it[phone]",
        ),
        Mutant(
            "what a suspended host has confirmed stays",
            " OR (host.status = 'active') IS NOT TRUE",
            "",
            "test_no_session_outlives_the_one_that_covers_it[host-suspended]",
        ),
        Mutant(
            "a covered login does not end when its own time is over",
            " OR child.expires_at <= now())",
            ")",
            "test_its_own_time_ends_it_too",
        ),
        Mutant(
            "IAMPASS is not asked for the status of a covered login",
            "status = (await ask(gateway, parent)).status or status",
            "pass",
            "test_a_poll_asks_about_the_parent_at_that_moment[phone]",
        ),
        Mutant(
            "a repeat is covered by a session that has ended",
            "if found.state is not State.OPEN or found.status is not Status.active:",
            "if False:",
            "test_a_repeat_has_the_same_session",
        ),
        Mutant(
            "a client that knows no covered logins has one",
            "if not by_phone and asked.request_id is not None and",
            "if not by_phone and",
            "test_nobody_is_asked_about_another_person_or_for_a_client_that_does_not_know_such_sessions",
        ),
    ),
    "What an administrator takes away is taken on all hosts at once": (
        Mutant(
            "logins that wait for their turn ring a lost phone",
            "gateway.transaction(lambda _, c: turns.change(c, user, phone_lost))",
            "pass",
            "test_logins_that_wait_for_their_turn_never_ring_a_lost_phone",
        ),
        Mutant(
            "sessions are ended at IAMPASS only",
            "if session.state is State.OPEN:\n                    await asking.said(gateway, session, Status.closed)",
            "if session.state is State.OPEN:\n                    pass",
            "test_an_end_holds_for_the_hosts_even_if_iampass_is_away",
        ),
        Mutant(
            "wrong codes count on after an administrator has cleared them",
            "AND act.kind = 'act' AND act.fields->>'what' = 'throttle_clear'",
            "AND act.kind = 'act' AND false",
            "test_wrong_recovery_codes_count_until_they_are_cleared",
        ),
    ),
    "A bypass of the fleet is an administrator's, for one person, for some hosts, for a time": (
        Mutant(
            "a bypass that was answered to another request counts",
            'if reason == BYPASSED and not _names(members, "bypassed", request_id, response.nonce):',
            'if reason == BYPASSED and "bypassed" not in members:',
            "test_a_bypass_for_another_request_is_not_believed",
        ),
        Mutant(
            "the bypass at the gateway is an approval",
            'bypass list"\n    return Decision(Outcome.BYPASSED, Result.IGNORED,',
            'bypass list"\n    return Decision(Outcome.BYPASSED, Result.SUCCESS,',
            "test_a_bypass_at_the_gateway_is_ignored_by_pam_and_counts_as_no_request",
        ),
        Mutant(
            "the bypass of a second person counts",
            'if read["counted"]["bypassed"] and asked.request_id is not None and "asker" not in asked.details:',
            'if read["counted"]["bypassed"] and asked.request_id is not None:',
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
            "a code is good twice",
            "if hmac.compare_digest(each, digest) and used[number] is None:",
            "if hmac.compare_digest(each, digest):",
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
            "if isinstance(found, Refusal):\n            return found\n    return None",
            "if isinstance(found, Refusal):\n            return None\n    return None",
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
            "if error.outage and not error.may_have_started:",
            "if error:",
            "test_a_code_that_has_left_is_no_code_of_the_host",
        ),
    ),
    "A person has one request at a time over all hosts, and no host or address keeps others from their turn": (
        Mutant(
            "two gateways give a turn at the same moment",
            "    connection.take(Lock.TURNS, person)\n",
            "",
            "test_the_first_logins_of_a_person_wait_for_each_other",
        ),
        Mutant(
            "an address has a turn at each host before others have one",
            "return max(of_origin, of_host), of_origin, login.since",
            "return of_host, of_host, login.since",
            "test_an_attacker_does_not_keep_the_person_from_a_turn[from one address on all hosts]",
        ),
        Mutant(
            "a host has a turn for each address that it names before others have one",
            "return max(of_origin, of_host), of_origin, login.since",
            "return of_origin, of_origin, login.since",
            "test_an_attacker_does_not_keep_the_person_from_a_turn[from one host with many addresses]",
        ),
        Mutant(
            "one address takes all places of a person's logins that wait",
            "if of_origin >= limits.logins_at_once or of_host >= MOST_PENDING // 3:",
            "if of_host >= MOST_PENDING // 3:",
            "test_an_attacker_does_not_keep_the_person_from_a_turn[from one address on all hosts]",
        ),
        Mutant(
            "a login that has given up while it waited rings",
            "    if session.waits:\n",
            "    if False:\n",
            "test_a_login_that_has_given_up_while_it_waited_never_rings",
        ),
        Mutant(
            "an old row that is put back with a turn rings",
            'if row["deadline"].timestamp() <= now:',
            "if now < 0:",
            "test_an_old_login_that_is_put_back_with_a_turn_never_rings",
        ),
        Mutant(
            "a login rings when nobody waits for its answer any more",
            "if not each.has_turn and each.until <= self.now]",
            "if not each.has_turn and each.until <= 0]",
            "test_a_login_whose_time_is_over_before_its_turn_never_rings",
        ),
        Mutant(
            "who may not ask any more when the turn comes does",
            'found = await starts.allowed(gateway, connection, host, host.machine, row["person"])',
            'found = await starts._person(gateway, connection, host, row["person"], None)',
            "test_who_may_not_ask_any_more_when_the_turn_comes_does_not[HOST_SUSPENDED]",
        ),
        Mutant(
            "on a host of a gateway an attacker's login holds up those from elsewhere",
            "origin_key(user, login, asker), os.urandom(8).hex(), began, apart=at_gateway",
            "origin_key(user, login, asker), os.urandom(8).hex(), began",
            "test_here_only_logins_of_one_origin_wait_for_each_other",
        ),
        Mutant(
            "a request counts at the gateway and on the host",
            "return self.may_have_rung and not self._counts_at_gateway",
            "return self.may_have_rung",
            "test_what_a_gateway_has_begun_counts_there_and_not_again_here",
        ),
        Mutant(
            "a caller finds out for nothing when a person logs in",
            "            self._counts_at_gateway = False\n            self.announce(",
            "            self.announce(",
            "test_to_hang_up_while_a_gateway_has_another_login_come_first_counts_as_a_failure",
        ),
        Mutant(
            "a clock that goes back gives a turn twice",
            "least(coalesce(turn.changed_at, '-infinity'), clock_timestamp() + interval '1 minute')",
            "'-infinity'::timestamptz",
            "test_the_time_of_turns_does_not_go_back_when_the_databases_clock_does",
        ),
    ),
    "An invite is for the hosts that it says, and no host takes the place of another": (
        Mutant(
            "joining: an attacker who knows the name and the machine of a host is that host",
            "return hmac.compare_digest(host.secret.encode(), joining.secret.encode()) and machine",
            "return machine",
            "test_a_name_that_exists_is_never_taken_over[secret]",
        ),
        Mutant(
            "joining: a host's secret is good on another machine",
            "return hmac.compare_digest(host.secret.encode(), joining.secret.encode()) and machine",
            "return hmac.compare_digest(host.secret.encode(), joining.secret.encode())",
            "test_a_name_that_exists_is_never_taken_over[machine]",
        ),
        Mutant(
            "joining: an invite is never used up",
            "if invite.uses_left <= 0:",
            "if False:",
            "test_an_invite_can_be_used_as_often_as_it_says",
        ),
        Mutant(
            "joining: a suspended host leaves, and joins anew",
            "if host.status is HostStatus.SUSPENDED:\n            raise",
            "if False:\n            raise",
            "test_a_host_that_is_suspended_or_slowed_does_not_leave",
        ),
        Mutant(
            "joining: a host that was slowed down leaves, and joins anew",
            "if host.slowed_until is not None and host.slowed_until > await now(connection):",
            "if False:",
            "test_a_host_that_is_suspended_or_slowed_does_not_leave",
        ),
        Mutant(
            "joining: the invite of a removed host is still good",
            '    await remove_invite(connection, row["id"])\n',
            "",
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
            "joining: an invite that can be used from anywhere outlives the host that has it on its disk",
            "network IS NOT NULL AND invite.name IS NULL AND",
            "invite.name IS NULL AND",
            "test_who_is_suspended_or_removed_cannot_join_again_with_the_same_invite",
        ),
        Mutant(
            "joining: the invite of a host that was taken over stays for its network",
            "AND status = 'active'\"",
            '"',
            "test_an_invite_for_many_hosts_of_a_network_outlives_one_that_nobody_suspects",
        ),
        Mutant(
            "a phone rings on for a host that was suspended while it was called",
            "elif host.status is not HostStatus.ACTIVE:",
            "elif False:",
            "test_a_host_that_is_suspended_while_iampass_is_called_gets_no_session",
        ),
        Mutant(
            "joining: a host that joins again is asked for anew",
            "ident=turns.ident(host.name, id),",
            "ident=turns.ident(host.id, id),",
            "test_what_a_host_has_asked_counts_on_when_it_leaves_and_joins_again",
        ),
        Mutant(
            "joining: the name service chooses the name of a machine",
            "name or socket.gethostname().lower()",
            "name or socket.getfqdn().lower()",
            "test_a_machine_joins_under_a_name_that_its_root_has_given_it",
        ),
        Mutant(
            "joining: each refused join is an alert",
            "await records.alert(connection, None, reason, name=joining.name, remote=remote)",
            "await records.alert(connection, joining.name, reason)",
            "test_refused_joins_are_one_alert",
        ),
        Mutant(
            "joining: two hosts use an invite at once",
            'SELECT * FROM invite WHERE id = %s FOR UPDATE"',
            'SELECT * FROM invite WHERE id = %s"',
            "test_an_invite_can_be_used_as_often_as_it_says",
        ),
        Mutant(
            "joining: an invite does not expire",
            "    if expired:\n        return RefusedRequest(",
            "    if False:\n        return RefusedRequest(",
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
            "if invite.network is not None and not _within(remote, invite.network):",
            "if False:",
            "test_an_invite_for_a_network_is_for_no_other",
        ),
        Mutant(
            "joining: the signature does not hold for the body",
            "if not hmac.compare_digest(digest.encode(), hashlib.sha256(request.body).hexdigest().encode()):",
            "if not digest:",
            "test_the_signature_holds_for_the_body",
        ),
        Mutant(
            "joining: an invite that no gateway has written counts",
            "values = gateway.keys.verified(INVITES, row, **asked)",
            "values = dict(row)",
            "test_an_invite_that_was_written_in_the_database_itself_does_not_count",
        ),
        Mutant(
            "joining: an invite of a group that the settings have no longer is as good as any",
            "if refusal is None and policy is None:",
            "if refusal is not None and policy is None:",
            "test_an_invite_for_a_group_that_the_settings_have_no_longer_lets_nobody_join",
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
            "HostStatus.WAITING if policy is None or policy.admit else HostStatus.ACTIVE",
            "HostStatus.ACTIVE",
            "test_a_host_of_a_group_that_wants_it_waits_until_it_is_admitted",
        ),
        Mutant(
            "joining: a host trusts any server that answers at the address",
            "if not hmac.compare_digest(found, fingerprint):",
            "if False:",
            "test_another_gateway_is_not_trusted",
        ),
        Mutant(
            "restored: another installation counts as this one",
            "if self.old_copy or self.fleet != seen.fleet or self.restores < seen.restores:",
            "if self.old_copy or self.restores < seen.restores:",
            "test_what_is_behind",
        ),
        Mutant(
            "leaving: the gateway that has forgotten this host is asked on, if its answer was lost",
            'if begins and not getattr(error, "may_have_started", False):',
            "if begins:",
            "test_a_leave_whose_answer_was_lost_is_repeated",
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
            "figures: a label has what another program has named",
            "return service if service in SERVICES else OTHER",
            "return service",
            "test_no_figure_has_what_another_program_has_chosen",
        ),
    ),
}
