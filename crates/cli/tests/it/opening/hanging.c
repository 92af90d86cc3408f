/* A disk that does not answer, for a preloaded library: opening a segment below the path that
 * DISK_HANGS_AT is a part of hangs while the file DISK_HANGS is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void wait_for_disk(const char *path) {
    const char *file = getenv("DISK_HANGS"), *at = getenv("DISK_HANGS_AT");
    if (!file || !at || !strstr(path, at) || !strstr(path, ".segment")) return;
    while (access(file, F_OK) == 0) usleep(2000);
}
#define OPEN(name)                                                                         \
    int name(const char *path, int flags, ...) {                                           \
        va_list more;                                                                      \
        va_start(more, flags);                                                             \
        int mode = va_arg(more, int);                                                      \
        va_end(more);                                                                      \
        wait_for_disk(path);                                                               \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
