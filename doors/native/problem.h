/* Why the door has to deny by itself: a fixed text for the audit record, and an errno or 0. */
#ifndef IAMPASS_PROBLEM_H
#define IAMPASS_PROBLEM_H

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

static inline bool fine(struct problem found)
{
    return found.what == NULL;
}

#endif
