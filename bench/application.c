/* A PAM application that prints the cost of one PAM call: application SERVICE USER PHASE
 * With the service `sudo` it is a set-uid program that USER has called, else it is like sshd in the account phase.
 * Prints: PAM code, CPU in microseconds, wall time in microseconds, peak of resident memory in KiB. */
#include <security/pam_appl.h>
#include <stdbool.h>
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

static int call(pam_handle_t *handle, const char *phase)
{
	if (strcmp(phase, "authenticate") == 0)
		return pam_authenticate(handle, 0);
	if (strcmp(phase, "acct_mgmt") == 0)
		return pam_acct_mgmt(handle, 0);
	if (strcmp(phase, "setcred") == 0)
		return pam_setcred(handle, PAM_ESTABLISH_CRED);
	if (strcmp(phase, "open_session") == 0)
		return pam_open_session(handle, 0);
	return strcmp(phase, "close_session") == 0 ? pam_close_session(handle, 0) : PAM_SYSTEM_ERR;
}

int main(int argc, char **argv)
{
	const struct pam_conv conversation = { answer, NULL };
	pam_handle_t *handle = NULL;

	if (argc != 4)
		return 2;
	const bool account = strcmp(argv[3], "acct_mgmt") == 0, sudo = strcmp(argv[1], "sudo") == 0;
	long long cpu = microseconds(CLOCK_PROCESS_CPUTIME_ID), wall = microseconds(CLOCK_MONOTONIC);
	int code = pam_start(argv[1], argv[2], &conversation, &handle);
	if (code == PAM_SUCCESS && sudo)
		code = pam_set_item(handle, PAM_RUSER, argv[2]);
	if (code == PAM_SUCCESS && account && !sudo)
		code = pam_putenv(handle, "SSH_AUTH_INFO_0="); /* as in sshd: elsewhere the module ignores this phase */
	if (code == PAM_SUCCESS)
		code = call(handle, argv[3]);
	cpu = microseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = microseconds(CLOCK_MONOTONIC) - wall;
	printf("%d %lld %lld %ld\n", code, cpu, wall, peak_kib());
	pam_end(handle, code);
	return 0;
}
