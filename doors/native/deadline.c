#include "deadline.h"

#include <limits.h>
#include <time.h>

static int64_t now(void)
{
    struct timespec clock = {0, 0};

    clock_gettime(CLOCK_MONOTONIC, &clock);
    return (int64_t)clock.tv_sec * 1000 + clock.tv_nsec / 1000000;
}

int64_t deadline_in(uint32_t milliseconds)
{
    return now() + (int64_t)milliseconds;
}

int milliseconds_until(int64_t deadline)
{
    int64_t left = deadline - now();

    if (left < 0)
        left = 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}
