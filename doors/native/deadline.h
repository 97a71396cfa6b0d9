/* Moments of the monotonic clock, in milliseconds: nobody who sets the wall clock shortens or lengthens a
 * wait. */
#ifndef IAMPASS_DEADLINE_H
#define IAMPASS_DEADLINE_H

#include <stdint.h>

int64_t deadline_in(uint32_t milliseconds);

/* Never negative, and made for poll(2). */
int milliseconds_until(int64_t deadline);

#endif
