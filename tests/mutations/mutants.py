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


_MODULE = "tests/unit/test_module.py::"
_FAULT = "tests/client/test_faults.py::test_each_fault_is_its_error_in_time_after_one_try"
_ATTACK = "tests/system/setuid/test_manufactured_outage.py::"
_OUTAGE = "pam_iampass/client/outage.py"
_VERIFICATION = "pam_iampass/login/verification.py"
_APPROVAL = "pam_iampass/login/approval.py"
_SETUP = "tests/unit/setup/test_other_services.py::"
_SUDO_ACCOUNTS = "pam_iampass/system/sudo_accounts.py"
_SUDO_SYSTEM = "tests/system/setuid/test_sudoers.py::"
_ROADS = "tests/system/setuid/test_roads.py::"
_SUDO_UNIT = "tests/unit/system/test_sudo_accounts.py::"
_DECISIONS = "pam_iampass/login/decisions.py"
_ENFORCER = "tests/system/test_enforcer.py::"
_REGISTRATIONS = "pam_iampass/enforcer/registrations.py"
_POLICY = "pam_iampass/login/policy.py"
_POLICY_TESTS = "tests/unit/login/test_policy.py::"
_BYPASS = "pam_iampass/login/bypass.py"
_BYPASS_TESTS = "tests/unit/login/test_bypass.py::"
_SINKS = "pam_iampass/audit/sinks.py"
_HANG_UP = "tests/unit/login/test_hang_up.py::"
_APPROVER = "tests/system/setuid/test_attacks_approver.py::"
_ACCOUNT_CHECK = "tests/unit/doctor/test_account_check.py::"
_EXEMPT_SSH = "tests/system/setup/test_exempt_accounts.py::"
_ACCOUNT = "tests/pam/native/test_account_phase.py::"

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
        "a pending status counts as an approval",
        _DECISIONS,
        "if session.active:",
        "if session.active or session.in_progress:",
        _MODULE + "test_nobody_answers_in_time",
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
        "an unknown status counts as an approval",
        "pam_iampass/client/session.py",
        """raise members.error(f'unknown session status "{printable(name)}"')""",
        "return Status.active",
        "tests/client/test_session.py::test_an_unknown_status_is_never_an_approval",
    ),
    Mutant(
        1,
        "a poll that says both active and not authenticated counts as an approval",
        "pam_iampass/client/session.py",
        "if status is Status.active and denies:",
        "if False:",
        "tests/client/test_session.py::test_a_poll_that_contradicts_itself_or_lacks_a_status_is_never_an_approval",
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
        "pam_iampass/login/recovery_codes.py",
        "            self._write(folder, lock, now)\n            return now.left",
        "            return now.left",
        "tests/unit/login/test_recovery_codes.py::test_each_of_ten_codes_is_good_once",
    ),
    Mutant(
        1,
        "a login that was stopped while it redeemed a recovery code makes another code valid again",
        "pam_iampass/system/state_dir.py",
        "if not self._is_current(lock):",
        "if False:",
        "tests/unit/login/test_recovery_codes.py"
        "::test_a_login_that_is_stopped_while_it_spends_a_code_keeps_nobody_out_and_spends_it_no_second_time",
    ),
    Mutant(
        1,
        "a login that was stopped just before it renamed its file overwrites a newer one",
        "pam_iampass/system/state_dir.py",
        "                atomic_write.remove(self._descriptor, former.temporary)\n",
        "",
        "tests/unit/system/test_state_dir.py"
        "::test_a_holder_that_is_stopped_is_passed_by_and_overwrites_nothing_when_it_wakes",
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
        _OUTAGE,
        "errno.ECONNRESET, errno.EPIPE})",
        "errno.ECONNRESET, errno.EPIPE, errno.EADDRNOTAVAIL})",
        _ATTACK + "test_who_takes_all_tcp_ports_makes_no_outage",
    ),
    Mutant(
        2,
        "a user who takes all UDP ports cuts off the name servers",
        _OUTAGE,
        "            raise failure from None\n",
        "            pass\n",
        _ATTACK + "test_who_takes_all_udp_ports_makes_no_outage[without a route to one]",
    ),
    Mutant(
        2,
        "every failed name lookup is an outage for every caller",
        "pam_iampass/client/connector.py",
        "if cause is not None and no_route_to_name_servers():",
        "if cause is not None:",
        "tests/system/test_name_lookup.py"
        "::test_a_name_service_that_fails_may_be_the_work_of_a_user_unless_there_is_no_route",
    ),
    Mutant(
        2,
        "without a default route a name server of this machine that is flooded is an outage",
        _OUTAGE,
        "if _is_in_a_network():",
        "if False:",
        _ATTACK
        + "test_who_floods_the_resolver_of_this_machine_makes_no_outage_where_there_is_no_default_route",
    ),
    Mutant(
        2,
        "a time-out is an outage for every caller",
        _APPROVAL,
        "return self._required.login.real_uid == 0 and not delayed",
        "return not delayed",
        _MODULE + "test_a_time_out_is_an_outage_only_if_root_called",
    ),
    *(
        Mutant(
            2,
            what,
            _OUTAGE,
            text,
            replacement,
            "tests/client/test_outage.py::test_only_what_the_far_side_can_cause_is_an_outage",
        )
        for what, text, replacement in (
            (
                "every failure to connect is an outage",
                "error.errno in _ENDED | _NO_ROUTE else",
                "error.errno else",
            ),
            ("ECONNREFUSED is no outage", "errno.ECONNREFUSED, ", ""),
            ("ECONNRESET is no outage", "errno.ECONNRESET, ", ""),
            ("EPIPE is no outage", ", errno.EPIPE})", "})"),
            ("ENETUNREACH is no outage", "frozenset({errno.ENETUNREACH, ", "frozenset({"),
            ("EHOSTUNREACH is no outage", "errno.EHOSTUNREACH, ", ""),
            ("ENETDOWN is no outage", ", errno.ENETDOWN})", "})"),
        )
    ),
    Mutant(
        2,
        "taken ports pass for IPv6 that is switched off",
        _OUTAGE,
        "error.errno == errno.EADDRNOTAVAIL and _has_no_ipv6_address()",
        "error.errno == errno.EADDRNOTAVAIL",
        "tests/client/test_outage.py::test_taken_ports_are_never_taken_for_a_missing_route",
    ),
    Mutant(
        2,
        "one address that refuses outweighs another that this machine cannot connect to",
        "pam_iampass/client/connector.py",
        "(None, Cause.ANY_USER, Cause.FAR_SIDE) if each in by_cause",
        "(Cause.FAR_SIDE, Cause.ANY_USER, None) if each in by_cause",
        "tests/client/test_connecting.py"
        "::test_one_address_to_which_this_machine_cannot_connect_makes_it_no_outage",
    ),
    Mutant(
        2,
        "a gateway's 504, a proxy's 5xx or a late failure is an outage",
        _APPROVAL,
        "return error.cause is Cause.FAR_SIDE",
        "return True",
        _ATTACK + "test_a_request_that_a_gateway_gave_up_may_ring_and_is_no_outage",
    ),
    Mutant(
        2,
        "a proxy's 5xx is an outage",
        "pam_iampass/client/connector.py",
        "kind = attempt.unavailable if 500 <= response.status < 600 else attempt.invalid\n"
        '            problem = kind(f"{name} refused with status {response.status}", remedy=remedy)',
        'problem = attempt.unavailable(f"{name}: {response.status}", Cause.FAR_SIDE, remedy=remedy)',
        "tests/client/test_connecting.py"
        "::test_a_proxy_that_cannot_serve_is_no_outage_unless_it_closes_the_connection",
    ),
    Mutant(
        2,
        "a start that was answered with an error counts as not begun",
        "pam_iampass/client/response_errors.py",
        "begun = status != 429 or request.rings",
        "begun = False",
        _FAULT + "[503-start]",
    ),
    Mutant(
        2,
        "a failure after a refusal is an outage",
        "pam_iampass/client/transport.py",
        "                        unavailable.cause = None\n",
        "                        pass\n",
        "tests/client/test_clock.py"
        "::test_a_server_that_is_gone_after_its_refusal_is_no_outage_that_may_be_ignored",
    ),
    Mutant(
        2,
        "a lost response counts as if no request had been sent",
        "pam_iampass/client/attempt.py",
        "self.attempt.request_sent = True",
        "self.attempt.request_sent = False",
        _FAULT + "[reset after the request-start]",
    ),
    Mutant(
        2,
        "an unknown application or user counts as an outage",
        "pam_iampass/client/response_errors.py",
        "return NotFound(f",
        "return Unavailable(f",
        _MODULE + "test_an_answer_of_not_found_denies_and_says_what_to_check_without_the_token",
    ),
    Mutant(
        2,
        "a rejected application secret counts as an outage",
        "pam_iampass/client/response_errors.py",
        "return _refusal(response, call, server, now)",
        "return _outage(response, call, server, deadline, now)",
        _FAULT + "[401-start]",
    ),
    Mutant(
        2,
        "an untrusted certificate counts as an outage",
        "pam_iampass/client/attempt.py",
        "return TLSFailure(what)\n",
        'return self.unavailable("the certificate")\n',
        _MODULE + "test_a_certificate_that_is_not_trusted_is_no_outage",
    ),
    Mutant(
        2,
        "the DNS search list applies to the server's name, so that an unknown name is an outage",
        "pam_iampass/client/resolver.py",
        'return f"{host}."',
        "return host",
        "tests/system/test_name_lookup.py"
        "::test_an_unknown_name_is_a_fault_of_this_machine_whatever_the_search_list",
    ),
    Mutant(
        2,
        "an invalid configuration is tolerated",
        _VERIFICATION,
        "return decisions.misconfigured(str(error))\n",
        "return decisions.unlisted(login.user, True)\n",
        _MODULE + "test_broken_settings_deny_whatever_the_policy_for_outages_says",
    ),
    Mutant(
        2,
        "a user is exempt if the group lookup fails",
        "pam_iampass/login/policy.py",
        "    own = accounts.groups(account) if names else frozenset()\n",
        "    try:\n        own = accounts.groups(account)\n    except Exception:\n        return 'perhaps'\n",
        "tests/unit/login/test_policy.py::test_groups_that_cannot_be_looked_up_exempt_nobody_and_let_nobody_pass",
    ),
    # 3
    Mutant(
        3,
        "TLS honors SSLKEYLOGFILE",
        "pam_iampass/client/tls.py",
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)",
        "context = ssl.create_default_context()",
        "tests/client/test_environment.py::test_a_hostile_environment_changes_nothing",
    ),
    Mutant(
        3,
        "the helper inherits the caller's environment",
        "doors/native/helper.c",
        "execve(IAMPASS_PYTHON, (char *const *)arguments, (char *const *)environment);",
        "(void)environment, execv(IAMPASS_PYTHON, (char *const *)arguments);",
        "tests/pam/native/test_helper_process.py::test_nothing_of_the_callers_environment_reaches_it",
    ),
    Mutant(
        3,
        "the helper inherits ignored signals from the caller",
        "doors/native/helper.c",
        "        (void)sigaction(number, &standard, NULL); /* fails for SIGKILL and the like */",
        "        (void)standard;",
        "tests/pam/native/test_helper_process.py::test_no_signal_is_blocked_or_ignored_in_it",
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
        "tests/pam/native/test_connection.py::test_denied_where_somebody_else_listens",
    ),
    Mutant(
        3,
        "root reads the folder of somebody's sandbox itself",
        "pam_iampass/setup/sandbox_folder.py",
        "as_service_user(lambda: _content(folder, path), owner, patience=_PATIENCE)",
        "_content(folder, path)",
        "tests/system/test_sandbox_use.py::test_a_secret_of_roots_behind_a_hard_link_is_not_read",
    ),
    Mutant(
        3,
        "links in the folder of somebody's sandbox are followed",
        "pam_iampass/setup/sandbox_folder.py",
        "_FILE = os.O_RDONLY | os.O_NOFOLLOW",
        "_FILE = os.O_RDONLY",
        "tests/system/test_sandbox_use.py::test_a_link_is_not_followed",
    ),
    Mutant(
        3,
        "a sandbox may be at an address of another machine",
        "pam_iampass/setup/sandbox_folder.py",
        r"https://(127(\.[0-9]{1,3}){3}|\[::1\]|localhost):[0-9]{1,5}",
        r"https://.*",
        "tests/system/test_sandbox_use.py::test_nothing_but_what_a_sandbox_writes_gets_through",
    ),
    Mutant(
        3,
        "root follows links of other users to the sandbox's state folder",
        "pam_iampass/system/trusted_folder.py",
        "if self.sticky:  # elsewhere",
        "if False:  # elsewhere",
        "tests/system/test_sandbox_use.py::test_root_follows_no_link_of_another_user",
    ),
    Mutant(
        3,
        "root runs a sandbox below folders that others can exchange",
        "pam_iampass/sandbox/state_folder.py",
        "if os.geteuid() != 0:",
        "if True:",
        "tests/system/test_sandbox_use.py::test_root_writes_nothing_below_a_folder_that_others_can_write",
    ),
    Mutant(
        3,
        "a set-uid program starts a helper in its caller's control group",
        "doors/native/login.c",
        "if (getuid() == 0) {",
        "if (getuid() != (uid_t)-1) {",
        "tests/pam/native/test_connection.py"
        "::test_a_set_uid_program_without_an_agent_is_denied_and_told_how_to_start_it",
    ),
    Mutant(
        3,
        "the agent makes its socket in a directory that others can write",
        "pam_iampass/relay/listener.py",
        "        with trusted_folder(os.path.dirname(path), 0):\n",
        "        with contextlib.nullcontext():\n",
        "tests/system/setuid/test_agent_socket.py::test_a_folder_that_others_can_write_is_refused",
    ),
    Mutant(
        3,
        "the agent opens the socket that it makes to others",
        "pam_iampass/relay/listener.py",
        "os.umask(0o177)",
        "os.umask(0o111)",
        "tests/system/setuid/test_agent_socket.py::test_another_path_can_be_named",
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
        "pam_iampass/client/authentication.py",
        'self._request("start", "POST", path, b"{}", rings=True)',
        'self._request("start", "POST", path, b"{}", rings=True, idempotent=True)',
        "tests/client/test_retries.py::test_a_start_that_may_have_reached_the_service_is_never_repeated",
    ),
    Mutant(
        4,
        "a start that was answered with 429 is repeated",
        "pam_iampass/client/retries.py",
        "return error.status == _TOO_MANY_REQUESTS and not self._request.rings",
        "return error.status == _TOO_MANY_REQUESTS",
        "tests/client/test_retries.py::test_a_start_that_may_have_reached_the_service_is_never_repeated",
    ),
    Mutant(
        4,
        "there is no backoff",
        "pam_iampass/login/rate_limit_state.py",
        "if found is None or found.count < 2:",
        "if True:",
        "tests/unit/login/test_rate_limit.py"
        "::test_the_first_failure_in_a_row_is_free_and_then_the_wait_doubles_up_to_its_limit",
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
        "the next request is sent at once after a decision",
        "pam_iampass/login/rate_limit_state.py",
        "if self.turn_holder() is not None or now < self.next_turn:",
        "if self.turn_holder() is not None:",
        "tests/unit/login/test_turns.py::test_the_next_request_is_sent_some_seconds_after_the_decision",
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
        "logins from ever new addresses fill a person's state until it can no longer be read",
        "pam_iampass/login/rate_limit_state.py",
        "_drop_oldest(self.turns)",
        "pass",
        "tests/unit/login/test_rate_limit.py"
        "::test_logins_from_ever_new_addresses_that_send_no_request_do_not_fill_the_state_of_the_person",
    ),
    Mutant(
        4,
        "a login that does not take its turn blocks all others",
        "pam_iampass/login/rate_limit_state.py",
        "if now - max(self.next_turn, login.since) < TURN_PATIENCE:",
        "if True:",
        "tests/unit/login/test_turns.py::test_a_process_that_is_stopped_while_it_waits_keeps_nobody_out",
    ),
    Mutant(
        4,
        "backoff and hourly limit are not checked again when the turn comes",
        "pam_iampass/login/rate_limit.py",
        "                _check(state, self._origin, self._limits, now)\n",
        "                pass\n",
        "tests/unit/login/test_turns.py::test_a_backoff_that_begins_while_a_login_waits_holds_for_it",
    ),
    Mutant(
        4,
        "a start that left this machine and was not approved is not counted",
        "pam_iampass/login/request_result.py",
        "return RequestResult.APPROVED if approved else RequestResult.FAILED",
        "return RequestResult.APPROVED",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_every_start_that_left_this_machine_and_was_not_approved_counts_and_leads_to_the_backoff",
    ),
    Mutant(
        4,
        "a user without a phone is asked about without limit",
        "pam_iampass/login/approval.py",
        "        self.may_have_left = True\n        if session.failure_reason is not None:",
        "        self.may_have_left = session.failure_reason is None\n        if session.failure_reason is not None:",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_every_start_that_left_this_machine_and_was_not_approved_counts_and_leads_to_the_backoff",
    ),
    Mutant(
        4,
        "a caller who hangs up while the phone rings is not counted",
        "pam_iampass/login/request_result.py",
        "    if isinstance(end, Stopping):\n",
        "    if isinstance(end, (Stopping, ApplicationGone)):\n",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_repeated_requests_that_are_aborted_start_the_backoff",
    ),
    Mutant(
        1,
        "a phone that was reported lost approves a login that waits for it",
        "pam_iampass/login/approval.py",
        "            check()\n",
        "",
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_a_login_that_waits_for_a_lost_phone_is_denied_although_the_phone_approves",
    ),
    Mutant(
        4,
        "to find out whether another login waits costs nothing",
        "pam_iampass/login/turn.py",
        "failed=announced and isinstance(end, ApplicationGone)",
        "failed=False",
        "tests/unit/login/test_turns.py"
        "::test_to_leave_after_having_read_that_another_login_waits_counts_as_a_failure",
    ),
    Mutant(
        4,
        "another login is named where nothing waits but the seconds after a decision",
        "pam_iampass/login/rate_limit.py",
        "return any(login.lease != self._lease and not login.decided for login in pending)",
        "return True",
        "tests/unit/login/test_turns.py::test_who_waits_only_for_the_seconds_after_a_decision_reads_nothing",
    ),
    Mutant(
        4,
        "a host has an origin for each of its IPv6 addresses",
        "pam_iampass/login/origin.py",
        "strict=False))",
        "strict=False) and rhost)",
        "tests/unit/login/test_turns.py"
        "::test_an_origin_is_a_service_and_a_host_or_the_network_in_which_an_ipv6_host_chooses_its_address",
    ),
    Mutant(
        4,
        "logins that wait are counted before the prompt",
        "pam_iampass/login/verification.py",
        'context.concurrency.acquire("request", user',
        'context.concurrency.acquire("prompt", user',
        "tests/unit/login/test_rate_limited_logins.py"
        "::test_before_the_prompt_is_answered_nothing_tells_whether_another_login_waits",
    ),
    Mutant(
        4,
        "an unlisted user is denied before the prompt",
        "pam_iampass/login/verification.py",
        "    if phone.ignore:\n        return decisions.unlisted(approver.name, ignore=True)\n",
        "    return decisions.unlisted(approver.name, ignore=phone.ignore)\n",
        "tests/unit/login/test_recovered_logins.py"
        "::test_the_prompt_tells_neither_who_has_codes_nor_who_is_listed",
    ),
    Mutant(
        4,
        "only a user with recovery codes is asked for one",
        "pam_iampass/login/recovery.py",
        "self.codes.in_use()",
        "self.codes.left() > 0",
        "tests/unit/login/test_recovered_logins.py"
        "::test_whether_a_user_has_codes_does_not_show_in_what_is_asked",
    ),
    Mutant(
        4,
        "two logins that pass a stopped login by both hold its lock",
        "pam_iampass/system/state_dir.py",
        "if self._is_current(former):",
        "if True:",
        "tests/unit/system/test_state_dir.py"
        "::test_of_two_who_pass_a_stopped_holder_by_at_the_same_moment_one_waits_for_the_other",
    ),
    # 5
    Mutant(
        5,
        "a login sends a request although no time is left to answer it",
        "pam_iampass/login/turn.py",
        "if remaining() <= least:",
        "if remaining() <= 0:",
        "tests/unit/login/test_turns.py::test_a_login_whose_turn_does_not_come_is_told_once_sends_nothing_and_counts_for_nothing",
    ),
    Mutant(
        5,
        "a stopped process that holds the lock of a user's state keeps the user out",
        "pam_iampass/system/state_dir.py",
        "            if self._is_current(former):\n",
        "            if False:\n",
        "tests/unit/system/test_state_dir.py"
        "::test_a_holder_that_is_stopped_is_passed_by_and_overwrites_nothing_when_it_wakes",
    ),
    Mutant(
        5,
        "the timeout restarts with each byte",
        "pam_iampass/client/attempt.py",
        "left = self.deadline.remaining()",
        "left = 5.0",
        _FAULT + "[dripping body-poll]",
    ),
    Mutant(
        5,
        "the module exceeds its timeout by two seconds",
        _APPROVAL,
        "Deadline(self._began + required.service.timeout - REPLY_MARGIN, context.clock)",
        "Deadline(self._began + required.service.timeout + 2.0, context.clock)",
        _MODULE + "test_nobody_answers_in_time",
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
        "sessions are never ended",
        _APPROVAL,
        "cleanup.callback(_end, session, self._context.session_left_open)",
        "pass",
        _MODULE + "test_denied_on_the_phone_ends_the_login_at_once",
    ),
    Mutant(
        6,
        "a session stays on the server for an hour if the module dies",
        _APPROVAL,
        "int(required.service.timeout) + SESSION_MARGIN",
        "3600",
        _MODULE + "test_the_session_ends_on_the_server_by_itself_should_we_die",
    ),
    Mutant(
        6,
        "the module does not detect that the application died",
        "pam_iampass/relay/connection.py",
        "if self._readable(min(until, self._next_look) - time.monotonic()):",
        "if self._readable(min(until, self._next_look) - time.monotonic()) and False:",
        _MODULE + "test_when_the_application_dies_the_session_is_ended_within_a_second",
    ),
    Mutant(
        6,
        "a login does not notice that its ssh client has hung up",
        "pam_iampass/relay/connection.py",
        "if self._client.has_hung_up():",
        "if self._client.has_hung_up() and False:",
        _HANG_UP + "test_a_client_that_hangs_up_while_the_phone_rings_ends_the_request_and_is_denied",
    ),
    Mutant(
        6,
        "a connection that the module cannot see counts as closed, and ends a login",
        "pam_iampass/system/inet_diag.py",
        "return seen and found == errno.ENOENT",
        "return found == errno.ENOENT",
        _HANG_UP + "test_a_connection_that_cannot_be_seen_disturbs_no_login",
    ),
    Mutant(
        6,
        "a later connection with the same addresses passes for the one of the login",
        "pam_iampass/system/inet_diag.py",
        '    body += struct.pack("=I", own.interface or peer.interface) + cookie\n',
        '    body += struct.pack("=I", own.interface or peer.interface) + _ANY_SOCKET\n',
        "tests/unit/system/test_inet_diag.py::test_a_later_connection_with_the_same_addresses_is_another_one",
    ),
    # 7
    Mutant(
        7,
        "a login writes no audit record",
        "pam_iampass/module.py",
        "    journal.record(login, decision)\n    _tell",
        "    _tell",
        _MODULE + "test_approved_on_the_phone_is_a_success",
    ),
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
        "        if (failure.error != ECANCELED)\n            audit_denial(pamh, &failure);",
        "        (void)audit_denial;",
        "tests/pam/native/test_denial.py::test_leaves_one_audit_record",
    ),
    Mutant(
        7,
        "a record is lost if the journal has no room at once",
        _SINKS,
        "self._wait(fields)\n",
        "pass\n",
        "tests/unit/audit/test_sinks.py::test_a_full_log_delays_no_login_and_gets_the_records_later",
    ),
    Mutant(
        7,
        "a record does not say who was asked",
        _VERIFICATION,
        "    login.participants.approver = approver.name\n",
        "",
        _MODULE + "test_a_login_that_ends_early_says_who_was_asked",
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
        "the server's reason for a denial is displayed without escaping",
        "pam_iampass/login/conversation.py",
        "self._pamh.conversation(PamMessage(ERROR_MSG, clean(text)))",
        "self._pamh.conversation(PamMessage(ERROR_MSG, text))",
        "tests/unit/test_cleaning.py::test_the_servers_reason",
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
    Mutant(
        9,
        "an exempt login loads the network libraries",
        _VERIFICATION,
        "    if exemption is not None:\n",
        "    context.connect(settings)\n    if exemption is not None:\n",
        "tests/unit/test_imports.py::test_an_exempt_login_loads_no_network_library",
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
        "an exempt user needs no key",
        _VERIFICATION,
        "if arguments.first_factor is not None and not login.accepted(arguments.first_factor):",
        "if arguments.first_factor and not login.accepted(arguments.first_factor) and login.user != 'root':",
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
        "tests/system/test_enrollment_at_login.py"
        "::test_who_is_in_no_table_is_shown_no_link_though_a_template_makes_a_token",
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
        "settings of sudo for single users are not evaluated",
        _SUDO_ACCOUNTS,
        "            return listed(default.binding, self.matches)\n",
        "            return False\n",
        _SUDO_UNIT + "test_a_list_of_users_means_the_account",
    ),
    Mutant(
        12,
        "exempt_group is not looked at",
        "pam_iampass/doctor/sudo_loopholes.py",
        "if default.value and account.is_in(str(default.value)):",
        "if False:",
        _SUDO_SYSTEM + "test_doctor_reports_each_rule_with_its_line_and_the_user",
    ),
    Mutant(
        12,
        "setup accepts a service of sudo for single users",
        "pam_iampass/setup/checks/sudo.py",
        "level = error if loophole.kind is LoopholeKind.OTHER_SERVICE else warning",
        "level = warning",
        _SUDO_SYSTEM + "test_setup_refuses_services_that_do_not_ask_and_warns_of_the_other_rules",
    ),
    Mutant(
        12,
        "settings of sudo for targets and commands are not evaluated",
        _SUDO_ACCOUNTS,
        "if default.scope is Scope.HOSTS else None",
        "if default.scope is Scope.HOSTS else False",
        _SUDO_UNIT + "test_a_line_that_may_apply_replaces_nothing",
    ),
    Mutant(
        12,
        "a setting that may apply hides the one before it",
        _SUDO_ACCOUNTS,
        "            if applies:\n                found = []\n",
        "            if applies is not False:\n                found = []\n",
        _SUDO_UNIT + "test_a_line_that_may_apply_replaces_nothing",
    ),
    Mutant(
        12,
        "a rule for less hides NOPASSWD",
        "pam_iampass/system/sudoers_rules.py",
        "return not self.limited and _has_all(self.commands) and _has_all(self.targets) and groups",
        "return True",
        _SUDO_UNIT + "test_a_later_rule_for_less_replaces_no_tag",
    ),
    Mutant(
        12,
        "a set-uid program that uses libpam is not found",
        "pam_iampass/doctor/roads.py",
        "status.st_mode & stat.S_ISUID and status.st_uid == 0",
        "status.st_mode & stat.S_ISUID and status.st_uid != 0",
        _ROADS + "test_a_road_is_listed_until_it_asks_the_phone",
    ),
    Mutant(
        12,
        "a PAM service that lets in by the password alone is no road",
        "pam_iampass/doctor/stack_check.py",
        "for login in self._logins(True, PamCode.ABORT)\n        )",
        "for login in self._logins(False, PamCode.ABORT)\n        )",
        "tests/unit/doctor/test_stacks.py::"
        "test_a_service_lets_in_unasked_if_it_passes_although_the_phone_denies",
    ),
    Mutant(
        12,
        "nopass of doas is not looked for",
        "pam_iampass/doctor/roads.py",
        "if _DOAS_FREE.match(line):",
        "if _DOAS_FREE.match(line) and False:",
        _ROADS + "test_a_command_of_doas_without_a_password_is_listed_with_its_line",
    ),
    Mutant(
        12,
        "an unknown set-uid program is not mentioned",
        "pam_iampass/doctor/roads.py",
        "            elif _is_road(name):\n",
        "            elif False:\n",
        _ROADS + "test_unknown_programs_and_services_that_ask_for_the_password_only_are_listed",
    ),
    Mutant(
        12,
        "a netgroup is taken for one without members",
        _SUDO_ACCOUNTS,
        "self._is_member(_group(int(member.name)))\n        return None\n",
        "self._is_member(_group(int(member.name)))\n        return False\n",
        _SUDO_UNIT + "test_a_list_of_users_means_the_account",
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
        13,
        "PAM_RUSER alone says who the caller is",
        "pam_iampass/login/policy.py",
        "    if named.uid != real.uid:\n",
        "    if False:\n",
        _APPROVER + "test_a_caller_who_names_somebody_else_is_denied_and_nobody_is_asked",
    ),
    Mutant(
        13,
        "the record names a remote user's choice as the caller",
        "pam_iampass/login/policy.py",
        "(login.rhost or login.ruser != owner)",
        "login.ruser != owner",
        "tests/unit/login/test_policy.py"
        "::test_the_owner_of_the_process_is_the_caller_and_pam_ruser_alone_names_nobody",
    ),
    # 14
    Mutant(
        14,
        "setup accepts services that must not ask the phone",
        "pam_iampass/setup/services.py",
        "if unsuitable is not None:",
        "if unsuitable is None is not None:",
        _SETUP + "test_what_must_not_ask_the_phone_is_refused[cron-no person to approve]",
    ),
    Mutant(
        14,
        "the PAM file of sshd leaves out what common-auth adds",
        "config/pam.d/iampass-sshd-password",
        "@include common-auth\n",
        "auth requisite pam_unix.so\n",
        _SETUP + "test_the_password_of_sshd_is_checked_as_common_auth_says",
    ),
    Mutant(
        14,
        "setup does not look whether the files that it wrote lead to the module",
        "pam_iampass/setup/checks/stacks.py",
        "if not _our_lines(files, service):",
        "if not service.pam_service:",
        _SETUP + "test_a_file_that_does_not_lead_to_the_module_once_it_is_written_is_an_error",
    ),
    Mutant(
        14,
        "setup accepts a stack in which a wrong password rings the phone",
        "pam_iampass/setup/checks/stacks.py",
        "finding.severity is Severity.ERROR or finding.kind.id in _RINGS_IN_VAIN",
        "finding.severity is Severity.ERROR",
        "tests/system/setup/test_other_services.py"
        "::test_a_stack_in_which_a_wrong_password_reaches_the_phone_is_refused",
    ),
    Mutant(
        14,
        "setup lets a screen locker include the module, which it cannot reach",
        "pam_iampass/setup/checks/stacks.py",
        "        if unsuitable is not None:",
        "        if unsuitable is None is not None:",
        "tests/system/setup/test_other_services.py"
        "::test_a_screen_locker_that_includes_the_service_would_be_locked_for_good",
    ),
    # 15
    Mutant(
        15,
        "a bypass survives a reboot",
        _BYPASS,
        "if now.boot is not None and now.boot == self.made.boot:",
        "if now.since_boot >= self.made.since_boot:",
        _BYPASS_TESTS + "test_it_survives_no_reboot",
    ),
    Mutant(
        15,
        "after a reboot, a clock that is set back prolongs a bypass",
        _BYPASS,
        "elapsed = max(now.wall - self.made.wall, now.since_boot)",
        "elapsed = now.wall - self.made.wall",
        _BYPASS_TESTS + "test_what_survives_a_reboot_lasts_no_longer_where_the_clock_was_set_back",
    ),
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
        "a bypass for one service holds for all",
        _BYPASS,
        "self.service in (None, service)",
        "True",
        _BYPASS_TESTS + "test_it_is_for_one_account_and_for_one_service_if_it_names_one",
    ),
    Mutant(
        15,
        "a bypass may last longer than a day",
        _BYPASS,
        "0 < seconds <= LONGEST",
        "0 < seconds",
        _BYPASS_TESTS + "test_a_file_that_was_not_written_so_grants_nothing_and_can_be_replaced",
    ),
    Mutant(
        15,
        "a bypass that others than root can write counts",
        _BYPASS,
        "trusted_file.read(path, owner=self.owner)",
        'open(path, "rb").read()',
        _BYPASS_TESTS + "test_a_file_that_others_can_have_written_grants_nothing",
    ),
    Mutant(
        15,
        "a bypassed user becomes another user without a phone",
        _VERIFICATION,
        "context.dirs.bypasses.find(approver, login.service)",
        "context.dirs.bypasses.find(context.accounts.named(login.ruser or login.user), login.service)",
        "tests/system/setuid/test_bypass.py::test_a_bypassed_caller_of_su_becomes_root_without_the_phone_and_nobody_else",
    ),
    Mutant(
        4,
        "the native door asks again in the account phase what was approved in the auth phase",
        "doors/native/door.c",
        "(void)pam_set_data(pamh, DECISION, passed ? (void *)DECISION : NULL, NULL);",
        "(void)passed;",
        _ACCOUNT + "test_a_login_that_passed_in_the_auth_phase_is_not_decided_again",
    ),
    Mutant(
        4,
        "the native door asks again in the account phase what was denied in the auth phase",
        "doors/native/door.c",
        "pam_get_data(pamh, DECISION, &passed) != PAM_SUCCESS)",
        "(pam_get_data(pamh, DECISION, &passed) != PAM_SUCCESS || passed == NULL))",
        _ACCOUNT + "test_a_login_that_was_denied_in_the_auth_phase_stays_denied_without_another_request",
    ),
    Mutant(
        10,
        "the native door asks in the account phase of programs that have required no first factor",
        "doors/native/door.c",
        "    if (in_sshd(pamh) && pam_get_data",
        "    if (pam_get_data",
        _ACCOUNT + "test_outside_of_sshd_the_account_is_not_judged",
    ),
    Mutant(
        1,
        "a denial in the account phase is no denial",
        "pam_iampass/outcome.py",
        "return PamCode.PERM_DENIED",
        "return PamCode.IGNORE",
        "tests/unit/test_outcome.py::test_success_is_for_approval_and_recovery_only",
    ),
    Mutant(
        10,
        "first_factor on an account line is ignored",
        "pam_iampass/module.py",
        "if arguments.first_factor is not None and login.phase is Phase.ACCOUNT:",
        "if arguments.first_factor is not None and login.phase is None:",
        "tests/unit/test_account_phase.py::test_a_line_that_requires_a_key_denies_because_sshd_has_not_told_of_it_yet",
    ),
    Mutant(
        14,
        "an expired password skips the phone in the account phase of sshd",
        "config/pam.d/iampass-sshd-quiet",
        "account    requisite    pam_iampass.so",
        "@include common-account\naccount    requisite    pam_iampass.so",
        "tests/system/test_quiet.py::test_an_expired_password_does_not_skip_the_phone",
    ),
    # 16
    Mutant(
        16,
        "an exemption for one service holds for all",
        "pam_iampass/config/settings.py",
        "return self.services.get(name, self.service)",
        "return self.services.get(name, next(iter(self.services.values()), self.service))",
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
        "a rule exempts everybody in its network",
        _POLICY,
        "(rule.network,)) and is_named_by(rule, account, accounts):",
        "(rule.network,)):",
        _POLICY_TESTS + "test_a_rule_exempts_its_user_or_group_in_its_network_only",
    ),
    Mutant(
        16,
        "while a name of `asked` is unknown, others pass as not asked",
        _POLICY,
        "    if unknown is not None:",
        "    if unknown == name:",
        _POLICY_TESTS + "test_while_a_name_is_unknown_only_those_who_are_listed_otherwise_are_not_denied",
    ),
    Mutant(
        16,
        "a group that a name service left out of a user's groups exempts its members",
        _POLICY,
        "if found in own or accounts.lists(name, account):",
        "if found in own:",
        _POLICY_TESTS + "test_members_of_a_named_group_are_asked_primary_supplementary_or_listed",
    ),
    Mutant(
        16,
        "a member of an asked group passes while the name service that knows the group is out of reach",
        _POLICY,
        "        accounts.check_groups(account)\n",
        "        pass\n",
        _POLICY_TESTS + "test_while_groups_cannot_be_looked_up_nobody_passes_as_not_asked",
    ),
    Mutant(
        16,
        "a name service that does not answer is taken for one that knows no groups",
        "pam_iampass/system/name_services.py",
        "in (_TRYAGAIN, _UNAVAIL)",
        "in (_TRYAGAIN,)",
        "tests/system/test_name_service.py"
        "::test_while_a_name_service_fails_to_name_a_users_groups_nobody_passes_as_not_asked",
    ),
    Mutant(
        10,
        "whom sshd spares the prompt is not asked in the account phase",
        "config/pam.d/iampass-sshd",
        "account    requisite    pam_iampass.so\n",
        "account    optional     pam_iampass.so\n",
        _EXEMPT_SSH + "test_whom_sshd_spares_the_prompt_but_the_settings_do_not_exempt_is_asked_on_the_phone",
    ),
    Mutant(
        10,
        "a name of `exempt` that sshd takes for a pattern spares everybody the prompt",
        "pam_iampass/config/sshd_exceptions.py",
        """re.compile(r"(?:[\\w.@+$-]|""",
        """re.compile(r"(?:[\\w.@+$*?,-]|""",
        "tests/unit/config/test_sshd_exceptions.py"
        "::test_a_name_that_sshd_takes_for_something_else_is_left_out",
    ),
    Mutant(
        16,
        "a user's own methods go before those of a service",
        _POLICY,
        "service.own_methods or methods)",
        "methods or service.own_methods)",
        _POLICY_TESTS + "test_the_methods_that_a_service_names_hold_whatever_the_users_are",
    ),
    Mutant(
        12,
        "doctor overlooks an account stack that ends before our line",
        "pam_iampass/doctor/account_check.py",
        "        if skipped is not None:",
        "        if skipped is False:",
        _ACCOUNT_CHECK + "test_with_an_include_every_local_user_of_red_hat_skips_the_phone",
    ),
    Mutant(
        12,
        "doctor overlooks an expired password that makes a denial count for nothing",
        "pam_iampass/doctor/account_check.py",
        "_PASSES = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD)",
        "_PASSES = (PamCode.SUCCESS,)",
        _ACCOUNT_CHECK
        + "test_after_a_substack_that_fixes_the_result_for_an_expired_password_no_denial_counts",
    ),
    Mutant(
        10,
        "doctor overlooks that sshd lets in by the phone alone",
        "pam_iampass/doctor/sshd.py",
        "no_factor = not in_auth and not any(",
        "no_factor = in_auth and not any(",
        _ACCOUNT_CHECK + "test_a_stack_without_a_password_leaves_the_phone_alone",
    ),
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
        "if process is None or process.started != registration.started:",
        "if process is None:",
        _ENFORCER + "test_a_process_id_that_was_used_again_is_another_process",
    ),
    Mutant(
        17,
        "su ends the session of the login that it was started in",
        "pam_iampass/enforcer/logind.py",
        'if values.get("Leader") != str(registration.pid):',
        "if not values:",
        _ENFORCER + "test_a_session_of_logind_is_ended_only_by_its_leader",
    ),
    Mutant(
        17,
        "any user may ask",
        "pam_iampass/enforcer/service.py",
        "if _peer_uid(connection) not in allowed_uids:",
        "if not allowed_uids:",
        _ENFORCER + "test_only_the_agents_user_and_root_may_ask",
    ),
    Mutant(
        17,
        "a user's name can lead to another file",
        "pam_iampass/enforcer/actions.py",
        'if user not in ("", ".", "..") and "/" not in user',
        "if user",
        _ENFORCER + "test_a_name_that_is_a_path_removes_no_other_file",
    ),
    Mutant(
        17,
        "a terminal counts by its number alone",
        "pam_iampass/enforcer/terminals.py",
        " and is_its_own:",
        ":",
        _ENFORCER + "test_the_terminal_of_another_person_with_the_same_number_gets_no_line",
    ),
)
