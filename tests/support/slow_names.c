/* A name service that takes three seconds to say which groups a user is in: libnss_slow.so.2. */
#include <grp.h>
#include <nss.h>
#include <unistd.h>

enum nss_status _nss_slow_initgroups_dyn(const char *user, gid_t group, long *start, long *size, gid_t **groups,
                                         long limit, int *error)
{
    (void)user, (void)group, (void)size, (void)limit, (void)error;
    sleep(3);
    (*groups)[(*start)++] = 4711;
    return NSS_STATUS_SUCCESS;
}
