"""The invariants, the changes that break each of them, and the test that detects each change."""

from __future__ import annotations

from dataclasses import dataclass

INVARIANTS = (
    "PAM_SUCCESS means approved",
    "Only an outage can be tolerated, and only before the request was started",
    "The caller's environment is not trusted",
    "One person, one request on the phone at a time",
    "One absolute deadline",
    "Every started session is ended",
    "One audit record per login",
    "Untrusted text is escaped",
    "A login that needs no second factor uses no network",
    "The phone is never the only factor by mistake",
    "User names come from NSS",
    "doctor and setup report the ways around the phone",
    "Nobody approves for another person, except to become root",
    "Setup refuses what would lock out or would not ask the phone, and restores the rest",
    "A bypass is made by root, for one person, and ends",
    "Who is exempt is what the settings say, and a name that cannot be looked up exempts nobody",
    "Only a login session that a door, as root, has registered is ended or locked",
    "Nothing in the session phases lets anyone in or fails a login",
    "What an administrator relies on when nothing works does what it says",
    "Only a status that IAMPASS reports twice ends or locks a login, and nothing that was revoked comes back",
    "A kept session covers its own login session only, while IAMPASS says that it is active",
)


@dataclass(frozen=True)
class Mutant:
    """One change that breaks an invariant."""

    invariant: int
    """Counted from 1."""
    what: str
    """The effect of the change."""
    file: str
    text: str
    """Occurs once in the file; `replacement` takes its place."""
    replacement: str
    test: str
    """The test, or one of its parametrised forms, that must fail."""

    def applied_to(self, source: str) -> str:
        """The changed source. Raises ValueError unless the text occurs exactly once."""
        if source.count(self.text) != 1:
            raise ValueError(f"{self.file}: {source.count(self.text)} times: {self.text}")
        return source.replace(self.text, self.replacement)


_INSTANCES = "tests/unit/doctor/test_sshd_instances.py::"
_MODULE = "tests/unit/test_module.py::"
_FAULT = "tests/client/test_faults.py::test_each_fault_is_its_error_in_time_after_one_try"
_ATTACK = "tests/system/setuid/test_manufactured_outage.py::"
_CONNECTION = "pam_iampass/client/connection.py"
_HTTP = "pam_iampass/client/http.py"
_LOOKUPS = "pam_iampass/client/lookups.py"
_LOOKUP_TESTS = "tests/client/test_lookups.py::"
_VERIFICATION = "pam_iampass/login/verification.py"
_APPROVAL = "pam_iampass/login/approval.py"
_SESSION_C = "doors/native/session.c"
_RESCUE = "tests/pam/native/test_rescue.py::"
_SESSION_PHASES = "tests/pam/native/test_session_phases.py::"
_SESSION_PHASES_OF_AGENT = "tests/unit/agent/test_session_phases.py::"
_LIFE = "pam_iampass/session/life.py"
_COVERS = "pam_iampass/session/covers.py"
_TASKS = "pam_iampass/session/tasks.py"
_KEEPING = "tests/unit/session/test_keeping.py::"
_COVERED = "tests/unit/session/test_covers.py::"
_WATCH = "tests/unit/setup/test_watch.py::"
_EDITS = "tests/unit/setup/test_edits.py::"
_SUDO_SYSTEM = "tests/system/setuid/test_sudoers.py::"
_WAYS_IN = "tests/system/setuid/test_ways_in.py::"
_DECISIONS = "pam_iampass/login/decisions.py"
_ENFORCER = "tests/system/test_enforcer.py::"
_REGISTRATIONS = "pam_iampass/enforcer/registrations.py"
_POLICY = "pam_iampass/login/policy.py"
_POLICY_TESTS = "tests/unit/login/test_policy.py::"
_BYPASS = "pam_iampass/login/bypass.py"
_BYPASS_TESTS = "tests/unit/login/test_bypass.py::"
_SINKS = "pam_iampass/audit/sinks.py"
_APPROVER = "tests/system/setuid/test_attacks_approver.py::"
_ACCOUNT_CHECK = "tests/unit/doctor/test_account_check.py::"
_EXEMPT_SSH = "tests/system/setup/test_exempt_accounts.py::"

