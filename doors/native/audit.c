#include "audit.h"
#include "descriptor.h"

#include <paths.h>
#include <security/pam_ext.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

enum {
    VALUE_LIMIT = 256,
    ESCAPED_LIMIT = 4 * VALUE_LIMIT + sizeof "...",
    RECORD_LIMIT = 3 * ESCAPED_LIMIT + 512, /* the texts in problems are short */
};

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

/* Writes on from `start`; returns where the record ends now, at its limit where there is more. */
__attribute__((format(printf, 3, 4))) static size_t put(char record[RECORD_LIMIT], size_t start,
                                                        const char *format, ...)
{
    va_list values;
    size_t room = RECORD_LIMIT - start;
    int length;

    va_start(values, format);
    length = vsnprintf(record + start, room, format, values);
    va_end(values);
    return start + (length < 0 ? 0 : (size_t)length < room ? (size_t)length : room - 1);
}

static struct problem log_datagram(char *text, size_t length)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX, .sun_path = _PATH_LOG};
    struct iovec part = {.iov_base = text, .iov_len = length};
    struct ucred us = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
    union { /* for the alignment that a control message has */
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof us)];
    } control = {.bytes = {0}};
    struct msghdr message = {
        .msg_name = &where,
        .msg_namelen = sizeof where,
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    struct cmsghdr *credentials = CMSG_FIRSTHDR(&message);
    int log = descriptor_above_standard(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct problem found = no_problem();

    credentials->cmsg_level = SOL_SOCKET;
    credentials->cmsg_type = SCM_CREDENTIALS;
    credentials->cmsg_len = CMSG_LEN(sizeof us);
    memcpy(CMSG_DATA(credentials), &us, sizeof us);
    if (log < 0 || sendmsg(log, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length)
        found = problem("the log does not take it", errno);
    descriptor_close(log);
    return found;
}

/* In sudo and su the real user id is the caller's, and the journal notes that of syslog(3): whoever reads it
 * could not tell our record from one that the caller made up. So it goes out with the effective id, and by
 * pam_syslog only where that fails. openlog of ours would change the application's own logging. The errno
 * stays a number: its text would come in the language that the caller of sudo chose. */
void audit_denial(pam_handle_t *pamh, struct problem reason)
{
    char user[ESCAPED_LIMIT], service[ESCAPED_LIMIT], rhost[ESCAPED_LIMIT],
        error[sizeof " (errno 2147483647)"] = "", record[RECORD_LIMIT];
    size_t length, start;

    escape_item(pamh, PAM_USER, user);
    escape_item(pamh, PAM_SERVICE, service);
    escape_item(pamh, PAM_RHOST, rhost);
    if (reason.error != 0)
        snprintf(error, sizeof error, " (errno %d)", reason.error);
    start = put(record, 0, "<%d>pam_iampass[%d]: ", LOG_AUTHPRIV | LOG_ERR, (int)getpid());
    length = put(record, start, "outcome=unavailable result=denied user=%s service=%s rhost=%s reason=%s%s", user,
                 service, rhost, reason.what, error);
    if (!fine(log_datagram(record, length)))
        pam_syslog(pamh, LOG_ERR, "%s", record + start);
}
