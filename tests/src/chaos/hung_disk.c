/* A disk that hangs: what a process hands to it comes back when the file that HANG_WHILE names is gone, and not before.
 * Preloaded into a node by the tests (hung_disk.rs), which leaves its binary as it is shipped. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void hang(void) {
    const struct timespec pause = {0, 2 * 1000 * 1000};
    const char *file = getenv("HANG_WHILE");
    while (file && access(file, F_OK) == 0)
        nanosleep(&pause, NULL);
}

int fsync(int fd) {
    hang();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    hang();
    return (int)syscall(SYS_fdatasync, fd);
}

int msync(void *at, size_t bytes, int flags) {
    hang();
    return (int)syscall(SYS_msync, at, bytes, flags);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    hang();
    return (ssize_t)syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
    return pwrite(fd, bytes, count, at);
}

int ftruncate(int fd, off_t bytes) {
    hang();
    return (int)syscall(SYS_ftruncate, fd, bytes);
}

int ftruncate64(int fd, off_t bytes) {
    return ftruncate(fd, bytes);
}
