/* Who may log in to a machine on which no agent decides: the account that `rescue=NAME` on the PAM line names.
 * The settings exempt it from the phone, so that nothing is given away (`pam-iampass check` says if they do
 * not). */
#include "common.h"

#include <string.h>
#include <unistd.h>

#define KEY "publickey"

struct arguments { /* of the PAM line */
    const char *rescue;
    bool first_factor;
};

/* False if one is unknown, malformed or repeated. The module denies such a line, and so does the door. */
static bool read_arguments(const struct call *call, struct arguments *arguments)
{
    bool valid = true, config = false, debug = false;

    *arguments = (struct arguments){NULL, false};
    for (int i = 0; valid && i < call->argc; i++) {
        const char *argument = call->argv[i];

        if (strncmp(argument, "rescue=", 7) == 0) {
            valid = arguments->rescue == NULL && argument[7] != '\0';
            arguments->rescue = argument + 7;
        } else if (strcmp(argument, "first_factor=" KEY) == 0) {
            valid = !arguments->first_factor;
            arguments->first_factor = true;
        } else if (strncmp(argument, "config=/", 8) == 0) {
            valid = !config;
            config = true;
        } else {
            valid = strcmp(argument, "debug") == 0 && !debug;
            debug = true;
        }
    }
    return valid;
}

/* Whether the first word of a line of SSH_AUTH_INFO_0 is `publickey`. A line of the method hostbased contains
 * text that the client has chosen. */
static bool key_accepted(pam_handle_t *pamh)
{
    const char *line = pam_getenv(pamh, "SSH_AUTH_INFO_0");
    bool accepted = false;

    while (line != NULL && !accepted) {
        size_t word = strcspn(line, " \n");

        accepted = word == strlen(KEY) && memcmp(line, KEY, word) == 0;
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return accepted;
}

/* In the account phase sshd itself has seen to the first factor; an auth line must demand the key. */
bool rescues(const struct call *call)
{
    const char *user = application_item(call->pamh, PAM_USER);
    struct arguments arguments;
    bool first_factor, rescued = false;

    if (getuid() != 0 || user == NULL || !in_sshd(call->pamh) || !read_arguments(call, &arguments))
        goto out;
    if (call->phase == ACCOUNT)
        first_factor = !arguments.first_factor; /* with it, the module denies an account line */
    else
        first_factor = arguments.first_factor && key_accepted(call->pamh);
    rescued = first_factor && arguments.rescue != NULL && strcmp(arguments.rescue, user) == 0;
out:
    return rescued;
}
