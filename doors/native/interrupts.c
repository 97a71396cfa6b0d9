#include "interrupts.h"
#include "descriptor.h"

#include <stdbool.h>
#include <sys/signalfd.h>

/* A key that was pressed counts even where the application blocks or ignores it, as sudo and login do: it was
 * pressed while somebody waited for the phone. The others do not count where the login is meant to go on in
 * spite of them (nohup(1)). */
static bool breaks_off(int number, const sigset_t *before)
{
    struct sigaction action;

    return number == SIGINT || number == SIGQUIT ||
           (sigismember(before, number) == 0 && sigaction(number, NULL, &action) == 0 &&
            action.sa_handler != SIG_IGN);
}

/* No disposition is changed and no signal is taken: it stays pending, and reaches the application's own
 * handler when the mask is put back. */
void interrupts_hold(struct interrupts *interrupts)
{
    static const int numbers[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM};
    sigset_t held;

    sigemptyset(&held);
    sigprocmask(SIG_BLOCK, &held, &interrupts->before);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (breaks_off(numbers[i], &interrupts->before))
            sigaddset(&held, numbers[i]);
    interrupts->descriptor = descriptor_above_standard(signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK));
    if (interrupts->descriptor >= 0)
        sigprocmask(SIG_BLOCK, &held, NULL);
}

void interrupts_release(struct interrupts *interrupts)
{
    descriptor_close(interrupts->descriptor);
    interrupts->descriptor = -1;
    sigprocmask(SIG_SETMASK, &interrupts->before, NULL);
}
