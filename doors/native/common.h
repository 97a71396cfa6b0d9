/* What the files of the native door share. A login goes from door.c to login.c, which connects by agent.c and
 * exchanges frames over stream.c; audit.c records what the door decides itself, rescue.c says who may pass
 * without an agent. session.c is for logins whose IAMPASS session is kept. */
#ifndef IAMPASS_COMMON_H
#define IAMPASS_COMMON_H

#include "frame.h"

#include <security/pam_modules.h>
#include <signal.h>

/* Paths, names and times. Tests build variants with other values. */
#ifndef IAMPASS_AGENT_FOLDER
#define IAMPASS_AGENT_FOLDER "/run/iampass"
#endif
#define IAMPASS_AGENT_SOCKET IAMPASS_AGENT_FOLDER "/pam.sock"
#define IAMPASS_LOGINS_FOLDER IAMPASS_AGENT_FOLDER "/logins"
#ifndef IAMPASS_PATIENCE_MS
#define IAMPASS_PATIENCE_MS 10000 /* how long the door waits for the module before it has a DEADLINE */
#endif
#ifndef IAMPASS_GREETING_MS
#define IAMPASS_GREETING_MS 5000 /* how long it waits for an agent to greet it */
#endif
#define IAMPASS_SESSION_MS 2000 /* how long it waits for the agent in a session phase, for all of it */

#define in_sshd(pamh) (pam_getenv(pamh, "SSH_AUTH_INFO_0") != NULL)
#define in_session(call) ((call)->phase >= OPEN_SESSION)

enum phase {
    AUTHENTICATE = 1,
    ACCOUNT = 2,
    OPEN_SESSION = 3,
    CLOSE_SESSION = 4
}; /* by their numbers in HELLO */

struct call { /* of a PAM function */
    pam_handle_t *pamh;
    enum phase phase;
    int flags, argc;
    const char **argv;
    bool no_agent;                /* none has greeted the door */
    char session[SESSION_ID + 1]; /* the id of the kept session, or empty */
};

/* login.c: lets the module decide, or tells it of a session phase. On success *result is its PAM code; if the
 * login passes, call->session is then what the module keeps. Fails with ECANCELED if a signal interrupted the
 * login: the module then leaves the audit record. Sets call->no_agent. */
bool login_decide(struct call *call, int *result, struct failure *failure);

/* session.c */
bool session_keep(const struct call *call); /* remembers call->session for the session phases of this login */
void session_phase(struct call *call);      /* opens or closes the login session */

/* process.c: in decimal, NULL if unknown. */
const char *login_uid(char *text, size_t size); /* whoever is root or another user by now; NULL outside of a login */
const char *audit_session(uid_t owner, char *text, size_t size); /* NULL without one of the owner's, too */
const char *own_audit_session(uid_t owner, char *text, size_t size); /* only of a login that has begun it */
const char *outer_audit_session(uid_t owner, char *text, size_t size); /* only of another account's login */
const char *start_time(char *text, size_t size);                 /* field 22 of proc_pid_stat(5) */

/* process.c: device, inode and time of the program that runs, decimal, a colon between them; NULL if unknown. */
const char *executable(char *text, size_t size);

/* process.c: what a set-uid program was called with, which its caller cannot change any more: the length of all arguments
 * after argv[0], each with a NUL, and in hexadecimal the first and the last of these bytes, a colon between them; NULL if
 * unknown. */
enum { COMMAND_HEAD = 1024, COMMAND_TAIL = 512, COMMAND_TEXT = 2 * (COMMAND_HEAD + COMMAND_TAIL) + 32 };
const char *command(char *text, size_t size);
const char *link_of(const char *path, char *text, size_t size); /* such as /proc/self/exe; NULL if unknown */

/* process.c: whether sudo was called to list or to validate, and so runs nothing. */
bool runs_nothing(void);

/* process.c: the inodes of its sockets (proc_pid_fd(5)), as many as there is room for, with a space after each. */
const char *socket_inodes(char *text, size_t size);

/* application.c: libpam's items and the application's conversation. */
const void *application_item(pam_handle_t *pamh, int type); /* NULL if not set */
bool application_has_user(pam_handle_t *pamh);              /* asks for the name if necessary */

/* Shows `text`, or asks with it. *answer may be NULL on success too: nothing was typed. */
bool application_converse(pam_handle_t *pamh, int style, const char *text, char **answer);
void answer_erase(char *answer); /* and free it */

/* agent.c: whether this is a folder that root alone can change. */
bool only_root_writes(const char *folder);

/* rescue.c: whether the arguments of the PAM line let this user in without an agent. */
bool rescues(const struct call *call);

/* audit.c: records a login that the door decided without a result from the module. `priority` and `result` are
 * those of the record. */
void audit(pam_handle_t *pamh, int priority, const char *result, const struct failure *failure);

/* stream.c: the connection to the module (for stream_receive see frame.h). */
struct stream {
    int socket;
    int64_t deadline;             /* see deadline_in */
    int interrupts;               /* readable once a signal has interrupted the login; -1 if unknown */
    sigset_t application_signals; /* the application's signal mask */
};

bool stream_send(const struct stream *stream, const uint8_t *bytes, size_t length, struct failure *failure);

/* Waits for a moment. Fails with ECANCELED, and at the deadline. */
bool stream_pause(const struct stream *stream, struct failure *failure);

/* agent.c: connects stream->socket to an agent that greets the door, by stream->deadline. `frame` is
 * overwritten. *no_agent: whether none has done so, and nothing else is wrong. */
bool agent_connect(struct stream *stream, struct frame *frame, bool *no_agent, struct failure *failure);

/* Between these two, SIGINT, SIGQUIT, SIGHUP and SIGTERM stay pending, and receiving and sending fail with
 * ECANCELED once one arrives. */
void stream_hold_signals(struct stream *stream);
void stream_release_signals(struct stream *stream);

/* A time of the monotonic clock, in milliseconds: setting the wall clock changes no wait. */
int64_t deadline_in(uint32_t milliseconds);
int milliseconds_until(int64_t deadline); /* at least 0 */

/* If the application has closed descriptor 2, a new one may get that number, and what the application writes
 * to its standard error goes to the module. This moves a descriptor above 2, close-on-exec; -1 on failure. */
int descriptor_above_standard(int descriptor);
void descriptor_close(int descriptor); /* -1 is fine */

#endif
