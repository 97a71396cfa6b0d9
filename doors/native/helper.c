#include "helper.h"
#include "descriptor.h"
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef SYS_setresuid32 /* 32-bit machines: the plain calls know 16-bit ids only */
#define SET_GROUPS SYS_setgroups32
#define SET_GIDS SYS_setresgid32
#define SET_UIDS SYS_setresuid32
#else
#define SET_GROUPS SYS_setgroups
#define SET_GIDS SYS_setresgid
#define SET_UIDS SYS_setresuid
#endif

enum { PASSWD_ENTRY_LIMIT = 16384, DESCRIPTOR_LIMIT = 1 << 20 };

struct identity {
    uid_t uid;
    gid_t gid;
};

static struct problem find_user(struct identity *identity)
{
    struct problem found = no_problem();
    struct passwd entry, *known = NULL;
    char *buffer = malloc(PASSWD_ENTRY_LIMIT);
    int error =
        buffer == NULL ? ENOMEM : getpwnam_r(IAMPASS_USER, &entry, buffer, PASSWD_ENTRY_LIMIT, &known);

    if (known != NULL)
        *identity = (struct identity){.uid = known->pw_uid, .gid = known->pw_gid};
    else
        found = problem("the helper's user '" IAMPASS_USER "' is not there", error);
    free(buffer);
    return found;
}

/* From here to start_program: what runs between fork and exec, in a copy of a process that may have threads,
 * locks held and handlers set. So: system calls only, and the raw ones for ids, since libc's would signal
 * "all threads". */

static void reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t nothing;

    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &standard, NULL); /* SIGKILL and the like cannot be changed */
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
}

/* The caller of sudo chooses the limits that we inherit. Where the right to raise a hard one is missing, as
 * in some containers, the soft one goes up to it: at worst the helper fails, and with it the login. */
static void reset_limits(void)
{
    static const struct {
        __rlimit_resource_t resource;
        rlim_t soft, hard;
    } limits[] = {
        {RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY},    {RLIMIT_CORE, 0, 0},
        {RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY},   {RLIMIT_DATA, RLIM_INFINITY, RLIM_INFINITY},
        {RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY}, {RLIMIT_NOFILE, 1024, 4096},
        {RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY}, {RLIMIT_STACK, 8 << 20, RLIM_INFINITY},
    };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit limit = {.rlim_cur = limits[i].soft, .rlim_max = limits[i].hard};
        if (setrlimit(limits[i].resource, &limit) != 0 && getrlimit(limits[i].resource, &limit) == 0) {
            limit.rlim_cur = limits[i].soft < limit.rlim_max ? limits[i].soft : limit.rlim_max;
            (void)setrlimit(limits[i].resource, &limit);
        }
    }
}

static bool place_descriptors(int connection)
{
    int nothing = -1;
    bool placed = dup2(connection, STDIN_FILENO) == STDIN_FILENO;

    if (placed)
        nothing = open("/dev/null", O_RDWR);
    placed = placed && nothing >= 0 && dup2(nothing, STDOUT_FILENO) >= 0 && dup2(nothing, STDERR_FILENO) >= 0;
#ifdef SYS_close_range
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0)
        return placed;
#endif
    for (int descriptor = STDERR_FILENO + 1; descriptor < DESCRIPTOR_LIMIT; descriptor++)
        close(descriptor);
    return placed;
}

static bool take_identity(const struct identity *identity)
{
    return syscall(SET_GROUPS, 1, &identity->gid) == 0 &&
           syscall(SET_GIDS, identity->gid, identity->gid, identity->gid) == 0 &&
           syscall(SET_UIDS, identity->uid, identity->uid, identity->uid) == 0;
}

static void start_program(int connection, const struct identity *identity)
{
    static const char *const arguments[] = {IAMPASS_PYTHON, "-I", "-S", IAMPASS_HELPER, NULL};
    static const char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL};

    reset_signals();
    reset_limits();
    umask(077);
    if (setsid() >= 0 && chdir("/") == 0 && place_descriptors(connection) && take_identity(identity))
        execve(IAMPASS_PYTHON, (char *const *)arguments, (char *const *)environment);
}

/* A fork whose child ends without a signal to the parent, and that only a wait with __WALL sees: no flags,
 * no signal, the same stack, in whatever order a machine wants them. */
static pid_t fork_unnoticed(void)
{
    return (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
}

/* An application has its own ways with children: sshd reaps them all in a SIGCHLD handler, others ignore
 * SIGCHLD or wait for any child. It must not get one that it does not know, nor take ours from us. To change
 * its SIGCHLD disposition for a while, as modules do, could lose a signal of its own children. Instead:
 *
 * - The helper is a grandchild: init reaps it, whenever it ends.
 * - The child in between ends at once, and is made without a termination signal: no handler runs, wait and
 *   waitpid do not report it, an ignored SIGCHLD does not make it vanish, and we reap it with __WALL. It must
 *   not exec, which would bring SIGCHLD back.
 * - No pthread_atfork handler runs, and with all signals blocked no signal handler in a process of ours.
 */
static struct problem fork_helper(int connection, const struct identity *identity)
{
    sigset_t all, before;
    int status = 0;
    int error;
    pid_t child;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    child = fork_unnoticed();
    if (child == 0) {
        pid_t grandchild = fork_unnoticed();
        if (grandchild == 0)
            start_program(connection, identity);
        _exit(grandchild > 0 ? 0 : 1);
    }
    error = errno;
    if (child > 0)
        while (waitpid(child, &status, __WALL) < 0 && errno == EINTR)
            continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return child > 0 && status == 0 ? no_problem()
                                    : problem("no process for the helper", child > 0 ? 0 : error);
}

struct problem helper_start(int *connection)
{
    int ours = -1, theirs = -1, pair[2];
    struct identity identity;
    struct problem found = find_user(&identity);

    if (fine(found) && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        ours = descriptor_above_standard(pair[0]);
        theirs = descriptor_above_standard(pair[1]);
    }
    if (fine(found) && (ours < 0 || theirs < 0))
        found = problem("no socket for the helper", errno);
    if (fine(found))
        found = fork_helper(theirs, &identity);
    descriptor_close(theirs);
    if (fine(found))
        *connection = ours;
    else
        descriptor_close(ours);
    return found;
}
