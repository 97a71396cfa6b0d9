#include "login.h"
#include "agent.h"
#include "conversation.h"
#include "deadline.h"
#include "descriptor.h"
#include "frame.h"
#include "greeting.h"
#include "helper.h"
#include "names.h"
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    FRAMES_LIMIT = 64, /* of one login; more is a module gone wild */
    LONGEST_DEADLINE_MS = 300000,
    GRACE_MS = 800,
};

struct login {
    pam_handle_t *pamh;
    struct stream stream;
    bool promised; /* a DEADLINE came */
    struct greeting greeting;
    struct frame frame;
};

static struct problem connect_to_module(struct login *login)
{
    bool absent = false;
    struct problem found = agent_connect(&login->stream.socket, &absent);

    return absent ? helper_start(&login->stream.socket) : found;
}

static struct problem send_frame(struct login *login, struct frame *frame)
{
    size_t length = frame_finish(frame);

    return stream_send(&login->stream, frame->bytes, length);
}

static void say(struct login *login, int style)
{
    char *answer;

    /* Whether the text was seen changes nothing: the module learns of a failed conversation when it asks. */
    (void)conversation_hold(login->pamh, style, frame_text(&login->frame), &answer);
    conversation_forget(answer);
}

/* The time that the person takes does not count: what was left of a DEADLINE before is left afterwards, and
 * without one the door's patience begins anew. */
static void ask(struct login *login)
{
    int style = frame_may_be_shown(&login->frame) ? PAM_PROMPT_ECHO_ON : PAM_PROMPT_ECHO_OFF;
    int left = login->promised ? milliseconds_until(login->stream.deadline) : IAMPASS_PATIENCE_MS;
    char *answer;
    bool answered;

    interrupts_release(&login->stream.interrupts); /* the application has its own way with them at a prompt */
    answered = conversation_hold(login->pamh, style, frame_text(&login->frame), &answer) == PAM_SUCCESS;
    interrupts_hold(&login->stream.interrupts);
    login->stream.deadline = deadline_in((uint32_t)left);
    frame_begin(&login->frame, ANSWER);
    if (!answered || (answer != NULL && !frame_add(&login->frame, answer, strlen(answer))))
        frame_begin(&login->frame, NO_ANSWER);
    conversation_forget(answer);
    /* The module may have given its result meanwhile and be gone: reading on tells. */
    (void)send_frame(login, &login->frame);
    explicit_bzero(login->frame.bytes, FRAME_HEADER + login->frame.length);
}

static struct problem set_deadline(struct login *login)
{
    struct problem found = no_problem();
    uint32_t milliseconds = frame_number(&login->frame);

    if (milliseconds > LONGEST_DEADLINE_MS)
        found = problem("the module sent a deadline that is too far away", 0);
    else
        login->stream.deadline = deadline_in(milliseconds + GRACE_MS);
    login->promised = true;
    return found;
}

static struct problem take_result(const struct login *login, int *result)
{
    static const uint32_t known[] = {
        PAM_SUCCESS, PAM_PERM_DENIED, PAM_AUTHINFO_UNAVAIL, PAM_MAXTRIES, PAM_IGNORE, PAM_ABORT,
    };
    struct problem found = problem("the module sent an unknown result", 0);

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (frame_number(&login->frame) == known[i])
            found = no_problem();
    if (fine(found) && stream_has_more(&login->stream))
        found = problem("the module sent more than a result", 0);
    if (fine(found))
        *result = (int)frame_number(&login->frame);
    return found;
}

static struct problem obey(struct login *login, bool *decided, int *result)
{
    struct problem found = no_problem();

    switch (frame_type(&login->frame)) {
    case SAY:
        say(login, PAM_TEXT_INFO);
        break;
    case SAY_ERROR:
        say(login, PAM_ERROR_MSG);
        break;
    case ASK:
        ask(login);
        break;
    case DEADLINE:
        found = set_deadline(login);
        break;
    default: /* RESULT: frame_read lets no other type through */
        found = take_result(login, result);
        *decided = true;
    }
    return found;
}

static struct problem relay(struct login *login, int *result)
{
    bool decided = false;
    struct problem found = send_frame(login, &login->greeting.hello);

    if (fine(found))
        found = send_frame(login, &login->greeting.items);
    for (int frames = 0; fine(found) && !decided; frames++) {
        found = frame_read(&login->frame, stream_receive, &login->stream);
        if (fine(found) && frames >= FRAMES_LIMIT)
            found = problem("the module sent too many frames", 0);
        if (fine(found))
            found = obey(login, &decided, result);
    }
    return found;
}

struct problem login_decide(pam_handle_t *pamh, int flags, int argc, const char **argv, int *result)
{
    struct problem found = problem("no memory", ENOMEM);
    struct login *login = malloc(sizeof *login); /* not calloc: most of the frames' pages are never touched */

    if (login != NULL) {
        login->pamh = pamh;
        login->promised = false;
        login->stream.socket = -1;
        found = greeting_write(&login->greeting, pamh, flags, argc, argv);
        if (fine(found))
            found = connect_to_module(login);
        if (fine(found)) {
            login->stream.deadline = deadline_in(IAMPASS_PATIENCE_MS);
            interrupts_hold(&login->stream.interrupts);
            found = relay(login, result);
            interrupts_release(&login->stream.interrupts);
        }
        descriptor_close(login->stream.socket);
    }
    free(login);
    return found;
}
