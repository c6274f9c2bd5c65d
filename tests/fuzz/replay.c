/* replay.c -- a main() for fuzz targets where there is no libFuzzer: runs every file of the
 * folders (or files) named on the command line through the target, in the order of their names.
 *
 * Each input is copied to a block of exactly its size, so that the address sanitizer sees a
 * read of one byte too many.  Beside the file itself every prefix of a small one is run,
 * because truncation is the commonest fault of a real file.  No input at all is a failure:
 * a corpus that went missing must not pass. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PREFIXES_UP_TO = 1024 };

static size_t inputs;

static int run(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) return 1;
    if (size) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    return 0;
}

static int run_file(const char *path, size_t size) {
    int      failed = 1;
    uint8_t *data = malloc(size ? size : 1);
    FILE    *f = fopen(path, "rb");
    if (!data || !f || fread(data, 1, size, f) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        goto done;
    }
    failed = run(data, size);
    for (size_t n = 0; !failed && size <= PREFIXES_UP_TO && n < size; n++) failed = run(data, n);
    inputs++;
done:
    if (f) fclose(f);
    free(data);
    return failed;
}

static int visible(const struct dirent *e) {
    return e->d_name[0] != '.';
}

static int run_path(const char *path) {
    struct stat st;
    if (stat(path, &st)) {
        fprintf(stderr, "%s: no such file or folder\n", path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) return run_file(path, (size_t)st.st_size);
    struct dirent **entry;
    int             failed = 0, n = scandir(path, &entry, visible, alphasort);
    for (int i = 0; i < n; i++) {
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, entry[i]->d_name);
        if (!failed) failed = run_path(child);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return failed || n < 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (run_path(argv[i])) return 1;
    printf("%zu inputs\n", inputs);
    if (inputs) return 0;
    fputs("no input: the corpus folder is missing or empty\n", stderr);
    return 1;
}
