/* A PAM application that prints the cost of one PAM call: application SERVICE USER authenticate|setcred
 * Prints: PAM code, CPU in microseconds, wall time in microseconds, peak of resident memory in KiB. */
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int answer(int count, const struct pam_message **messages, struct pam_response **responses, void *data)
{
	(void)messages;
	(void)data;
	*responses = calloc((size_t)count, sizeof(**responses));
	return *responses != NULL ? PAM_SUCCESS : PAM_BUF_ERR;
}

static long long microseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static long peak_kib(void)
{
	char line[256];
	long peak = -1;
	FILE *status = fopen("/proc/self/status", "r");

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, "VmHWM:", 6) == 0)
			peak = strtol(line + 6, NULL, 10);
	if (status != NULL)
		fclose(status);
	return peak;
}

int main(int argc, char **argv)
{
	const struct pam_conv conversation = { answer, NULL };
	pam_handle_t *handle = NULL;

	if (argc != 4)
		return 2;
	long long cpu = microseconds(CLOCK_PROCESS_CPUTIME_ID), wall = microseconds(CLOCK_MONOTONIC);
	int code = pam_start(argv[1], argv[2], &conversation, &handle);
	if (code == PAM_SUCCESS)
		code = strcmp(argv[3], "setcred") == 0 ? pam_setcred(handle, PAM_ESTABLISH_CRED) : pam_authenticate(handle, 0);
	cpu = microseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = microseconds(CLOCK_MONOTONIC) - wall;
	printf("%d %lld %lld %ld\n", code, cpu, wall, peak_kib());
	pam_end(handle, code);
	return 0;
}
