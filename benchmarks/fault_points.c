/* Counts every call that changes a file and kills its own process at the one that was asked for. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long seen, target;
static int spared = -1, is_torn;

/* Die before the `nth` call (0: never); with `torn`, after half of its bytes. Calls on `spared_fd` do not count. */
void fault_arm(long nth, int torn, int spared_fd) { seen = 0; target = nth; is_torn = torn; spared = spared_fd; }
long fault_count(void) { return seen; }

static int is_due(void) { return ++seen == target; }
static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }
#define REAL(type, name) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, name)

typedef ssize_t (*write_t)(int, const void *, size_t);
ssize_t write(int fd, const void *data, size_t size) {
    REAL(write_t, "write");
    if (fd != spared && is_due()) { if (is_torn) real(fd, data, size / 2); die(); }
    return real(fd, data, size);
}
typedef ssize_t (*pwrite_t)(int, const void *, size_t, off64_t);
#define PWRITE(name, offset_t) \
    ssize_t name(int fd, const void *data, size_t size, offset_t at) { \
        REAL(pwrite_t, #name); \
        if (is_due()) { if (is_torn) real(fd, data, size / 2, at); die(); } \
        return real(fd, data, size, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
#define SIMPLE(name, parameters, arguments, type) \
    typedef int (*name##_t) parameters; \
    int name parameters { REAL(name##_t, #name); if (is_due()) die(); return real arguments; }
SIMPLE(fsync, (int fd), (fd), int)
SIMPLE(fdatasync, (int fd), (fd), int)
SIMPLE(ftruncate, (int fd, off_t size), (fd, size), int)
SIMPLE(ftruncate64, (int fd, off64_t size), (fd, size), int)
SIMPLE(rename, (const char *from, const char *to), (from, to), int)
SIMPLE(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), int)
SIMPLE(unlink, (const char *path), (path), int)
SIMPLE(unlinkat, (int fd, const char *path, int flags), (fd, path, flags), int)
SIMPLE(rmdir, (const char *path), (path), int)
SIMPLE(mkdir, (const char *path, mode_t mode), (path, mode), int)
#define OPEN(name) \
    typedef int (*name##_t)(const char *, int, ...); \
    int name(const char *path, int flags, ...) { \
        REAL(name##_t, #name); \
        va_list more; va_start(more, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        if (flags & (O_CREAT | O_TRUNC) && is_due()) die(); \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
