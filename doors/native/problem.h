/* Why the door has to deny by itself: a fixed text for the audit record, and an errno or 0. */
#ifndef IAMPASS_PROBLEM_H
#define IAMPASS_PROBLEM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

struct problem {
    const char *what;
    int error;
};

static inline struct problem no_problem(void)
{
    return (struct problem){NULL, 0};
}

static inline struct problem problem(const char *what, int error)
{
    return (struct problem){what, error};
}

/* The login was broken off: the module learns of it as the connection closes, and leaves the audit record. */
static inline struct problem broken_off(void)
{
    return problem("the login was broken off", ECANCELED);
}

static inline bool fine(struct problem found)
{
    return found.what == NULL;
}

#endif
