#include "frame.h"

#include <endian.h>
#include <string.h>

static uint32_t number_at(const uint8_t *bytes)
{
    uint32_t number;

    memcpy(&number, bytes, sizeof number);
    return be32toh(number);
}

static void set_length(struct frame *frame, size_t length)
{
    uint32_t number = htobe32((uint32_t)length);

    memcpy(frame->bytes + 1, &number, sizeof number);
    frame->length = length;
}

bool is_session_id(const char *text)
{
    return strlen(text) == SESSION_ID && strspn(text, "0123456789abcdef") == SESSION_ID;
}

bool frame_read(struct frame *frame, const struct stream *stream, struct failure *failure)
{
    uint8_t *payload = frame->bytes + FRAME_HEADER;
    size_t style_length; /* an ASK has a byte before its text */
    bool has_text, read = false;

    if (!stream_receive(stream, frame->bytes, FRAME_HEADER, failure))
        goto out;
    frame->type = frame->bytes[0];
    frame->length = number_at(frame->bytes + 1);
    style_length = frame->type == ASK ? 1 : 0;
    has_text = frame->type == SAY || frame->type == SAY_ERROR || frame->type == ASK || frame->type == KEEP;
    if (!has_text && frame->type != GREETING && frame->type != DEADLINE && frame->type != RESULT) {
        fail(failure, "the module sent a frame of an unknown type", 0);
        goto out;
    }
    if (has_text ? frame->length < style_length || frame->length > FRAME_LIMIT : frame->length != 4) {
        fail(failure, "the module sent a frame of an invalid length", 0);
        goto out;
    }
    if (!stream_receive(stream, payload, frame->length, failure))
        goto out;
    payload[frame->length] = '\0';
    frame->number = has_text ? 0 : number_at(payload);
    frame->echo = style_length > 0 && payload[0] == 1;
    frame->text = (const char *)payload + style_length;
    if (style_length > 0 && payload[0] > 1)
        fail(failure, "the module sent a prompt of an unknown style", 0);
    else if (has_text && strlen(frame->text) != frame->length - style_length)
        fail(failure, "the module sent a text with a NUL", 0);
    else if (frame->type == KEEP && !is_session_id(frame->text))
        fail(failure, "the module sent an invalid id of a session", 0);
    else
        read = true;
out:
    return read;
}

void frame_begin(struct frame *frame, uint8_t type)
{
    frame->bytes[0] = type;
    set_length(frame, 0);
}

bool frame_add(struct frame *frame, const void *bytes, size_t length)
{
    bool fits = length <= FRAME_LIMIT - frame->length;

    if (fits) {
        memcpy(frame->bytes + FRAME_HEADER + frame->length, bytes, length);
        set_length(frame, frame->length + length);
    }
    return fits;
}
