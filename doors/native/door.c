/* pam_iampass.so: the functions that PAM calls. The module decides; docs/inside/relay-protocol.md says what a door
 * does. */
#include "common.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define NOT_RUNNING "The IAMPASS agent is not running. "
#define START                                                                                                \
    "As root: systemctl start pam-iampass-agent.socket (without systemd: pam-iampass-agent --socket)"
#define NOT_ANSWERING "The IAMPASS agent does not answer. "
#define RESTART "As root: systemctl restart pam-iampass-agent.service"
#define NOT_DECIDED "The IAMPASS agent has not decided this login. Try again; if that does not help"
#define EXAMINE ", as root: pam-iampass check"
#define NO_ROOM                                                                                              \
    "The limits of this process (ulimit) leave no room for a login session that IAMPASS can end."
#define ASK_THE_ADMINISTRATOR "Please ask your administrator."
#define RESCUED "no agent decides: rescue= on the PAM line let this user in without the phone"

#define DECISION "pam_iampass_decision"
#define EXPORTED __attribute__((visibility("default")))
#define UNUSED __attribute__((unused))
#define IGNORES(function)                                                                                    \
    EXPORTED __typeof__(pam_sm_setcred) function __attribute__((alias("pam_sm_setcred")))

/* At ssh `remote` is shown: nobody there can act as root. */
static void say_why(const struct call *call, const char *text, const char *remote)
{
    char *answer;

    (void)application_converse(call->pamh, PAM_ERROR_MSG, in_sshd(call->pamh) ? remote : text, &answer);
    answer_erase(answer);
}

/* Denies, and the person reads why, unless the PAM line lets this user in. */
static int without_agent(const struct call *call, int denial, const struct failure *failure)
{
    bool down = failure->error == ENOENT || failure->error == ECONNREFUSED;
    const char *text = down ? NOT_RUNNING START : NOT_ANSWERING RESTART;
    bool rescued = rescues(call);

    audit(call->pamh, rescued ? LOG_ALERT : LOG_ERR, rescued ? "ignored" : "denied",
          &(struct failure){rescued ? RESCUED : text, failure->error});
    if (!rescued)
        say_why(call, text, down ? NOT_RUNNING ASK_THE_ADMINISTRATOR : NOT_ANSWERING ASK_THE_ADMINISTRATOR);
    return rescued ? PAM_IGNORE : denial;
}

/* The module's result, or without one `denial`, which makes the application stop. */
static int decide(struct call *call, int denial)
{
    struct failure failure;
    int result = PAM_AUTHINFO_UNAVAIL;

    if (geteuid() != 0) {
        fail(&failure, "the application does not run as root", 0);
        audit(call->pamh, LOG_ERR, "denied", &failure);
    } else if (!login_decide(call, &result, &failure)) {
        result = call->no_agent ? without_agent(call, denial, &failure) : denial;
        if (!call->no_agent && failure.error != ECANCELED) {
            audit(call->pamh, LOG_ERR, "denied", &failure);
            if (failure.error != EINTR) /* the person has interrupted it */
                say_why(call, NOT_DECIDED EXAMINE, NOT_DECIDED ", ask your administrator.");
        }
    }
    if (!session_keep(call)) {
        result = denial;
        audit(call->pamh, LOG_ERR, "denied", &(struct failure){NO_ROOM, 0});
        say_why(call, NO_ROOM, NO_ROOM);
    }
    return result;
}

static bool has_argument(const struct call *call, const char *argument)
{
    bool found = false;

    for (int i = 0; i < call->argc; i++)
        found = found || strcmp(call->argv[i], argument) == 0;
    return found;
}

/* In its method `password`, sshd calls us in the process that leads the session of the connection, and cannot ask;
 * OpenSSH 9.2 sets no SSH_AUTH_INFO_0 there. */
static bool by_password(pam_handle_t *pamh)
{
    return pam_getenv(pamh, "SSH_CONNECTION") != NULL && getsid(0) == getpid();
}

static void remember_decision(pam_handle_t *pamh, int result)
{
    bool passed = result == PAM_SUCCESS || result == PAM_IGNORE;

    (void)pam_set_data(pamh, DECISION, passed ? (void *)DECISION : NULL, NULL);
}

EXPORTED int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    /* sshd would try again after PAM_ABORT, sudo after PAM_MAXTRIES, and each time the phone would ring again. */
    struct call call = {pamh, AUTHENTICATE, flags, argc, argv, false, ""};
    /* Such a line only takes a recovery code, and decides nothing for the account phase. */
    bool only_code = has_argument(&call, "codes");
    int result = PAM_IGNORE;

    if (!only_code || !by_password(pamh))
        result = decide(&call, in_sshd(pamh) ? PAM_MAXTRIES : PAM_ABORT);
    if (!only_code)
        remember_decision(pamh, result);
    return result;
}

/* sshd has required a first factor when it calls this; cron, su and sudo may not have. With `always` on its line, sudo
 * asks here for what needs no password, but root, whose scripts must go on without an agent. What was decided before
 * on this handle stands, and the phone does not ring again. */
EXPORTED int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    struct call call = {pamh, ACCOUNT, flags, argc, argv, false, ""};
    const void *passed;
    int result = PAM_IGNORE;

    if (!in_sshd(pamh) && (!has_argument(&call, "always") || getuid() == 0))
        goto out;
    if (pam_get_data(pamh, DECISION, &passed) == PAM_SUCCESS) {
        result = passed == NULL ? PAM_PERM_DENIED : PAM_IGNORE;
    } else if (in_sshd(pamh) || !runs_nothing()) {
        result = decide(&call, PAM_PERM_DENIED);
        remember_decision(pamh, result);
    }
out:
    return result;
}

EXPORTED int pam_sm_setcred(pam_handle_t *pamh UNUSED, int flags UNUSED, int argc UNUSED,
                            const char **argv UNUSED)
{
    return PAM_IGNORE;
}
IGNORES(pam_sm_chauthtok);

EXPORTED int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    session_phase(&(struct call){pamh, OPEN_SESSION, flags, argc, argv, false, ""});
    return PAM_IGNORE;
}

EXPORTED int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    session_phase(&(struct call){pamh, CLOSE_SESSION, flags, argc, argv, false, ""});
    return PAM_IGNORE;
}
