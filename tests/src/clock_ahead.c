/* The machine's clock as a process sees it, so many seconds ahead of what it is; the clocks that only measure stay right.
 * Preloaded into a tool by the tests (preload.rs). */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    const char *ahead = getenv("CLOCK_AHEAD_S");
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    if (!failed && clock == CLOCK_REALTIME && ahead)
        at->tv_sec += atol(ahead);
    return failed;
}
