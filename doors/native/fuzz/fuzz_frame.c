/* The frame reader against anything that a module could send: the input is the stream, read to its first
 * failure. */
#include "frame.h"

#include <stdlib.h>
#include <string.h>

/* In place of stream.c. */
struct stream {
    const uint8_t **bytes;
    size_t *length;
};

bool stream_receive(const struct stream *stream, uint8_t *buffer, size_t length, struct failure *failure)
{
    bool enough = length <= *stream->length || fail(failure, "the input ends", 0);

    if (enough) {
        if (length > 0)
            memcpy(buffer, *stream->bytes, length);
        *stream->bytes += length;
        *stream->length -= length;
    }
    return enough;
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

static size_t header_length(const struct frame *frame)
{
    const uint8_t *length = frame->bytes + 1;

    return (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
}

/* What the door relies on without checking again. */
static void check(const struct frame *frame)
{
    switch (frame->type) {
    case SAY:
    case SAY_ERROR:
        must(strlen(frame->text) == frame->length);
        break;
    case ASK:
        must(strlen(frame->text) + 1 == frame->length);
        must(frame->bytes[FRAME_HEADER] == (frame->echo ? 1 : 0));
        break;
    case KEEP:
        must(frame->length == SESSION_ID && strlen(frame->text) == SESSION_ID);
        must(strspn(frame->text, "0123456789abcdef") == SESSION_ID);
        break;
    case GREETING:
    case DEADLINE:
    case RESULT:
        must(frame->length == 4);
        must(frame->number == ((uint32_t)frame->bytes[5] << 24 | (uint32_t)frame->bytes[6] << 16 |
                               (uint32_t)frame->bytes[7] << 8 | frame->bytes[8]));
        break;
    default:
        abort();
    }
}

/* An answer made of the text that was read holds the same text. */
static void check_answer(const struct frame *frame, struct frame *answer)
{
    if (frame->type == ASK) {
        frame_begin(answer, ANSWER);
        must(frame_add(answer, frame->text, frame->length - 1));
        must(answer->length == frame->length - 1);
        must(answer->bytes[0] == ANSWER && header_length(answer) == answer->length);
        must(memcmp(answer->bytes + FRAME_HEADER, frame->text, answer->length) == 0);
        must(frame_add(answer, frame->text, frame->length - 1) == (2 * (frame->length - 1) <= FRAME_LIMIT));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct stream stream = {.bytes = &bytes, .length = &length};
    struct failure failure;
    struct frame *frame = malloc(sizeof *frame); /* on the heap, where ASan sees every byte beyond it */
    struct frame *answer = malloc(sizeof *answer);

    while (frame != NULL && answer != NULL && frame_read(frame, &stream, &failure)) {
        check(frame);
        check_answer(frame, answer);
    }
    free(answer);
    free(frame);
    return 0;
}
