/* The least that a machine can do for the same work. Arguments: COUNT SLOTS FOLDER PROGRAM.
   Each run has a new directory with params.json and files for its output. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int create(const char *directory, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        fail(path);
    return fd;
}

static void reap(void)
{
    int status;
    if (wait(&status) < 0)
        fail("wait");
    if (status != 0)
        exit(2);
}

static void start(int index, const char *folder, char **argv)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s/%06d", folder, index);
    if (mkdir(directory, 0777) < 0)
        fail(directory);
    int params = create(directory, "params.json");
    if (dprintf(params, "{\"i\": %d, \"x\": %.1f, \"name\": \"run %d\"}", index, index * 0.5, index) < 0)
        fail("params.json");
    close(params);
    int out = create(directory, "stdout.txt");
    int errors = create(directory, "stderr.txt");
    pid_t child = vfork();
    if (child < 0)
        fail("vfork");
    if (child == 0) {
        if (chdir(directory) == 0) {
            dup2(out, 1);
            dup2(errors, 2);
            execve(argv[0], argv, environ);
        }
        _exit(127);
    }
    close(out);
    close(errors);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 3;
    int count = atoi(argv[1]), slots = atoi(argv[2]);
    if (mkdir(argv[3], 0777) < 0)
        fail(argv[3]);
    for (int index = 0; index < count; index++) {
        if (index >= slots)
            reap();
        start(index, argv[3], argv + 4);
    }
    for (int left = count < slots ? count : slots; left > 0; left--)
        reap();
    return 0;
}
