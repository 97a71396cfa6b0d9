#include "agent.h"
#include "deadline.h"
#include "descriptor.h"
#include "names.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BUSY_PAUSE_MS = 20 };

static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = IAMPASS_AGENT_SOCKET};

_Static_assert(sizeof IAMPASS_AGENT_SOCKET <= sizeof address.sun_path,
               "the agent's path does not fit an address");

/* In a folder that is root's alone nobody but root can exchange the socket after this look at it. */
static struct problem check_path(void)
{
    struct problem found = no_problem();
    struct stat folder, node;

    if (lstat(IAMPASS_AGENT_FOLDER, &folder) != 0 || lstat(IAMPASS_AGENT_SOCKET, &node) != 0)
        found = problem("the agent's socket cannot be examined", errno);
    else if (!S_ISDIR(folder.st_mode) || folder.st_uid != 0 || (folder.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        found = problem("the folder of the agent's socket is not root's alone", 0);
    else if (!S_ISSOCK(node.st_mode) || node.st_uid != 0 || (node.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        found = problem("the agent's socket is not root's alone", 0);
    return found;
}

/* A full queue gives EAGAIN: others are logging in, so it is worth a few more tries, but not a long wait. */
static struct problem connect_patiently(int connection)
{
    int64_t deadline = deadline_in(IAMPASS_BUSY_MS);
    int error;

    do {
        error = connect(connection, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
        if (error == EAGAIN)
            poll(NULL, 0, BUSY_PAUSE_MS);
    } while ((error == EAGAIN || error == EINTR) && milliseconds_until(deadline) > 0);
    return error == 0 ? no_problem()
                      : problem(error == EAGAIN ? "the agent is busy" : "no connection to the agent", error);
}

static struct problem check_peer(int connection)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;
    int got = getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size);

    return got == 0 && size == sizeof peer && peer.uid == 0
               ? no_problem()
               : problem("who listens at the agent's socket is not root", 0);
}

struct problem agent_connect(int *connection, bool *absent)
{
    int made = -1;
    struct problem found = check_path();

    if (fine(found)) {
        made = descriptor_above_standard(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        found = made < 0 ? problem("no socket for the agent", errno) : connect_patiently(made);
    }
    *absent = found.error == ENOENT || found.error == ECONNREFUSED;
    if (fine(found))
        found = check_peer(made);
    if (fine(found))
        *connection = made;
    else
        descriptor_close(made);
    return found;
}
