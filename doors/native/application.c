#include "common.h"

#include <stdlib.h>
#include <string.h>

const void *application_item(pam_handle_t *pamh, int type)
{
    const void *item = NULL;

    return pam_get_item(pamh, type, &item) == PAM_SUCCESS ? item : NULL;
}

static const struct pam_conv *conversation_of(pam_handle_t *pamh)
{
    const struct pam_conv *conversation = application_item(pamh, PAM_CONV);

    return conversation != NULL && conversation->conv != NULL ? conversation : NULL;
}

bool application_has_user(pam_handle_t *pamh)
{
    const char *user = NULL;

    /* pam_get_user would crash if it had to ask and there were no conversation. */
    return (application_item(pamh, PAM_USER) != NULL || conversation_of(pamh) != NULL) &&
           pam_get_user(pamh, &user, NULL) == PAM_SUCCESS && user != NULL;
}

bool application_converse(pam_handle_t *pamh, int style, const char *text, char **answer)
{
    const struct pam_message message = {.msg_style = style, .msg = text};
    const struct pam_message *messages = &message;
    struct pam_response *responses = NULL;
    const struct pam_conv *conversation = conversation_of(pamh);
    bool succeeded = conversation != NULL &&
                     conversation->conv(1, &messages, &responses, conversation->appdata_ptr) == PAM_SUCCESS;

    *answer = NULL;
    /* After an error the application may have freed the responses already. */
    if (succeeded && responses != NULL) {
        *answer = responses->resp;
        free(responses);
    }
    return succeeded;
}

void answer_erase(char *answer)
{
    if (answer != NULL) {
        explicit_bzero(answer, strlen(answer));
        free(answer);
    }
}
