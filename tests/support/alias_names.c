/* A name service that knows alice under another name too, as directories do: libnss_alias.so.2. */
#include <errno.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

enum nss_status _nss_alias_getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, int *error)
{
    struct passwd *found = NULL;
    FILE *accounts = strcmp(name, "ALICE") == 0 ? fopen("/etc/passwd", "re") : NULL;

    while (accounts != NULL && fgetpwent_r(accounts, entry, buffer, size, &found) == 0)
        if (strcmp(entry->pw_name, "alice") == 0)
            break;
    if (accounts != NULL)
        fclose(accounts);
    *error = ENOENT;
    return found != NULL ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND;
}
