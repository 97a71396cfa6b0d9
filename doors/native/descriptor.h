/* Descriptors of ours in a process that is not ours. */
#ifndef IAMPASS_DESCRIPTOR_H
#define IAMPASS_DESCRIPTOR_H

/* An application may run with 0, 1 or 2 closed, and a new descriptor then gets that number: what the
 * application writes to its "stderr" would go to the module. Returns the same file at 3 or above,
 * close-on-exec, and closes the one given; -1 (with errno) where that fails or where it was -1 already. */
int descriptor_above_standard(int descriptor);

/* Closes one that is open: not below 0. */
void descriptor_close(int descriptor);

#endif
