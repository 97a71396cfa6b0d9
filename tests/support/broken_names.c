/* A name service that is out of reach when it is asked which groups a user is in: libnss_broken.so.2. */
#include <errno.h>
#include <grp.h>
#include <nss.h>

enum nss_status _nss_broken_initgroups_dyn(const char *user, gid_t group, long *start, long *size, gid_t **groups,
                                           long limit, int *error)
{
    (void)user, (void)group, (void)start, (void)size, (void)groups, (void)limit;
    *error = ENOENT;
    return NSS_STATUS_UNAVAIL;
}
