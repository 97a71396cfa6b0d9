/* A PAM application for the tests, with the odd ways that real ones have. It prints what its conversation was given
 * and how it ended, one fact a line, words separated by spaces, texts in hexadecimal. */
#include <fcntl.h>
#include <getopt.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static FILE *report;
static const char *conversation_kind = "answer";
static const char *typed = "";
static const char *user;
static unsigned int pause_ms;
static bool small_buffers;
static volatile sig_atomic_t alarms, children;

/* In place of libc's: a socket that takes little before anything is read. */
int socket(int domain, int type, int protocol)
{
    int made = (int)syscall(SYS_socket, domain, type, protocol), size = 1;

    if (made >= 0 && small_buffers)
        setsockopt(made, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return made;
}

int socketpair(int domain, int type, int protocol, int pair[2])
{
    int made = (int)syscall(SYS_socketpair, domain, type, protocol, pair), size = 1;

    for (int i = 0; made == 0 && small_buffers && i < 2; i++)
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return made;
}

static void on_alarm(int number)
{
    (void)number;
    alarms++;
}

/* Like sshd's: takes every child there is. What counts is that it was called. */
static void on_child(int number)
{
    (void)number;
    children++;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

/* Without interruption, which would cut it off if nobody reads for a moment. */
static void print_text(const char *name, int style, const char *text)
{
    sigset_t alarm_only, before;

    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm_only, &before);
    fprintf(report, "%s %d ", name, style);
    for (; *text != '\0'; text++)
        fprintf(report, "%02x", (unsigned char)*text);
    fputc('\n', report);
    fflush(report);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static bool is(const char *kind)
{
    return strcmp(conversation_kind, kind) == 0;
}

static void rest(void)
{
    struct timespec left = {.tv_sec = pause_ms / 1000, .tv_nsec = (long)(pause_ms % 1000) * 1000000};

    while (nanosleep(&left, &left) != 0)
        continue;
}

static int converse(int count, const struct pam_message **messages, struct pam_response **responses, void *data)
{
    struct pam_response *made = calloc((size_t)count, sizeof *made);
    int result = PAM_SUCCESS;

    (void)data;
    for (int i = 0; i < count; i++) {
        int style = messages[i]->msg_style;
        bool asked = style == PAM_PROMPT_ECHO_ON || style == PAM_PROMPT_ECHO_OFF;
        print_text("message", style, messages[i]->msg);
        if (asked)
            rest();
        while (is("hoard") && open("/dev/null", O_RDONLY) >= 0)
            continue;
        if (asked && (is("answer") || is("hoard")))
            made[i].resp = strdup(typed);
        if (asked && is("long")) {
            made[i].resp = malloc(strtoul(typed, NULL, 10) + 1);
            memset(made[i].resp, 'x', strtoul(typed, NULL, 10));
            made[i].resp[strtoul(typed, NULL, 10)] = '\0';
        }
        if ((asked && is("error")) || is("error-always"))
            result = PAM_CONV_ERR;
        if (!asked && is("echo"))
            made[i].resp = strdup("an unexpected response");
    }
    if (result != PAM_SUCCESS || is("no-array")) {
        free(made);
        /* After an error the pointer is invalid. (pam_get_user would still free it.) */
        made = is("no-array") || user == NULL ? NULL : (struct pam_response *)16;
    }
    *responses = made;
    return result;
}

static long milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void beat(unsigned int every_ms)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct itimerval timer = {.it_interval = {.tv_usec = every_ms * 1000L}, .it_value = {.tv_usec = every_ms * 1000L}};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* `value` is for both limits, or with a colon after it for the soft one only. */
static void limit(int resource, const char *value)
{
    struct rlimit wanted;

    getrlimit((__rlimit_resource_t)resource, &wanted);
    wanted.rlim_cur = strtoul(value, NULL, 10);
    if (strchr(value, ':') == NULL)
        wanted.rlim_max = wanted.rlim_cur;
    setrlimit((__rlimit_resource_t)resource, &wanted);
}

static long memory_kib(const char *field)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtol(line + strlen(field), NULL, 10);
    if (file != NULL)
        fclose(file);
    return value;
}

static double cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static int call(pam_handle_t *pamh, const char *phase, int flags)
{
    int result = -1;

    if (strcmp(phase, "authenticate") == 0)
        result = pam_authenticate(pamh, flags);
    else if (strcmp(phase, "setcred") == 0)
        result = pam_setcred(pamh, flags);
    else if (strcmp(phase, "acct_mgmt") == 0)
        result = pam_acct_mgmt(pamh, flags);
    else if (strcmp(phase, "open_session") == 0)
        result = pam_open_session(pamh, flags);
    else if (strcmp(phase, "close_session") == 0)
        result = pam_close_session(pamh, flags);
    else if (strcmp(phase, "chauthtok") == 0)
        result = pam_chauthtok(pamh, flags);
    else if (strchr(phase, '=') != NULL)
        result = pam_putenv(pamh, phase);
    return result;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"folder", required_argument, NULL, 'f'},   {"service", required_argument, NULL, 's'},
        {"user", required_argument, NULL, 'u'},     {"rhost", required_argument, NULL, 'r'},
        {"tty", required_argument, NULL, 't'},      {"ruser", required_argument, NULL, 'R'},
        {"env", required_argument, NULL, 'e'},      {"conversation", required_argument, NULL, 'c'},
        {"typed", required_argument, NULL, 'a'},    {"beat", required_argument, NULL, 'b'},
        {"flags", required_argument, NULL, 'F'},    {"real-uid", required_argument, NULL, 'U'},
        {"effective-uid", required_argument, NULL, 'E'}, {"nofile", required_argument, NULL, 'n'},
        {"as", required_argument, NULL, 'A'},       {"cpu", required_argument, NULL, 'C'},
        {"fsize", required_argument, NULL, 'z'},    {"nproc", required_argument, NULL, 'N'},
        {"stack", required_argument, NULL, 'K'},    {"data", required_argument, NULL, 'D'},
        {"children", no_argument, NULL, 'k'},       {"ignore-children", no_argument, NULL, 'i'},
        {"ignore-signals", no_argument, NULL, 'I'}, {"block-signals", no_argument, NULL, 'B'},
        {"close-standard", no_argument, NULL, 'x'}, {"descriptor", required_argument, NULL, 'd'},
        {"pause", required_argument, NULL, 'p'},    {"calls", required_argument, NULL, 'm'},
        {"small-buffers", no_argument, NULL, 'S'},
        {NULL, 0, NULL, 0},
    };
    const char *folder = NULL, *service = "login", *rhost = NULL, *tty = NULL, *ruser = NULL;
    const char *environment = NULL, *phase;
    char **variables;
    struct pam_conv conversation = {.conv = converse, .appdata_ptr = NULL};
    pam_handle_t *pamh = NULL;
    struct rlimit size;
    unsigned int beat_ms = 0, calls = 1;
    bool close_standard = false;
    long began;
    double cpu_before;
    sigset_t all;
    int option, result, flags = 0, real_uid = 0, effective_uid = 0;

    report = fdopen(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 100), "w");
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'f': folder = optarg; break;
        case 's': service = optarg; break;
        case 'u': user = optarg; break;
        case 'r': rhost = optarg; break;
        case 't': tty = optarg; break;
        case 'R': ruser = optarg; break;
        case 'e': environment = optarg; break;
        case 'c': conversation_kind = optarg; break;
        case 'a': typed = optarg; break;
        case 'b': beat_ms = (unsigned int)atoi(optarg); break;
        case 'F': flags = (int)strtol(optarg, NULL, 0); break;
        case 'U': real_uid = atoi(optarg); break;
        case 'E': effective_uid = atoi(optarg); break;
        case 'n': limit(RLIMIT_NOFILE, optarg); break;
        case 'A': limit(RLIMIT_AS, optarg); break;
        case 'C': limit(RLIMIT_CPU, optarg); break;
        case 'z': limit(RLIMIT_FSIZE, optarg); break;
        case 'N': limit(RLIMIT_NPROC, optarg); break;
        case 'K': limit(RLIMIT_STACK, optarg); break;
        case 'D': limit(RLIMIT_DATA, optarg); break;
        case 'k': signal(SIGCHLD, on_child); break;
        case 'i': signal(SIGCHLD, SIG_IGN); break;
        case 'I':
            for (int number = 1; number < NSIG; number++)
                signal(number, SIG_IGN);
            break;
        case 'B':
            sigfillset(&all);
            sigprocmask(SIG_SETMASK, &all, NULL);
            break;
        case 'x': close_standard = true; break;
        case 'd': fcntl(open("/dev/null", O_RDONLY), F_DUPFD, atoi(optarg)); break; /* without close-on-exec */
        case 'S': small_buffers = true; break;
        case 'p': pause_ms = (unsigned int)atoi(optarg); break;
        case 'm': calls = (unsigned int)atoi(optarg); break;
        default: return 2;
        }
    }
    phase = optind < argc ? argv[optind] : "authenticate";
    if (is("none"))
        conversation.conv = NULL;
    if (pam_start_confdir(service, user, &conversation, folder, &pamh) != PAM_SUCCESS)
        return 2;
    if (rhost != NULL)
        pam_set_item(pamh, PAM_RHOST, rhost);
    if (tty != NULL)
        pam_set_item(pamh, PAM_TTY, tty);
    if (ruser != NULL)
        pam_set_item(pamh, PAM_RUSER, ruser);
    if (environment != NULL)
        pam_putenv(pamh, environment);
    if (setresuid((uid_t)real_uid, (uid_t)effective_uid, 0) != 0)
        return 2;
    if (close_standard)
        for (int standard = 0; standard < 3; standard++)
            close(standard);
    if (beat_ms > 0)
        beat(beat_ms);
    began = milliseconds();
    cpu_before = cpu_us();
    for (result = -1; calls > 0; calls--)
        result = call(pamh, phase, flags);
    for (; optind + 1 < argc; optind++)
        result = call(pamh, argv[optind + 1], flags);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    fprintf(report, "cpu %ld\n", (long)(cpu_us() - cpu_before));
    fprintf(report, "elapsed %ld\n", milliseconds() - began);
    fprintf(report, "memory %ld\n", memory_kib("Pss:"));
    getrlimit(RLIMIT_FSIZE, &size);
    fprintf(report, "fsize %lu\n", (unsigned long)size.rlim_cur);
    variables = pam_getenvlist(pamh);
    for (int i = 0; variables[i] != NULL; free(variables[i++]))
        print_text("variable", 0, variables[i]);
    free(variables);
    if (setresuid(0, 0, 0) != 0)
        return 2;
    pam_end(pamh, result);
    fprintf(report, "alarms %d\n", (int)alarms);
    fprintf(report, "children %d\n", (int)children);
    for (int standard = 0; standard < 3; standard++)
        fprintf(report, "open %d %d\n", standard, fcntl(standard, F_GETFD) >= 0);
    fprintf(report, "result %d\n", result);
    return fclose(report) == 0 ? 0 : 2;
}