MUTANTS = (
    # 1
    Mutant(
        1,
        "any status that is not a failure counts as an approval",
        _DECISIONS,
        "if session.active:",
        "if not session.failed:",
        _MODULE + "test_any_status_but_active_is_no_approval",
    ),
    Mutant(
        1,
        "a session that is active before anyone was asked counts as an approval",
        _APPROVAL,
        "if session.active:\n            unasked = ProtocolError(",
        "if False:\n            unasked = ProtocolError(",
        "tests/unit/login/test_verification.py"
        "::test_a_session_that_is_active_before_anyone_was_asked_is_no_approval_and_is_ended",
    ),
    Mutant(
        1,
        "an ignored login returns PAM_SUCCESS",
        "pam_iampass/outcome.py",
        "return PamCode.IGNORE",
        "return PamCode.SUCCESS",
        _MODULE + "test_unlisted_users_go_as_the_policy_says_and_never_by_success",
    ),
    Mutant(
        1,
        "the native door returns PAM_SUCCESS for any result",
        "doors/native/login.c",
        "*result = (int)code;",
        "*result = PAM_SUCCESS;",
        "tests/pam/native/test_results.py::test_a_known_result_is_passed_on",
    ),
    Mutant(
        1,
        "a recovery code can be used again",
        "pam_iampass/login/recovery.py",
        "if same and stored.used_at is None:",
        "if same:",
        "tests/unit/login/test_recovery_codes.py::test_each_of_ten_codes_is_good_once",
    ),
    Mutant(
        1,
        "a recovery code lets in before the disk has that it is used",
        "pam_iampass/system/database.py",
        "'FULL' if durable else 'NORMAL'",
        "'NORMAL'",
        "tests/unit/system/test_database.py::test_that_a_code_is_spent_is_synced_before_the_answer",
    ),
    Mutant(
        1,
        "a login whose approval arrives while the phone is reported lost is approved",
        _APPROVAL,
        "            check()  # again: who reports the phone lost from now on finds the kept session, and ends it\n",
        "            pass\n",
        _KEEPING + "test_a_phone_that_is_reported_lost_while_its_approval_arrives_approves_and_keeps_nothing",
    ),
    # 2
    Mutant(
        2,
        "an outage is tolerated even if the request may be on the phone",
        _DECISIONS,
        ' and outage:\n        message = "IAMPASS is unreachable. Continuing',
        ':\n        message = "IAMPASS is unreachable. Continuing',
        _MODULE + "test_polls_that_keep_failing_are_an_outage_that_is_never_tolerated",
    ),
    Mutant(
        2,
        "a user who takes all TCP ports makes an outage",
        _CONNECTION,
        "errno.ETIMEDOUT, socket.EAI_AGAIN}",
        "errno.ETIMEDOUT, socket.EAI_AGAIN, errno.EADDRNOTAVAIL}",
        _ATTACK + "test_who_takes_all_tcp_ports_makes_no_outage",
    ),
    Mutant(
        2,
        "a user who takes all UDP ports makes an outage",
        _CONNECTION,
        "if isinstance(error, _TIMED_OUT) or error.errno == socket.EAI_AGAIN:",
        "if False:",
        _ATTACK + "test_who_takes_all_udp_ports_makes_no_outage",
    ),
    Mutant(
        2,
        "an outage is tolerated for callers with a user id of their own",
        _APPROVAL,
        " and login.real_uid == 0",
        "",
        _MODULE + "test_an_outage_is_ignored_in_sshd_and_login_only_and_only_if_root_called",
    ),
    Mutant(
        2,
        "a lookup that takes too long on a machine without UDP ports is an outage",
        _CONNECTION,
        "isinstance(error, _TIMED_OUT) or error.errno == socket.EAI_AGAIN",
        "error.errno == socket.EAI_AGAIN",
        _LOOKUP_TESTS + "test_a_lookup_that_hangs_while_no_udp_socket_can_be_had_is_no_outage",
    ),
    Mutant(
        2,
        "a time-out that a long wait for the turn caused is an outage",
        _CONNECTION,
        "outage = until.at < exchange.deadline.at if timed_out else",
        "outage = True if timed_out else",
        "tests/client/test_outage.py::test_a_time_out_is_an_outage_only_if_connecting_had_all_its_time",
    ),
    Mutant(
        2,
        "a gateway's 504 or a late failure is an outage",
        _APPROVAL,
        "return error.outage and login",
        "return login",
        _MODULE + "test_a_start_that_is_answered_with_an_error_may_have_rung_and_is_no_outage[504]",
    ),
    Mutant(
        2,
        "a lost response counts as if no request had been sent",
        _HTTP,
        "exchange.sent = True",
        "exchange.sent = False",
        _FAULT + "[reset after the request-start]",
    ),
    # 3
    Mutant(
        3,
        "TLS honors SSLKEYLOGFILE",
        _CONNECTION,
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)",
        "context = ssl.create_default_context()",
        "tests/client/test_environment.py::test_a_hostile_environment_changes_nothing",
    ),
    Mutant(
        3,
        "a file that other users can write is read",
        "pam_iampass/system/trusted_file.py",
        "if status.st_mode & 0o022:",
        "if False:",
        "tests/unit/system/test_trusted_file.py::test_a_file_that_others_can_write_is_refused",
    ),
    Mutant(
        3,
        "the door does not check the owner of the agent's process",
        "doors/native/agent.c",
        "size == sizeof peer &&\n            peer.uid == 0)",
        "size == sizeof peer)",
        "tests/pam/native/test_connection.py::test_denied_where_another_user_listens",
    ),
    Mutant(
        3,
        "root reads what is not the owner's in the folder of a sandbox",
        "pam_iampass/setup/sandbox_use.py",
        "or status.st_uid != owner:",
        "or False:",
        "tests/system/test_sandbox_use.py::test_a_secret_of_roots_behind_a_hard_link_is_not_read",
    ),
    Mutant(
        3,
        "a set-uid program is answered on the control socket",
        "pam_iampass/agent/control.py",
        "line.split()[1:4]",
        "line.split()[2:3] * 3",
        "tests/system/setuid/test_control_socket.py"
        "::test_a_set_uid_program_that_is_led_to_the_socket_gets_nothing",
    ),
    Mutant(
        3,
        "a process of root that was led to the control socket by another protocol is answered",
        "pam_iampass/agent/control.py",
        "if reader.line(LARGEST_GREETING, until) != greeting:",
        "if not reader.line(LARGEST_GREETING, until):",
        "tests/unit/agent/test_control.py::test_what_another_protocol_sends_gets_nothing",
    ),
    # 4
    Mutant(
        4,
        "a denial returns PAM_MAXTRIES in every application",
        "pam_iampass/outcome.py",
        "return PamCode.MAXTRIES if login.through_sshd else PamCode.ABORT",
        "return PamCode.MAXTRIES",
        "tests/unit/test_outcome.py::test_a_denial_ends_the_login_at_once_in_each_application",
    ),
    Mutant(
        4,
        "a start whose response was lost is repeated",
        "pam_iampass/client/application.py",
        "{}, rings=True)",
        "{}, rings=True, idempotent=True)",
        "tests/client/test_retries.py::test_a_start_that_may_have_reached_the_service_is_never_repeated",
    ),
    Mutant(
        4,
        "two logins of one person have a request at the same time",
        "pam_iampass/login/rate_limit_state.py",
        "if self.turn_holder() is not None or now < self.next_turn:",
        "if now < self.next_turn:",
        "tests/unit/login/test_turns.py::test_a_second_login_has_its_turn_when_the_first_has_ended",
    ),
    Mutant(
        4,
        "turns go by arrival and not round by origin",
        "pam_iampass/login/rate_limit_state.py",
        "key=lambda each: (self.turns.get(each.origin, -1.0), each.since)",
        "key=lambda each: each.since",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_an_origin_that_starts_logins_all_the_time_does_not_keep_the_owner_out",
    ),
    Mutant(
        4,
        "a start that left this machine and was not approved is not counted",
        "pam_iampass/login/rate_limit.py",
        "return RequestResult.APPROVED if approved else RequestResult.FAILED",
        "return RequestResult.APPROVED",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_every_start_that_left_this_machine_and_was_not_approved_counts_and_leads_to_the_backoff",
    ),
    Mutant(
        4,
        "a host has an origin for each of its names",
        "pam_iampass/login/origin.py",
        "login.address if login.through_sshd else login.rhost",
        "login.rhost",
        "tests/unit/login/test_turns.py::test_in_sshd_the_origin_is_the_address_and_no_host_name",
    ),
    Mutant(
        4,
        "a user of the machine has an origin for each loopback address",
        "pam_iampass/login/origin.py",
        "address is not None and address.is_loopback",
        'str(address) == "127.0.0.1"',
        "tests/unit/login/test_turns.py"
        "::test_an_origin_is_a_service_and_a_host_or_the_network_in_which_an_ipv6_host_chooses_its_address",
    ),
    Mutant(
        4,
        "a host has an origin for each of its IPv6 addresses",
        "pam_iampass/login/origin.py",
        "(int(address), 64)",
        "(int(address), 128)",
        "tests/unit/login/test_turns.py"
        "::test_an_origin_is_a_service_and_a_host_or_the_network_in_which_an_ipv6_host_chooses_its_address",
    ),
    # 5
    Mutant(
        5,
        "a TLS handshake goes on as long as bytes come",
        _CONNECTION,
        "        if self._until.expired:\n",
        "        if False:\n",
        "tests/client/test_tls.py::test_messages_without_end_hold_no_handshake_beyond_the_deadline",
    ),
    Mutant(
        5,
        "a name server holds a login beyond its deadline",
        _LOOKUPS,
        "lookup.join(timeout)",
        "lookup.join(timeout + 10.0)",
        _LOOKUP_TESTS + "test_a_lookup_that_hangs_ends_at_the_deadline_or_after_the_time_for_connecting",
    ),
    Mutant(
        5,
        "a lookup that hangs holds all later ones",
        _LOOKUPS,
        " and each.is_young",
        "",
        _LOOKUP_TESTS + "test_a_lookup_that_has_hung_for_long_is_joined_by_nobody",
    ),
    Mutant(
        5,
        "a name server takes all threads of the agent",
        _LOOKUPS,
        "if len(self._under_way) >= MOST:",
        "if False:",
        _LOOKUP_TESTS + "test_only_so_many_lookups_hang_and_one_more_is_no_outage",
    ),
    Mutant(
        5,
        "the timeout restarts with each byte",
        _CONNECTION,
        "self._received += count\n",
        "self._received += count\n        self.deadline = Deadline.after(6.0)\n",
        _FAULT + "[dripping body-poll]",
    ),
    Mutant(
        5,
        "the native door waits two seconds past its deadline",
        "doors/native/login.c",
        "login->stream.deadline = deadline_in(login->frame.number + GRACE_MS);",
        "login->stream.deadline = deadline_in(login->frame.number + GRACE_MS + 2000);",
        "tests/pam/native/test_time.py::test_the_deadline_holds_for_the_whole_wait",
    ),
    Mutant(
        5,
        "a login waits for a log that is full",
        _SINKS,
        "sink.write(fields)\n",
        "sink.write(fields, 0.05)\n",
        "tests/unit/audit/test_sinks.py::test_a_full_log_delays_no_login_and_gets_the_records_later",
    ),
    # 6
    Mutant(
        6,
        "any socket of sshd's over AF_UNIX can be the client's",
        "pam_iampass/system/sock_diag.py",
        "is_named=is_connection and bool(attributes.get(_NAME)),",
        "is_named=True,",
        "tests/unit/system/test_sock_diag.py::test_a_client_over_a_unix_socket_is_there_until_it_closes",
    ),
    Mutant(
        6,
        "a client over AF_UNIX that hangs up is not noticed",
        "doors/native/process.c",
        '#define SOCKET "socket:["',
        '#define SOCKET "no socket"',
        "tests/system/test_hang_up.py::test_over_a_unix_socket_too",
    ),
    Mutant(
        6,
        "sessions are never ended",
        _APPROVAL,
        "self.cleanup.callback(self._end, session)",
        "pass",
        _MODULE + "test_denied_on_the_phone_ends_the_login_at_once",
    ),
    Mutant(
        6,
        "the module does not detect that the application died",
        "pam_iampass/agent/application.py",
        "if self._connection.fileno() in ready:",
        "if False:",
        _MODULE + "test_when_the_application_dies_the_session_is_ended_within_a_second",
    ),
    Mutant(
        6,
        "a kept session outlasts its login",
        _LIFE,
        "    return _ended(kept, EndCause.KILLED if kept.killed else EndCause.LOGIN)\n",
        "    return Step(kept)\n",
        _KEEPING + "test_a_session_lasts_as_long_as_the_login_and_leaves_two_records",
    ),
    Mutant(
        6,
        "a killed agent leaves its requests open at IAMPASS",
        "pam_iampass/session/keeper.py",
        "registry.change(kept.id, life.not_approved)",
        "pass",
        _KEEPING + "test_a_request_that_nobody_waits_for_any_more_is_ended_by_the_next_agent",
    ),
    Mutant(
        6,
        "nobody is told that sudo starts what belongs to no session",
        "pam_iampass/system/sudoers.py",
        "return not last or any(",
        "return any(",
        "tests/unit/doctor/test_session_check.py::test_sudo_that_remembers_starts_what_belongs_to_no_session",
    ),
    Mutant(
        6,
        "what a login has started outlives its process that was killed",
        _LIFE,
        "EndCause.KILLED if kept.killed else EndCause.LOGIN",
        "EndCause.LOGIN",
        _KEEPING + "test_what_is_left_of_a_login_whose_process_was_killed_is_ended",
    ),
    Mutant(
        6,
        "an end overlooks a login whose process was killed",
        "pam_iampass/enforcer/actions.py",
        "each not in acted and _members(each).send(0)",
        "False",
        _ENFORCER + "test_what_is_left_of_a_login_whose_process_was_killed_is_ended",
    ),
    Mutant(
        6,
        "a login of which the agent was not told is not ended",
        _LIFE,
        "    if kept.ended_by not in _REASONS:\n",
        "    if kept.ended_by not in _REASONS or not kept.attached:\n",
        _KEEPING + "test_a_login_of_which_the_agent_was_not_told_is_ended_like_any_other",
    ),
    Mutant(
        6,
        "the phone does not end a login of which the agent was not told",
        "pam_iampass/session/entry.py",
        "            options.append((self.poll_at, Task.POLL))\n",
        "            options.append((self.poll_at if kept.attached else math.inf, Task.POLL))\n",
        _KEEPING + "test_a_login_of_which_the_agent_was_not_told_is_ended_like_any_other[the phone]",
    ),
    Mutant(
        6,
        "a login that is registered after the end, without the agent being told, stays",
        _LIFE,
        "(kept.awaited or (anything and kept.attached))",
        "anything and kept.attached",
        _KEEPING + "test_a_login_that_is_registered_after_the_end_without_the_agent_being_told_is_ended",
    ),
    Mutant(
        6,
        "sudo remembers the password after an end",
        "pam_iampass/enforcer/actions.py",
        "            problems += self._tried((login, partial(self._revoke, login)) for login in logins)\n",
        "",
        _ENFORCER + "test_a_login_that_is_ended_leaves_no_password_that_sudo_remembers",
    ),
    Mutant(
        6,
        "sudo remembers the password of whose phone was lost",
        "pam_iampass/cli/session.py",
        "        forget_passwords(owners)\n",
        "        pass\n",
        "tests/system/test_session_command.py"
        "::test_a_lost_phone_ends_the_sessions_that_it_has_approved_and_what_waits_for_it",
    ),
    Mutant(
        6,
        "an administrator ends no login where the phone locks it",
        _LIFE,
        "wanted = Verb.END if cause in (EndCause.ADMINISTRATOR, EndCause.KILLED) else _VERBS[action]",
        "wanted = _VERBS[action]",
        "tests/unit/session/test_life.py::test_every_event_does_in_every_state_what_the_table_says",
    ),
    Mutant(
        6,
        "a call that hangs keeps an administrator from ending the login",
        "pam_iampass/session/entry.py",
        "each[1].is_call not in busy",
        "not busy",
        _KEEPING + "test_calls_that_hang_hold_up_neither_a_record_nor_an_end",
    ),
    Mutant(
        6,
        "polls that hang keep all threads from ending logins",
        "pam_iampass/session/watcher.py",
        "self._callers if task.is_call else self._enforcers",
        "self._callers",
        _KEEPING + "test_calls_that_hang_hold_up_neither_a_record_nor_an_end",
    ),
    Mutant(
        6,
        "who is removed stays logged in",
        "pam_iampass/agent/administration.py",
        "            _pending, sessions, problem = self._cut_off(name, facts)\n",
        "            sessions, problem = list[str](), ''\n",
        "tests/system/test_session_command.py::test_who_is_removed_is_logged_out",
    ),
    Mutant(
        6,
        "a restart forgets that a phone was lost",
        "pam_iampass/login/agent_state.py",
        "if kept.began <= self.throttle(kept.approver).lost:",
        "if kept.began < 0:",
        _KEEPING
        + "test_an_agent_that_is_killed_when_a_phone_is_reported_lost_ends_what_it_approved_once_it_starts_again",
    ),
    Mutant(
        6,
        "nobody is told that a restart forgets that a phone was lost",
        "pam_iampass/login/agent_state.py",
        "            self.rate_limits.settle(person)\n",
        "            pass\n",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_where_nothing_can_be_written_a_lost_phone_counts_all_the_same_and_the_administrator_is_told",
    ),
    Mutant(
        6,
        "a login that a lost phone approves before it is disabled stays",
        "pam_iampass/agent/administration.py",
        'begun = [ident for user in request.texts("users") for ident in self._state.phone_lost(user)[1]]',
        "begun: list[str] = []",
        "tests/system/test_session_command.py"
        "::test_a_login_that_a_lost_phone_approves_before_iampass_has_disabled_it_is_ended",
    ),
    Mutant(
        4,
        "a login at its prompt asks a lost phone",
        "pam_iampass/login/rate_limit.py",
        "            if state.lost >= self.began:\n",
        "            if False:\n",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_a_login_at_its_prompt_when_the_phone_is_reported_lost_asks_no_phone",
    ),
    Mutant(
        6,
        "a login that opens after its approval was thought to be over cannot be ended",
        "pam_iampass/agent/application.py",
        "(os.getsid(self.peer_pid) if in_sshd else 0) or self.peer_pid",
        "self.peer_pid",
        _KEEPING
        + "test_in_sshd_a_session_lasts_until_the_process_of_the_connection_ends_and_not_the_one_that_asked",
    ),
    Mutant(
        6,
        "another process with the id of a login that has ended keeps its session",
        "pam_iampass/session/keeper.py",
        "self._descriptors.inode(pidfd) != inode",
        "False",
        _KEEPING + "test_another_process_with_the_id_of_a_login_that_has_ended_is_not_taken_for_it",
    ),
    # 7
    Mutant(
        7,
        "an error inside the module writes no audit record",
        "pam_iampass/module.py",
        "except BaseException as error:  # noqa: BLE001 - an entry point: SystemExit",
        "except ZeroDivisionError as error:  # noqa: BLE001 - an entry point: SystemExit",
        _MODULE + "test_whatever_is_raised_inside_denies_and_leaves_a_record",
    ),
    Mutant(
        7,
        "the native door writes no audit record if it gets no result",
        "doors/native/door.c",
        '            audit(call->pamh, LOG_ERR, "denied", &failure);\n            if (failure',
        "            (void)audit;\n            if (failure",
        "tests/pam/native/test_denial.py::test_leaves_one_audit_record",
    ),
    Mutant(
        7,
        "what an administrator does leaves no record",
        "pam_iampass/agent/administration.py",
        "self._journal.act(ActRecord(act, user, request.administrator, reason, failed, service))",
        "pass",
        "tests/system/test_session_command.py::test_a_session_is_over_with_its_login_when_the_command_says_so",
    ),
    # 8
    Mutant(
        8,
        "unprintable characters are not escaped",
        "pam_iampass/text.py",
        "character if character.isprintable() else _escape(character)",
        "character",
        "tests/unit/test_text.py::test_controls_and_direction_marks_become_visible_escapes",
    ),
    Mutant(
        8,
        "the native door logs names without escaping",
        "doors/native/audit.c",
        "if (byte > ' ' && byte < 0x7f && byte != '\\\\')",
        "if (byte != 0)",
        "tests/pam/native/test_denial.py::test_no_name_can_forge_a_record",
    ),
    Mutant(
        8,
        "a value in a record can pass for further fields",
        _SINKS,
        'record += name.encode() + b"\\n" + len(data).to_bytes(8, "little") + data + b"\\n"',
        'record += name.encode() + b"=" + data + b"\\n"',
        "tests/unit/audit/test_sinks.py::test_a_value_cannot_pass_for_further_fields",
    ),
    # 9
    Mutant(
        9,
        "an exempt login sends a request to IAMPASS",
        _VERIFICATION,
        "    if exemption is not None:\n",
        "    context.connect(settings).authenticate_user(approver.name)\n    if exemption is not None:\n",
        _MODULE + "test_an_exempt_login_is_ignored_and_costs_no_network",
    ),
    # 10
    Mutant(
        10,
        "first_factor is not checked",
        _VERIFICATION,
        "if arguments.first_factor is not None and not login.accepted(arguments.first_factor):",
        "if False:",
        _MODULE + "test_without_the_key_that_is_demanded_nobody_passes_exempt_or_not",
    ),
    Mutant(
        10,
        "text chosen by the client counts as a key",
        "pam_iampass/outcome.py",
        'line.split(" ", 1)[0] == method',
        'method in line.split(" ")',
        "tests/unit/test_outcome.py::test_an_accepted_key_is_the_first_word_of_a_line",
    ),
    Mutant(
        10,
        "a user of no table may register a phone at login",
        _VERIFICATION,
        " and required.phone.listed\n",
        "\n",
        "tests/unit/enrollment/test_at_login.py::test_who_is_in_no_table_is_shown_no_link",
    ),
    Mutant(
        10,
        "where no agent runs, rescue= lets in on an auth line without a key",
        "doors/native/rescue.c",
        "arguments.first_factor && key_accepted(call->pamh);",
        "arguments.first_factor && (key_accepted(call->pamh) || true);",
        _RESCUE + "test_on_an_auth_line_only_behind_a_key_that_sshd_has_accepted",
    ),
    Mutant(
        10,
        "where no agent runs, rescue= lets in whoever calls a set-uid program",
        "doors/native/rescue.c",
        "if (getuid() != 0 || user == NULL",
        "if (user == NULL",
        _RESCUE + "test_only_where_the_application_runs_as_root",
    ),
    Mutant(
        10,
        "with broken settings, rescue= lets in on an auth line without a key",
        "pam_iampass/login/arguments.py",
        "self.first_factor is not None and login.accepted(self.first_factor)",
        "self.first_factor is not None",
        "tests/unit/login/test_rescue.py::test_on_an_auth_line_only_behind_a_key_that_sshd_has_accepted",
    ),
    Mutant(
        10,
        "with broken settings, everybody on a line with rescue= gets in",
        "pam_iampass/login/arguments.py",
        "behind_first_factor and login.user == self.rescue",
        "behind_first_factor",
        "tests/unit/login/test_rescue.py::test_nobody_else_passes",
    ),
    Mutant(
        10,
        "rescue= lets in when an agent has denied",
        "doors/native/door.c",
        "result = call->no_agent ? without_agent(call, denial, &failure) : denial;",
        "result = without_agent(call, denial, &failure);",
        _RESCUE + "test_an_agent_that_dies_in_the_login_lets_nobody_in",
    ),
    Mutant(
        10,
        "whom sshd spares the prompt is not asked in the account phase",
        "pam_iampass/setup/edits.py",
        'self._ours("account", "requisite")',
        'self._ours("account", "optional")',
        _EXEMPT_SSH + "test_whom_sshd_spares_the_prompt_but_the_settings_do_not_exempt_is_asked_on_the_phone",
    ),
    # 11
    Mutant(
        11,
        "the user name is used as typed",
        "pam_iampass/system/accounts.py",
        '            raise LookupFailed(f"looking up the user failed: {error.strerror}") from None\n'
        "        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)",
        '            raise LookupFailed(f"looking up the user failed: {error.strerror}") from None\n'
        "        return Account(name, entry.pw_uid, entry.pw_gid)",
        "tests/system/test_name_service.py::test_a_name_is_what_the_name_service_says_whatever_was_typed",
    ),
    Mutant(
        11,
        "a request is sent for a name that NSS does not know",
        _VERIFICATION,
        "        return decisions.no_account()\n",
        "        account = type('Account', (), {'name': login.user, 'uid': 65534, 'gid': 65534})\n",
        _MODULE + "test_no_account_of_this_machine_is_denied_before_any_prompt",
    ),
    # 12
    Mutant(
        12,
        "a line that no longer keeps anybody out is not found",
        "pam_iampass/doctor/stack_check.py",
        "if refusing is None or refusing.top in replaced:",
        "if True or refusing.top in replaced:",
        "tests/unit/doctor/test_stacks.py::"
        "test_a_stack_is_found_to_be_what_it_is[an approval jumps over who is kept out]",
    ),
    Mutant(
        12,
        "a line that setup has put out of force may be lost",
        "pam_iampass/doctor/stacks.py",
        "if is_edited(text)}",
        "if not text}",
        "tests/unit/doctor/test_stacks.py::"
        "test_a_stack_is_found_to_be_what_it_is[setup has made it requisite, and a person took that line out]",
    ),
    Mutant(
        12,
        "exempt_group is not looked at",
        "pam_iampass/doctor/sudo.py",
        '(name == "exempt_group" and value)',
        "False",
        _SUDO_SYSTEM + "test_doctor_reports_each_rule_with_its_line_and_the_user",
    ),
    Mutant(
        12,
        "a set-uid program that uses libpam is not found",
        "pam_iampass/doctor/ways_in.py",
        "status.st_mode & stat.S_ISUID and status.st_uid == 0",
        "status.st_mode & stat.S_ISUID and status.st_uid != 0",
        _WAYS_IN + "test_a_way_in_is_listed_until_it_asks_the_phone",
    ),
    Mutant(
        12,
        "ssh logins that a Match block leads around the phone are no fault",
        "pam_iampass/doctor/sshd.py",
        "            elif asking:\n",
        "            elif not asking:\n",
        _ACCOUNT_CHECK + "test_a_login_that_is_led_to_another_service_is_an_error_while_others_are_asked",
    ),
    Mutant(
        12,
        "a Match block that cannot be evaluated is passed over",
        "pam_iampass/doctor/sshd_match.py",
        "            return found or None\n",
        "            return found\n",
        "tests/unit/doctor/test_sshd_match.py::test_a_block_that_cannot_be_evaluated_is_handed_back",
    ),
    Mutant(
        12,
        "Match blocks of files that another than the usual folder holds are not read",
        "pam_iampass/doctor/sshd_match.py",
        'elif keyword == "include" and depth < _DEPTH:',
        'elif keyword == "include" and "sshd_config.d" in line and depth < _DEPTH:',
        "tests/unit/doctor/test_sshd_match.py::"
        "test_included_files_are_read_and_a_block_holds_for_what_it_includes",
    ),
    Mutant(
        12,
        "units that run sshd with options of their own are not looked at",
        "pam_iampass/doctor/sshd_instances.py",
        "(*_of_units([Path(folder) for folder in folders]), *_running(proc))",
        "(*_running(proc),)",
        _INSTANCES + "test_options_of_a_unit_are_found_wherever_they_stand",
    ),
    Mutant(
        3,
        "doctor takes any set-uid program that is called sshd for root's",
        "pam_iampass/doctor/sshd_instances.py",
        r'r"^Uid:\t0\t0\t0\t0$"',
        r'r"^Uid:\t\d+\t0\t0\t0$"',
        _INSTANCES + "test_a_process_that_is_not_roots_in_each_user_id_is_no_sshd[1000 0 0 0]",
    ),
    Mutant(
        3,
        "doctor takes another program of root that is called sshd for sshd",
        "pam_iampass/doctor/sshd_instances.py",
        'if Path(program).name != "sshd" or (title',
        "if not program or (title",
        _INSTANCES + "test_a_process_of_root_that_runs_another_program_is_no_sshd_whatever_it_is_called",
    ),
    Mutant(
        3,
        "doctor takes an sshd that is not the installed one for it",
        "pam_iampass/doctor/sshd_instances.py",
        'if not words or (words[0] != "sshd" and os.path.realpath(words[0]) != _installed()):',
        "if not words:",
        _INSTANCES + "test_the_program_is_not_the_one_that_the_command_line_names",
    ),
    Mutant(
        3,
        "doctor reads variables of units that others than root can write",
        "pam_iampass/doctor/sshd_instances.py",
        'source = trusted_file.read(os.path.realpath(value.strip().lstrip("-")))',
        'source = Path(value.strip().lstrip("-")).read_bytes()',
        _INSTANCES + "test_variables_that_others_can_write_are_not_taken",
    ),
    Mutant(
        3,
        "doctor reads configurations of sshd that others than root can write",
        "pam_iampass/doctor/sshd_match.py",
        "trusted_file.read(file) if trusted else file.read_bytes()",
        "file.read_bytes()",
        "tests/unit/doctor/test_sshd_match.py::"
        "test_a_configuration_that_others_can_write_is_not_read_where_it_must_be_trusted[writable-sshd_config]",
    ),
    Mutant(
        3,
        "doctor has sshd read a configuration that others than root can write",
        "pam_iampass/doctor/sshd.py",
        "trusted=of_its_own)",
        "trusted=False)",
        "tests/system/test_doctor.py::test_a_configuration_that_a_user_can_write_is_not_given_to_sshd",
    ),
    Mutant(
        12,
        "check does not miss our lines in a service that setup has switched on",
        "pam_iampass/doctor/configuration.py",
        "        if not _does_ask(path.name, files):",
        "        if False:",
        "tests/unit/cli/test_check.py::"
        "test_a_service_that_setup_has_switched_on_and_that_does_not_ask_is_an_error[doas-doas-None-False]",
    ),
    Mutant(
        12,
        "a record of setup that is damaged is passed over",
        "pam_iampass/doctor/configuration.py",
        "if not isinstance(error, UnreadableFile) or os.geteuid() == 0:",
        "if False:",
        "tests/unit/cli/test_check.py::test_a_record_of_setup_that_cannot_be_understood_is_an_error[{]",
    ),
    Mutant(
        12,
        "client certificates of cockpit are not looked at",
        "pam_iampass/doctor/stacks.py",
        'if certificates in ("yes", "true", "1") and',
        "if not certificates and",
        "tests/unit/doctor/test_stacks.py::"
        "test_cockpit_lets_people_in_without_the_phone_if_its_settings_and_a_keytab_let_it",
    ),
    Mutant(
        12,
        "settings that cockpit does not heed switch tickets off",
        "pam_iampass/doctor/stacks.py",
        "            return {}\n    return settings\n",
        "            continue\n    return settings\n",
        "tests/unit/doctor/test_stacks.py::"
        "test_cockpit_lets_people_in_without_the_phone_if_its_settings_and_a_keytab_let_it",
    ),
    Mutant(
        12,
        "setup switches cockpit on although tickets lead around the phone",
        "pam_iampass/setup/checks.py",
        "        yield from unauthenticated(name, stacks.files.folders[0].parent)\n",
        "",
        "tests/unit/setup/test_other_services.py::"
        "test_setup_refuses_cockpit_if_a_ticket_logs_in_without_reaching_its_auth_lines",
    ),
    Mutant(
        12,
        "pam_rootok in the file of a daemon is taken for a line about root alone",
        "pam_iampass/doctor/stack_check.py",
        "        if self.service in CALLED_BY_PEOPLE:\n            return results\n",
        "        return results\n",
        "tests/unit/doctor/test_stacks.py::"
        "test_pam_rootok_is_about_root_alone_only_in_a_program_that_people_call[sshd-True]",
    ),
    Mutant(
        12,
        "the watch is silent about a line that leads past ours",
        "pam_iampass/setup/watch.py",
        "if wrong := checks.errors_in_force(names, self.paths, self.modules):",
        "if wrong := []:",
        "tests/unit/setup/test_watch.py::test_a_line_that_leads_past_ours_is_left_alone_and_reported_daily",
    ),
    Mutant(
        3,
        "enroll opens a device before it looks what it is",
        "pam_iampass/enrollment/request.py",
        "if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):",
        "if False:",
        "tests/unit/enrollment/test_requests_file.py::test_a_device_is_not_opened",
    ),
    Mutant(
        3,
        "enroll waits for the writer of another user's pipe",
        "pam_iampass/enrollment/request.py",
        "with opened(os.fspath(file), os.O_PATH | os.O_CLOEXEC) as found:",
        "with opened(os.fspath(file), os.O_RDONLY | os.O_CLOEXEC) as found:",
        "tests/unit/enrollment/test_requests_file.py::"
        "test_a_pipe_of_another_user_is_refused_without_waiting_for_a_writer",
    ),
    Mutant(
        12,
        "doctor lists no way in that does not use PAM",
        "pam_iampass/doctor/ways_in.py",
        "        yield from self._without_pam()\n",
        "",
        "tests/system/setuid/test_ways_in.py::test_programs_that_let_in_without_pam_are_listed_by_name",
    ),
    Mutant(
        12,
        "the rules of sudo-rs are not read",
        "pam_iampass/system/sudoers.py",
        "if SUDOERS_RS.exists():",
        "if False:",
        "tests/system/test_doctor.py::"
        "test_a_line_of_sudo_rs_and_a_service_for_everybody_are_found_where_the_file_of_sudo_asks",
    ),
    Mutant(
        12,
        "a PAM service that lets in by the password alone is no way in",
        "pam_iampass/doctor/stack_check.py",
        "for login in self._logins(True, PamCode.ABORT)\n        )",
        "for login in self._logins(False, PamCode.ABORT)\n        )",
        "tests/unit/doctor/test_stacks.py::"
        "test_a_service_lets_in_unasked_if_it_passes_although_the_phone_denies",
    ),
    Mutant(
        12,
        "of many conditions each is varied alone",
        "pam_iampass/pam/modules.py",
        "for pair in itertools.combinations(varied, 2):",
        "for pair in zip(varied):",
        "tests/unit/doctor/test_stacks.py::"
        "test_a_way_past_us_that_takes_two_conditions_is_found_among_many_and_what_is_left_out_is_said",
    ),
    Mutant(
        12,
        "doctor does not say that a simulation was incomplete",
        "pam_iampass/doctor/stacks.py",
        "            yield from check.left_out(before[kind])\n",
        "",
        "tests/unit/doctor/test_stacks.py::"
        "test_a_way_past_us_that_takes_two_conditions_is_found_among_many_and_what_is_left_out_is_said",
    ),
    Mutant(
        12,
        "doctor overlooks an account stack that ends before our line",
        "pam_iampass/doctor/stack_check.py",
        "        if skipped is not None:",
        "        if skipped is False:",
        _ACCOUNT_CHECK + "test_with_an_include_every_local_user_of_red_hat_skips_the_phone",
    ),
    # 13
    Mutant(
        13,
        "the caller of su approves for any target",
        "pam_iampass/login/policy.py",
        " or account.uid != 0:\n",
        ":\n",
        _APPROVER
        + "test_who_knows_the_password_of_another_user_does_not_become_them_by_a_phone_of_their_own",
    ),
    Mutant(
        13,
        "an exempt caller needs no phone to become any user",
        _VERIFICATION,
        "policy.exemption(approver, login,",
        "policy.exemption(context.accounts.with_uid(login.real_uid or account.uid), login,",
        _APPROVER + "test_an_exempt_caller_becomes_root_without_a_phone_and_no_other_user",
    ),
    Mutant(
        12,
        "a user whom an access control list names reads the settings",
        "pam_iampass/doctor/configuration.py",
        "            if has_access_list(file):\n",
        "            if False:\n",
        "tests/unit/cli/test_check.py::test_an_access_control_list_is_an_error_with_the_remedy",
    ),
    Mutant(
        9,
        "a secret is used although an access control list lets a user read it",
        "pam_iampass/system/trusted_file.py",
        "            if secret and has_access_list(file):\n",
        "            if False:\n",
        "tests/unit/system/test_trusted_file.py::"
        "test_a_secret_with_an_access_control_list_is_refused_although_its_mode_is_right",
    ),
    Mutant(
        12,
        "doctor overlooks timestamps of sudo where nothing is revoked",
        "pam_iampass/doctor/session_check.py",
        "        if line.value and (folder or owner):\n",
        "        if False:\n",
        "tests/unit/doctor/test_session_check.py::"
        "test_that_sudo_remembers_where_nothing_is_revoked_is_found_if_any_session_is_kept",
    ),
    Mutant(
        12,
        "a person in the service's group is not reported",
        "pam_iampass/doctor/configuration.py",
        "    found = others_in_group(user)\n",
        "    found: list[str] = []\n",
        "tests/system/test_doctor.py::test_a_person_who_reads_the_secret_as_the_service_does_is_an_error",
    ),
    Mutant(
        12,
        "an exempt root that is to approve su to root is not reported",
        "pam_iampass/doctor/configuration.py",
        "        if exempt is not None or (isinstance(phone, policy.NotListed) and phone.ignore):\n",
        "        if False:\n",
        "tests/unit/cli/test_check.py::test_that_root_is_to_approve_su_to_root_and_does_not_is_found",
    ),
    Mutant(
        13,
        "without a setting for su, root approves that somebody becomes root",
        "pam_iampass/config/settings.py",
        'return Approver.CALLER if same_program(name) == "su" else Approver.USER',
        "return Approver.USER",
        _MODULE + "test_for_su_to_root_the_caller_approves_and_the_record_says_so",
    ),
    Mutant(
        13,
        "PAM_RUSER alone says who the caller is",
        "pam_iampass/login/policy.py",
        "    if named.uid != real.uid:\n",
        "    if False:\n",
        _APPROVER + "test_a_caller_who_names_another_user_is_denied_and_nobody_is_asked",
    ),
    # 14
    Mutant(
        14,
        "setup opens as root what a link of a user names",
        "pam_iampass/setup/sshd.py",
        "with reading_as(user), open(",
        "with open(",
        "tests/unit/setup/test_keys.py::"
        "test_a_link_of_the_user_leads_root_to_nothing_that_only_root_can_read",
    ),
    Mutant(
        14,
        "our line comes before the password",
        "pam_iampass/setup/edits.py",
        "        self._after[top].append(self._ours(",
        "        self._before[top].append(self._ours(",
        _EDITS + "test_a_wrong_password_rings_no_phone[debian-sudo-]",
    ),
    Mutant(
        14,
        "setup accepts a stack in which a wrong password rings the phone",
        "pam_iampass/setup/checks.py",
        "finding.severity is Severity.ERROR or finding.kind in _REFUSED",
        "finding.severity is Severity.ERROR",
        "tests/system/setup/test_other_services.py"
        "::test_a_stack_in_which_a_wrong_password_reaches_the_phone_is_refused",
    ),
    Mutant(
        14,
        "a PAM file that was restored without our lines stays without",
        "pam_iampass/setup/watch.py",
        "return not has_asking_line(text_of(current.content))",
        "return False",
        _WATCH + "test_a_new_version_of_a_file_gets_the_lines_and_keeps_its_own",
    ),
    Mutant(
        14,
        "an expired password skips the phone in the account phase of sshd",
        "pam_iampass/setup/edits.py",
        "            self._before[top] += guards\n",
        "            self._after[top] += guards\n",
        _EDITS + "test_an_expired_password_does_not_skip_the_phone[debian-quiet]",
    ),
    Mutant(
        14,
        "a line leads past our session line, and the phone cannot end the login",
        "pam_iampass/setup/edits.py",
        "        if jumps or ends:\n",
        "        if False:\n",
        _EDITS + "test_every_session_passes_our_line_and_ends_as_it_did[ends]",
    ),
    # 15
    Mutant(
        15,
        "a bypass lets in a new account of the same name",
        _BYPASS,
        "(self.user, self.uid) == (account.name, account.uid)",
        "self.user == account.name",
        _BYPASS_TESTS + "test_it_is_for_one_account_and_for_one_service_if_it_names_one",
    ),
    Mutant(
        15,
        "a bypassed user becomes another user without a phone",
        _VERIFICATION,
        "context.state.bypasses.find(approver, login.service)",
        "context.state.bypasses.find(context.accounts.named(login.ruser or login.user), login.service)",
        "tests/system/setuid/test_bypass.py::test_a_bypassed_caller_of_su_becomes_root_without_the_phone_and_nobody_else",
    ),
    Mutant(
        15,
        "the first factor is not required of a bypassed user",
        _VERIFICATION,
        "    if arguments.first_factor is not None and not login.accepted(arguments.first_factor):\n",
        "    if context.state.bypasses.find(account, login.service) is None and arguments.first_factor is not None "
        "and not login.accepted(arguments.first_factor):\n",
        _BYPASS_TESTS + "test_the_key_is_required_all_the_same",
    ),
    # 16
    Mutant(
        16,
        "an exemption for one service holds for all",
        "pam_iampass/config/settings.py",
        "own = self.services.get(name, self.services.get(same_program(name)))",
        "own = self.services.get(name, next(iter(self.services.values()), None))",
        "tests/system/setuid/test_teams.py::test_who_is_exempt_in_sudo_is_asked_in_su",
    ),
    Mutant(
        16,
        "a rule exempts its user wherever the login comes from",
        _POLICY,
        "if _network_of(login.rhost, (rule.network,)) and is_named_by(",
        "if is_named_by(",
        _POLICY_TESTS + "test_a_rule_exempts_its_user_or_group_in_its_network_only",
    ),
    Mutant(
        16,
        "a member of an asked group passes while the name service that knows the group is out of reach",
        _POLICY,
        "        accounts.check_groups(account)\n",
        "        pass\n",
        _POLICY_TESTS + "test_while_groups_cannot_be_looked_up_nobody_passes_as_not_asked",
    ),
    # 17
    Mutant(
        17,
        "a registration by the agent's user counts",
        _REGISTRATIONS,
        'trusted_file.read(f"{self.folder}/{name}", limit=_LIMIT)',
        'open(f"{self.folder}/{name}", "rb").read()',
        _ENFORCER + "test_a_registration_that_root_has_not_written_touches_nobody",
    ),
    Mutant(
        17,
        "a process with the id of one that has ended is taken for it",
        _REGISTRATIONS,
        "process is not None and process.started == registration.started",
        "process is not None",
        _ENFORCER + "test_a_process_id_that_was_used_again_is_another_process",
    ),
    Mutant(
        21,
        "doas goes on with a password that was typed before the phone was away",
        "pam_iampass/enforcer/actions.py",
        "(of_doas[1] if of_doas else name) in owners",
        "name in owners",
        _ENFORCER + "test_a_program_that_remembers_the_password_asks_for_it_again[doas]",
    ),
    Mutant(
        17,
        "a limit of the caller of su leaves a login that nothing can end",
        "doors/native/door.c",
        "if (!session_keep(call)) {",
        "if (!session_keep(call) && false) {",
        _SESSION_PHASES + "test_a_login_whose_session_could_not_be_registered_is_denied",
    ),
    Mutant(
        17,
        "the door keeps to a limit of the caller of su",
        _SESSION_C,
        ": RLIM_INFINITY;",
        ": now.rlim_cur;",
        _SESSION_PHASES + "test_a_limit_of_the_caller_keeps_no_session_from_being_registered",
    ),
    Mutant(
        17,
        "what heeds no signal outlives its login",
        "pam_iampass/enforcer/actions.py",
        "not self._members.kill(KILL_SECONDS):",
        "not self.login.has_ended(KILL_SECONDS):",
        _ENFORCER + "test_what_a_login_has_started_is_ended_with_it_though_it_heeds_no_signal",
    ),
    Mutant(
        17,
        "what has left a login without logind outlives it",
        "pam_iampass/enforcer/processes.py",
        "if place == self._place and pid != os.getpid():",
        "if False:",
        _ENFORCER + "test_what_has_left_a_login_without_logind_is_known_by_the_audit_session",
    ),
    Mutant(
        17,
        "a kept sudo that is ended ends the login that it was started in",
        "doors/native/process.c",
        "strcmp(of_parent, text) == 0)",
        "false)",
        _SESSION_PHASES + "test_only_an_audit_session_that_the_login_has_begun_is_registered",
    ),
    Mutant(
        17,
        "the door registers logins where others can write",
        _SESSION_C,
        "trusted = only_root_writes(IAMPASS_AGENT_FOLDER) && only_root_writes(IAMPASS_LOGINS_FOLDER);",
        "trusted = true;",
        _SESSION_PHASES + "test_a_folder_that_root_does_not_own_alone_gets_no_registration",
    ),
    # 18
    Mutant(
        18,
        "the native door lets a login in by its session phase",
        "doors/native/door.c",
        'OPEN_SESSION, flags, argc, argv, false, ""});\n    return PAM_IGNORE;',
        'OPEN_SESSION, flags, argc, argv, false, ""});\n    return PAM_SUCCESS;',
        _SESSION_PHASES + "test_a_phase_alone_is_ignored",
    ),
    Mutant(
        18,
        "an error while a session opens is raised",
        "pam_iampass/module.py",
        "except BaseException as error:  # noqa: BLE001 - an entry point\n",
        "except ZeroDivisionError as error:\n",
        _SESSION_PHASES_OF_AGENT + "test_an_error_of_the_one_who_keeps_sessions_fails_no_login",
    ),
    Mutant(
        18,
        "outside of sshd a variable attaches a login to any kept session",
        _SESSION_C,
        "call->phase == OPEN_SESSION && in_sshd(pamh) && is_session_id",
        "call->phase == OPEN_SESSION && is_session_id",
        _SESSION_PHASES + "test_outside_of_sshd_a_variable_means_nothing_and_is_removed",
    ),
    # 19
    Mutant(
        19,
        "a refused removal of the packages leaves the second factor off",
        "packaging/debian/libpam-iampass.prerm",
        '    refuse_if "$(foreign)"\n',
        "",
        "tests/system/setup/test_removal.py::test_a_refused_removal_leaves_the_second_factor_on[_deb]",
    ),
    Mutant(
        19,
        "what asked the phone when the package was removed is forgotten",
        "packaging/debian/libpam-iampass.prerm",
        ' --removal "$profiles"',
        "",
        "tests/system/setup/test_removal.py::test_a_refused_removal_leaves_the_second_factor_on[_deb]",
    ),
    # 20
    Mutant(
        20,
        "a status that is reported once ends a login",
        _TASKS,
        "elif entry.suspect is None or entry.suspect.away is not status.away:",
        "elif False:",
        _KEEPING + "test_a_status_that_is_reported_once_ends_nothing",
    ),
    Mutant(
        20,
        "an error of IAMPASS ends a login",
        _TASKS,
        "            self._failed(entry, error)\n            return\n",
        "            status = Status.closed\n",
        _KEEPING + "test_an_outage_ends_nothing",
    ),
    Mutant(
        20,
        "a session covers again when the phone is back",
        _LIFE,
        "kept = replace(kept, away=False)",
        "kept = replace(kept, away=False, revoked=False)",
        _KEEPING + "test_who_walks_away_covers_nothing_any_more_and_is_seen_to_return",
    ),
    # 21
    Mutant(
        21,
        "another login session of the user is covered",
        _COVERS,
        "any((login.audit_session, login.uid) == place for login in kept.attached)",
        "any(login.uid == place[1] for login in kept.attached)",
        _COVERED + "test_anything_else_is_not_covered",
    ),
    Mutant(
        21,
        "what has no audit session is covered",
        _COVERS,
        "request.audit_session is None or request.real_uid is None",
        "request.real_uid is None",
        _COVERED + "test_anything_else_is_not_covered",
    ),
    Mutant(
        21,
        "an audit session counts whoever it was begun for",
        "doors/native/process.c",
        'strcmp(read_proc("/proc/self/loginuid", text, size), uid) == 0',
        'uid[0] != read_proc("/proc/self/loginuid", text, size)[0] + 10',
        _SESSION_PHASES + "test_an_audit_session_is_sent_only_of_who_is_logged_in_there",
    ),
    Mutant(
        21,
        "the audit session that the agent itself has counts",
        "pam_iampass/agent/application.py",
        " and number != own else None",
        " and own else None",
        _SESSION_PHASES_OF_AGENT + "test_the_audit_session_of_the_agent_is_that_of_no_login",
    ),
    Mutant(
        21,
        "what is not known of the first factor of a further connection is the same",
        "pam_iampass/outcome.py",
        "return None if self.phase is Phase.ACCOUNT else self.ssh_auth_info",
        "return self.ssh_auth_info",
        _COVERED + "test_a_connection_by_another_first_factor_asks_the_phone",
    ),
    Mutant(
        21,
        "a further connection by another key is covered",
        _COVERS,
        "(kept.address, kept.user, kept.service, kept.first_factor)",
        "(kept.address, kept.user, kept.service, request.first_factor)",
        _COVERED + "test_anything_else_is_not_covered",
    ),
    Mutant(
        21,
        "what stands in the place of an address is one",
        "pam_iampass/login/origin.py",
        'return str(ip_address((ssh_connection or "").partition(" ")[0]) or "")',
        'return (ssh_connection or "").partition(" ")[0]',
        _COVERED + "test_a_connection_without_an_address_asks_the_phone",
    ),
    Mutant(
        20,
        "an answer that there is no phone ends a login the first time",
        _TASKS,
        "if entry.without_phone and once:",
        "if entry.without_phone:",
        _KEEPING + "test_an_answer_that_there_is_no_phone_ends_nothing_the_first_time",
    ),
    Mutant(
        21,
        "a session that a lost phone has approved covers",
        "pam_iampass/login/covering.py",
        "if not self._has_phone(found, deadline):",
        "if False:",
        _COVERED + "test_whose_phone_was_lost_elsewhere_is_covered_no_more_also_with_the_next_phone",
    ),
    Mutant(
        21,
        "a session covers although nothing tells whether its login still runs",
        _LIFE,
        "    return Step(replace(kept, revoked=True))\n",
        "    return Step(kept)\n",
        _KEEPING + "test_where_nothing_tells_whether_a_login_still_runs_its_session_covers_nothing_any_more",
    ),
    Mutant(
        21,
        "who knows the id of a session attaches any number of logins",
        _LIFE,
        "    awaited = kept.awaited\n",
        "    awaited = kept.awaited or (Opener(login.pid),)\n",
        _COVERED + "test_no_login_attaches_that_was_neither_approved_nor_covered",
    ),
    Mutant(
        20,
        "one answer of IAMPASS stops the polls of all sessions",
        "pam_iampass/session/pacing.py",
        "        if self._failures >= FAILURES:\n",
        "        if self._failures >= 1:\n",
        "tests/unit/session/test_pacing.py::test_iampass_can_ask_for_a_pause",
    ),
    Mutant(
        20,
        "who runs sudo all the time has IAMPASS asked all the time",
        "pam_iampass/session/keeper.py",
        "if len(asked) == MOST_COVERS and now - asked[0] < COVERS_WITHIN:",
        "if False:",
        _COVERED + "test_who_runs_sudo_all_the_time_has_their_phone_asked",
    ),
    Mutant(
        21,
        "a session covers without IAMPASS being asked",
        "pam_iampass/session/keeper.py",
        "self._ask_status(entry.kept, self._connect, deadline) is Status.active",
        "True",
        _COVERED + "test_without_an_active_session_at_this_moment_the_phone_is_asked",
    ),
    Mutant(
        21,
        "a session covers while polls fail for a cause on this machine",
        "pam_iampass/session/keeper.py",
        "if entry is None or entry.unaskable:",
        "if entry is None:",
        _COVERED
        + "test_while_polls_fail_for_a_cause_on_this_machine_nothing_is_covered_and_the_journal_says_so_once",
    ),
    Mutant(
        21,
        "a user who takes all ports goes on after the end on the phone",
        "pam_iampass/agent/server.py",
        "Configurations(network, OwnPorts(network).network)",
        "Configurations(network, network)",
        "tests/system/test_sessions.py"
        "::test_a_user_who_takes_all_ports_does_not_keep_the_phone_from_ending_their_login",
    ),
    Mutant(
        21,
        "another user can have a port that the agent reserved",
        "pam_iampass/agent/own_ports.py",
        'socket.SO_REUSEPORT, 1)\n                sock.bind(("", 0))',
        'socket.SO_REUSEADDR, 1)\n                sock.bind(("", 0))',
        "tests/unit/agent/test_own_ports.py::test_a_reserved_port_is_reserved_before_and_after_it_was_used",
    ),
)
