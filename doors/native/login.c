#include "common.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <security/pam_modutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAMES_LIMIT = 64, DEADLINE_LIMIT_MS = 300000, GRACE_MS = 800 };

struct login {
    struct call *call;
    struct stream stream;
    bool has_deadline; /* from a DEADLINE frame */
    struct frame hello, items, frame;
};

static bool write_hello(struct frame *frame, const struct call *call)
{
    uint32_t number = htobe32((uint32_t)call->flags);
    bool fits;

    frame_begin(frame, HELLO);
    fits = frame_add(frame, (uint8_t[]){VERSION, (uint8_t)call->phase}, 2) &&
           frame_add(frame, &number, sizeof number);
    for (int i = 0; fits && i < call->argc; i++)
        fits = frame_add(frame, call->argv[i], strlen(call->argv[i]) + 1);
    return fits;
}

static bool add_item(struct frame *frame, const char *name, const char *value)
{
    return value == NULL || (frame_add(frame, name, strlen(name)) && frame_add(frame, "=", 1) &&
                             frame_add(frame, value, strlen(value) + 1));
}

/* That of the login session which the process is in: of the user once it is open and, before, of the caller of sudo
 * or su. sshd, before, is in no user's. */
static const char *audit_session_of(const struct call *call, char *text, size_t size)
{
    const struct passwd *account = NULL;
    const char *found = NULL;

    if (in_session(call))
        account = pam_modutil_getpwnam(call->pamh, application_item(call->pamh, PAM_USER));
    if (account != NULL)
        found = audit_session(account->pw_uid, text, size);
    else if (!in_session(call) && !in_sshd(call->pamh))
        found = audit_session(getuid(), text, size);
    return found;
}

static bool write_items(struct frame *frame, const struct call *call)
{
    pam_handle_t *pamh = call->pamh;
    const char *connection = pam_getenv(pamh, "SSH_CONNECTION");
    bool has_client = !in_session(call) && connection != NULL;
    /* In its method `password`, sshd shows no text, and calls us in the process that leads its session. */
    bool may_show = call->phase == AUTHENTICATE && in_sshd(pamh) && getsid(0) != getpid();
    bool has_command = !in_session(call) && !in_sshd(pamh) && getuid() != 0;
    char uid[24], login[24], audit[24], sockets[1024], program[72], arguments[COMMAND_TEXT], path[PATH_MAX];

    snprintf(uid, sizeof uid, "%ju", (uintmax_t)getuid());
    frame_begin(frame, ITEMS);
    return add_item(frame, "user", application_item(pamh, PAM_USER)) &&
           add_item(frame, "service", application_item(pamh, PAM_SERVICE)) &&
           add_item(frame, "rhost", application_item(pamh, PAM_RHOST)) &&
           add_item(frame, "tty", application_item(pamh, PAM_TTY)) &&
           add_item(frame, "ruser", application_item(pamh, PAM_RUSER)) && add_item(frame, "uid", uid) &&
           add_item(frame, "ssh_auth_info", pam_getenv(pamh, "SSH_AUTH_INFO_0")) &&
           add_item(frame, "ssh_connection", connection) &&
           (!has_client || add_item(frame, "sockets", socket_inodes(sockets, sizeof sockets))) &&
           (!may_show || add_item(frame, "executable", executable(program, sizeof program))) &&
           (!has_command ||
            (add_item(frame, "command", command(arguments, sizeof arguments)) &&
             add_item(frame, "program", link_of("/proc/self/exe", path, sizeof path)) &&
             add_item(frame, "folder", link_of("/proc/self/cwd", path, sizeof path)))) &&
           (in_session(call) || in_sshd(pamh) || add_item(frame, "login_uid", login_uid(login, sizeof login))) &&
           add_item(frame, "audit_session", audit_session_of(call, audit, sizeof audit)) &&
           (!in_session(call) || (add_item(frame, "session", call->session) &&
                                  add_item(frame, "xdg_session", pam_getenv(pamh, "XDG_SESSION_ID"))));
}

/* May ask for the user name, and so comes before connecting: the module waits only 2 s for both frames. */
static bool write_login(struct login *login, struct failure *failure)
{
    const struct call *call = login->call;

    return (application_has_user(call->pamh) || fail(failure, "the application names no user", 0)) &&
           (write_hello(&login->hello, call) || fail(failure, "the module arguments are too long", 0)) &&
           (write_items(&login->items, call) || fail(failure, "the PAM items are too long", 0));
}

static bool send_frame(struct login *login, const struct frame *frame, struct failure *failure)
{
    return stream_send(&login->stream, frame->bytes, FRAME_HEADER + frame->length, failure);
}

