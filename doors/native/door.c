/* pam_iampass.so: the functions that PAM calls. The module decides; docs/relay-protocol.md says what a door
 * does. */
#include "door.h"

#include <errno.h>
#include <unistd.h>

#define DECISION "pam_iampass_decision"
#define in_sshd(pamh) (pam_getenv(pamh, "SSH_AUTH_INFO_0") != NULL)
#define EXPORTED __attribute__((visibility("default")))
#define UNUSED __attribute__((unused))
#define IGNORES(function) EXPORTED __typeof__(pam_sm_setcred) function __attribute__((alias("pam_sm_setcred")))

/* The module's result, or without one `denial`, which makes the application stop. */
static int decide(pam_handle_t *pamh, enum phase phase, int flags, int argc, const char **argv, int denial)
{
    struct failure failure;
    int result = PAM_AUTHINFO_UNAVAIL;

    if (geteuid() != 0) {
        fail(&failure, "the application does not run as root", 0);
        audit_denial(pamh, &failure);
    } else if (!login_decide(pamh, phase, flags, argc, argv, &result, &failure)) {
        result = denial;
        if (failure.error != ECANCELED)
            audit_denial(pamh, &failure);
    }
    return result;
}

EXPORTED int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    /* sshd would try again after PAM_ABORT, sudo after PAM_MAXTRIES, and each time the phone would ring again. */
    int result = decide(pamh, AUTHENTICATE, flags, argc, argv, in_sshd(pamh) ? PAM_MAXTRIES : PAM_ABORT);
    bool passed = result == PAM_SUCCESS || result == PAM_IGNORE;

    (void)pam_set_data(pamh, DECISION, passed ? (void *)DECISION : NULL, NULL);
    return result;
}

/* Only sshd has required a first factor when it calls this; cron, su and sudo may not have. What the auth phase
 * has decided for this login stands, and the phone does not ring again. */
EXPORTED int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    const void *passed;
    int result = PAM_IGNORE;

    if (in_sshd(pamh) && pam_get_data(pamh, DECISION, &passed) != PAM_SUCCESS)
        result = decide(pamh, ACCOUNT, flags, argc, argv, PAM_PERM_DENIED);
    else if (in_sshd(pamh) && passed == NULL)
        result = PAM_PERM_DENIED;
    return result;
}

EXPORTED int pam_sm_setcred(pam_handle_t *pamh UNUSED, int flags UNUSED, int argc UNUSED, const char **argv UNUSED)
{
    return PAM_IGNORE;
}
IGNORES(pam_sm_open_session);
IGNORES(pam_sm_close_session);
IGNORES(pam_sm_chauthtok);
