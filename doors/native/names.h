/* Paths, names and times of the door. Each may be set when it is compiled, so that a test can build a
 * variant. */
#ifndef IAMPASS_NAMES_H
#define IAMPASS_NAMES_H

#ifndef IAMPASS_AGENT_FOLDER
#define IAMPASS_AGENT_FOLDER "/run/iampass"
#endif
#define IAMPASS_AGENT_NAME "pam.sock"
#define IAMPASS_AGENT_SOCKET IAMPASS_AGENT_FOLDER "/" IAMPASS_AGENT_NAME

#ifndef IAMPASS_PYTHON
#define IAMPASS_PYTHON "/usr/bin/python3"
#endif
#ifndef IAMPASS_HELPER
#define IAMPASS_HELPER "/usr/lib/pam-iampass/helper"
#endif
#ifndef IAMPASS_USER
#define IAMPASS_USER "iampass"
#endif

/* How long the door waits for the module, until a DEADLINE says otherwise. */
#ifndef IAMPASS_PATIENCE_MS
#define IAMPASS_PATIENCE_MS 10000
#endif
/* How long it tries to get into an agent's queue that is full. */
#ifndef IAMPASS_BUSY_MS
#define IAMPASS_BUSY_MS 1000
#endif

#endif
