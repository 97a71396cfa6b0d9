/* The agent: it listens at a socket that only root could have made. */
#ifndef IAMPASS_AGENT_H
#define IAMPASS_AGENT_H

#include "problem.h"

/* Connects. *absent tells that no agent is there; *connection is a descriptor only where there is no problem.
 */
struct problem agent_connect(int *connection, bool *absent);

#endif
