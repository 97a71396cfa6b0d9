/* pam_iampass.so: the functions that PAM calls. The module decides; docs/relay-protocol.md says what a door
 * does. */
#include "door.h"

#include <errno.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define UNUSED __attribute__((unused))

EXPORTED int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    struct failure failure;
    int result = PAM_AUTHINFO_UNAVAIL;

    if (geteuid() != 0) {
        fail(&failure, "the application does not run as root", 0);
        audit_denial(pamh, &failure);
        goto out;
    }
    if (login_decide(pamh, flags, argc, argv, &result, &failure))
        goto out;
    /* Make the application stop: sshd would try again after PAM_ABORT, sudo after PAM_MAXTRIES, and each time
     * the phone would ring again. */
    result = pam_getenv(pamh, "SSH_AUTH_INFO_0") != NULL ? PAM_MAXTRIES : PAM_ABORT;
    if (failure.error != ECANCELED)
        audit_denial(pamh, &failure);
out:
    return result;
}

/* Only an approval is a success, and only pam_sm_authenticate can get one. */
#define IGNORES(phase)                                                                                       \
    EXPORTED int phase(pam_handle_t *pamh UNUSED, int flags UNUSED, int argc UNUSED,                         \
                       const char **argv UNUSED)                                                             \
    {                                                                                                        \
        return PAM_IGNORE;                                                                                   \
    }

IGNORES(pam_sm_setcred)
IGNORES(pam_sm_acct_mgmt)
IGNORES(pam_sm_open_session)
IGNORES(pam_sm_close_session)
IGNORES(pam_sm_chauthtok)
