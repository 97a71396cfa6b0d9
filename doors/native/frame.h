/* The frames of docs/inside/relay-protocol.md: type (1 byte), length (4 bytes, big-endian), payload. */
#ifndef IAMPASS_FRAME_H
#define IAMPASS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why the door denies: a fixed text for the audit record, and an errno or 0. */
struct failure {
    const char *reason;
    int error;
};

/* Returns false, for `return holds || fail(…)`. */
static inline bool fail(struct failure *failure, const char *reason, int error)
{
    *failure = (struct failure){reason, error};
    return false;
}

enum { FRAME_HEADER = 5, FRAME_LIMIT = 65536 };
enum { SESSION_ID = 32 }; /* hexadecimal digits of the id of a kept session */
enum { VERSION = 1 };
enum { HELLO = 'H', ITEMS = 'I', ANSWER = 'A', NO_ANSWER = 'N' }; /* to the module */
enum {                                                            /* from the module */
       GREETING = 'G',
       DEADLINE = 'D',
       SAY = 'S',
       SAY_ERROR = 'E',
       ASK = 'Q',
       KEEP = 'K',
       RESULT = 'R',
};

struct frame {
    /* Of a frame that was read: */
    uint8_t type;
    uint32_t number;  /* GREETING, DEADLINE, RESULT */
    const char *text; /* SAY, SAY_ERROR, ASK, KEEP: in `bytes`, NUL-terminated */
    bool echo;        /* ASK: whether the answer may be shown */
    /* Of every frame: */
    size_t length;                                 /* of the payload */
    uint8_t bytes[FRAME_HEADER + FRAME_LIMIT + 1]; /* header, payload, and room for a NUL */
};

bool is_session_id(const char *text);

struct stream; /* common.h */

/* Reads a frame from the module. On success the type is known, the length is valid for it, and the text has
 * no NUL inside. */
bool frame_read(struct frame *frame, const struct stream *stream, struct failure *failure);

/* stream.c, or the fuzzer: fills the whole buffer, or fails. */
bool stream_receive(const struct stream *stream, uint8_t *buffer, size_t length, struct failure *failure);

/* Writing a frame for the module: begin without a payload, then append. False if that would be too long. */
void frame_begin(struct frame *frame, uint8_t type);
bool frame_add(struct frame *frame, const void *bytes, size_t length);

#endif
