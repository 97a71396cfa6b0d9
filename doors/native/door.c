/* pam_iampass.so: the functions that PAM calls. The module decides; docs/relay-protocol.md says what a door
 * does. */
#include "common.h"

#include <errno.h>
#include <unistd.h>

#define DECISION "pam_iampass_decision"
#define EXPORTED __attribute__((visibility("default")))
#define UNUSED __attribute__((unused))
#define IGNORES(function) EXPORTED __typeof__(pam_sm_setcred) function __attribute__((alias("pam_sm_setcred")))

/* The module's result, or without one `denial`, which makes the application stop. */
static int decide(struct call *call, int denial)
{
    struct failure failure;
    int result = PAM_AUTHINFO_UNAVAIL;

    if (geteuid() != 0) {
        fail(&failure, "the application does not run as root", 0);
        audit_denial(call->pamh, &failure);
    } else if (!login_decide(call, &result, &failure)) {
        result = denial;
        if (failure.error != ECANCELED)
            audit_denial(call->pamh, &failure);
    }
    session_keep(call);
    return result;
}

EXPORTED int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    /* sshd would try again after PAM_ABORT, sudo after PAM_MAXTRIES, and each time the phone would ring again. */
    struct call call = {pamh, AUTHENTICATE, flags, argc, argv, ""};
    int result = decide(&call, in_sshd(pamh) ? PAM_MAXTRIES : PAM_ABORT);
    bool passed = result == PAM_SUCCESS || result == PAM_IGNORE;

    (void)pam_set_data(pamh, DECISION, passed ? (void *)DECISION : NULL, NULL);
    return result;
}

/* Only sshd has required a first factor when it calls this; cron, su and sudo may not have. What the auth phase
 * has decided for this login stands, and the phone does not ring again. */
EXPORTED int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    struct call call = {pamh, ACCOUNT, flags, argc, argv, ""};
    const void *passed;
    int result = PAM_IGNORE;

    if (in_sshd(pamh) && pam_get_data(pamh, DECISION, &passed) != PAM_SUCCESS)
        result = decide(&call, PAM_PERM_DENIED);
    else if (in_sshd(pamh) && passed == NULL)
        result = PAM_PERM_DENIED;
    return result;
}

EXPORTED int pam_sm_setcred(pam_handle_t *pamh UNUSED, int flags UNUSED, int argc UNUSED, const char **argv UNUSED)
{
    return PAM_IGNORE;
}
IGNORES(pam_sm_chauthtok);

EXPORTED int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    session_phase(&(struct call){pamh, OPEN_SESSION, flags, argc, argv, ""});
    return PAM_IGNORE;
}

EXPORTED int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    session_phase(&(struct call){pamh, CLOSE_SESSION, flags, argc, argv, ""});
    return PAM_IGNORE;
}
