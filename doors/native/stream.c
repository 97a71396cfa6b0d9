#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLOSED "the module closed the connection before it gave a result"
#define INTERRUPTED "the login was interrupted"

enum { PAUSE_MS = 20 };

static int64_t now(void)
{
    struct timespec clock = {0, 0};

    clock_gettime(CLOCK_MONOTONIC, &clock);
    return (int64_t)clock.tv_sec * 1000 + clock.tv_nsec / 1000000;
}

int64_t deadline_in(uint32_t milliseconds)
{
    return now() + (int64_t)milliseconds;
}

int milliseconds_until(int64_t deadline)
{
    int64_t left = deadline - now();

    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

int descriptor_above_standard(int descriptor)
{
    int moved = descriptor;

    if (descriptor >= 0 && descriptor <= STDERR_FILENO) {
        moved = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        descriptor_close(descriptor);
    }
    return moved;
}

void descriptor_close(int descriptor)
{
    if (descriptor >= 0)
        close(descriptor);
}

/* After a recv or send that failed with `error`: waits until it can be repeated. A signal may end the wait
 * early; the remaining time is then computed again. */
static bool wait_for(const struct stream *stream, short events, int error, struct failure *failure)
{
    struct pollfd polled[] = {
        {.fd = stream->socket, .events = events},
        {.fd = stream->interrupts, .events = POLLIN},
    };
    bool ready = true;

    if (error == EAGAIN && poll(polled, 2, milliseconds_until(stream->deadline)) < 0)
        error = errno;
    if (polled[1].revents != 0)
        ready = fail(failure, INTERRUPTED, ECANCELED);
    else if (error == EPIPE || error == ECONNRESET)
        ready = fail(failure, CLOSED, EPIPE);
    else if (error != EAGAIN && error != EINTR)
        ready = fail(failure, "the connection to the module failed", error);
    return ready;
}

/* Receives into `into` or, if that is NULL, sends from `from`. */
static bool transfer(const struct stream *stream, uint8_t *into, const uint8_t *from, size_t length,
                     struct failure *failure)
{
    bool complete = false;

    for (size_t done = 0; done < length;) {
        ssize_t count;
        if (milliseconds_until(stream->deadline) == 0) {
            fail(failure, "the module did not answer in time", ETIMEDOUT);
            goto out;
        }
        count = into != NULL ? recv(stream->socket, into + done, length - done, MSG_DONTWAIT)
                             : send(stream->socket, from + done, length - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0)
            done += (size_t)count;
        else if (!wait_for(stream, into != NULL ? POLLIN : POLLOUT, count == 0 ? EPIPE : errno, failure))
            goto out;
    }
    complete = true;
out:
    return complete;
}

bool stream_receive(const struct stream *stream, uint8_t *buffer, size_t length, struct failure *failure)
{
    return transfer(stream, buffer, NULL, length, failure);
}

bool stream_send(const struct stream *stream, const uint8_t *bytes, size_t length, struct failure *failure)
{
    return transfer(stream, NULL, bytes, length, failure);
}

bool stream_pause(const struct stream *stream, struct failure *failure)
{
    struct pollfd polled = {.fd = stream->interrupts, .events = POLLIN};
    int left = milliseconds_until(stream->deadline);

    poll(&polled, 1, left < PAUSE_MS ? left : PAUSE_MS);
    return (polled.revents == 0 || fail(failure, INTERRUPTED, ECANCELED)) && left > 0;
}

/* sudo blocks the signals of the keyboard while it authenticates and only notes the others, so the door looks
 * for them. SIGINT and SIGQUIT count even if the application blocks or ignores them; SIGHUP and SIGTERM then
 * do not, since the login is meant to survive them, as under nohup(1). No handler is changed and no signal is
 * consumed: the application gets them when its mask is restored. */
void stream_hold_signals(struct stream *stream)
{
    static const int numbers[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM};
    struct sigaction action;
    sigset_t held;

    sigemptyset(&held);
    sigprocmask(SIG_BLOCK, NULL, &stream->application_signals);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i] == SIGINT || numbers[i] == SIGQUIT ||
            (!sigismember(&stream->application_signals, numbers[i]) &&
             sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN))
            sigaddset(&held, numbers[i]);
    stream->interrupts = descriptor_above_standard(signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK));
    if (stream->interrupts >= 0)
        sigprocmask(SIG_BLOCK, &held, NULL);
}

void stream_release_signals(struct stream *stream)
{
    descriptor_close(stream->interrupts);
    stream->interrupts = -1;
    sigprocmask(SIG_SETMASK, &stream->application_signals, NULL);
}
