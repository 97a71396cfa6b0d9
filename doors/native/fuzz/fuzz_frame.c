/* The frame reader against anything that a module could send: the input is the stream, read to its first
 * problem. */
#include "frame.h"

#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *bytes;
    size_t length;
};

static struct problem take(void *context, uint8_t *buffer, size_t length)
{
    struct input *input = context;
    struct problem found = problem("the input ends", 0);

    if (length <= input->length) {
        found = no_problem();
        if (length > 0)
            memcpy(buffer, input->bytes, length);
        input->bytes += length;
        input->length -= length;
    }
    return found;
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* What the door relies on without a further look. */
static void check(const struct frame *frame)
{
    switch (frame_type(frame)) {
    case SAY:
    case SAY_ERROR:
        must(strlen(frame_text(frame)) == frame->length);
        break;
    case ASK:
        must(strlen(frame_text(frame)) + 1 == frame->length);
        must(frame->bytes[FRAME_HEADER] == (frame_may_be_shown(frame) ? 1 : 0));
        break;
    case DEADLINE:
    case RESULT:
        must(frame->length == 4);
        break;
    default:
        abort();
    }
}

/* A frame of the door's, made of the text that was read, has the same text in it. */
static void check_answer(const struct frame *frame, struct frame *answer)
{
    if (frame_type(frame) == ASK) {
        frame_begin(answer, ANSWER);
        must(frame_add(answer, frame_text(frame), frame->length - 1));
        must(frame_finish(answer) == FRAME_HEADER + frame->length - 1);
        must(memcmp(answer->bytes + FRAME_HEADER, frame_text(frame), answer->length) == 0);
        must(frame_add(answer, frame_text(frame), frame->length - 1) ==
             (2 * (frame->length - 1) <= FRAME_LIMIT));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct input input = {.bytes = bytes, .length = length};
    struct frame *frame = malloc(sizeof *frame); /* on the heap, where ASan sees every byte beyond it */
    struct frame *answer = malloc(sizeof *answer);

    while (frame != NULL && answer != NULL && fine(frame_read(frame, take, &input))) {
        check(frame);
        check_answer(frame, answer);
    }
    free(answer);
    free(frame);
    return 0;
}
