/* Loaded before libc into one process of a proof: its clock is off by what a file says.
 *
 * The file (CROSSDOCK_PROVE_CLOCK) holds one 64-bit number of nanoseconds in the machine's own order. It is mapped, so
 * that whoever writes it moves the clock of a running process. Only the time of day moves: what counts seconds since
 * the start, as timers do, goes on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static volatile int64_t none = 0;
static volatile int64_t *offset = &none;

__attribute__((constructor)) static void find_offset(void)
{
    const char *path = getenv("CROSSDOCK_PROVE_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED)
        offset = found;
    close(file);
}

static int64_t shifted_now(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND + now.tv_nsec + *offset;
}

int clock_gettime(clockid_t clock, struct timespec *result)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, result);
    int64_t now = shifted_now();
    result->tv_sec = now / SECOND;
    result->tv_nsec = now % SECOND;
    return 0;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone)
{
    (void)zone;
    int64_t now = shifted_now();
    result->tv_sec = now / SECOND;
    result->tv_usec = now % SECOND / 1000;
    return 0;
}

time_t time(time_t *result)
{
    time_t now = shifted_now() / SECOND;
    if (result != NULL)
        *result = now;
    return now;
}
