/* The session phases of a login whose IAMPASS session is kept. They let nobody in and make no login fail. */
#include "common.h"

#include <fcntl.h>
#include <security/pam_modutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEPT "pam_iampass_session"
#define VARIABLE "PAM_IAMPASS_SESSION"

enum { PATH_LIMIT = sizeof IAMPASS_LOGINS_FOLDER + SESSION_ID + 16 };

static bool add_line(int file, const char *name, const char *value)
{
    bool clean = value != NULL;

    for (const char *byte = value; clean && *byte != '\0'; byte++)
        clean = (unsigned char)*byte >= ' ' && *byte != 0x7f;
    return !clean || dprintf(file, "%s=%s\n", name, value) > 0;
}

static bool add_lines(int file, pam_handle_t *pamh)
{
    char text[1024], uid[24], pid[24];
    const struct passwd *account = pam_modutil_getpwnam(pamh, application_item(pamh, PAM_USER));

    snprintf(pid, sizeof pid, "%jd", (intmax_t)getpid());
    snprintf(uid, sizeof uid, "%ju", account == NULL ? 0 : (uintmax_t)account->pw_uid);
    return account != NULL && add_line(file, "user", account->pw_name) && add_line(file, "uid", uid) &&
           add_line(file, "service", application_item(pamh, PAM_SERVICE)) && add_line(file, "pid", pid) &&
           add_line(file, "started", start_time(text, sizeof text)) &&
           add_line(file, "xdg_session", pam_getenv(pamh, "XDG_SESSION_ID")) &&
           add_line(file, "tty", application_item(pamh, PAM_TTY)) &&
           add_line(file, "ruser", application_item(pamh, PAM_RUSER));
}

/* For the service that ends logins. su keeps its caller's limit on the size of files, and writing beyond it is
 * deadly unless SIGXFSZ is blocked. */
static void write_registration(pam_handle_t *pamh, const char *temporary, const char *path)
{
    sigset_t too_large, before;
    int file;

    sigemptyset(&too_large);
    sigaddset(&too_large, SIGXFSZ);
    sigprocmask(SIG_BLOCK, &too_large, &before);
    unlink(temporary);
    file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    file = descriptor_above_standard(file);
    if (file < 0 || fchmod(file, 0644) != 0 || !add_lines(file, pamh) || rename(temporary, path) != 0)
        unlink(temporary);
    descriptor_close(file);
    (void)sigtimedwait(&too_large, NULL, &(struct timespec){0, 0});
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void forget(pam_handle_t *pamh, void *session, int status)
{
    (void)pamh, (void)status;
    free(session);
}

static void remember(pam_handle_t *pamh, const char *session)
{
    char *copy = strdup(session);

    if (copy != NULL && pam_set_data(pamh, KEPT, copy, forget) != PAM_SUCCESS)
        free(copy);
}

/* sshd's keyboard-interactive method calls us in a child process, of which only the PAM environment remains. */
void session_keep(const struct call *call)
{
    char variable[sizeof VARIABLE "=" + SESSION_ID];

    if (call->session[0] != '\0') {
        remember(call->pamh, call->session);
        snprintf(variable, sizeof variable, VARIABLE "=%s", call->session);
        if (in_sshd(call->pamh))
            (void)pam_putenv(call->pamh, variable);
    }
}

/* The variable must not reach the user's environment. Outside sshd we have not set it, and once the session is
 * open it is what pam_env read from a file of the user. */
static const char *take(const struct call *call)
{
    pam_handle_t *pamh = call->pamh;
    const void *kept = NULL;
    const char *variable = pam_getenv(pamh, VARIABLE);

    if (variable != NULL && call->phase == OPEN_SESSION && in_sshd(pamh) && is_session_id(variable) &&
        pam_get_data(pamh, KEPT, &kept) != PAM_SUCCESS)
        remember(pamh, variable);
    if (variable != NULL)
        (void)pam_putenv(pamh, VARIABLE);
    return pam_get_data(pamh, KEPT, &kept) == PAM_SUCCESS ? kept : NULL;
}

void session_phase(struct call *call)
{
    char temporary[PATH_LIMIT], path[PATH_LIMIT];
    const char *kept = take(call);
    struct failure ignored;
    bool trusted;
    int result;

    if (kept != NULL && geteuid() == 0 && application_item(call->pamh, PAM_USER) != NULL) {
        memcpy(call->session, kept, sizeof call->session);
        snprintf(temporary, sizeof temporary, IAMPASS_LOGINS_FOLDER "/.%s.%d", kept, getpid());
        snprintf(path, sizeof path, IAMPASS_LOGINS_FOLDER "/%s.%d", kept, getpid());
        trusted = only_root_writes(IAMPASS_AGENT_FOLDER) && only_root_writes(IAMPASS_LOGINS_FOLDER);
        if (call->phase == OPEN_SESSION && trusted)
            write_registration(call->pamh, temporary, path);
        (void)login_decide(call, &result, &ignored);
        if (call->phase == CLOSE_SESSION && trusted)
            unlink(path);
    }
}
