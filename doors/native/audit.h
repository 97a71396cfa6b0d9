/* The audit record of a login that the module gave no result for. */
#ifndef IAMPASS_AUDIT_H
#define IAMPASS_AUDIT_H

#include "problem.h"

#include <security/pam_modules.h>

void audit_denial(pam_handle_t *pamh, struct problem reason);

#endif
