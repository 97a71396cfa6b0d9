#include "conversation.h"

#include <stdlib.h>
#include <string.h>

int conversation_hold(pam_handle_t *pamh, int style, const char *text, char **answer)
{
    const void *item = NULL;
    const struct pam_message message = {.msg_style = style, .msg = text};
    const struct pam_message *messages = &message;
    struct pam_response *responses = NULL;
    int result = pam_get_item(pamh, PAM_CONV, &item);
    const struct pam_conv *conversation = item;

    *answer = NULL;
    if (result == PAM_SUCCESS && (conversation == NULL || conversation->conv == NULL))
        result = PAM_CONV_ERR;
    if (result == PAM_SUCCESS)
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
