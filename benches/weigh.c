/*
 * Runs one program and says on stderr what it took: "WALL CPU PEAK STATUS", in nanoseconds from before its start
 * to after its end, microseconds of processor time and KiB of memory, both with the descendants it waited for, and
 * its exit status (255 for a signal).
 *
 * This is not done by the benchmark itself, since Linux counts the memory of whoever starts a program towards that
 * program's peak (fs/exec.c, exec_mmap): the starter has to be small, and its own 0.5 MB is the least seen here.
 */
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000000000LL + (now.tv_nsec - start->tv_nsec);
}

static long long microseconds(struct timeval time)
{
	return time.tv_sec * 1000000LL + time.tv_usec;
}

int main(int count, char **arg)
{
	struct timespec start;
	struct rusage used;
	int status;
	pid_t child;

	if (count < 2)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (posix_spawn(&child, arg[1], NULL, NULL, arg + 1, environ) || wait4(child, &status, 0, &used) != child) {
		perror(arg[1]);
		return 2;
	}
	long long wall = since(&start);

	fprintf(stderr, "%lld %lld %ld %d\n", wall, microseconds(used.ru_utime) + microseconds(used.ru_stime),
		used.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 255);
	return 0;
}
