#include "common.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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

static bool check_peer(int connection, struct failure *failure)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;

    return (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && size == sizeof peer &&
            peer.uid == 0) ||
           fail(failure, "the process that listens on the agent's socket is not root's", 0);
}

static bool read_greeting(const struct stream *stream, struct frame *frame, struct failure *failure)
{
    return frame_read(frame, stream, failure) &&
           (frame->type == GREETING || fail(failure, "the agent did not greet first", 0)) &&
           (frame->number == VERSION || fail(failure, "the agent has another version of the protocol", 0));
}

static bool try_once(struct stream *stream, struct frame *frame, struct failure *failure)
{
    bool connected = false;

    stream->socket = -1;
    if (!check_path(failure))
        goto out;
    stream->socket =
        descriptor_above_standard(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (stream->socket < 0) {
        fail(failure, "no socket for the agent", errno);
        goto out;
    }
    if (connect(stream->socket, (const struct sockaddr *)&address, sizeof address) != 0) {
        fail(failure, "no connection to the agent", errno);
        goto out;
    }
    connected = check_peer(stream->socket, failure) && read_greeting(stream, frame, failure);
out:
    if (!connected)
        descriptor_close(stream->socket);
    return connected;
}

/* systemd may be starting it, or starting it again after its end; its queue may be full (EAGAIN); it may have
 * ended (EPIPE) or hang (ETIMEDOUT) before it greeted. Any other failure is not that of a missing agent. */
static bool may_come(int error)
{
    return error == ENOENT || error == ECONNREFUSED || error == EAGAIN || error == EPIPE ||
           error == ETIMEDOUT || error == EINTR;
}

bool agent_connect(struct stream *stream, struct frame *frame, bool *no_agent, struct failure *failure)
{
    bool connected;

    do {
        connected = try_once(stream, frame, failure);
        *no_agent = !connected && may_come(failure->error);
    } while (*no_agent && stream_pause(stream, failure));
    *no_agent = *no_agent && failure->error != ECANCELED;
    return connected;
}
