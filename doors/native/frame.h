/* The frames of docs/relay-protocol.md: type (1 byte), length (4 bytes, big-endian), payload. */
#ifndef IAMPASS_FRAME_H
#define IAMPASS_FRAME_H

#include "problem.h"

#include <stdint.h>

enum { FRAME_HEADER = 5, FRAME_LIMIT = 65536 };

enum frame_type {
    HELLO = 'H',
    ITEMS = 'I',
    ANSWER = 'A',
    NO_ANSWER = 'N', /* to the module */
    DEADLINE = 'D',
    SAY = 'S',
    SAY_ERROR = 'E',
    ASK = 'Q',
    RESULT = 'R', /* from it */
};

struct frame {
    size_t length;                                 /* of the payload */
    uint8_t bytes[FRAME_HEADER + FRAME_LIMIT + 1]; /* header, payload, and room for a NUL */
};

/* Fills the whole buffer or says why not. */
typedef struct problem frame_source(void *context, uint8_t *buffer, size_t length);

/* Reads one frame of the module's. What it lets through has a known type and a length that fits it; the text
 * of SAY, SAY_ERROR and ASK holds no NUL and ends with one. */
struct problem frame_read(struct frame *frame, frame_source *source, void *context);

uint8_t frame_type(const struct frame *frame);
uint32_t frame_number(const struct frame *frame);   /* of DEADLINE or RESULT */
const char *frame_text(const struct frame *frame);  /* of SAY, SAY_ERROR or ASK */
bool frame_may_be_shown(const struct frame *frame); /* of ASK: what is typed in answer */

/* A frame for the module: begin, add as often as wanted, then finish. Adding is false where the frame is
 * full. */
void frame_begin(struct frame *frame, enum frame_type type);
bool frame_add(struct frame *frame, const void *bytes, size_t length);
bool frame_add_number(struct frame *frame, uint32_t number);
size_t frame_finish(struct frame *frame); /* the number of bytes to send */

#endif
