/* machine.c -- /proc and the control group, read as text. */
#include "base/machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind `key` in a file of "Key:  123 kB" lines, in bytes; 0: not there. */
static size_t kilobytes_of(const char *path, const char *key) {
    FILE  *f = fopen(path, "re");
    char   line[256];
    size_t n = strlen(key), value = 0;
    while (f && !value && fgets(line, sizeof line, f))
        if (!strncmp(line, key, n) && line[n] == ':') value = (size_t)strtoull(line + n + 1, NULL, 10) << 10;
    if (f) fclose(f);
    return value;
}

/* A file that holds one number; SIZE_MAX: absent, or "max". */
static size_t number_in(const char *path) {
    FILE  *f = fopen(path, "re");
    char   line[64];
    size_t value = (size_t)-1;
    if (f && fgets(line, sizeof line, f) && line[0] >= '0' && line[0] <= '9') value = (size_t)strtoull(line, NULL, 10);
    if (f) fclose(f);
    return value;
}

size_t mg_machine_available(void) {
    size_t available = kilobytes_of("/proc/meminfo", "MemAvailable");
    size_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
    if (limit != (size_t)-1 && used != (size_t)-1 && limit > used && limit - used < available) available = limit - used;
    return available;
}

mg_process_memory mg_process_memory_now(void) {
    return (mg_process_memory){ kilobytes_of("/proc/self/status", "RssAnon"), kilobytes_of("/proc/self/status", "RssFile"),
                                kilobytes_of("/proc/self/status", "VmHWM") };
}

/* smaps: a line "BEGIN-END MODE OFFSET DEVICE INODE   PATH" opens each mapping, "Rss:  123 kB" is among those below it. */
size_t mg_process_mapped_from(const char *path) {
    FILE  *f = fopen("/proc/self/smaps", "re");
    char   line[8192], *real = realpath(path, NULL);
    size_t n = real ? strlen(real) : 0, sum = 0;
    bool   inside = false;
    while (f && n && fgets(line, sizeof line, f)) {
        char *name = strchr(line, '/');
        if (line[0] >= 'a' || (line[0] >= '0' && line[0] <= '9'))
            inside = name && !strncmp(name, real, n) && (name[n] == '/' || name[n] == '\n');
        else if (inside && !strncmp(line, "Rss:", 4))
            sum += (size_t)strtoull(line + 4, NULL, 10) << 10;
    }
    if (f) fclose(f);
    free(real);
    return sum;
}
