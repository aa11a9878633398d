/* A C target needs a source file. */
#include "clinux.h"
