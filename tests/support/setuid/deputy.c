/* A program to be installed set-uid root that lets itself be led: it connects where its caller says, repeats the first
 * line that it reads there, sends what its caller says, and shows what comes back. It keeps the real user id of its
 * caller, or with "become" makes root its real user too, as a program that went further would. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int count, char **words)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char data[4096];
    ssize_t length;
    int connection;

    if (count < 3)
        return 2;
    if (count > 3 && strcmp(words[3], "become") == 0 && setresuid(0, 0, 0) != 0)
        return 3;
    strncpy(address.sun_path, words[1], sizeof address.sun_path - 1);
    connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) != 0)
        return 4;
    length = read(connection, data, sizeof data);
    if (length > 0 && write(connection, data, (size_t)length) == length) {
        if (write(connection, words[2], strlen(words[2])) < 0 || write(connection, "\n", 1) < 0)
            return 5;
        while ((length = read(connection, data, sizeof data)) > 0)
            fwrite(data, 1, (size_t)length, stdout);
    }
    return 0;
}
