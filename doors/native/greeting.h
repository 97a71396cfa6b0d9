/* What the module is told first: HELLO and ITEMS. */
#ifndef IAMPASS_GREETING_H
#define IAMPASS_GREETING_H

#include "frame.h"

#include <security/pam_modules.h>

struct greeting {
    struct frame hello, items;
};

/* Needs no connection, and should have none yet: the module waits 2 s for both frames, while the application
 * may ask the person for a name first. */
struct problem greeting_write(struct greeting *greeting, pam_handle_t *pamh, int flags, int argc,
                              const char **argv);

#endif
