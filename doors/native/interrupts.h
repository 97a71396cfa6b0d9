/* The signals by which a person, or the machine, breaks a login off: SIGINT, SIGQUIT, SIGHUP, SIGTERM. sudo
 * blocks those of the keyboard meanwhile and only takes note of the others: the door must notice them itself.
 */
#ifndef IAMPASS_INTERRUPTS_H
#define IAMPASS_INTERRUPTS_H

#include <signal.h>

struct interrupts {
    int descriptor; /* readable as soon as one has come; -1 where it cannot be told */
    sigset_t before;
};

/* From here on such a signal waits. */
void interrupts_hold(struct interrupts *interrupts);

/* What has come goes to the application, which does with it whatever it does. */
void interrupts_release(struct interrupts *interrupts);

#endif
