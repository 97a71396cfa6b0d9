#include "audit.h"

#include <security/pam_ext.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

enum { VALUE_LIMIT = 256, ESCAPED_LIMIT = 4 * VALUE_LIMIT + sizeof "..." };

/* Printable ASCII stays; the rest, spaces and the backslash too, becomes \xNN: a value chosen by a remote
 * side can neither begin a second record nor add a field to this one. */
static void escape(const char *value, char escaped[ESCAPED_LIMIT])
{
    size_t length = value == NULL ? 0 : strlen(value);
    size_t shown = length < VALUE_LIMIT ? length : VALUE_LIMIT;
    char *end = escaped;

    for (size_t i = 0; i < shown; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (byte > ' ' && byte < 0x7f && byte != '\\')
            *end++ = (char)byte;
        else
            end += snprintf(end, sizeof "\\xNN", "\\x%02x", byte);
    }
    memcpy(end, shown < length ? "..." : "", shown < length ? sizeof "..." : 1);
}

static void escape_item(pam_handle_t *pamh, int item, char escaped[ESCAPED_LIMIT])
{
    const void *value = NULL;

    if (pam_get_item(pamh, item, &value) != PAM_SUCCESS)
        value = NULL;
    escape(value, escaped);
}

/* pam_syslog, since openlog of ours would change the application's own logging. It puts
 * "pam_iampass(service:auth):" before the record. The errno stays a number: its text would come in the
 * language that the caller of sudo chose. */
void audit_denial(pam_handle_t *pamh, struct problem reason)
{
    char user[ESCAPED_LIMIT], service[ESCAPED_LIMIT], rhost[ESCAPED_LIMIT],
        error[sizeof " (errno 2147483647)"] = "";

    escape_item(pamh, PAM_USER, user);
    escape_item(pamh, PAM_SERVICE, service);
    escape_item(pamh, PAM_RHOST, rhost);
    if (reason.error != 0)
        snprintf(error, sizeof error, " (errno %d)", reason.error);
    pam_syslog(pamh, LOG_ERR, "outcome=unavailable result=denied user=%s service=%s rhost=%s reason=%s%s",
               user, service, rhost, reason.what, error);
}
