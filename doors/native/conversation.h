/* The application's conversation: one message at a time. */
#ifndef IAMPASS_CONVERSATION_H
#define IAMPASS_CONVERSATION_H

#include <security/pam_modules.h>
#include <stdbool.h>

/* Whether the application has one at all. */
bool conversation_exists(pam_handle_t *pamh);

/* Shows `text`, or asks with it. PAM_SUCCESS with *answer NULL is an answer too: nothing was typed.
 * An answer belongs to the caller, who gives it to conversation_forget. */
int conversation_hold(pam_handle_t *pamh, int style, const char *text, char **answer);

void conversation_forget(char *answer);

#endif
