/* The one-shot helper: the module in a process of its own, where no agent is there. */
#ifndef IAMPASS_HELPER_PROCESS_H
#define IAMPASS_HELPER_PROCESS_H

#include "problem.h"

/* Starts it; *connection becomes the door's end. A helper that cannot be executed shows as an end of file
 * there. */
struct problem helper_start(int *connection);

#endif
