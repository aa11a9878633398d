/* Step mode of the echo samples: before each socket call, say what comes and wait for Enter, so that one can look at the
 * daemon's log and captures meanwhile. */
#ifndef STEP_H
#define STEP_H

#include <stdio.h>

static int is_stepping;

static inline void step(const char *what)
{
    if (!is_stepping) return;
    printf("press Enter to %s ", what);
    fflush(stdout);
    for (int c = getchar(); c != '\n' && c != EOF;) c = getchar();
}

#endif
