/* Preloaded, it has a program and its children see another time of day, SECONDS_AHEAD of the machine's. Waits end when
 * they should. Unlike libfaketime, it may be asked in a signal handler: PostgreSQL's decides there whose time is over. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long seconds;

__attribute__((constructor)) static void read_seconds(void) {
    const char *given = getenv("SECONDS_AHEAD");
    seconds = given == NULL ? 0 : atol(given);
}

int clock_gettime(clockid_t clock, struct timespec *moment) {
    long result = syscall(SYS_clock_gettime, clock, moment);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        moment->tv_sec += seconds;
    return (int)result;
}

int gettimeofday(struct timeval *restrict moment, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    moment->tv_sec = found.tv_sec;
    moment->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *moment) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (moment != NULL)
        *moment = found.tv_sec;
    return found.tv_sec;
}
