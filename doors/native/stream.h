/* Bytes over the socket, each call within a deadline, whatever the other side and the application's signals
 * do. */
#ifndef IAMPASS_STREAM_H
#define IAMPASS_STREAM_H

#include "interrupts.h"
#include "problem.h"

#include <stdint.h>

struct stream {
    int socket;
    int64_t deadline;
    struct interrupts interrupts;
};

/* `stream` is a struct stream: the shape is that of a frame's source. */
struct problem stream_receive(void *stream, uint8_t *buffer, size_t length);

struct problem stream_send(struct stream *stream, const uint8_t *bytes, size_t length);

/* Whether the other side has sent something that nobody has read yet. Does not wait. */
bool stream_has_more(const struct stream *stream);

#endif
