/* One login: what is sent to the module, and what it wants. */
#ifndef IAMPASS_LOGIN_H
#define IAMPASS_LOGIN_H

#include "problem.h"

#include <security/pam_modules.h>

/* Lets the module decide. Without a problem, *result is its PAM code. */
struct problem login_decide(pam_handle_t *pamh, int flags, int argc, const char **argv, int *result);

#endif
