#include "frame.h"

#include <string.h>

static uint32_t number_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3];
}

static void write_number(uint8_t *bytes, uint32_t number)
{
    for (unsigned int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(number >> (24 - 8 * i) & 0xff);
}

static size_t text_offset(uint8_t type)
{
    return type == ASK ? 1 : 0;
}

static bool has_text(uint8_t type)
{
    return type == SAY || type == SAY_ERROR || type == ASK;
}

static struct problem check_header(uint8_t type, uint32_t length)
{
    struct problem found = no_problem();

    if (!has_text(type) && type != DEADLINE && type != RESULT)
        found = problem("the module sent a frame of an unknown type", 0);
    else if (has_text(type) ? length > FRAME_LIMIT || length < text_offset(type) : length != 4)
        found = problem("the module sent a frame of an impossible length", 0);
    return found;
}

static struct problem check_text(const struct frame *frame)
{
    struct problem found = no_problem();
    size_t offset = text_offset(frame_type(frame));
    const uint8_t *payload = frame->bytes + FRAME_HEADER;

    if (frame_type(frame) == ASK && payload[0] > 1)
        found = problem("the module asked in an unknown style", 0);
    else if (memchr(payload + offset, '\0', frame->length - offset) != NULL)
        found = problem("the module sent a text with a NUL", 0);
    return found;
}

struct problem frame_read(struct frame *frame, frame_source *source, void *context)
{
    struct problem found = source(context, frame->bytes, FRAME_HEADER);

    frame->length = 0;
    if (fine(found))
        found = check_header(frame_type(frame), number_at(frame->bytes + 1));
    if (fine(found)) {
        frame->length = number_at(frame->bytes + 1);
        found = source(context, frame->bytes + FRAME_HEADER, frame->length);
    }
    if (fine(found)) {
        frame->bytes[FRAME_HEADER + frame->length] = '\0';
        found = has_text(frame_type(frame)) ? check_text(frame) : no_problem();
    }
    return found;
}

uint8_t frame_type(const struct frame *frame)
{
    return frame->bytes[0];
}

uint32_t frame_number(const struct frame *frame)
{
    return number_at(frame->bytes + FRAME_HEADER);
}

const char *frame_text(const struct frame *frame)
{
    return (const char *)frame->bytes + FRAME_HEADER + text_offset(frame_type(frame));
}

bool frame_may_be_shown(const struct frame *frame)
{
    return frame->bytes[FRAME_HEADER] == 1;
}

void frame_begin(struct frame *frame, enum frame_type type)
{
    frame->bytes[0] = (uint8_t)type;
    frame->length = 0;
}

bool frame_add(struct frame *frame, const void *bytes, size_t length)
{
    bool fits = length <= FRAME_LIMIT - frame->length;

    if (fits) {
        memcpy(frame->bytes + FRAME_HEADER + frame->length, bytes, length);
        frame->length += length;
    }
    return fits;
}

bool frame_add_number(struct frame *frame, uint32_t number)
{
    uint8_t bytes[4];

    write_number(bytes, number);
    return frame_add(frame, bytes, sizeof bytes);
}

size_t frame_finish(struct frame *frame)
{
    write_number(frame->bytes + 1, (uint32_t)frame->length);
    return FRAME_HEADER + frame->length;
}
