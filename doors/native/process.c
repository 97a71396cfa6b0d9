/* What /proc says of the application's process. */
#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SOCKET "socket:["
#define NO_LOGIN "4294967295"

enum { START_TIME = 22, CHUNK = 4096 };

/* Empty if it cannot be read, or if something else is mounted there. */
static char *read_proc(const char *path, char *text, size_t size)
{
    struct statfs system;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool trusted = file >= 0 && fstatfs(file, &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
    ssize_t length = trusted ? read(file, text, size - 1) : 0;

    text[length > 0 ? length : 0] = '\0';
    descriptor_close(file);
    return text;
}

/* Whose it is, pam_loginuid has said when it began. Where it could not, as in many containers, all logins share
 * that of whoever has started the machine. */
static bool is_login_of(uid_t owner)
{
    char uid[24], found[24];

    snprintf(uid, sizeof uid, "%ju", (uintmax_t)owner);
    return strcmp(read_proc("/proc/self/loginuid", found, sizeof found), uid) == 0;
}

static const char *number_or_null(const char *path, char *text, size_t size)
{
    read_proc(path, text, size);
    return text[0] == '\0' || strcmp(text, NO_LOGIN) == 0 ? NULL : text;
}

static const char *session_or_null(char *text, size_t size)
{
    return number_or_null("/proc/self/sessionid", text, size);
}

const char *login_uid(char *text, size_t size)
{
    return number_or_null("/proc/self/loginuid", text, size);
}

const char *audit_session(uid_t owner, char *text, size_t size)
{
    return is_login_of(owner) ? session_or_null(text, size) : NULL;
}

/* That of the login in which su or sudo is called: what they start keeps it, whatever becomes of them. */
const char *outer_audit_session(uid_t owner, char *text, size_t size)
{
    return is_login_of(owner) ? NULL : session_or_null(text, size);
}

/* su and sudo run in that of the login which they were called in, as their parent does. A user could have another
 * parent take its place, but is root by then: the real user id must be, too. */
const char *own_audit_session(uid_t owner, char *text, size_t size)
{
    char path[64], of_parent[24];

    snprintf(path, sizeof path, "/proc/%jd/sessionid", (intmax_t)getppid());
    read_proc(path, of_parent, sizeof of_parent);
    if (getuid() != 0 || of_parent[0] == '\0' || audit_session(owner, text, size) == NULL ||
        strcmp(of_parent, text) == 0)
        return NULL;
    return text;
}

/* proc_pid_stat(5): the program's name, in parentheses, may hold anything; numbers follow. */
const char *start_time(char *text, size_t size)
{
    char *field = strrchr(read_proc("/proc/self/stat", text, size), ')');

    for (int number = 2; field != NULL && number < START_TIME; number++)
        field = strchr(field + 1, ' ');
    if (field != NULL)
        field[1 + strspn(field + 1, "0123456789")] = '\0';
    return field == NULL ? NULL : field + 1;
}

/* The file that was executed, also if it has been replaced since. The time is that of the last change of the inode. */
const char *executable(char *text, size_t size)
{
    struct stat file;
    intmax_t changed;

    if (stat("/proc/self/exe", &file) != 0)
        return NULL;
    changed = (intmax_t)file.st_ctim.tv_sec * 1000000000 + file.st_ctim.tv_nsec;
    snprintf(text, size, "%ju:%ju:%jd", (uintmax_t)file.st_dev, (uintmax_t)file.st_ino, changed);
    return text;
}

struct arguments {                     /* after argv[0], which is the caller's to choose: it could hide the others */
    size_t length;                     /* of all of them, each with its NUL */
    uint8_t head[COMMAND_HEAD];        /* the first ones */
    uint8_t tail[COMMAND_TAIL + CHUNK]; /* the last ones of what follows the head, and room for what is read */
    size_t of_head, of_tail;
};

static void keep_ends(struct arguments *found, const uint8_t *bytes, size_t count)
{
    size_t room = COMMAND_HEAD - found->of_head;
    size_t first = count < room ? count : room;

    memcpy(found->head + found->of_head, bytes, first);
    found->of_head += first;
    memcpy(found->tail + found->of_tail, bytes + first, count - first);
    found->of_tail += count - first;
    if (found->of_tail > COMMAND_TAIL) {
        memmove(found->tail, found->tail + found->of_tail - COMMAND_TAIL, COMMAND_TAIL);
        found->of_tail = COMMAND_TAIL;
    }
    found->length += count;
}

static bool read_arguments(struct arguments *found)
{
    struct statfs system;
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool trusted = file >= 0 && fstatfs(file, &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
    bool behind_first = false;
    uint8_t chunk[CHUNK];
    ssize_t got = 0;

    found->length = found->of_head = found->of_tail = 0;
    while (trusted && (got = read(file, chunk, sizeof chunk)) > 0) {
        const uint8_t *end = behind_first ? NULL : memchr(chunk, '\0', (size_t)got);
        size_t from = end == NULL ? 0 : (size_t)(end + 1 - chunk);

        behind_first = behind_first || end != NULL;
        if (behind_first)
            keep_ends(found, chunk + from, (size_t)got - from);
    }
    descriptor_close(file);
    return trusted && got == 0;
}

static char *add_hexadecimal(char *end, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        end += snprintf(end, 3, "%02x", bytes[i]);
    return end;
}

const char *command(char *text, size_t size)
{
    struct arguments found;
    char *end;

    if (size < COMMAND_TEXT || !read_arguments(&found))
        return NULL;
    end = text + snprintf(text, 24, "%zu:", found.length);
    end = add_hexadecimal(end, found.head, found.of_head);
    *end++ = ':';
    *end = '\0';
    add_hexadecimal(end, found.tail, found.of_tail);
    return text;
}

/* Only the whole of the arguments is compared: a parser of ours that reads them otherwise than sudo does would be a way
 * in. */
bool runs_nothing(void)
{
    static const struct {
        size_t length;
        const char *bytes;
    } spared[] = {{3, "-l\0"}, {3, "-v\0"}, {6, "-n\0-l\0"}, {6, "-n\0-v\0"}};
    struct arguments found;
    bool known = read_arguments(&found);
    bool same = false;

    for (size_t i = 0; known && i < sizeof spared / sizeof spared[0]; i++)
        same = same ||
               (found.length == spared[i].length && memcmp(found.head, spared[i].bytes, found.length) == 0);
    return same;
}

const char *link_of(const char *path, char *text, size_t size)
{
    ssize_t length = readlink(path, text, size - 1);

    text[length > 0 ? length : 0] = '\0';
    return length > 0 ? text : NULL;
}

const char *socket_inodes(char *text, size_t size)
{
    DIR *folder = opendir("/proc/self/fd");
    struct statfs system;
    const struct dirent *entry;
    char target[64];
    size_t length = 0;

    text[0] = '\0';
    if (folder == NULL || fstatfs(dirfd(folder), &system) != 0 || system.f_type != PROC_SUPER_MAGIC)
        goto out;
    while ((entry = readdir(folder)) != NULL && length + sizeof target < size) {
        ssize_t got = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
        target[got > 0 ? got : 0] = '\0';
        if (strncmp(target, SOCKET, strlen(SOCKET)) == 0)
            length += (size_t)snprintf(text + length, sizeof target, "%.*s ",
                                       (int)strcspn(target + strlen(SOCKET), "]"), target + strlen(SOCKET));
    }
out:
    if (folder != NULL)
        closedir(folder);
    return text;
}
