#include "common.h"

#include <paths.h>
#include <security/pam_ext.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

enum {
    VALUE_LIMIT = 256,
    ESCAPED_LIMIT = 4 * VALUE_LIMIT + sizeof "...",
    RECORD_LIMIT = 3 * ESCAPED_LIMIT + 512, /* reasons are short */
};

/* Printable ASCII stays; everything else, spaces and backslashes too, becomes \xNN. So a remote user name or
 * host can neither start a second record nor add a field to this one. */
static void escape(pam_handle_t *pamh, int item, char escaped[ESCAPED_LIMIT])
{
    const char *value = application_item(pamh, item);
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

/* Sends a record to the log with our effective ids; returns whether the log took it. */
static bool send_record(int priority, char *record)
{
    char tag[64];
    struct iovec parts[] = {
        {tag, (size_t)snprintf(tag, sizeof tag, "<%d>pam_iampass[%d]: ", LOG_AUTHPRIV | priority, getpid())},
        {record, strlen(record)},
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = _PATH_LOG};
    struct ucred us = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof us)] = {0};
    struct msghdr message = {
        .msg_name = &address,
        .msg_namelen = sizeof address,
        .msg_iov = parts,
        .msg_iovlen = 2,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };
    struct cmsghdr *credentials = CMSG_FIRSTHDR(&message);
    int log = descriptor_above_standard(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    bool sent;

    credentials->cmsg_level = SOL_SOCKET;
    credentials->cmsg_type = SCM_CREDENTIALS;
    credentials->cmsg_len = CMSG_LEN(sizeof us);
    memcpy(CMSG_DATA(credentials), &us, sizeof us);
    sent = log >= 0 && sendmsg(log, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0; /* a datagram is never cut */
    descriptor_close(log);
    return sent;
}

/* In sudo and su the real user id is the caller's, and with syslog(3) the journal would note that one: the
 * record would look like one that the caller forged. So we send it ourselves, and use pam_syslog only
 * if that fails. openlog would change the application's own logging. The errno stays a number, since the
 * caller of sudo chooses the language of its text. */
void audit(pam_handle_t *pamh, int priority, const char *result, const struct failure *failure)
{
    char user[ESCAPED_LIMIT], service[ESCAPED_LIMIT], rhost[ESCAPED_LIMIT], record[RECORD_LIMIT];
    char error[sizeof " (errno 2147483647)"] = "";

    escape(pamh, PAM_USER, user);
    escape(pamh, PAM_SERVICE, service);
    escape(pamh, PAM_RHOST, rhost);
    if (failure->error != 0)
        snprintf(error, sizeof error, " (errno %d)", failure->error);
    snprintf(record, sizeof record, "outcome=unavailable result=%s user=%s service=%s rhost=%s reason=%s%s",
             result, user, service, rhost, failure->reason, error);
    if (!send_record(priority, record))
        pam_syslog(pamh, priority, "%s", record);
}
