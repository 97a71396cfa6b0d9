#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef SYS_setresuid32 /* on 32-bit machines the plain calls take 16-bit ids */
#define SET_GROUPS SYS_setgroups32
#define SET_GIDS SYS_setresgid32
#define SET_UIDS SYS_setresuid32
#else
#define SET_GROUPS SYS_setgroups
#define SET_GIDS SYS_setresgid
#define SET_UIDS SYS_setresuid
#endif

enum { PASSWD_ENTRY_LIMIT = 16384, DESCRIPTOR_LIMIT = 1 << 20 };

/* Only the ids in *user are valid afterwards. */
static bool find_user(struct passwd *user, struct failure *failure)
{
    char buffer[PASSWD_ENTRY_LIMIT];
    struct passwd *known = NULL;
    int error = getpwnam_r(IAMPASS_USER, user, buffer, sizeof buffer, &known);

    return known != NULL || fail(failure, "the helper's user '" IAMPASS_USER "' does not exist", error);
}

/* The functions from here to start_program run between fork and exec, in a copy of a process that may have
 * threads, held locks and signal handlers. So they make system calls only, and raw ones for the ids: those of
 * libc would signal all threads. */

static void reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &standard, NULL); /* fails for SIGKILL and the like */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool place_descriptors(int connection)
{
    int null = dup2(connection, STDIN_FILENO) == STDIN_FILENO ? open("/dev/null", O_RDWR) : -1;
    bool placed = null >= 0 && dup2(null, STDOUT_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0;

#ifdef SYS_close_range /* Linux 5.9, which may also be missing from the headers or from a seccomp filter */
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0)
        return placed;
#endif
    for (int descriptor = STDERR_FILENO + 1; descriptor < DESCRIPTOR_LIMIT; descriptor++)
        close(descriptor);
    return placed;
}

static bool become(const struct passwd *user)
{
    return syscall(SET_GROUPS, 1, &user->pw_gid) == 0 &&
           syscall(SET_GIDS, user->pw_gid, user->pw_gid, user->pw_gid) == 0 &&
           syscall(SET_UIDS, user->pw_uid, user->pw_uid, user->pw_uid) == 0;
}

/* What must not reach an interpreter is reset here; the helper resets the rest (docs/relay-protocol.md). */
static void start_program(int connection, const struct passwd *user)
{
    static const char *const arguments[] = {IAMPASS_PYTHON, "-I", "-S", IAMPASS_HELPER, NULL};
    static const char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL};

    reset_signals();
    if (setsid() >= 0 && place_descriptors(connection) && become(user))
        execve(IAMPASS_PYTHON, (char *const *)arguments, (char *const *)environment);
}

/* A fork without a termination signal: only a wait with __WALL reports the child. All arguments are 0 (no
 * flags, no signal, the same stack), so their order, which depends on the architecture, does not matter. */
static pid_t fork_unnoticed(void)
{
    return (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
}

/* sshd reaps all children in a SIGCHLD handler; other applications ignore SIGCHLD or wait for any child. They
 * must not get a child that they do not know, nor take ours from us, and a module that changes their handling
 * of SIGCHLD for a while can lose the signal of another child. Instead:
 * - The helper is a grandchild, which init reaps.
 * - The child between them ends at once. It has no termination signal: no handler runs, wait and waitpid do
 *   not report it, it stays even if SIGCHLD is ignored, and we reap it with __WALL. It must not exec, which
 *   would restore SIGCHLD.
 * - No pthread_atfork handler runs and, with all signals blocked, no signal handler in either process. */
static bool fork_helper(int connection, const struct passwd *user, struct failure *failure)
{
    sigset_t all, before;
    int status = 0, error;
    pid_t child;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    child = fork_unnoticed();
    if (child == 0) {
        pid_t grandchild = fork_unnoticed();
        if (grandchild == 0)
            start_program(connection, user);
        _exit(grandchild > 0 ? 0 : 1);
    }
    error = child < 0 ? errno : 0;
    while (child > 0 && waitpid(child, &status, __WALL) < 0 && errno == EINTR)
        continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return (child > 0 && status == 0) || fail(failure, "no process for the helper", error);
}

bool helper_start(int *connection, struct failure *failure)
{
    int pair[2] = {-1, -1};
    struct passwd user;
    bool started = false;

    if (!find_user(&user, failure))
        goto out;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        pair[0] = descriptor_above_standard(pair[0]);
        pair[1] = descriptor_above_standard(pair[1]);
    }
    if (pair[0] < 0 || pair[1] < 0) {
        fail(failure, "no socket for the helper", errno);
        goto out;
    }
    if (!fork_helper(pair[1], &user, failure))
        goto out;
    *connection = pair[0];
    started = true;
out:
    if (!started)
        descriptor_close(pair[0]);
    descriptor_close(pair[1]);
    return started;
}
