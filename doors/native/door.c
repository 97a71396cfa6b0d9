/* pam_iampass.so: what PAM calls. It decides nothing: docs/relay-protocol.md says what it does instead. */
#include "audit.h"
#include "login.h"

#include <security/pam_modules.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define UNUSED __attribute__((unused))

/* The code that makes the application stop at once: sshd would try again after PAM_ABORT, sudo after
 * PAM_MAXTRIES, and each time the phone would be asked. */
static int denial(pam_handle_t *pamh)
{
    return pam_getenv(pamh, "SSH_AUTH_INFO_0") != NULL ? PAM_MAXTRIES : PAM_ABORT;
}

EXPORTED int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    int result = PAM_AUTHINFO_UNAVAIL;

    if (geteuid() != 0) {
        audit_denial(pamh, problem("the application does not run as root", 0));
    } else {
        struct problem found = login_decide(pamh, flags, argc, argv, &result);
        if (!fine(found)) {
            result = denial(pamh);
            if (found.error != ECANCELED)
                audit_denial(pamh, found);
        }
    }
    return result;
}

/* Only an approval is a success, and only authenticate can bring one: the other phases have nothing to say.
 */
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
