/* player PLUGIN FAMILY FILE...: plays the situations in the files, one after the other in this process. */
#define _GNU_SOURCE
#include "player.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct packetdrill_interface plugin;
int family = 4;
static const char *file_name;
static int line_number;

static void say_to(FILE *file, const char *format, va_list arguments) {
    vfprintf(file, format, arguments);
    fputc('\n', file);
    fflush(file);
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say_to(stdout, format, arguments);
    va_end(arguments);
}

void fail(const char *format, ...) {
    va_list arguments;
    printf("%s:%d: ", file_name, line_number);
    va_start(arguments, format);
    say_to(stdout, format, arguments);
    va_end(arguments);
    exit(1);
}

char *next_word(char **rest) {
    char *word = *rest + strspn(*rest, " \t");
    if (!*word) return NULL;
    size_t length = *word == '<' && word[1] && word[1] != ' ' ? strcspn(word, ">") + 1 : strcspn(word, " \t");
    *rest = word[length] ? word + length + 1 : word + length;
    word[length] = 0;
    return word;
}

char *need_word(char **rest) {
    char *word = next_word(rest);
    if (!word) fail("a word is missing");
    return word;
}

long number(const char *word) {
    char *end;
    long value = strtol(word, &end, 0);
    if (*end || end == word) fail("%s is no number", word);
    return value;
}

/* Seconds as microseconds. */
static long long moment(const char *word) {
    char *end;
    double seconds = strtod(word, &end);
    if (*end || end == word) fail("%s is no time", word);
    return (long long)(seconds * 1e6 + (seconds < 0 ? -0.5 : 0.5));
}

static void add_setting(const char *line) {
    const char *path = getenv("PD_SYSCTL_FILE");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) fail("PD_SYSCTL_FILE does not name a file that can be written");
    fprintf(file, "%s\n", line);
    fclose(file);
}

static void play_line(char *line, long long *last) {
    char *rest = line;
    char *word = next_word(&rest);
    long long time = moment(*word == '+' ? word + 1 : word) + (*word == '+' ? *last : 0);
    long long end = -1;
    rest += strspn(rest, " \t");
    if (*rest == '~') {
        word = next_word(&rest);
        end = time + moment(word + 1);
    }
    rest += strspn(rest, " \t");
    if (*rest == '>') {
        rest++;
        expect(rest, time);
        *last = elapsed() > time ? elapsed() : time;
        return;
    }
    *last = time;
    if (end >= 0) {
        if (!await_idle()) fail("a call is still in progress");
        call_blocking(rest, time, end);
        return;
    }
    if (*rest != '<' && strncmp(rest, "icmp ", 5) && strncmp(rest, "bytes ", 6)) await_idle();
    wait_until(time);
    check_time("this line", time, elapsed());
    if (*rest == '<') {
        rest++;
        inject(rest);
    } else if (!strncmp(rest, "icmp ", 5)) {
        inject_icmp(rest + 5);
    } else if (!strncmp(rest, "bytes ", 6)) {
        inject_bytes(rest + 6);
    } else if (!strncmp(rest, "siege ", 6)) {
        unsigned seed;
        int rounds;
        if (sscanf(rest, "siege %u %d", &seed, &rounds) != 2) fail("siege SEED ROUNDS is expected");
        lay_siege(seed, rounds);
    } else if (!strncmp(rest, "setting ", 8)) {
        add_setting(rest + 8);
    } else {
        make_call(rest, true);
    }
}

static void play(const char *path, const char *library) {
    char line[1024], flags[1024] = "";
    bool has_begun = false, has_flags = false;
    long long last = 0;
    FILE *file = fopen(path, "r");
    file_name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    line_number = 0;
    if (!file) fail("there is no such file");
    if (getenv("PD_SYSCTL_FILE")) remove(getenv("PD_SYSCTL_FILE"));
    say("== %s", file_name);
    while (fgets(line, sizeof line, file)) {
        line_number++;
        line[strcspn(line, "#\n")] = 0;
        if (!line[strspn(line, " \t")]) continue;
        if (!strncmp(line, "flags ", 6)) {
            snprintf(flags, sizeof flags, "%s", line + 6);
            has_flags = true;
            continue;
        }
        if (!has_begun) {
            void *image = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | RTLD_DEEPBIND);
            if (!image) fail("%s", dlerror());
            void (*begin)(const char *, struct packetdrill_interface *) =
                (void (*)(const char *, struct packetdrill_interface *))dlsym(image, "packetdrill_interface_init");
            if (!begin) fail("%s", dlerror());
            memset(&plugin, 0, sizeof plugin);
            begin(has_flags ? flags : NULL, &plugin);
            for (void **entry = (void **)&plugin + 1; entry < (void **)(&plugin + 1); entry++)
                if (!*entry) fail("entry %td of the table is empty", entry - (void **)&plugin);
            has_begun = true;
            begin_packets();
            begin_calls();
            start_threads();
            begin_time();
        }
        play_line(line, &last);
    }
    fclose(file);
    if (!await_idle()) fail("a call has not come to its end");
    close_everything();
    inject_reset();
    plugin.free(plugin.userdata);
    stop_threads();
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s PLUGIN 4|6|46 FILE...\n", argv[0]);
        return 64;
    }
    family = atoi(argv[2]);
    for (int i = 3; i < argc; i++) play(argv[i], argv[1]);
    say("all played");
    return 0;
}