/* If the text cannot be shown, the login goes on: the module notices a failed conversation when it asks. */
static void say(struct login *login, int style)
{
    char *answer;

    (void)application_converse(login->call->pamh, style, login->frame.text, &answer);
    answer_erase(answer);
}

/* The time that the user takes to answer does not count: the deadline moves by it. */
static void ask(struct login *login)
{
    int style = login->frame.echo ? PAM_PROMPT_ECHO_ON : PAM_PROMPT_ECHO_OFF;
    int left = login->has_deadline ? milliseconds_until(login->stream.deadline) : IAMPASS_PATIENCE_MS;
    struct failure ignored;
    char *answer;
    bool answered;

    stream_release_signals(&login->stream); /* at a prompt the application handles them */
    answered = application_converse(login->call->pamh, style, login->frame.text, &answer);
    stream_hold_signals(&login->stream);
    login->stream.deadline = deadline_in((uint32_t)left);
    frame_begin(&login->frame, ANSWER);
    if (!answered || (answer != NULL && !frame_add(&login->frame, answer, strlen(answer))))
        frame_begin(&login->frame, NO_ANSWER);
    answer_erase(answer);
    /* If the module has closed, its RESULT may have arrived during the prompt: the next read shows. */
    (void)send_frame(login, &login->frame, &ignored);
    explicit_bzero(login->frame.bytes, FRAME_HEADER + login->frame.length);
}

static bool take_result(const struct login *login, int *result, struct failure *failure)
{
    char more;
    uint32_t code = login->frame.number;
    bool known = code == PAM_SUCCESS || code == PAM_PERM_DENIED || code == PAM_AUTHINFO_UNAVAIL ||
                 code == PAM_MAXTRIES || code == PAM_IGNORE || code == PAM_ABORT;
    bool valid = (known || fail(failure, "the module sent an unknown result", 0)) &&
                 (recv(login->stream.socket, &more, sizeof more, MSG_DONTWAIT | MSG_PEEK) <= 0 ||
                  fail(failure, "the module sent more than a result", 0));

    if (valid)
        *result = (int)code;
    return valid;
}

static bool relay(struct login *login, int *result, struct failure *failure)
{
    bool decided = false;

    if (!send_frame(login, &login->hello, failure) || !send_frame(login, &login->items, failure))
        goto out;
    for (int frames = 0; frames < FRAMES_LIMIT; frames++) {
        if (!frame_read(&login->frame, &login->stream, failure))
            goto out;
        if (in_session(login->call) && login->frame.type != RESULT) {
            fail(failure, "the module sent more than a result", 0);
            goto out;
        }
        switch (login->frame.type) {
        case SAY:
            say(login, PAM_TEXT_INFO);
            break;
        case SAY_ERROR:
            say(login, PAM_ERROR_MSG);
            break;
        case ASK:
            ask(login);
            break;
        case KEEP:
            memcpy(login->call->session, login->frame.text, sizeof login->call->session);
            break;
        case DEADLINE:
            if (login->frame.number > DEADLINE_LIMIT_MS) {
                fail(failure, "the module sent a deadline that is too far away", 0);
                goto out;
            }
            login->stream.deadline = deadline_in(login->frame.number + GRACE_MS);
            login->has_deadline = true;
            break;
        case RESULT:
            decided = take_result(login, result, failure);
            goto out;
        default: /* GREETING, the only other type that frame_read accepts */
            fail(failure, "the module sent a frame out of turn", 0);
            goto out;
        }
    }
    fail(failure, "the module sent too many frames", 0);
out:
    return decided;
}

bool login_decide(struct call *call, int *result, struct failure *failure)
{
    struct login *login = malloc(sizeof *login); /* not calloc: most pages of the frames are never touched */
    bool decided = false;

    if (login == NULL) {
        fail(failure, "no memory", ENOMEM);
        goto out;
    }
    login->call = call;
    login->has_deadline = false;
    if (!write_login(login, failure))
        goto out;
    stream_hold_signals(&login->stream);
    login->stream.deadline = deadline_in(in_session(call) ? IAMPASS_SESSION_MS : IAMPASS_GREETING_MS);
    if (agent_connect(&login->stream, &login->frame, &call->no_agent, failure)) {
        if (!in_session(call))
            login->stream.deadline = deadline_in(IAMPASS_PATIENCE_MS);
        decided = relay(login, result, failure);
        descriptor_close(login->stream.socket);
    } else if (failure->error == ECANCELED) {
        failure->error = EINTR; /* no module knows of this login: the door leaves the record */
    }
    stream_release_signals(&login->stream);
out:
    if (!decided || (*result != PAM_SUCCESS && *result != PAM_IGNORE))
        call->session[0] = '\0';
    free(login);
    return decided;
}
