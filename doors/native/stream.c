#include "stream.h"
#include "deadline.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* After a recv or send that moved nothing: waits until another try makes sense. A signal ends the wait early,
 * which is harmless: the time that is left is computed anew from the clock. */
static struct problem wait_for(const struct stream *stream, short events, int error)
{
    struct problem found = no_problem();
    struct pollfd wanted[] = {
        {.fd = stream->socket, .events = events},
        {.fd = stream->interrupts.descriptor, .events = POLLIN},
    };

    if (error == EAGAIN) {
        if (poll(wanted, 2, milliseconds_until(stream->deadline)) < 0) {
            if (errno != EINTR)
                found = problem("waiting for the module failed", errno);
        } else if (wanted[1].revents != 0) {
            found = broken_off();
        }
    } else if (error == EPIPE || error == ECONNRESET) {
        found = problem("the module closed the connection before it gave a result", 0);
    } else if (error != EINTR) {
        found = problem("the connection to the module failed", error);
    }
    return found;
}

static struct problem check_time(const struct stream *stream)
{
    return milliseconds_until(stream->deadline) > 0 ? no_problem()
                                                    : problem("the module did not answer in time", 0);
}

struct problem stream_receive(void *context, uint8_t *buffer, size_t length)
{
    const struct stream *stream = context;
    struct problem found = check_time(stream);

    while (fine(found) && length > 0) {
        ssize_t got = recv(stream->socket, buffer, length, MSG_DONTWAIT);
        if (got > 0) {
            buffer += got;
            length -= (size_t)got;
        } else {
            found = wait_for(stream, POLLIN, got == 0 ? EPIPE : errno);
        }
        if (fine(found) && length > 0)
            found = check_time(stream);
    }
    return found;
}

struct problem stream_send(struct stream *stream, const uint8_t *bytes, size_t length)
{
    struct problem found = no_problem();

    while (fine(found) && length > 0) {
        ssize_t sent = send(stream->socket, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else {
            found = wait_for(stream, POLLOUT, errno);
        }
        if (fine(found) && length > 0)
            found = check_time(stream);
    }
    return found;
}

bool stream_has_more(const struct stream *stream)
{
    uint8_t byte;

    return recv(stream->socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
}
