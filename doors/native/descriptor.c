#include "descriptor.h"

#include <fcntl.h>
#include <unistd.h>

int descriptor_above_standard(int descriptor)
{
    int moved = descriptor;

    if (descriptor >= 0 && descriptor <= STDERR_FILENO) {
        moved = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        descriptor_close(descriptor);
    }
    return moved;
}

void descriptor_close(int descriptor)
{
    if (descriptor >= 0)
        close(descriptor);
}
