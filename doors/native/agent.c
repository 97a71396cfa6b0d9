#include "common.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BUSY_PAUSE_MS = 20 };

static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = IAMPASS_AGENT_SOCKET};

_Static_assert(sizeof IAMPASS_AGENT_SOCKET <= sizeof address.sun_path,
               "the path of the agent's socket does not fit an address");

bool only_root_writes(const char *folder)
{
    struct stat status;

    return lstat(folder, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == 0 &&
           (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* Only root can write the folder, so only root can replace the socket between this check and connect. */
static bool check_path(struct failure *failure)
{
    struct stat node;

    return (lstat(IAMPASS_AGENT_SOCKET, &node) == 0 ||
            fail(failure, "the agent's socket cannot be examined", errno)) &&
           (only_root_writes(IAMPASS_AGENT_FOLDER) ||
            fail(failure, "the folder of the agent's socket is not writable by root alone", 0)) &&
           ((S_ISSOCK(node.st_mode) && node.st_uid == 0 && (node.st_mode & (S_IRWXG | S_IRWXO)) == 0) ||
            fail(failure, "the agent's socket is not accessible to root alone", 0));
}

/* EAGAIN means that the queue is full: others are logging in, and a short wait may help. */
static bool connect_patiently(int connection, struct failure *failure)
{
    int64_t deadline = deadline_in(IAMPASS_BUSY_MS);
    int error;

    do {
        error = connect(connection, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
        if (error == EAGAIN)
            poll(NULL, 0, BUSY_PAUSE_MS);
    } while ((error == EAGAIN || error == EINTR) && milliseconds_until(deadline) > 0);
    return error == 0 ||
           fail(failure, error == EAGAIN ? "the agent is busy" : "no connection to the agent", error);
}

static bool check_peer(int connection, struct failure *failure)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;

    return (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && size == sizeof peer &&
            peer.uid == 0) ||
           fail(failure, "the process that listens on the agent's socket is not root's", 0);
}

bool agent_connect(int *connection, struct failure *failure)
{
    int made = -1;
    bool connected = false;

    if (!check_path(failure))
        goto out;
    made = descriptor_above_standard(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (made < 0) {
        fail(failure, "no socket for the agent", errno);
        goto out;
    }
    if (!connect_patiently(made, failure) || !check_peer(made, failure))
        goto out;
    *connection = made;
    connected = true;
out:
    if (!connected)
        descriptor_close(made);
    return connected;
}
