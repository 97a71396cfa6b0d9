#include "conversation.h"

#include <stdlib.h>
#include <string.h>

static const struct pam_conv *conversation_of(pam_handle_t *pamh)
{
    const void *item = NULL;
    const struct pam_conv *conversation;

    if (pam_get_item(pamh, PAM_CONV, &item) != PAM_SUCCESS)
        item = NULL;
    conversation = item;
    return conversation != NULL && conversation->conv != NULL ? conversation : NULL;
}

bool conversation_exists(pam_handle_t *pamh)
{
    return conversation_of(pamh) != NULL;
}

int conversation_hold(pam_handle_t *pamh, int style, const char *text, char **answer)
{
    const struct pam_message message = {.msg_style = style, .msg = text};
    const struct pam_message *messages = &message;
    struct pam_response *responses = NULL;
    const struct pam_conv *conversation = conversation_of(pamh);
    int result = PAM_CONV_ERR;

    *answer = NULL;
    if (conversation != NULL)
        result = conversation->conv(1, &messages, &responses, conversation->appdata_ptr);
    /* After an error the responses are the application's: it may have freed them already. */
    if (result == PAM_SUCCESS && responses != NULL) {
        *answer = responses->resp;
        free(responses);
    }
    return result;
}

void conversation_forget(char *answer)
{
    if (answer != NULL) {
        explicit_bzero(answer, strlen(answer));
        free(answer);
    }
}
