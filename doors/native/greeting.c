#include "greeting.h"
#include "conversation.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, AUTHENTICATE = 1 };

static bool write_hello(struct frame *frame, int flags, int argc, const char **argv)
{
    static const uint8_t start[] = {VERSION, AUTHENTICATE};
    bool fits;

    frame_begin(frame, HELLO);
    fits = frame_add(frame, start, sizeof start) && frame_add_number(frame, (uint32_t)flags);
    for (int i = 0; fits && i < argc; i++)
        fits = frame_add(frame, argv[i], strlen(argv[i]) + 1);
    return fits;
}

static bool add_item(struct frame *frame, const char *name, const char *value)
{
    return value == NULL || (frame_add(frame, name, strlen(name)) && frame_add(frame, "=", 1) &&
                             frame_add(frame, value, strlen(value) + 1));
}

static bool write_items(struct frame *frame, pam_handle_t *pamh)
{
    static const struct {
        const char *name;
        int type;
    } items[] = {
        {"user", PAM_USER}, {"service", PAM_SERVICE}, {"rhost", PAM_RHOST},
        {"tty", PAM_TTY},   {"ruser", PAM_RUSER},
    };
    char uid[24];
    bool fits = true;

    frame_begin(frame, ITEMS);
    for (size_t i = 0; fits && i < sizeof items / sizeof items[0]; i++) {
        const void *value = NULL;
        fits =
            pam_get_item(pamh, items[i].type, &value) == PAM_SUCCESS && add_item(frame, items[i].name, value);
    }
    snprintf(uid, sizeof uid, "%ju", (uintmax_t)getuid());
    return fits && add_item(frame, "uid", uid) &&
           add_item(frame, "ssh_auth_info", pam_getenv(pamh, "SSH_AUTH_INFO_0"));
}

/* libpam would ask for a name through a conversation that is not there. */
static const char *user_of(pam_handle_t *pamh)
{
    const void *known = NULL;
    const char *user = NULL;

    if (pam_get_item(pamh, PAM_USER, &known) != PAM_SUCCESS)
        known = NULL;
    if ((known != NULL || conversation_exists(pamh)) && pam_get_user(pamh, &user, NULL) != PAM_SUCCESS)
        user = NULL;
    return user;
}

struct problem greeting_write(struct greeting *greeting, pam_handle_t *pamh, int flags, int argc,
                              const char **argv)
{
    struct problem found = no_problem();

    if (user_of(pamh) == NULL)
        found = problem("the application names no user", 0);
    else if (!write_hello(&greeting->hello, flags, argc, argv))
        found = problem("the module arguments are too long", 0);
    else if (!write_items(&greeting->items, pamh))
        found = problem("the PAM items are too long", 0);
    return found;
}
