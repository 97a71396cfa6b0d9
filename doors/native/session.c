/* The session phases of a login whose IAMPASS session is kept. They let nobody in and make no login fail. */
#include "common.h"

#include <fcntl.h>
#include <security/pam_modutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEPT "pam_iampass_session"
#define VARIABLE "PAM_IAMPASS_SESSION"

enum { PATH_LIMIT = sizeof IAMPASS_LOGINS_FOLDER + SESSION_ID + 16 };

/* What a registration and the call of the agent need, with what other modules take before them. */
enum { LIMITS = 4, DESCRIPTORS = 16, MEMORY = 1 << 24, FILE_SIZE = 1 << 16 };

static const __rlimit_resource_t limited[LIMITS] = {RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_NOFILE};

/* su and doas keep the limits of their caller, who could so leave us no room. Root may have more; without
 * CAP_SYS_RESOURCE, as in many containers, as much as the hard limits allow. */
static void lift_limits(struct rlimit before[LIMITS])
{
    for (int i = 0; i < LIMITS; i++) {
        struct rlimit now = {0, 0};
        rlim_t wanted;

        (void)getrlimit(limited[i], &now);
        wanted = limited[i] == RLIMIT_NOFILE ? now.rlim_cur + DESCRIPTORS : RLIM_INFINITY;
        before[i] = now;
        now = (struct rlimit){wanted, now.rlim_max > wanted ? now.rlim_max : wanted};
        if (setrlimit(limited[i], &now) != 0)
            (void)setrlimit(limited[i], &(struct rlimit){before[i].rlim_max, before[i].rlim_max});
    }
}

static void restore_limits(const struct rlimit before[LIMITS])
{
    for (int i = 0; i < LIMITS; i++)
        (void)setrlimit(limited[i], &before[i]);
}

static bool has_room(void)
{
    struct rlimit before[LIMITS], size = {0, 0};
    int copies[DESCRIPTORS];
    void *memory;
    bool room;

    lift_limits(before);
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    room = memory != MAP_FAILED && getrlimit(RLIMIT_FSIZE, &size) == 0 && size.rlim_cur >= FILE_SIZE;
    if (memory != MAP_FAILED)
        munmap(memory, MEMORY);
    for (int i = 0; i < DESCRIPTORS; i++) {
        copies[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        room = room && copies[i] >= 0;
    }
    for (int i = 0; i < DESCRIPTORS; i++)
        descriptor_close(copies[i]);
    restore_limits(before);
    return room;
}

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
           add_line(file, "audit_session", own_audit_session(account->pw_uid, text, sizeof text)) &&
           (in_sshd(pamh) ||
            add_line(file, "inside", outer_audit_session(account->pw_uid, text, sizeof text))) &&
           add_line(file, "xdg_session", pam_getenv(pamh, "XDG_SESSION_ID")) &&
           add_line(file, "tty", application_item(pamh, PAM_TTY)) &&
           add_line(file, "ruser", application_item(pamh, PAM_RUSER));
}

/* For the service that ends logins. Writing beyond a limit on the size of files that cannot be lifted is deadly
 * unless SIGXFSZ is blocked. */
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

static bool remember(pam_handle_t *pamh, const char *session)
{
    char *copy = strdup(session);
    bool remembered = copy != NULL && pam_set_data(pamh, KEPT, copy, forget) == PAM_SUCCESS;

    if (!remembered)
        free(copy);
    return remembered;
}

/* sshd's keyboard-interactive method calls us in a child process, of which only the PAM environment remains. */
bool session_keep(const struct call *call)
{
    char variable[sizeof VARIABLE "=" + SESSION_ID];

    snprintf(variable, sizeof variable, VARIABLE "=%s", call->session);
    return call->session[0] == '\0' ||
           (has_room() && remember(call->pamh, call->session) &&
            (!in_sshd(call->pamh) || pam_putenv(call->pamh, variable) == PAM_SUCCESS));
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
        (void)remember(pamh, variable);
    if (variable != NULL)
        (void)pam_putenv(pamh, VARIABLE);
    return pam_get_data(pamh, KEPT, &kept) == PAM_SUCCESS ? kept : NULL;
}

void session_phase(struct call *call)
{
    char temporary[PATH_LIMIT], path[PATH_LIMIT];
    const char *kept = take(call);
    struct rlimit before[LIMITS];
    struct failure ignored;
    bool trusted;
    int result;

    if (kept != NULL && geteuid() == 0 && application_item(call->pamh, PAM_USER) != NULL) {
        memcpy(call->session, kept, sizeof call->session);
        snprintf(temporary, sizeof temporary, IAMPASS_LOGINS_FOLDER "/.%s.%d", kept, getpid());
        snprintf(path, sizeof path, IAMPASS_LOGINS_FOLDER "/%s.%d", kept, getpid());
        lift_limits(before);
        trusted = only_root_writes(IAMPASS_AGENT_FOLDER) && only_root_writes(IAMPASS_LOGINS_FOLDER);
        if (call->phase == OPEN_SESSION && trusted)
            write_registration(call->pamh, temporary, path);
        (void)login_decide(call, &result, &ignored);
        if (call->phase == CLOSE_SESSION && trusted)
            unlink(path);
        restore_limits(before);
    }
}
